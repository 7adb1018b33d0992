"""Half-Space Trees as flat arrays: walk, count and score, compiled.

Knows nothing of River; `half_space_trees` draws the trees and wraps the kernels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from siphonwatch.models.common.kernel import inlined, kernel

COUNTER, WINDOW, READY, LIMIT, HEIGHT = range(5)
"""Places in `HstState.sizes`: requests in the open window, requests a window, 1 once a window has closed, the mass
under which the search stops, levels of the trees."""
ONE = np.uint64(1)


class HstState(NamedTuple):
    """Trees as implicit heaps: node 1 is the root, `2 i` and `2 i + 1` are the children of `i`.

    Only leaves count: the mass of an inner node is the sum below it, and the score of a request depends only on the
    leaf it reaches, so it is worked out once a window.
    """

    feature: npt.NDArray[np.uint16]
    """`(T, 2**height)` column on which an inner node splits."""
    threshold: npt.NDArray[np.float32]
    """`(T, 2**height)` left below, right from it on. Rounded up to single precision, which no float32 can notice."""
    mass: npt.NDArray[np.int32]
    """`(T, 2**height)` requests of the open window in each leaf."""
    leaf_score: npt.NDArray[np.int32]
    """`(T, 2**height)` sum of mass times 2**depth on the way to each leaf, by the last closed window."""
    heap: npt.NDArray[np.int64]
    """`(2, 2**(height + 1))` work space of the pivot."""
    sizes: npt.NDArray[np.int64]
    """`(5,)` see `COUNTER`..."""


@kernel
def _missing(x: npt.NDArray[np.float32]) -> bool:
    for value in x:
        if np.isnan(value):
            return True
    return False


@inlined
def _leaf(state: HstState, tree: np.uint64, x: npt.NDArray[np.float32]) -> np.uint64:
    node = ONE
    for _ in range(state.sizes[HEIGHT]):
        node = (node << ONE) + np.uint64(x[state.feature[tree, node]] >= state.threshold[tree, node])
    return node - np.uint64(state.mass.shape[1])


@inlined
def _four(state: HstState, tree: int, x: npt.NDArray[np.float32]) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    """Walk four trees side by side: the processor waits for four loads at once, which halves the time a tree."""
    feature, threshold = state.feature, state.threshold
    t0 = np.uint64(tree)
    t1, t2, t3 = t0 + np.uint64(1), t0 + np.uint64(2), t0 + np.uint64(3)
    a = b = c = d = ONE
    for _ in range(state.sizes[HEIGHT]):
        a = (a << ONE) + np.uint64(x[feature[t0, a]] >= threshold[t0, a])
        b = (b << ONE) + np.uint64(x[feature[t1, b]] >= threshold[t1, b])
        c = (c << ONE) + np.uint64(x[feature[t2, c]] >= threshold[t2, c])
        d = (d << ONE) + np.uint64(x[feature[t3, d]] >= threshold[t3, d])
    half = np.uint64(state.mass.shape[1])
    return a - half, b - half, c - half, d - half


@kernel
def _leaf_missing(state: HstState, tree: np.uint64, x: npt.NDArray[np.float32]) -> np.uint64:
    """Walk as `_leaf`, but where the feature is missing to the child with more mass, left if equal."""
    node = ONE
    span = state.mass.shape[1]
    half = np.uint64(span)
    for _ in range(state.sizes[HEIGHT]):
        span >>= 1
        value = x[state.feature[tree, node]]
        if np.isnan(value):
            start = node << ONE
            while start < half:
                start <<= ONE
            start -= half
            difference = 0
            for i in range(span):
                difference += state.mass[tree, start + np.uint64(i + span)] - state.mass[tree, start + np.uint64(i)]
            right = difference > 0
        else:
            right = value >= state.threshold[tree, node]
        node = (node << ONE) + np.uint64(right)
    return node - half


@kernel
def close_tree(state: HstState, tree: int) -> None:
    """Turn a tree's leaf masses into leaf scores."""
    half = state.mass.shape[1]
    mass, path = state.heap[0], state.heap[1]
    for i in range(half):
        mass[half + i] = state.mass[tree, i]
    for i in range(half - 1, 0, -1):
        mass[i] = mass[2 * i] + mass[2 * i + 1]
    path[1] = mass[1]
    limit = state.sizes[LIMIT]
    weight = 1
    first = 1
    while first < half:
        weight <<= 1
        for i in range(first, 2 * first):
            # A child's mass never exceeds its parent's, so once the search stops it stays stopped.
            factor = weight if mass[i] >= limit else 0
            path[2 * i] = path[i] + factor * mass[2 * i]
            path[2 * i + 1] = path[i] + factor * mass[2 * i + 1]
        first <<= 1
    for i in range(half):
        state.leaf_score[tree, i] = path[half + i]


