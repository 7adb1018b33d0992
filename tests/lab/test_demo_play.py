"""The player keeps its bounds, gives up what stands still and never what is slow, and waits for no slow answer."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from siphonwatch.streams.cli.demo import Plain
from siphonwatch.streams.edge.producer import Outbox
from siphonwatch.streams.lab.demo import patience as patience_module
from siphonwatch.streams.lab.demo.patience import BUSY_FACTOR, SECONDS, Patience, cpu_seconds
from siphonwatch.streams.lab.demo.play import AHEAD, Player, Stalled
from siphonwatch.streams.lab.demo.processes import Counts, ProcessError, Watch
from siphonwatch.streams.lab.scenario import Scenario

BOUND = 60.0
"""Seconds that an event of another thread may take on any machine."""


class Future:
    def add_callback(self, done: Any) -> None:
        done(None)

    def add_errback(self, failed: Any) -> None:
        """Nothing fails here."""


class Producer:
    """Takes everything at once."""

    def __init__(self) -> None:
        self.sent = 0

    def send(self, topic: str, **_: Any) -> Future:
        self.sent += 1
        return Future()

    def flush(self, timeout: float | None = None) -> None:
        """Nothing waits here."""


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def player(
    producer: Producer, clock: Clock, counts: Any, cpu: Callable[[], float] = float, busy: bool = False
) -> Player:
    scenario = Scenario(seed=5, accounts=100, days=1.0)
    outboxes = {name: Outbox(producer, name) for name in ("litellm", "nginx")}
    patience = Patience(cpu, lambda: busy, clock)
    return Player(scenario, outboxes, 0.0, counts, patience, lambda *_: None, clock, clock.sleep)


def test_the_player_never_runs_further_ahead_of_the_worker_than_the_bound() -> None:
    producer, clock = Producer(), Clock()
    ahead: list[int] = []
    done = 0

    def counts() -> Counts:
        nonlocal done
        ahead.append(producer.sent - done)
        done = min(done + 700, producer.sent)
        return Counts(done - done // 100, done // 100, 3)

    played = player(producer, clock, counts)
    final = played.run()
    assert final.done == played.produced == producer.sent > 2 * AHEAD
    assert max(ahead) == AHEAD + 1


def test_a_worker_that_stands_still_is_told_after_a_while() -> None:
    clock = Clock()
    with pytest.raises(Stalled, match=r"scored nothing for \d+ s while 2,\d+ records wait"):
        player(Producer(), clock, lambda: Counts(0, 0, 0)).run()
    assert clock.now == pytest.approx(SECONDS, abs=1.0)


def test_a_worker_that_works_is_waited_for_however_long_its_first_batch_takes() -> None:
    producer, clock = Producer(), Clock()

    def counts() -> Counts:
        return Counts(producer.sent if clock.now > 50 * SECONDS else 0, 0, 0)

    played = player(producer, clock, counts, cpu=lambda: 0.5 * clock.now)
    assert played.run().done == played.produced
    assert clock.now > 50 * SECONDS


@pytest.mark.parametrize(
    ("share", "busy", "given_up"),
    [
        (0.0, False, SECONDS),
        (0.0, True, SECONDS),  # stopped: a process that others outrun gets a little
        (0.02, False, SECONDS),
        (0.02, True, BUSY_FACTOR * SECONDS),
        (0.5, False, None),
        (0.5, True, None),
    ],
)
def test_patience_ends_by_work_not_by_time_alone(share: float, busy: bool, given_up: float | None) -> None:
    clock = Clock()
    patience = Patience(lambda: share * clock.now, lambda: busy, clock)
    over = []
    for clock.now in (SECONDS, SECONDS + 1, BUSY_FACTOR * SECONDS, BUSY_FACTOR * SECONDS + 1, 1e6):
        if patience.over():
            over.append(clock.now)
    assert (over[0] - 1 if over else None) == given_up
    patience.moved()
    assert not patience.over()


def test_cpu_time_of_a_process_is_the_kernels_with_or_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    own = os.times()
    measured = cpu_seconds([os.getpid(), os.getpid()])
    assert measured >= 2 * (own.user + own.system) - 0.1
    assert cpu_seconds([2**22 + 1]) == 0.0  # beyond what Linux numbers
    monkeypatch.setattr(patience_module, "PROC", Path("/nowhere"))
    by_ps = cpu_seconds([os.getpid()])
    assert by_ps >= int(own.user + own.system) - 1
    assert cpu_seconds([2**22 + 1]) == 0.0


@pytest.mark.parametrize("proc", ["/proc", "/nowhere"])
def test_cpu_time_of_a_process_is_also_that_of_its_children_while_they_run_and_after(
    proc: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if proc == "/proc" and not Path("/proc/self").exists():
        pytest.skip("this system has no /proc")
    monkeypatch.setattr(patience_module, "PROC", Path(proc))
    before = cpu_seconds([os.getpid()])
    busy = "import time\nwhile time.process_time() < 2.5: pass\nprint(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", busy], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None and child.stdout is not None
        child.stdout.readline()
        assert cpu_seconds([os.getpid()]) - before >= 1.0
        child.stdin.close()
    if proc == "/proc":
        assert cpu_seconds([os.getpid()]) - before >= 2.0


def test_a_slow_answer_costs_one_question_however_many_records_are_sent_meanwhile() -> None:
    """It stood in the player's way once a record: 13 % of a scenario in 10 minutes."""
    asked, answer = threading.Semaphore(0), threading.Event()
    questions = 0

    def slow() -> Counts:
        nonlocal questions
        questions += 1
        asked.release()
        assert answer.wait(BOUND)
        return Counts(1 << 30, 0, 0)

    producer, clock = Producer(), Clock()
    with Watch(slow) as watch:
        assert asked.acquire(timeout=BOUND)
        sent_while_asked = []

        def counts() -> Counts | None:
            sent_while_asked.append((producer.sent, questions))
            if producer.sent > AHEAD:
                answer.set()
            return watch.counts()

        played = player(producer, clock, counts, cpu=lambda: clock.now)
        played.run()
    unanswered = [number for sent, number in sent_while_asked if sent <= AHEAD]
    assert producer.sent > 2 * AHEAD and set(unanswered) <= {1}


def test_the_end_of_a_worker_reaches_who_asks_the_watch() -> None:
    def dead() -> Counts:
        raise ProcessError("the worker ended with signal SIGKILL")

    with Watch(dead) as watch:
        deadline = threading.Event()
        with pytest.raises(ProcessError, match="SIGKILL"):
            for _ in range(int(BOUND / 0.01)):
                watch.counts()
                deadline.wait(0.01)


def test_where_there_is_no_terminal_a_run_is_a_line_a_tenth_or_a_minute(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    plain = Plain(1000, clock)
    plain.phase("compiling")
    for clock.now in range(150):
        plain.compiling("siphonwatch.models.account.windows")
    plain.phase("playing")
    for done in range(0, 1001, 2):
        clock.now += 0.1
        plain.progress(done, Counts(done, 0, 0))
    lines = capsys.readouterr().out.splitlines()
    assert sum("compiling siphonwatch.models.account.windows" in line for line in lines) == 2
    assert sum("scored" in line for line in lines) == 10
    assert len(lines) == 14
