"""What a shadow costs the scorer, in processor time: `python -m bench.shadow FILE`. Decoding is not part of it."""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np

from siphonwatch.models.account.request import Array
from siphonwatch.models.engine.config import ScorerConfig
from siphonwatch.models.engine.judge import AccountJudge
from siphonwatch.models.engine.scorer import Scorer
from siphonwatch.models.learn.version import shipped
from siphonwatch.streams.worker.decode import Decoder

RUNS = 3
SLICE = 4096
WARM = 8192


def seconds(requests: Array, shadow: bool) -> float:
    """Return the processor time of scoring requests, with a shadow of as many cards or without."""
    scorer = Scorer(ScorerConfig())
    if shadow:
        scorer.shadows["challenger"] = AccountJudge(scorer.stage, shipped().detectors(), shadow=True), lambda _: None
    copy, offsets = requests.copy(), np.arange(len(requests))  # scoring changes some fields
    started = time.process_time()
    for start in range(0, len(copy), SLICE):
        scorer.score(copy[start : start + SLICE], offsets[start : start + SLICE])
    took = time.process_time() - started
    if scorer.failed:
        raise RuntimeError(f"the shadow failed: {scorer.failed}")
    return took


def main(file: str) -> dict[str, float]:
    """Score with and without a shadow in turn, after a warm run of both; return medians."""
    with Path(file).open("rb") as lines:
        requests = Decoder().decode([line.rstrip(b"\n") for line in lines]).requests
    for shadow in (False, True):
        seconds(requests[:WARM], shadow)
    pairs = [(seconds(requests, False), seconds(requests, True)) for _ in range(RUNS)]
    alone = statistics.median(a for a, _ in pairs)
    share = statistics.median((b - a) / a for a, b in pairs)
    return {"share": share, "microseconds": share * alone / len(requests) * 1e6, "requests": len(requests)}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
