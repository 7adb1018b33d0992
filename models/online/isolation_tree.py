"""One tree of the online isolation forest: walk, split, merge, as compiled loops over the forest's arrays.

Knows nothing of scores, windows or River; `isolation_forest` builds on it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from siphonwatch.models.common.kernel import inlined, kernel
from siphonwatch.models.online.splitmix import below, uniform

LEAF_SAMPLES, DEPTH, HEAD, FILLED, LEARNED, TURN = range(6)
"""Places in `OifState.sizes`: points that split the root, deepest level a node may have, next place in the ring,
points in the ring, points ever learnt, points from one turn of a tree to grow anew to its next (0 never)."""
ONE = np.uint64(1)
BIG = np.float32(1e38)
"""Values beyond are taken for this one, so that the width of a box is finite."""

Vector = npt.NDArray[np.float32]


class OifState(NamedTuple):
    """A forest as implicit heaps: node 1 is the root, `2 i` and `2 i + 1` are the children of `i`.

    The window bounds the depth of a tree (log4 of window / leaf samples), so a heap has no holes worth a free list.
    """

    feature: npt.NDArray[np.uint16]
    """`(T, N)` column on which an inner node splits."""
    split: npt.NDArray[np.float32]
    """`(T, N)` left below, right from it on; NaN in a leaf, which no value is right of."""
    down: npt.NDArray[np.uint16]
    """`(T, N)` left child of an inner node, the node itself for a leaf, 0 where there is no node: a walk of fixed
    length stays in the leaf it reaches."""
    points: npt.NDArray[np.int32]
    """`(T, N)` points in a node; those below a split are sampled, so a leaf's may be off, even negative."""
    value: npt.NDArray[np.float64]
    """`(T, N)` level of a leaf plus the expected depth of a tree over its points: what a point in it scores."""
    low: npt.NDArray[np.float32]
    """`(T, N, F)` least values seen in a leaf; infinity where it saw none."""
    high: npt.NDArray[np.float32]
    """`(T, N, F)` greatest values seen in a leaf."""
    window: npt.NDArray[np.float32]
    """`(W, F)` ring of the points that the forest still knows."""
    pending: npt.NDArray[np.int64]
    """`(T,)` node to split or merge before the next step; 0 none."""
    wider: npt.NDArray[np.int64]
    """`(T,)` leaf whose box the present point widens; 0 none."""
    path: npt.NDArray[np.float64]
    """`(W + 2,)` expected depth of a random tree over that many points, log4(points / leaf samples)."""
    rng: npt.NDArray[np.uint64]
    """`(1,)` SplitMix64."""
    sizes: npt.NDArray[np.int64]
    """`(6,)` see `LEAF_SAMPLES`..."""
    subsample: npt.NDArray[np.uint64]
    """`(2,)` salt of the draw per tree and point, and the greatest draw by which the tree learns the point."""


@kernel
def heavier(state: OifState, tree: np.uint64, node: np.uint64) -> bool:
    """Tell whether the right child holds more points than the left."""
    left = np.uint64(state.down[tree, node])
    return bool(state.points[tree, left + ONE] > state.points[tree, left])


@inlined
def walk(state: OifState, tree: np.uint64, x: Vector) -> np.uint64:
    """Return the leaf of a complete vector."""
    node = ONE
    for _ in range(state.sizes[DEPTH]):
        right = x[state.feature[tree, node]] >= state.split[tree, node]
        node = np.uint64(state.down[tree, node]) + np.uint64(right)
    return node


@kernel
def walk_missing(state: OifState, tree: np.uint64, x: Vector) -> np.uint64:
    """Return the leaf of a vector with NaN: where the feature is missing, to the child with more points."""
    node = ONE
    while state.down[tree, node] != node:
        value = x[state.feature[tree, node]]
        right = heavier(state, tree, node) if np.isnan(value) else value >= state.split[tree, node]
        node = np.uint64(state.down[tree, node]) + np.uint64(right)
    return node


@inlined
def walk_four(state: OifState, tree: int, x: Vector) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    """Walk four trees side by side, so that the processor waits for four loads at once."""
    feature, split, down = state.feature, state.split, state.down
    t0 = np.uint64(tree)
    t1, t2, t3 = t0 + np.uint64(1), t0 + np.uint64(2), t0 + np.uint64(3)
    a = b = c = d = ONE
    for _ in range(state.sizes[DEPTH]):
        a = np.uint64(down[t0, a]) + np.uint64(x[feature[t0, a]] >= split[t0, a])
        b = np.uint64(down[t1, b]) + np.uint64(x[feature[t1, b]] >= split[t1, b])
        c = np.uint64(down[t2, c]) + np.uint64(x[feature[t2, c]] >= split[t2, c])
        d = np.uint64(down[t3, d]) + np.uint64(x[feature[t3, d]] >= split[t3, d])
    return a, b, c, d


