"""Whether counts of accounts, or rates of cases, are what they were: the tests that drift is told by. Keeps nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

LEAST = 0.2
"""Population stability index beyond noise; a convention of credit scoring, where 0.1 is a small and 0.25 a great
shift."""
FALSE = 0.01
"""Chance that a comparison of independent accounts tells of anything that did not move."""
FEWEST = 30
"""Accounts, in either window, below which no column of a cohort is compared."""
GROUPS = 10
"""Deciles: the convention of the index."""
CAP = 3.0
"""Standard deviations (of Poisson) above the baseline's mean at which an hour's cases count as no more: one burst is no
drift, and ADWIN wants bounded values."""
ORDER = np.argsort([int(f"{h:05b}"[::-1], 2) for h in range(24)])
"""Hours of a day in the order of van der Corput: every stretch is a fair sample of day and night."""

Floats = npt.NDArray[np.float64]


def smoothed(shares: Floats, size: float) -> Floats:
    """Return shares of so many observations, with half of one more in each bin: no bin is empty."""
    return np.asarray((shares * size + 0.5) / (size + 0.5 * len(shares)), np.float64)


def excess(before: Floats, after: Floats, n: float, m: float) -> float:
    """Return the population stability index, `sum((q - p) ln(q / p))`, beyond what chance makes expect.

    Two samples of `n` and `m` accounts from one population have an index of about `(1/n + 1/m)` times a chi-square of
    `B - 1` degrees (Yurdakul 2018), so `(B - 1)(1/n + 1/m)` is expected and taken off.

    Parameters
    ----------
    before, after
        `(B,)` shares of the bins, each above 0.
    """
    index = float(((after - before) * np.log(after / before)).sum())
    return index - (len(before) - 1) * (1 / n + 1 / m)


def grouped(before: Floats, after: Floats) -> tuple[Floats, Floats]:
    """Put bins together, at most `GROUPS` of about equal shares of `before`; one that holds much stays by itself.

    Examples
    --------
    >>> grouped(np.array([0.9, 0.05, 0.05, 0.0]), np.array([0.5, 0.0, 0.0, 0.5]))
    (array([0.9, 0.1]), array([0.5, 0.5]))
    """
    middle = np.cumsum(before) - before / 2
    _, group = np.unique(np.minimum((middle * GROUPS).astype(np.int64), GROUPS - 1), return_inverse=True)
    old, new = (np.bincount(group, shares).astype(np.float64) for shares in (before, after))
    return old, new


def chance_of(before: Floats, after: Floats, n: float, m: float) -> float:
    """Return the chance that two samples of `n` and `m` accounts of one population are so far apart.

    It is the test of KSWIN (Raab, Heusinger & Schleif 2020), Kolmogorov and Smirnov's between what is recent and what
    came before, on shares of `(B,)` ordered bins: no less than on the values.
    """
    from scipy.special import kolmogorov  # as ADWIN below: imports that only a comparison of weeks should wait for

    apart = float(np.abs(np.cumsum(after - before)).max())
    return float(kolmogorov(apart * math.sqrt(n * m / (n + m))))


def rate_moved(days: Sequence[npt.NDArray[np.int64]], base: int, delta: float) -> bool:
    """Return whether ADWIN (Bifet & Gavalda 2007) sees the rate of cases change after the first `base` days.

    Parameters
    ----------
    days
        Cases by the hour, `(24,)` each.
    delta
        Chance of a false cut at each look.
    """
    from river.drift import ADWIN

    mean = max(float(np.concatenate(days[:base]).mean()), 1 / 24)
    cap = max(mean + CAP * math.sqrt(mean), 1.0)
    # One hour is one value, in [0, 1].
    adwin = ADWIN(delta=delta, clock=1, grace_period=24)
    told = False
    for number, hours in enumerate(days):
        for hour in ORDER.tolist():
            adwin.update(min(float(hours[hour]) / cap, 1.0))
            told |= adwin.drift_detected and number >= base
    return told
