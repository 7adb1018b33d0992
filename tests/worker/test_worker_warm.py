"""What a worker compiles before it joins its group is all that its first batches need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from numba import njit

from siphonwatch.streams.common.cores import cores
from siphonwatch.streams.worker import warm as warming
from siphonwatch.streams.worker.warm import OTHER, Beside, compiling

SCRIPT = """
import gc, sys
from numba.core.dispatcher import Dispatcher
from siphonwatch.streams.worker.warm import warm

def compiled():
    return {(d.py_func.__module__, d.py_func.__qualname__, s) for d in gc.get_objects() if isinstance(d, Dispatcher)
            for s in d.signatures}

warm()
before = compiled()
from siphonwatch.streams.contracts.telemetry import encode
from siphonwatch.streams.worker.decode import Decoder
from siphonwatch.streams.worker.scoring import make_together
from siphonwatch.streams.common.settings import Scoring, Settings
sys.path.insert(0, sys.argv[1])
from worker_tools import traffic
import numpy as np

records = [encode(record) for record in traffic()]
known = compiled() - before  # the sketcher's own, which made the traffic
requests = Decoder().decode(records).requests
for settings in (Settings(), Settings(scoring=Scoring(end_users=True))):
    both = make_together(settings)
    both.score(requests, np.arange(len(requests)))
for table in (both.table, both.coordinator.table):  # as accounts leave memory and come back, and rows are restored
    table.evict(table.used())
    table.settle()
both.table.insert(both.table.rows[:0])
from siphonwatch.models.engine import rarity
assert len(rarity._rank_all.signatures) == 1, "ranked by itself with other types than the scorer's"
print(len(before), sorted(map(str, compiled() - before - known)))
"""


def test_a_warm_worker_compiles_nothing_for_its_first_requests() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(Path(__file__).parents[1] / "tools")],
        capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    count, _, left = done.stdout.strip().partition(" ")
    assert int(count) > 20
    assert left == "[]"


def test_nothing_runs_beside_what_the_cache_has_and_one_process_beside_what_has_to_be_compiled(tmp_path: Path) -> None:
    mark = tmp_path / "started"
    command = (sys.executable, "-c", f"open({str(mark)!r}, 'a').write('x')")

    def fresh(x: float) -> float:
        return x + 1.0

    with Beside(command) as beside, compiling(lambda _: None, beside.start):
        beside.wait()
    assert not mark.exists()
    said: list[str] = []
    compiled = njit(fresh)
    with Beside(command) as beside, compiling(said.append, beside.start):
        assert (compiled(1.0), compiled(1)) == (2.0, 2)
        beside.wait()
    assert said == [__name__]
    assert mark.exists() == (cores() > 1)


def test_nothing_runs_beside_where_this_process_has_one_core(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of a machine with many, a container or `taskset` may give it one."""
    monkeypatch.setattr(warming, "cores", lambda: 1)
    mark = tmp_path / "started"
    with Beside((sys.executable, "-c", f"open({str(mark)!r}, 'a').write('x')")) as beside:
        beside.start()
        beside.wait()
    assert not mark.exists()


def test_a_process_that_cannot_be_started_leaves_all_to_compile_here(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(warming, "cores", lambda: 2)
    with Beside((str(tmp_path / "nothing"),)) as beside:
        beside.start()
        beside.wait()
    assert "compiling alone" in capsys.readouterr().out


def test_what_compiles_beside_a_worker_ends_with_it() -> None:
    done = subprocess.run(OTHER, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=300)
    assert (done.returncode, done.stderr) == (1, b"")