@kernel
def revalue(state: OifState, tree: int, leaf: int, depth: int) -> None:
    """Work out what a leaf at that level scores, after its count changed."""
    points = min(max(state.points[tree, leaf], 0), len(state.path) - 1)
    state.value[tree, leaf] = depth + state.path[points]


@kernel
def _extremes(rng: npt.NDArray[np.uint64], n: int, low: float, high: float) -> tuple[float, float]:
    """Draw least and greatest of `n` uniform points in [low, high], n at least 1, without drawing the points."""
    if not low < high:
        return low, high
    least = low + (high - low) * (1.0 - uniform(rng) ** (1.0 / n))
    if n == 1:
        return least, least
    return least, least + (high - least) * uniform(rng) ** (1.0 / (n - 1))


@kernel
def _share(state: OifState, tree: int, node: int, left: int, f: int) -> None:
    """Divide a node's points over both children along a feature it does not split on.

    The points are uniform between the least and the greatest, which lie in either child in proportion to its points.
    """
    rng = state.rng
    low, high = state.low[tree, node, f], state.high[tree, node, f]
    if not low < high:
        for child in range(left, left + 2):
            state.low[tree, child, f], state.high[tree, child, f] = low, high
        return
    points = state.points[tree, node]
    n_left = state.points[tree, left]
    least_left = uniform(rng) * points < n_left
    greatest_left = uniform(rng) * (points - 1) < n_left - (1 if least_left else 0)
    for child in range(left, left + 2):
        has_least = least_left == (child == left)
        has_greatest = greatest_left == (child == left)
        free = state.points[tree, child] - (1 if has_least else 0) - (1 if has_greatest else 0)
        child_low, child_high = high, low
        if free > 0:
            child_low, child_high = _extremes(rng, free, low, high)
        state.low[tree, child, f] = low if has_least else child_low
        state.high[tree, child, f] = high if has_greatest else child_high


@kernel
def _divide(state: OifState, tree: int, node: int, depth: int) -> None:
    """Split one leaf of that level, whose box is exactly that of its (virtual) points."""
    rng = state.rng
    features = state.low.shape[2]
    f = below(rng, features)
    low, high = state.low[tree, node, f], state.high[tree, node, f]
    points = state.points[tree, node]
    left = 2 * node
    if not low < high:
        # All points lie at the split value, or none had the feature: all are right of it.
        at, n_left = (low if low == high else np.float32(-np.inf)), 0
    else:
        at = np.float32(low + (high - low) * uniform(rng))
        share = (at - low) / (high - low)
        n_left = 1
        for _ in range(points - 2):
            n_left += 1 if uniform(rng) < share else 0
    state.feature[tree, node] = f
    state.split[tree, node] = at
    state.down[tree, node] = left
    for child in range(left, left + 2):
        state.down[tree, child] = child
        state.split[tree, child] = np.nan
        state.feature[tree, child] = 0
    state.points[tree, left] = n_left
    state.points[tree, left + 1] = points - n_left
    revalue(state, tree, left, depth + 1)
    revalue(state, tree, left + 1, depth + 1)
    if n_left == 0:
        for other in range(features):
            state.low[tree, left + 1, other] = state.low[tree, node, other]
            state.high[tree, left + 1, other] = state.high[tree, node, other]
            state.low[tree, left, other] = np.inf
            state.high[tree, left, other] = -np.inf
        return
    for other in range(features):
        if other != f:
            _share(state, tree, node, left, other)
    free = n_left - 1
    state.low[tree, left, f] = low
    state.high[tree, left, f] = low + (at - low) * uniform(rng) ** (1.0 / free) if free > 0 else low
    free = points - n_left - 1
    state.low[tree, left + 1, f] = high - (high - at) * uniform(rng) ** (1.0 / free) if free > 0 else high
    state.high[tree, left + 1, f] = high


