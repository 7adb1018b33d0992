"""Streaming quantiles: a histogram of logarithmic bins that forgets exponentially, for calibrating scores.

Memory is fixed at the start; an update costs one logarithm, a rank a few dozen additions. The bins are DDSketch's (C.
Masson, J. E. Rim, H. K. Lee, VLDB 2019); forgetting is by growing weights (G. Cormode et al., "Forward decay", ICDE
2009).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from siphonwatch.models.common.kernel import kernel

LOG_GAMMA, LEAST, GROWTH, UNIT, TOTAL = range(5)
"""Places in `QuantileState.params`: logarithm of the ratio of a bin's ends; least magnitude told from 0; factor by
which the weight of each update exceeds the one before; weight of the next update; sum of all weights."""
BLOCK = 32
"""Bins summed up together, so that a rank adds blocks and then bins."""
RESCALE = 1e12
"""Weight of one update at which all weights are brought back to one."""

Double = npt.NDArray[np.float64]


class QuantileState(NamedTuple):
    """Counts of bins from the most negative over zero, in the middle, to the most positive."""

    counts: Double
    """`(2 B + 1,)` padded to a multiple of `BLOCK`; weights, all in the same unknown unit."""
    blocks: Double
    """`(len(counts) / BLOCK,)` sums of blocks of `counts`."""
    params: Double
    """`(6,)` see `LOG_GAMMA`...; the last is B, the bins of either sign."""


def quantile_init(
    accuracy: float = 0.01, least: float = 1e-6, greatest: float = 1e6, half_life: float = 0.0
) -> QuantileState:
    """Return an empty sketch.

    Parameters
    ----------
    accuracy
        Relative error of a quantile whose magnitude is from `least` to `greatest`.
    least
        Magnitudes below count as 0.
    greatest
        Magnitudes above count as this one.
    half_life
        Updates after which a value weighs half; 0 never forgets.

    Raises
    ------
    ValueError
        A setting is out of range.
    """
    if not 0.0 < accuracy < 1.0 or not 0.0 < least < greatest < math.inf or half_life < 0.0:
        raise ValueError(
            f"accuracy {accuracy} must be in (0, 1), least {least} above 0 and below greatest {greatest}, "
            f"half_life {half_life} not negative"
        )
    log_gamma = math.log((1.0 + accuracy) / (1.0 - accuracy))
    bins = math.ceil(math.log(greatest / least) / log_gamma) + 1
    blocks = -(-(2 * bins + 1) // BLOCK)
    growth = 2.0 ** (1.0 / half_life) if half_life else 1.0
    return QuantileState(
        np.zeros(blocks * BLOCK), np.zeros(blocks), np.array([log_gamma, least, growth, 1.0, 0.0, float(bins)])
    )


@kernel
def _bin(state: QuantileState, x: float) -> int:
    bins = int(state.params[-1])
    magnitude = abs(x)
    if magnitude < state.params[LEAST]:
        return bins
    k = 1 + int(min(math.log(magnitude / state.params[LEAST]) / state.params[LOG_GAMMA], bins - 1.0))
    return bins + k if x > 0.0 else bins - k


@kernel
def quantile_update(state: QuantileState, x: float, w: float) -> None:
    """Add a value.

    Parameters
    ----------
    state
        From `quantile_init`.
    x
        The value; NaN is left out.
    w
        Its weight, not negative; 1 for a plain observation.
    """
    if math.isnan(x):
        return
    params = state.params
    place = _bin(state, x)
    weight = w * params[UNIT]
    state.counts[place] += weight
    state.blocks[place // BLOCK] += weight
    params[TOTAL] += weight
    params[UNIT] *= params[GROWTH]
    if params[UNIT] > RESCALE:
        _rescale(state)


@kernel
def _rescale(state: QuantileState) -> None:
    """Bring the unit back to 1, and sums back to what they sum."""
    unit = state.params[UNIT]
    total = 0.0
    for block in range(len(state.blocks)):
        part = 0.0
        for i in range(block * BLOCK, (block + 1) * BLOCK):
            state.counts[i] /= unit
            part += state.counts[i]
        state.blocks[block] = part
        total += part
    state.params[TOTAL] = total
    state.params[UNIT] = 1.0


@kernel
def _below(state: QuantileState, place: int) -> float:
    """Return the weight of the bins under one."""
    total = 0.0
    block = place // BLOCK
    for i in range(block):
        total += state.blocks[i]
    for i in range(block * BLOCK, place):
        total += state.counts[i]
    return float(total)


@kernel
def quantile_rank(state: QuantileState, x: float) -> float:
    """Return the share of weight below `x`, its own bin counted half: in [0, 1], and 0.5 while the sketch is empty.

    At most the share up to `x (1 + 2 accuracy / (1 - accuracy))` and at least that below `x (1 - 2 accuracy)`, for
    positive `x` in range.
    """
    if state.params[TOTAL] <= 0.0 or math.isnan(x):
        return 0.5
    place = _bin(state, x)
    return float(min(1.0, (_below(state, place) + 0.5 * state.counts[place]) / state.params[TOTAL]))