@inlined
def _count(state: HstState) -> None:
    """Note that one request was learnt; close the window when it is full."""
    state.sizes[COUNTER] += 1
    if state.sizes[COUNTER] == state.sizes[WINDOW]:
        for tree in range(state.mass.shape[0]):
            close_tree(state, tree)
        for tree in range(state.mass.shape[0]):
            for leaf in range(state.mass.shape[1]):
                state.mass[tree, leaf] = 0
        state.sizes[COUNTER] = 0
        state.sizes[READY] = 1


@inlined
def _normalised(state: HstState, total: int) -> float:
    trees, half = state.mass.shape
    return float(1.0 - total / (trees * state.sizes[WINDOW] * (2 * half - 1)))


@inlined
def hst_score(state: HstState, x: npt.NDArray[np.float32]) -> float:
    """Score one request.

    Parameters
    ----------
    state
        From `hst_init`.
    x
        `(F,) float32`; NaN where missing.

    Returns
    -------
    In [0, 1], higher is rarer; 0 until the first window has closed.
    """
    if state.sizes[READY] == 0:
        return 0.0
    score, trees, total = state.leaf_score, state.mass.shape[0], 0
    if _missing(x):
        for tree in range(trees):
            total += score[tree, _leaf_missing(state, np.uint64(tree), x)]
        return _normalised(state, total)
    for tree in range(0, trees - 3, 4):
        a, b, c, d = _four(state, tree, x)
        total += score[tree, a] + score[tree + 1, b] + score[tree + 2, c] + score[tree + 3, d]
    for tree in range(trees & ~3, trees):
        total += score[tree, _leaf(state, np.uint64(tree), x)]
    return _normalised(state, total)


@inlined
def hst_learn(state: HstState, x: npt.NDArray[np.float32]) -> None:
    """Learn one request, `(F,) float32`; NaN where missing."""
    mass, trees = state.mass, state.mass.shape[0]
    if _missing(x):
        for tree in range(trees):
            mass[tree, _leaf_missing(state, np.uint64(tree), x)] += 1
    else:
        for tree in range(0, trees - 3, 4):
            a, b, c, d = _four(state, tree, x)
            mass[tree, a] += 1
            mass[tree + 1, b] += 1
            mass[tree + 2, c] += 1
            mass[tree + 3, d] += 1
        for tree in range(trees & ~3, trees):
            mass[tree, _leaf(state, np.uint64(tree), x)] += 1
    _count(state)


@inlined
def hst_score_learn(state: HstState, x: npt.NDArray[np.float32]) -> float:
    """Score one request, then learn it, in one walk down the trees."""
    if _missing(x):
        score = hst_score(state, x)
        hst_learn(state, x)
        return score
    mass, score_of, trees, total = state.mass, state.leaf_score, state.mass.shape[0], 0
    for tree in range(0, trees - 3, 4):
        a, b, c, d = _four(state, tree, x)
        total += score_of[tree, a] + score_of[tree + 1, b] + score_of[tree + 2, c] + score_of[tree + 3, d]
        mass[tree, a] += 1
        mass[tree + 1, b] += 1
        mass[tree + 2, c] += 1
        mass[tree + 3, d] += 1
    for tree in range(trees & ~3, trees):
        leaf = _leaf(state, np.uint64(tree), x)
        total += score_of[tree, leaf]
        mass[tree, leaf] += 1
    score = _normalised(state, total) if state.sizes[READY] else 0.0
    _count(state)
    return score
