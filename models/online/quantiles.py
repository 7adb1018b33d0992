"""Streaming quantiles: a histogram of logarithmic bins that forgets exponentially, for calibrating scores.

Memory is fixed at the start; an update costs one logarithm, a rank a few dozen additions.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit
from river import stats

from siphonwatch.models.common.kernel import kernel
from siphonwatch.models.common.state import Array, from_arrays, to_arrays

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


@kernel
def quantile_tail(state: QuantileState, x: float) -> float:
    """Return a conformal p-value: the share of values not under `x`, counting `x` itself and all of its bin.

    Never too small through binning: at least (1 + #{values >= x}) / (1 + n) in unit weights without forgetting.
    1 while the sketch is empty or `x` is NaN.
    """
    if math.isnan(x):
        return 1.0
    unit, total = state.params[UNIT], state.params[TOTAL]
    above = max(total - _below(state, _bin(state, x)), 0.0)
    return float(min(1.0, (above + unit) / (total + unit)))


@kernel
def quantile_value(state: QuantileState, q: float) -> float:
    """Return the value below which a share `q` of the weight lies, with the sketch's relative accuracy.

    The least value whose share reaches `q` (the inverted distribution function); NaN while the sketch is empty.
    """
    if state.params[TOTAL] <= 0.0:
        return math.nan
    wanted = q * state.params[TOTAL] * (1.0 - 1e-12)
    below, total, block = 0.0, 0.0, 0
    for candidate in range(len(state.blocks)):
        if state.blocks[candidate] > 0.0:
            below, block = total, candidate
            total += state.blocks[candidate]
            if total >= wanted:
                break
    last = block * BLOCK
    for place in range(block * BLOCK, (block + 1) * BLOCK):
        if state.counts[place] > 0.0:
            last = place
            below += state.counts[place]
            if below >= wanted:
                break
    k = last - int(state.params[-1])
    if k == 0:
        return 0.0
    # The value whose relative distance to both ends of the bin is the same.
    low = state.params[LEAST] * math.exp((abs(k) - 1) * state.params[LOG_GAMMA])
    value = low * 2.0 / (1.0 + math.exp(-state.params[LOG_GAMMA]))
    return float(value if k > 0 else -value)


def quantile_merge(into: QuantileState, other: QuantileState) -> None:
    """Add another sketch of the same settings, as if its values had been seen at the same ages.

    Raises
    ------
    ValueError
        The settings differ.
    """
    if into.params.shape != other.params.shape or (into.params[[LOG_GAMMA, LEAST, GROWTH, -1]]
                                                   != other.params[[LOG_GAMMA, LEAST, GROWTH, -1]]).any():  # fmt: skip
        raise ValueError("sketches of different accuracy, range or half-life cannot be merged; build both alike")
    into.counts[:] += other.counts * (into.params[UNIT] / other.params[UNIT])
    into.blocks[:] = into.counts.reshape(-1, BLOCK).sum(axis=1)
    into.params[TOTAL] = into.blocks.sum()


@njit(cache=True)
def _update_many(state: QuantileState, values: Double) -> None:
    for x in values:
        quantile_update(state, x, 1.0)


@njit(cache=True)
def _rank_many(state: QuantileState, values: Double, out: Double) -> None:
    for i in range(len(values)):
        out[i] = quantile_rank(state, values[i])


class ForgettingQuantile(stats.base.Univariate):
    """A quantile of a stream, recent values weighing more.

    Parameters
    ----------
    q
        Share of the weight below the quantile.
    accuracy, least, greatest, half_life
        As `quantile_init`.

    Examples
    --------
    >>> quantile = ForgettingQuantile(q=0.9, accuracy=0.01)
    >>> for value in range(1, 101):
    ...     quantile.update(value)
    >>> round(quantile.get())
    90
    >>> round(quantile.rank(50.0), 2)
    0.49

    References
    ----------
    C. Masson, J. E. Rim, H. K. Lee, "DDSketch: a fast and fully-mergeable quantile sketch with relative-error
    guarantees", VLDB 2019; forgetting by growing weights: G. Cormode et al., "Forward decay", ICDE 2009.
    """

    def __init__(
        self,
        q: float = 0.5,
        accuracy: float = 0.01,
        least: float = 1e-6,
        greatest: float = 1e6,
        half_life: float = 0.0,
    ) -> None:
        if not 0.0 <= q <= 1.0:
            raise ValueError(f"q {q} must be from 0 to 1")
        self.q = q
        self.accuracy = accuracy
        self.least = least
        self.greatest = greatest
        self.half_life = half_life
        self.state = quantile_init(accuracy, least, greatest, half_life)

    def update(self, x: float) -> None:
        """Add a value."""
        quantile_update(self.state, float(x), 1.0)

    def update_many(self, values: npt.NDArray[np.floating]) -> None:
        """Add values, `(n,)`, in order."""
        _update_many(self.state, np.ascontiguousarray(values, np.float64))

    def get(self) -> float | None:
        """Return the quantile, `None` before the first value."""
        return float(quantile_value(self.state, self.q)) if self.state.params[TOTAL] else None

    def rank(self, x: float) -> float:
        """Return the share of weight below `x`; see `quantile_rank`."""
        return float(quantile_rank(self.state, float(x)))

    def rank_many(self, values: npt.NDArray[np.floating]) -> Double:
        """Return `rank` of values, `(n,) float64`."""
        out = np.empty(len(values))
        _rank_many(self.state, np.ascontiguousarray(values, np.float64), out)
        return out

    def to_arrays(self) -> dict[str, Array]:
        """Copy the sketch."""
        return to_arrays(self.state)

    def from_arrays(self, arrays: dict[str, Array]) -> None:
        """Take over a sketch written under the same settings; `ValueError` where they differ."""
        self.state = from_arrays(quantile_init(self.accuracy, self.least, self.greatest, self.half_life), arrays)
