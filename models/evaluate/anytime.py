"""An interval for a share that holds however often one looks: for precision, which analysts follow verdict by verdict.

An interval of the usual kind is too narrow for who looks again after each verdict and acts on what it sees. This one
covers the share at all times at once with the stated chance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

GRID = 1001
"""Shares that are tried: an end is right to a thousandth."""
CAUTION = 0.5
"""Of the capital, the most that is bet against a share at a time: it cannot be lost at once (WSR, section 4)."""


class Interval(NamedTuple):
    """A share of `of` outcomes, and where it is with 95 % whenever one looks; the whole of [0, 1] with none."""

    value: float
    low: float
    high: float
    of: int


def anytime(outcomes: Sequence[bool], level: float = 0.95) -> Interval:
    """Return a confidence sequence's interval for the mean of outcomes in their order.

    It holds where the chance of a 1 is the same at each outcome given those before, whoever chooses when to stop; with
    analysts, where what they judge next is not chosen for what it will turn out to be.

    Parameters
    ----------
    outcomes
        In the order in which they became known.
    level
        Chance that the interval covers the mean at all times.

    Notes
    -----
    The hedged capital process of Waudby-Smith & Ramdas (2024, "Estimating means of bounded random variables by
    betting", theorem 3), with their predictable plug-in bets: a share is left out once betting against it has turned 1
    into 1/(1 - level). Once left out it stays out.

    Examples
    --------
    >>> anytime([])
    Interval(value=nan, low=0.0, high=1.0, of=0)
    >>> seen = anytime([True, True, False, True] * 25)
    >>> seen.value, 0.5 < seen.low < 0.7 and 0.8 < seen.high < 0.95
    (0.75, True)
    """
    shares = np.linspace(0.0, 1.0, GRID)
    up, down = np.zeros((2, GRID))
    inside = np.ones(GRID, np.bool_)
    total, spread, alpha = 0.5, 0.25, 1.0 - level
    with np.errstate(divide="ignore"):
        most_up, most_down = CAUTION / shares, CAUTION / (1.0 - shares)
    for t, outcome in enumerate(outcomes, 1):
        bet = math.sqrt(2.0 * math.log(2.0 / alpha) / (spread / t) / (t * math.log(1.0 + t)))
        apart = float(outcome) - shares
        up += np.log1p(np.minimum(bet, most_up) * apart)
        down += np.log1p(-np.minimum(bet, most_down) * apart)
        # The larger of both halves of the capital: at the true share it is no more than their sum, a martingale.
        inside &= np.maximum(up, down) + math.log(0.5) < math.log(1.0 / alpha)
        total += float(outcome)
        spread += (float(outcome) - total / (t + 1)) ** 2
    n = len(outcomes)
    kept = shares[inside]
    value = sum(map(float, outcomes)) / n if n else math.nan
    if not len(kept):  # the outcomes drifted: no one share explains them all
        return Interval(value, 0.0, 1.0, n)
    return Interval(value, max(float(kept[0]) - 1.0 / (GRID - 1), 0.0), min(float(kept[-1]) + 1.0 / (GRID - 1), 1.0), n)