@kernel
def grow(state: OifState, tree: int, node: int, depth: int, limit: float) -> None:
    """Split a full leaf by as many points drawn uniformly in its box, then its children while they are full.

    The points themselves are never drawn: their extremes and numbers are, from the distributions that they have, so
    that a split costs O(F) instead of O(points F) and no memory.

    Parameters
    ----------
    state, tree, node
        A leaf that holds `leaf samples * 2**depth` points or more.
    depth
        Its level.
    limit
        Level from which nodes are not split.
    """
    for f in range(state.low.shape[2]):
        low, high = state.low[tree, node, f], state.high[tree, node, f]
        if low < high:
            low, high = _extremes(state.rng, state.points[tree, node], max(low, -BIG), min(high, BIG))
        state.low[tree, node, f] = low
        state.high[tree, node, f] = high
    first, width = node, 1
    while depth < limit and depth < state.sizes[DEPTH]:
        full = state.sizes[LEAF_SAMPLES] << depth
        for i in range(first, first + width):
            if state.down[tree, i] == i and state.points[tree, i] >= full:
                _divide(state, tree, i, depth)
        first, width, depth = 2 * first, 2 * width, depth + 1


@kernel
def merge(state: OifState, tree: int, node: int, depth: int) -> None:
    """Turn an inner node into a leaf whose box holds the boxes of the leaves below it."""
    low, high = state.low[tree, node], state.high[tree, node]
    for f in range(len(low)):
        low[f] = np.inf
        high[f] = -np.inf
    revalue(state, tree, node, depth)
    first, width = node, 1
    while depth < state.sizes[DEPTH]:
        first, width, depth = 2 * first, 2 * width, depth + 1
        for i in range(first, first + width):
            if state.down[tree, i] == i:
                for f in range(len(low)):
                    low[f] = min(low[f], state.low[tree, i, f])
                    high[f] = max(high[f], state.high[tree, i, f])
            state.down[tree, i] = 0
    state.down[tree, node] = node
    state.split[tree, node] = np.nan
    state.feature[tree, node] = 0


@kernel
def level(node: int) -> int:
    """Return the level of a heap node, 0 for the root."""
    depth = 0
    while node > 1:
        node >>= 1
        depth += 1
    return depth


@inlined
def add(state: OifState, tree: np.uint64, leaf: np.uint64, x: Vector) -> None:
    """Add a point to the leaf it falls into; note in `pending` a full leaf, in `wider` one whose box is too small."""
    points_in, low, high = state.points, state.low, state.high
    depth = -1
    node = leaf
    while node:
        points_in[tree, node] += 1
        node >>= ONE
        depth += 1
    wider = False
    for f in range(len(x)):
        wider |= (x[f] < low[tree, leaf, f]) | (x[f] > high[tree, leaf, f])
    # A point seldom widens a box: only asking keeps this loop short and free of stores.
    state.wider[tree] = leaf if wider else 0
    points = points_in[tree, leaf]
    state.value[tree, leaf] = depth + state.path[min(max(points, 0), len(state.path) - 1)]
    if points >= state.sizes[LEAF_SAMPLES] << depth and depth < state.path[points_in[tree, ONE]]:
        state.pending[tree] = leaf


@inlined
def remove(state: OifState, tree: np.uint64, x: Vector) -> None:
    """Take a point off the nodes that it falls into; note in `pending` the first inner one that it leaves too empty."""
    points_in, down = state.points, state.down
    node, depth = ONE, 0
    full = state.sizes[LEAF_SAMPLES]
    while True:
        points_in[tree, node] -= 1
        points = points_in[tree, node]
        left = np.uint64(down[tree, node])
        if left == node:
            state.value[tree, node] = depth + state.path[min(max(points, 0), len(state.path) - 1)]
            break
        if points < full:
            state.pending[tree] = node
            break
        value = x[state.feature[tree, node]]
        right = value >= state.split[tree, node]
        if np.isnan(value):
            right = points_in[tree, left + ONE] > points_in[tree, left]
        node = left + np.uint64(right)
        depth += 1
        full <<= 1


@inlined
def widen_pending(state: OifState, x: Vector) -> None:
    """Take a point into the boxes that `add` found too small for it; NaN changes nothing."""
    for tree in range(len(state.wider)):
        leaf = state.wider[tree]
        if leaf:
            state.wider[tree] = 0
            for f in range(len(x)):
                state.low[tree, leaf, f] = min(state.low[tree, leaf, f], x[f])
                state.high[tree, leaf, f] = max(state.high[tree, leaf, f], x[f])


@inlined
def grow_pending(state: OifState) -> None:
    """Split the leaves that `add` found full."""
    for tree in range(len(state.pending)):
        node = state.pending[tree]
        if node:
            state.pending[tree] = 0
            grow(state, tree, node, level(node), state.path[state.points[tree, 1]])


@inlined
def merge_pending(state: OifState) -> None:
    """Merge the nodes that `remove` left too empty."""
    for tree in range(len(state.pending)):
        node = state.pending[tree]
        if node:
            state.pending[tree] = 0
            merge(state, tree, node, level(node))
