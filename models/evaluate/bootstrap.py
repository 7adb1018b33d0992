"""Bootstrap over accounts: how much a figure would vary with other accounts of the same kinds.

Accounts are drawn with replacement within their stratum, so every replicate has as many of each kind. It says nothing
of campaigns that were never seen: accounts of one campaign are no independent evidence of another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import msgspec
import numpy as np
import numpy.typing as npt
from scipy.stats import beta

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Statistic = Callable[[Floats], Floats]
"""`(b, n)` weights of accounts to `(b, k)` figures."""

CELLS = 2_000_000
"""Weights worked on at a time, so that memory stays bounded with many accounts."""
KEPT = 16 * CELLS
"""Weights up to which they are kept from one figure to the next, two bytes each, instead of drawn again."""
LEVEL = 0.95
"""Share of replicates inside an interval."""


class Estimate(msgspec.Struct, frozen=True):
    """A figure with its interval; NaN where there is nothing to measure it on, or where no replicate differs."""

    value: float
    low: float
    high: float
    hits: int | None = None
    """For a share: how many, out of `of`."""
    of: int | None = None


class Bootstrap:
    """Replicates of a set of accounts.

    Parameters
    ----------
    strata
        `(n,)` integers: accounts of one stratum stand for each other.
    replicates
        How many; 0 leaves the intervals undefined, but for shares, which have Clopper and Pearson's.
    seed
        Every figure of one evaluation sees the same replicates.

    Examples
    --------
    >>> boot = Bootstrap(np.zeros(50, np.int64), 200, seed=1)
    >>> heads = np.arange(50) % 2.0
    >>> [mean] = boot.estimates(lambda weights: (weights @ heads / weights.sum(1))[:, None])
    >>> mean.value, 0.3 < mean.low < 0.5 < mean.high < 0.7
    (0.5, True)
    """

    def __init__(self, strata: Ints, replicates: int, seed: int) -> None:
        self.n = len(strata)
        self.replicates = replicates
        self.seed = seed
        self._kept: list[npt.NDArray[np.uint16]] = []
        self._members = [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]

    def weights(self) -> Iterator[Floats]:
        """Yield how often each account was drawn, `(b, n)`, a few replicates at a time; the same on every call."""
        if self.n * self.replicates > KEPT:
            yield from map(_as_floats, self._draw())
            return
        self._kept = self._kept or list(self._draw())
        yield from map(_as_floats, self._kept)

    def _draw(self) -> Iterator[npt.NDArray[np.uint16]]:
        rng = np.random.default_rng(self.seed)
        left = self.replicates
        while left > 0:
            b = min(left, max(1, CELLS // max(self.n, 1)))
            left -= b
            drawn = np.zeros((b, self.n), np.uint16)
            for members in self._members:
                m = len(members)
                picks = rng.integers(0, m, (b, m)) + np.arange(b)[:, None] * m
                drawn[:, members] = np.bincount(picks.ravel(), minlength=b * m).reshape(b, m)
            yield drawn

    def estimates(self, statistic: Statistic) -> list[Estimate]:
        """Return each of the statistic's figures on the accounts themselves, with its percentile interval."""
        values = statistic(np.ones((1, self.n)))[0]
        drawn = [statistic(weights) for weights in self.weights()]
        table = np.concatenate(drawn) if drawn else np.empty((0, len(values)))
        return [Estimate(float(v), *_interval(column)) for v, column in zip(values, table.T, strict=True)]

    def shares(self, hit: Bools, groups: Sequence[Bools]) -> list[Estimate]:
        """Return the share of each group's accounts that were hit; `hit` and each group are `(n,)`."""
        if not groups:
            return []
        members = np.stack(groups).astype(np.float64)
        found = self.estimates(lambda weights: ratio(weights * hit @ members.T, weights @ members.T))
        return [counted(e, int((hit & group).sum()), int(group.sum())) for e, group in zip(found, groups, strict=True)]


def _as_floats(weights: npt.NDArray[np.uint16]) -> Floats:
    return weights.astype(np.float64)


def ratio(above: Floats, below: Floats) -> Floats:
    """Divide; NaN where there is nothing to divide by."""
    divided: Floats = np.divide(above, below, out=np.full(np.broadcast(above, below).shape, np.nan), where=below > 0)
    return divided


def _interval(column: Floats) -> tuple[float, float]:
    column = column[~np.isnan(column)]
    if not len(column):
        return np.nan, np.nan
    tail = (1 - LEVEL) / 2
    # No interpolation: replicates of a censored median may be infinite.
    low, high = np.quantile(column, [tail, 1 - tail], method="nearest")
    # Replicates that all agree cannot say how far the figure would move.
    return (float(low), float(high)) if low < high else (np.nan, np.nan)


def counted(e: Estimate, hits: int, of: int) -> Estimate:
    """Return an estimate of a share with the counts behind it.

    Where the accounts drawn again do not vary (none or all of a stratum were hit), the interval is that of Clopper and
    Pearson (1934) on the counts, which assumes no strata and is never too narrow.
    """
    low, high = e.low, e.high
    if of and not np.isnan(e.value) and (np.isnan(low) or hits in (0, of)):
        tail = (1 - LEVEL) / 2
        exact = (
            beta.ppf(tail, hits, of - hits + 1) if hits else 0.0,
            beta.isf(tail, hits + 1, of - hits) if hits < of else 1.0,
        )
        low, high = float(np.fmin(low, exact[0])), float(np.fmax(high, exact[1]))
    return Estimate(e.value, low, high, hits, of)
