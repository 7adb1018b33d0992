"""Half-Space Trees: how few requests of the previous window fell into the half-spaces of a request.

Gives River's scores to the last bit for single-precision inputs; never grows after its first request.
"""

from __future__ import annotations

import random

import numpy as np
import numpy.typing as npt

from siphonwatch.models.common.kernel import kernel
from siphonwatch.models.online.detector import BulkDetector, Vectors
from siphonwatch.models.online.half_space_kernels import (
    HstState,
    close_tree,
    hst_learn,
    hst_score,
    hst_score_learn,
)

PADDING = 0.15
"""Share of a feature's range at each end in which no split is drawn (River's value)."""
SIZE_LIMIT = 0.1
"""Share of a window under which a node is too empty to search on (the paper's value)."""


@kernel
def _score_rows(state: HstState, rows: Vectors, out: npt.NDArray[np.float64]) -> None:
    for i in range(len(rows)):
        out[i] = hst_score(state, rows[i])


@kernel
def _learn_rows(state: HstState, rows: Vectors) -> None:
    for i in range(len(rows)):
        hst_learn(state, rows[i])


@kernel
def _score_learn_rows(state: HstState, rows: Vectors, out: npt.NDArray[np.float64]) -> None:
    for i in range(len(rows)):
        out[i] = hst_score_learn(state, rows[i])


def _round_up(value: float) -> np.float32:
    """Return the least float32 not below `value`: `x < value` is the same for every float32 `x`."""
    single = np.float32(value)
    return single if float(single) >= value else np.nextafter(single, np.float32(np.inf))


def _draw(state: HstState, tree: int, limits: dict[int, tuple[float, float]], height: int, rng: random.Random) -> None:
    """Draw a tree's splits in the order in which River's `make_padded_tree` does: a node, its left, its right side.

    Importing River's own takes 1.5 s of processor, as its package `tree` brings scikit-learn and pandas.
    """

    def split(node: int, depth: int) -> None:
        if depth == height:
            return
        on = rng.choices(list(limits), [high - low for low, high in limits.values()])[0]
        low, high = limits[on]
        at = rng.uniform(low + PADDING * (high - low), high - PADDING * (high - low))
        state.feature[tree, node], state.threshold[tree, node] = on, _round_up(at)
        for child, side in ((2 * node, (low, at)), (2 * node + 1, (at, high))):
            limits[on] = side
            split(child, depth + 1)
        limits[on] = low, high

    split(1, 0)


def hst_init(
    limits: npt.NDArray[np.float64], n_trees: int = 10, height: int = 8, window_size: int = 250, seed: int = 1
) -> HstState:
    """Draw trees, the same ones that River draws by the same seed for features in this order.

    Parameters
    ----------
    limits
        `(F, 2)` lowest and highest value of each feature; values outside still fall into the outermost leaves.
    n_trees, height, window_size, seed
        As `HalfSpaceTrees`.

    Raises
    ------
    ValueError
        A setting is out of range.
    """
    if n_trees < 1 or height < 1 or window_size < 1:
        raise ValueError(f"n_trees {n_trees}, height {height} and window_size {window_size} must be at least 1")
    if limits.ndim != 2 or limits.shape[1] != 2 or not (limits[:, 0] < limits[:, 1]).all():
        raise ValueError("limits must be (F, 2) with the lowest value under the highest for every feature")
    if window_size * (2 ** (height + 1) - 1) >= 2**31:
        raise ValueError(f"height {height} with window_size {window_size} overflows the masses; lower one of them")
    half = 2**height
    state = HstState(
        feature=np.zeros((n_trees, half), np.uint16),
        threshold=np.zeros((n_trees, half), np.float32),
        mass=np.zeros((n_trees, half), np.int32),
        leaf_score=np.zeros((n_trees, half), np.int32),
        heap=np.zeros((2, 2 * half), np.int64),
        sizes=np.array([0, window_size, 0, np.ceil(SIZE_LIMIT * window_size), height], np.int64),
    )
    rng = random.Random(seed)  # noqa: S311 - reproduces River's trees, guards nothing
    for tree in range(n_trees):
        _draw(state, tree, {i: (float(low), float(high)) for i, (low, high) in enumerate(limits)}, height, rng)
        close_tree(state, tree)
    return state


class HalfSpaceTrees(BulkDetector):
    """Half-Space Trees with a bulk path.

    Draws the trees that `river.anomaly.HalfSpaceTrees` draws by the same seed and gives the same scores for
    single-precision values. A missing feature (absent, or NaN) leads to the child with more mass, as in River.

    Parameters
    ----------
    n_trees
        Trees; cost is proportional.
    height
        Levels of splits; a tree holds `2**height` leaves.
    window_size
        Requests a window; the masses of the window before score the present one.
    limits
        Feature name to lowest and highest value, (0, 1) where not given.
    seed
        Of the trees.
    features
        Names in the order of an array's columns; `None` takes those of the first request, sorted.

    Examples
    --------
    >>> import numpy as np
    >>> model = HalfSpaceTrees(n_trees=5, height=3, window_size=3, seed=42, features=("x",))
    >>> model.learn_many(np.array([[0.5], [0.45], [0.43]], np.float32))
    >>> [f"{score:.3f}" for score in model.score_learn_many(np.array([[0.44], [0.0]], np.float32))]
    ['0.107', '0.853']

    References
    ----------
    S. C. Tan, K. M. Ting, T. F. Liu, "Fast anomaly detection for streaming data", IJCAI 2011.
    """

    def __init__(
        self,
        n_trees: int = 10,
        height: int = 8,
        window_size: int = 250,
        limits: dict[str, tuple[float, float]] | None = None,
        seed: int = 1,
        features: tuple[str, ...] | None = None,
    ) -> None:
        self.n_trees = n_trees
        self.height = height
        self.window_size = window_size
        self.limits = limits
        self.seed = seed
        self.features = features

    def _start(self, n_features: int) -> HstState:
        limits = np.array([(self.limits or {}).get(name, (0.0, 1.0)) for name in self._names()], np.float64)
        return hst_init(limits, self.n_trees, self.height, self.window_size, self.seed)

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
