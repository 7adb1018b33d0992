"""Which points of the window a tree of the online isolation forest holds, and how a tree is grown again from them.

Scores nothing; `isolation_forest` says when a tree's turn is.
"""

from __future__ import annotations

import numpy as np

from siphonwatch.models.common.kernel import inlined, kernel
from siphonwatch.models.online.isolation_tree import (
    FILLED,
    HEAD,
    LEARNED,
    ONE,
    TURN,
    OifState,
    add,
    grow,
    level,
    walk_missing,
)
from siphonwatch.models.online.splitmix import GOLDEN, scramble, uniform

ROOT_SAMPLE = 256
"""Points whose extremes bound a root's split: the sample of a tree in the offline isolation forest (Liu et al. 2008).
The few points that fill a root miss rare clusters; all points let one extreme value stretch every split."""
TURNS = 8
"""Points that pass between two turns of a tree, in points that it knows; a window where that is longer. Growing anew
then costs at most as much as learning does."""


@inlined
def share_learnt(state: OifState) -> float:
    """Return the share of points that a tree learns."""
    return (np.float64(state.subsample[1]) + 1.0) / 2.0**64


@inlined
def first_learnt(state: OifState) -> int:
    """Return how many points every tree learns at the start: as many as it knows of a full window."""
    return int(share_learnt(state) * state.window.shape[0])


@inlined
def known(state: OifState) -> float:
    """Return the expected number of points that a tree knows."""
    filled = state.sizes[FILLED]
    first = min(max(first_learnt(state) - (state.sizes[LEARNED] - filled), 0), filled)
    points: float = first + (filled - first) * share_learnt(state)
    return points


@inlined
def taught(state: OifState, tree: int, item: int, first: int) -> bool:
    """Tell whether a tree learns the `item`-th point; the same answer when the point is forgotten."""
    if item < first:
        return True
    draw = state.subsample[0] + np.uint64(item) * GOLDEN + (np.uint64(tree) << np.uint64(48))
    return bool(scramble(draw) <= state.subsample[1])


@kernel
def _clear(state: OifState, tree: int) -> None:
    for node in range(state.down.shape[1]):
        state.down[tree, node] = 0
        state.split[tree, node] = np.nan
        state.feature[tree, node] = 0
        state.points[tree, node] = 0
        state.value[tree, node] = 0.0
    state.down[tree, 1] = 1
    for f in range(state.low.shape[2]):
        state.low[tree, 1, f] = np.inf
        state.high[tree, 1, f] = -np.inf


@kernel
def regrow(state: OifState, tree: int) -> None:
    """Grow a tree anew from the points that it knows, the root's box first.

    A tree splits its root once, by its first points, and would keep that split for as long as it is not emptied.
    """
    _clear(state, tree)
    first, filled, width = first_learnt(state), state.sizes[FILLED], state.window.shape[0]
    start, oldest = state.sizes[LEARNED] - filled, state.sizes[HEAD] - filled
    chosen = min(1.0, ROOT_SAMPLE / max(known(state), 1.0))
    for k in range(filled):
        if taught(state, tree, start + k, first) and uniform(state.rng) < chosen:
            x = state.window[(oldest + k) % width]
            for f in range(len(x)):
                state.low[tree, 1, f] = min(state.low[tree, 1, f], x[f])
                state.high[tree, 1, f] = max(state.high[tree, 1, f], x[f])
    for k in range(filled):
        if taught(state, tree, start + k, first):
            x = state.window[(oldest + k) % width]
            leaf = walk_missing(state, np.uint64(tree), x)
            add(state, np.uint64(tree), leaf, x)
            # The root keeps the box of its sample until it splits.
            if state.wider[tree] and leaf != ONE:
                for f in range(len(x)):
                    state.low[tree, leaf, f] = min(state.low[tree, leaf, f], x[f])
                    state.high[tree, leaf, f] = max(state.high[tree, leaf, f], x[f])
            state.wider[tree] = 0
            node = state.pending[tree]
            if node:
                state.pending[tree] = 0
                grow(state, tree, node, level(node), state.path[state.points[tree, 1]])


@inlined
def regrow_due(state: OifState) -> None:
    """Grow anew the tree whose turn it is after the latest point, and every tree once its first points are in."""
    learned, first, trees = state.sizes[LEARNED], first_learnt(state), state.down.shape[0]
    turn = state.sizes[TURN]
    if turn == 0 or learned < first:
        return
    place = learned % turn * trees
    if learned == first:
        for tree in range(trees):
            regrow(state, tree)
    elif place % turn < trees:
        regrow(state, place // turn)
