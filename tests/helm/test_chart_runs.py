"""What the pods would run, run here: their commands with their settings and variables, against a broker."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from chart_tools import MINIMAL, Manifest, manifests, merged, one, toml
from sink_samples import SECRET

START_SECONDS = 800.0

pytestmark = pytest.mark.broker


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextmanager
def running(objects: list[Manifest], pod: Manifest, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Start a pod's container as a process: its arguments, its variables, its settings."""
    (container,) = pod["spec"]["template"]["spec"]["containers"]
    config = folder / f"{container['name']}.toml"
    config.write_text(toml(objects, container["name"]))
    env = {name: value for name, value in os.environ.items() if not name.startswith("SIPHONWATCH_")}
    env |= {variable["name"]: variable.get("value", "a-secret-of-the-test") for variable in container["env"]}
    env["SIPHONWATCH_CONFIG"] = str(config)
    env.pop("NUMBA_CACHE_DIR", None)  # a folder of the image; what this machine has compiled serves as well
    if "NUMBA_CACHE_DIR" in os.environ:
        env["NUMBA_CACHE_DIR"] = os.environ["NUMBA_CACHE_DIR"]
    command = [str(Path(sys.executable).parent / "siphonwatch"), *container["args"]]
    with (folder / f"{container['name']}.log").open("w+") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log, text=True, cwd=folder)
        try:
            yield process
        except BaseException:
            log.seek(0)
            print(log.read()[-4000:])
            raise
        finally:
            process.kill()
            process.wait()


def probe(pod: Manifest, kind: str) -> int:
    """Ask as the kubelet does, until the answer is 200 or there was time enough; return the last status, 0 for none."""
    (container,) = pod["spec"]["template"]["spec"]["containers"]
    (port,) = [port for port in container["ports"] if port["name"] == container[kind]["httpGet"]["port"]]
    url = f"http://127.0.0.1:{port['containerPort']}{container[kind]['httpGet']['path']}"
    status, end = 0, time.monotonic() + START_SECONDS
    while status != 200 and time.monotonic() < end:
        try:
            with urllib.request.urlopen(url, timeout=60) as answer:
                status = answer.status
        except urllib.error.HTTPError as error:
            status = error.code
            error.close()
        except OSError:
            pass
        time.sleep(0.2)
    return status


def ask(port: int, path: str, data: bytes | None = None) -> tuple[int, str]:
    """Return the status and the text of an answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", data, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.fixture
def objects(tansu: str, prefix: str, tmp_path: Path) -> list[Manifest]:
    secret = tmp_path / "feedback-secret"
    secret.write_text(SECRET)
    loopback = {"host": "127.0.0.1", "port": free_port()}
    given: dict[str, Any] = {
        "desk": {"enabled": True, "volume": {"persistent": False}},
        "feedback": {"enabled": True},
        "settings": {
            "kafka": {"bootstrap": tansu, "group": prefix},
            "topics": {"prefix": prefix, "partitions": 2, "replication": 1},
            "web": {"host": "127.0.0.1", "port": free_port()},
            "deliver": {"host": "127.0.0.1", "port": free_port()},
            "desk": {
                "host": "127.0.0.1",
                "port": free_port(),
                "status_host": "127.0.0.1",
                "status_port": free_port(),
                "index": str(tmp_path / "desk.sqlite"),
            },
            "feedback": {**loopback, "secret_file": str(secret)},
            "sinks": {"desk": {"kind": "alertmanager", "url": f"http://127.0.0.1:{free_port()}"}},
        },
    }
    return manifests(merged(MINIMAL, given))


def test_job_worker_deliverer_desk_and_feedback_run_as_the_chart_starts_them(
    objects: list[Manifest], tmp_path: Path
) -> None:
    job, worker = (one(objects, kind) for kind in ("Job", "StatefulSet"))
    deliverer, desk, feedback = (
        one(objects, "Deployment", f"siphonwatch-{part}") for part in ("deliver", "desk", "feedback")
    )
    for _ in ("install", "upgrade"):
        with running(objects, job, tmp_path) as process:
            assert process.wait(300) == 0
    with running(objects, worker, tmp_path) as process:
        assert probe(worker, "startupProbe") == probe(worker, "readinessProbe") == probe(worker, "livenessProbe") == 200
        (container,) = worker["spec"]["template"]["spec"]["containers"]
        hook = container["lifecycle"]["preStop"]["exec"]["command"]
        assert subprocess.run([sys.executable, *hook[1:]], timeout=300, check=False).returncode == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(worker["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]) == 0
    with running(objects, deliverer, tmp_path) as process:
        assert probe(deliverer, "startupProbe") == probe(deliverer, "readinessProbe") == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(deliverer["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]) == 0
    with running(objects, desk, tmp_path) as process:
        assert probe(desk, "startupProbe") == probe(desk, "readinessProbe") == probe(desk, "livenessProbe") == 200
        (container,) = desk["spec"]["template"]["spec"]["containers"]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        status, page = ask(ports["pages"], "/")
        assert (
            status == 200 and "No open case" in page and "siphonwatch_desk_behind" in ask(ports["http"], "/metrics")[1]
        )
        process.send_signal(signal.SIGTERM)
        assert process.wait(desk["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]) == 0
    with running(objects, feedback, tmp_path) as process:
        assert probe(feedback, "startupProbe") == probe(feedback, "readinessProbe") == 200
        (port,) = feedback["spec"]["template"]["spec"]["containers"][0]["ports"]
        assert ask(port["containerPort"], "/v1/verdicts", b"{}")[0] == 401, "it is not signed"
        process.send_signal(signal.SIGTERM)
        assert process.wait(feedback["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]) == 0
