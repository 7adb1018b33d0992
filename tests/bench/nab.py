"""Our estimators on the Numenta Anomaly Benchmark, beside River's and the scores NAB publishes: `python -m bench nab`.

Every value is scored before it is learnt, all series by one setting. Scored by NAB's standard profile (Lavin and Ahmad
2015), written anew: early detections in a window count up to 1, a miss takes 1, a false alarm up to .11, and the
threshold is the best one over all series together. Reads the set from `shared/` beside this checkout.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table
from river import anomaly

from bench.generic import bulk, one_by_one
from bench.report import WIDTH
from siphonwatch.models.online.detector import Vectors
from siphonwatch.models.online.half_space_trees import HalfSpaceTrees
from siphonwatch.models.online.isolation_forest import OnlineIsolationForest
from siphonwatch.models.online.quantiles import quantile_init, quantile_rank, quantile_update

FOLDER = Path(__file__).parents[3] / "shared" / "data" / "bench" / "NAB"
FALSE_ALARM = 0.11
PROBATION, LONGEST = 0.15, 750
"""First share of a series in which nothing counts, and rows of it at most."""
THRESHOLDS = 400
RECENT = 12
"""Values that one is held against: an hour of the series that have a value each five minutes."""
Floats = npt.NDArray[np.float64]


class Series(NamedTuple):
    """One file."""

    name: str
    rows: Vectors
    """`(n, 3)` the value, its step and its distance from the recent mean, each in [0, 1] of its range so far."""
    windows: list[tuple[int, int]]
    """First and last row of each labelled window."""


def features(values: Floats) -> Vectors:
    """Return what a value is scored by; nothing of it looks ahead."""
    step = np.diff(values, prepend=values[0])
    sums = np.cumsum(np.insert(values, 0, 0.0))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - RECENT, 0)
    columns = np.stack([values, step, values - (sums[ends] - sums[starts]) / (ends - starts)], axis=1)
    low, high = np.minimum.accumulate(columns), np.maximum.accumulate(columns)
    wide = high > low
    return np.where(wide, (columns - low) / np.where(wide, high - low, 1), 0).astype(np.float32)


def load(folder: Path) -> list[Series]:
    """Read all series with their windows."""
    found = []
    for name, spans in sorted(json.loads((folder / "labels" / "combined_windows.json").read_text()).items()):
        with (folder / "data" / name).open(newline="") as file:
            lines = [(datetime.fromisoformat(r["timestamp"]), float(r["value"])) for r in csv.DictReader(file)]
        times = [when for when, _ in lines]
        windows = []
        for first, last in spans:
            inside = [i for i, when in enumerate(times) if _at(first) <= when <= _at(last)]
            windows.append((inside[0], inside[-1]))
        found.append(Series(name, features(np.array([value for _, value in lines])), windows))
    return found


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def tails(rows: Vectors) -> Floats:
    """Score by how far out in its own quantiles a value is, the furthest of its features."""
    states = [quantile_init(half_life=5000.0) for _ in range(rows.shape[1])]
    scores = np.zeros(len(rows))
    for i, row in enumerate(rows.tolist()):
        for state, x in zip(states, row, strict=True):
            if i:
                scores[i] = max(scores[i], abs(2.0 * quantile_rank(state, x) - 1.0))
            quantile_update(state, x, 1.0)
    return scores


METHODS: dict[str, Callable[[], Callable[[Vectors], npt.NDArray[np.floating]]]] = {
    "our online isolation forest": lambda: bulk(OnlineIsolationForest(seed=1)),
    "our half-space trees": lambda: bulk(HalfSpaceTrees(seed=1)),
    "our quantiles, both tails": lambda: tails,
    "River HalfSpaceTrees": lambda: one_by_one(anomaly.HalfSpaceTrees(seed=1)),
}
PUBLISHED = ("numenta", "randomCutForest", "twitterADVec", "windowedGaussian", "random")
"""Of the detectors whose scores NAB publishes, those that a reader may know."""


def _scaled(place: float) -> float:
    """NAB's sigmoid: 1 well before the end of a window (`place` -1), 0 at it, -1 long behind it."""
    return 2.0 / (1.0 + math.exp(5.0 * place)) - 1.0 if place <= 3.0 else -1.0


def gains(series: Series) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Return what an alarm at each row is worth, and the window it is in, -1 for none; NaN in the probation."""
    n = len(series.rows)
    worth, where = np.full(n, -FALSE_ALARM), np.full(n, -1)
    for k, (first, last) in enumerate(series.windows):
        width = last - first + 1
        for i in range(first, last + 1):
            where[i] = k
            worth[i] = _scaled(-(last - i + 1) / width) / _scaled(-1.0)
        until = series.windows[k + 1][0] if k + 1 < len(series.windows) else n
        for i in range(last + 1, until):
            worth[i] = FALSE_ALARM * _scaled((i - last) / max(width - 1, 1))
    worth[: math.floor(min(PROBATION * n, PROBATION * 5000, LONGEST))] = np.nan
    return worth, where


def score(scores: Sequence[npt.NDArray[np.floating]], corpus: Sequence[Series]) -> float:
    """Return NAB's score of alarms where `scores` reach the best threshold: 100 perfect, 0 for telling nothing."""
    everything = np.concatenate(scores)
    thresholds = np.unique(np.quantile(everything, 1.0 - np.geomspace(0.5 / len(everything), 0.5, THRESHOLDS)))
    totals = np.zeros(len(thresholds))
    labelled = 0
    for series, mine in zip(corpus, scores, strict=True):
        worth, where = gains(series)
        counts = ~np.isnan(worth)
        labelled += len(series.windows)
        for t, threshold in enumerate(thresholds):
            alarms = np.flatnonzero(counts & (mine >= threshold))
            windows, first = np.unique(where[alarms], return_index=True)
            hit = windows >= 0
            totals[t] += worth[alarms][where[alarms] < 0].sum() + worth[alarms[first[hit]]].sum()
            totals[t] -= len(series.windows) - int(hit.sum())
    return float(100.0 * max((totals.max() + labelled) / (2.0 * labelled), 0.0))


def main(arguments: Sequence[str]) -> int:
    """Run what the command line says; exit code 1 where there was no set to measure on."""
    parser = argparse.ArgumentParser(prog="bench nab", description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="with NAB's folders data, labels and results")
    chosen = parser.parse_args(arguments)
    if not (chosen.folder / "data").is_dir():
        print(f"nab: skipped, it is not in {chosen.folder}; give its place by --folder", file=sys.stderr)
        return 1
    corpus = load(chosen.folder)
    table = Table(header_style="bold", title=f"NAB, standard profile, {len(corpus)} series")
    for heading in ("detector", "score", "values/s"):
        table.add_column(heading, justify="left" if heading == "detector" else "right")
    for name, make in METHODS.items():
        started = time.perf_counter()
        scores = [make()(series.rows) for series in corpus]
        rate = sum(map(len, scores)) / (time.perf_counter() - started)
        table.add_row(name, f"{score(scores, corpus):.1f}", f"{rate:,.0f}")
    published = json.loads((chosen.folder / "results" / "final_results.json").read_text())
    for name in PUBLISHED:
        table.add_row(f"{name}, as published", f"{published[name]['standard']:.1f}", "")
    console = Console()
    (console if console.is_terminal else Console(width=WIDTH)).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
