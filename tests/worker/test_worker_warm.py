"""What a worker compiles before it joins its group is all that its first batches need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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
from siphonwatch.streams.common.settings import Settings
sys.path.insert(0, sys.argv[1])
from worker_tools import traffic
import numpy as np

records = [encode(record) for record in traffic()]
known = compiled() - before  # the sketcher's own, which made the traffic
requests = Decoder().decode(records).requests
make_together(Settings()).score(requests, np.arange(len(requests)))
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
