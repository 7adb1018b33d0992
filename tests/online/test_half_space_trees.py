"""Half-Space Trees: River's scores to the last bit, through windows and gaps."""

from __future__ import annotations

import numpy as np
import pytest
from river import anomaly

from siphonwatch.models.online.half_space_trees import HalfSpaceTrees

NAMES = ("a", "b", "c", "d", "e")


def rows(n: int, missing: float = 0.0, seed: int = 0) -> list[dict[str, float]]:
    rng = np.random.default_rng(seed)
    X = rng.beta(2, 5, (n, len(NAMES))).astype(np.float32)
    X[rng.random(n) < 0.02] += np.float32(0.6)
    gaps = rng.random(X.shape) < missing
    gaps[:, 0] = False
    return [
        {k: float(v) for k, v, gap in zip(NAMES, x, g, strict=True) if not gap} for x, g in zip(X, gaps, strict=True)
    ]


@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize(("trees", "height", "window"), [(25, 8, 250), (3, 5, 17), (6, 1, 1)])
def test_same_seed_gives_rivers_scores_to_the_last_bit(missing: float, trees: int, height: int, window: int) -> None:
    theirs = anomaly.HalfSpaceTrees(trees, height, window, seed=7)
    ours = HalfSpaceTrees(trees, height, window, seed=7, features=NAMES)
    first = dict.fromkeys(NAMES, 0.25)
    theirs.learn_one(first)
    ours.learn_one(first)
    for x in rows(1500, missing):
        assert ours.score_one(x) == theirs.score_one(x)
        theirs.learn_one(x)
        ours.learn_one(x)


def test_limits_move_the_trees_as_in_river() -> None:
    limits = {"a": (-3.0, 3.0), "c": (0.0, 100.0)}
    theirs = anomaly.HalfSpaceTrees(7, 6, 50, limits=limits, seed=3)
    ours = HalfSpaceTrees(7, 6, 50, limits=limits, seed=3)
    for x in rows(400):
        x = {**x, "c": float(np.float32(100 * x["c"]))}
        assert ours.score_one(x) == theirs.score_one(x)
        theirs.learn_one(x)
        ours.learn_one(x)


def test_masses_that_would_overflow_are_refused() -> None:
    with pytest.raises(ValueError, match="lower one of them"):
        HalfSpaceTrees(height=15, window_size=2**20, features=("a",), n_trees=1).learn_one({"a": 0.5})
