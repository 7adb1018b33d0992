"""Our unsupervised estimators beside published ones on ADBench's http and shuttle: `python -m bench generic`.

Every row is scored before it is learnt. Reads the sets from `shared/` beside this checkout and skips what is not there.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table
from river import anomaly, preprocessing

from bench.report import WIDTH
from siphonwatch.models.online.detector import BulkDetector, Vectors
from siphonwatch.models.online.half_space_trees import HalfSpaceTrees
from siphonwatch.models.online.isolation_forest import OnlineIsolationForest

SETS = {"http": "16_http", "shuttle": "32_shuttle"}
SEEDS = (1, 2, 3)
"""Of the shuffles, and of the estimators on them; the order of the file comes besides."""
FOLDER = Path(__file__).parents[3] / "shared" / "data" / "bench" / "ADBench"
Stream = Callable[[Vectors], npt.NDArray[Any]]


def bulk(model: BulkDetector) -> Stream:
    """Score and learn by our bulk path, after loading its compiled code."""
    model.clone().score_learn_many(np.zeros((2, 3), np.float32))
    return model.score_learn_many


def one_by_one(model: Any) -> Stream:
    """Score and learn by River's methods, row after row."""

    def run(rows: Vectors) -> npt.NDArray[np.float64]:
        scores = np.empty(len(rows))
        for i, row in enumerate(rows.tolist()):
            x = dict(enumerate(row))
            scores[i] = model.score_one(x)
            model.learn_one(x)
        return scores

    return run


def scaled_trees(seed: int) -> Stream:
    """Our half-space trees behind a running scale to [0, 1], as River's are behind its `MinMaxScaler`."""
    trees = bulk(HalfSpaceTrees(seed=seed))

    def run(rows: Vectors) -> npt.NDArray[Any]:
        low, high = np.minimum.accumulate(rows), np.maximum.accumulate(rows)
        wide = high > low
        return trees(np.where(wide, (rows - low) / np.where(wide, high - low, 1), 0).astype(np.float32))

    return run


METHODS: dict[str, Callable[[int], Stream]] = {
    "our online isolation forest": lambda seed: bulk(OnlineIsolationForest(seed=seed)),
    "our half-space trees": scaled_trees,
    "online isolation forest as published": lambda seed: bulk(
        OnlineIsolationForest(32, 32, 2048, 1.0, seed, renewed=False)
    ),
    "River HalfSpaceTrees": lambda seed: one_by_one(preprocessing.MinMaxScaler() | anomaly.HalfSpaceTrees(seed=seed)),
    "River LODA": lambda seed: one_by_one(anomaly.LODA(seed=seed)),
}
NOTES = {
    "our online isolation forest": "default settings",
    "our half-space trees": "default settings, running scale to [0, 1]",
    "online isolation forest as published": "Leveni et al. 2024: 32 trees, all points, window 2,048; our code",
    "River HalfSpaceTrees": "default settings behind MinMaxScaler",
    "River LODA": "Pevny 2016, default settings",
}


def auc(labels: npt.NDArray[np.bool_], scores: npt.NDArray[Any]) -> float:
    """Probability that an anomaly scores above another row, ties counted half."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    positive = int(labels.sum())
    pairs = positive * (len(labels) - positive)
    if not pairs:
        raise ValueError(f"{positive} anomalies in {len(labels)} rows have no ROC; take more rows")
    return float((ranks[labels].sum() - positive * (positive + 1) / 2) / pairs)


def orders(n: int) -> list[tuple[int, npt.NDArray[np.intp]]]:
    """Return a seed and an order of rows for each run: the shuffles, then the file's own."""
    return [(seed, np.random.default_rng(seed).permutation(n)) for seed in SEEDS] + [(SEEDS[0], np.arange(n))]


def load(name: str, folder: Path) -> tuple[Vectors, npt.NDArray[np.bool_]]:
    """Return rows, `(n, F) float32`, and which of them are anomalies."""
    with np.load(folder / f"{SETS[name]}.npz") as data:
        return data["X"].astype(np.float32), data["y"].astype(bool)


def measure(name: str, folder: Path, methods: Sequence[str], limit: int | None) -> Iterator[tuple[str, ...]]:
    """Run every method over one set, in every order; yield a table row for each."""
    X, labels = load(name, folder)
    for method in methods:
        areas, rates = [], []
        for seed, order in orders(len(X)):
            taken = order[:: max(1, len(X) // limit)] if limit else order
            rows, truth = X[taken], labels[taken]
            stream = METHODS[method](seed)
            started = time.perf_counter()
            scores = stream(rows)
            rates.append(len(rows) / (time.perf_counter() - started))
            areas.append(auc(truth, scores))
        cells = [f"{statistics.median(areas):.4f}", *(f"{area:.4f}" for area in areas)]
        print(name, method, *cells, file=sys.stderr)
        yield name, method, *cells, f"{statistics.median(rates):,.0f}", NOTES[method]


def main(arguments: Sequence[str]) -> int:
    """Run what the command line says; exit code 1 where there was no set to measure on."""
    parser = argparse.ArgumentParser(prog="bench generic", description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where ADBench's .npz files are")
    parser.add_argument("--rows", type=int, help="about so many, evenly taken from each order, for a quick look")
    parser.add_argument("--only", nargs="+", choices=list(METHODS), default=list(METHODS), help="these methods alone")
    chosen = parser.parse_args(arguments)
    rows: list[tuple[str, ...]] = []
    for name, file in SETS.items():
        if not (chosen.folder / f"{file}.npz").exists():
            print(f"{name}: skipped, {file}.npz is not in {chosen.folder}; give its place by --folder", file=sys.stderr)
            continue
        rows += measure(name, chosen.folder, chosen.only, chosen.rows)
    if not rows:
        return 1
    shuffles = [f"shuffle {seed}" for seed in SEEDS]
    table = Table(header_style="bold", title="ROC AUC, every row scored before it is learnt")
    for heading in ("set", "method", "median", *shuffles, "file order", "rows/s", "how"):
        table.add_column(heading, justify="left" if heading in ("set", "method", "how") else "right")
    for row in rows:
        table.add_row(*row)
    console = Console()
    (console if console.is_terminal else Console(width=WIDTH)).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
