"""Online isolation forest: how few random splits separate a request from those of a sliding window.

Never grows after its first request and draws all randomness from its own state.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from siphonwatch.models.common.kernel import inlined, kernel
from siphonwatch.models.online.detector import BulkDetector, Vectors
from siphonwatch.models.online.isolation_regrow import TURNS, first_learnt, known, regrow_due, taught
from siphonwatch.models.online.isolation_tree import (
    FILLED,
    HEAD,
    LEAF_SAMPLES,
    LEARNED,
    OifState,
    Vector,
    add,
    grow_pending,
    merge_pending,
    remove,
    walk,
    walk_four,
    walk_missing,
    widen_pending,
)
from siphonwatch.models.online.splitmix import scramble

MAX_DEPTH = 12
"""Deepest tree allowed: 2**13 nodes."""


@kernel
def _missing(x: Vector) -> bool:
    for value in x:
        if np.isnan(value):
            return True
    return False


@inlined
def _expected(state: OifState) -> float:
    """Return the expected depth of a random tree over the points a tree knows, 0 while too few to split."""
    points = known(state)
    leaf_samples = state.sizes[LEAF_SAMPLES]
    return math.log(points / leaf_samples) / math.log(4.0) if points > leaf_samples else 0.0


@inlined
def _normalised(total: float, trees: int, expected: float) -> float:
    return 2.0 ** (-total / (trees * expected)) if expected > 0.0 else 0.0


@inlined
def oif_score(state: OifState, x: Vector) -> float:
    """Score one request.

    Parameters
    ----------
    state
        From `oif_init`.
    x
        `(F,) float32`; NaN where missing.

    Returns
    -------
    2 ** -(mean depth / expected depth), in (0, 1], higher is rarer; 0 while too few points are known to split a root.
    """
    value, trees, total = state.value, state.down.shape[0], 0.0
    if _missing(x):
        for tree in range(trees):
            total += value[tree, walk_missing(state, np.uint64(tree), x)]
    else:
        for tree in range(0, trees - 3, 4):
            a, b, c, d = walk_four(state, tree, x)
            total += value[tree, a]
            total += value[tree + 1, b]
            total += value[tree + 2, c]
            total += value[tree + 3, d]
        for tree in range(trees & ~3, trees):
            total += value[tree, walk(state, np.uint64(tree), x)]
    return _normalised(total, trees, _expected(state))


@inlined
def oif_learn(state: OifState, x: Vector) -> None:
    """Learn one request, `(F,) float32`, NaN where missing, and forget the one that leaves the window."""
    sizes, trees = state.sizes, state.down.shape[0]
    item, width, first = sizes[LEARNED], state.window.shape[0], first_learnt(state)
    if _missing(x):
        for tree in range(trees):
            if taught(state, tree, item, first):
                add(state, np.uint64(tree), walk_missing(state, np.uint64(tree), x), x)
    else:
        for tree in range(trees):
            if taught(state, tree, item, first):
                add(state, np.uint64(tree), walk(state, np.uint64(tree), x), x)
    widen_pending(state, x)
    grow_pending(state)
    oldest = state.window[sizes[HEAD]]
    if sizes[FILLED] == width:
        for tree in range(trees):
            if taught(state, tree, item - width, first):
                remove(state, np.uint64(tree), oldest)
        merge_pending(state)
    else:
        sizes[FILLED] += 1
    for f in range(len(x)):
        oldest[f] = x[f]
    sizes[HEAD] = (sizes[HEAD] + 1) % width
    sizes[LEARNED] = item + 1
    regrow_due(state)


@inlined
def oif_score_learn(state: OifState, x: Vector) -> float:
    """Score one request, then learn it."""
    score = oif_score(state, x)
    oif_learn(state, x)
    return score


@kernel
def _score_rows(state: OifState, rows: Vectors, out: npt.NDArray[np.float64]) -> None:
    for i in range(len(rows)):
        out[i] = oif_score(state, rows[i])


@kernel
def _learn_rows(state: OifState, rows: Vectors) -> None:
    for i in range(len(rows)):
        oif_learn(state, rows[i])


@kernel
def _score_learn_rows(state: OifState, rows: Vectors, out: npt.NDArray[np.float64]) -> None:
    for i in range(len(rows)):
        out[i] = oif_score_learn(state, rows[i])


def oif_init(
    n_features: int,
    n_trees: int = 64,
    max_leaf_samples: int = 32,
    window_size: int = 16384,
    subsample: float = 0.125,
    seed: int = 1,
    renewed: bool = True,
) -> OifState:
    """Return a forest that knows nothing.

    Parameters
    ----------
    n_features
        F.
    n_trees, max_leaf_samples, window_size, subsample, seed, renewed
        As `OnlineIsolationForest`.

    Raises
    ------
    ValueError
        A setting is out of range.
    """
    if n_trees < 1 or max_leaf_samples < 2 or window_size <= max_leaf_samples or not 0.0 < subsample <= 1.0:
        raise ValueError(
            f"n_trees {n_trees} must be at least 1, max_leaf_samples {max_leaf_samples} at least 2, "
            f"window_size {window_size} above it, subsample {subsample} above 0 and at most 1"
        )
    path = np.zeros(window_size + 2)
    points = np.arange(max_leaf_samples, window_size + 2)
    path[max_leaf_samples:] = np.log(points / max_leaf_samples) / math.log(4.0)
    depth = math.ceil(path[-1])
    if depth > MAX_DEPTH:
        raise ValueError(
            f"window_size {window_size} over max_leaf_samples {max_leaf_samples} makes trees of depth {depth}; "
            f"the most is {MAX_DEPTH}: raise max_leaf_samples"
        )
    nodes = 2 ** (depth + 1)
    down = np.zeros((n_trees, nodes), np.uint16)
    down[:, 1] = 1
    turn = max(TURNS * int(subsample * window_size), window_size, n_trees) if renewed else 0
    salt = scramble(np.uint64(seed % 2**64))
    return OifState(
        feature=np.zeros((n_trees, nodes), np.uint16),
        split=np.full((n_trees, nodes), np.nan, np.float32),
        down=down,
        points=np.zeros((n_trees, nodes), np.int32),
        value=np.zeros((n_trees, nodes)),
        low=np.full((n_trees, nodes, n_features), np.inf, np.float32),
        high=np.full((n_trees, nodes, n_features), -np.inf, np.float32),
        pending=np.zeros(n_trees, np.int64),
        wider=np.zeros(n_trees, np.int64),
        window=np.zeros((window_size, n_features), np.float32),
        path=path,
        rng=np.array([salt], np.uint64),
        sizes=np.array([max_leaf_samples, depth, 0, 0, 0, turn], np.int64),
        subsample=np.array([salt, min(int(subsample * 2.0**64), 2**64 - 1)], np.uint64),
    )


class OnlineIsolationForest(BulkDetector):
    """Online isolation forest with a bulk path.

    Follows the paper and its authors' implementation (two branches, axis-parallel, leaf samples that double with
    depth), with these differences. A split draws the extremes and numbers of its virtual points instead of the points,
    from the same distribution. Where `subsample` is below 1, a tree forgets exactly the points it learnt (the authors
    draw anew), and every tree learns the first points, as many as it will know. Trees take turns to be grown anew
    from the points they know, the root's box that of a sample: the published tree keeps the root split that its first
    points drew. A request is scored before it is learnt. The score is 0 until a root can split. A missing feature
    leads to the child with more points. With 32 trees that learn all of a window of 2,048 and are not renewed, it is
    the published forest.

    Parameters
    ----------
    n_trees
        Trees; cost is proportional.
    max_leaf_samples
        Points that split a root; a node of level d splits at `max_leaf_samples * 2**d`.
    window_size
        Points remembered.
    subsample
        Share of points that each tree learns; the cost of learning is proportional. A tree that knows 2,048 points
        of a long window ranks as well as one that knows all of a short one, and a burst of anomalies does not fill it.
    seed
        Of all draws.
    renewed
        Whether trees take turns to be grown anew.
    features
        Names in the order of an array's columns; `None` takes those of the first request, sorted.

    Examples
    --------
    >>> import numpy as np
    >>> model = OnlineIsolationForest(n_trees=8, max_leaf_samples=8, window_size=256, features=("a", "b"))
    >>> model.learn_many(np.random.default_rng(0).normal(size=(300, 2)))
    >>> usual, rare = model.score_many(np.array([[0.0, 0.0], [9.0, -9.0]]))
    >>> bool(rare > usual)
    True

    References
    ----------
    F. Leveni, G. W. Cassales, B. Pfahringer, A. Bifet, G. Boracchi, "Online Isolation Forest", ICML 2024.
    """

    def __init__(
        self,
        n_trees: int = 64,
        max_leaf_samples: int = 32,
        window_size: int = 16384,
        subsample: float = 0.125,
        seed: int = 1,
        renewed: bool = True,
        features: tuple[str, ...] | None = None,
    ) -> None:
        self.n_trees = n_trees
        self.max_leaf_samples = max_leaf_samples
        self.window_size = window_size
        self.subsample = subsample
        self.seed = seed
        self.renewed = renewed
        self.features = features

    def _start(self, n_features: int) -> OifState:
        return oif_init(
            n_features, self.n_trees, self.max_leaf_samples, self.window_size, self.subsample, self.seed, self.renewed
        )

    def _score(self, X: Vectors) -> npt.NDArray[np.float64]:
        out = np.empty(len(X))
        _score_rows(self.state, X, out)
        return out

    def _learn(self, X: Vectors) -> None:
        _learn_rows(self.state, X)

    def _score_learn(self, X: Vectors) -> npt.NDArray[np.float64]:
        out = np.empty(len(X))
        _score_learn_rows(self.state, X, out)
        return out
