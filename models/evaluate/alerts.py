"""The quality of alerts: which attackers were found, when, after how many requests, and which cases were false.

An alert finds an attack account from its onset on; an earlier one is early, and no discovery.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from siphonwatch.models.evaluate.bootstrap import Bools, Floats, Ints, ratio


class Alerts(NamedTuple):
    """Every naming of an account by an alert; a case over many accounts is as many rows. Each shape `(k,)`."""

    account: Ints
    time: Floats
    """Event time, seconds."""
    pattern: Ints
    case: Ints
    """Number of the case: rows of one case share it."""

    def where(self, keep: Bools) -> Alerts:
        """Return the rows to keep, `(k,)`."""
        return Alerts(self.account[keep], self.time[keep], self.pattern[keep], self.case[keep])


class First(NamedTuple):
    """When each account was first named; each shape `(n,)`."""

    time: Floats
    """Seconds; infinite where never, or for an attack account only before its onset."""
    early: Bools
    """Attack accounts named before their onset."""

    @property
    def found(self) -> Bools:
        """Which accounts were named."""
        return np.isfinite(self.time)


def first_alerts(alerts: Alerts, attack: Bools, onset: Floats) -> First:
    """Return when each account was first named; `onset` is NaN where unknown: then any alert finds the account."""
    before = attack[alerts.account] & (alerts.time < onset[alerts.account])
    time = np.full(len(attack), np.inf)
    np.minimum.at(time, alerts.account[~before], alerts.time[~before])
    early = np.zeros(len(attack), np.bool_)
    early[alerts.account[before]] = True
    return First(time, early)


def requests_until(account: Ints, time: Floats, start: Floats, end: Floats) -> Ints:
    """Return how many requests each account made from `start` to `end`, both counting, `(n,)`.

    Parameters
    ----------
    account, time
        Of each request, `(m,)`, in any order; an account of -1 is none of ours.
    start, end
        Of each account, `(n,)`; infinite where open.
    """
    mine = account >= 0
    account, time = account[mine], time[mine]
    within = (time >= start[account]) & (time <= end[account])
    return np.bincount(account[within], minlength=len(start))


def quantiles(values: Floats, weights: Floats, shares: tuple[float, ...]) -> Floats:
    """Return weighted quantiles of `(k,)` values under `(b, k)` whole weights, `(b, len(shares))`; NaN without weight.

    As numpy's on values repeated as often as they weigh: linear between neighbours, infinite next to an infinite one.
    """
    if not len(values):
        return np.full((len(weights), len(shares)), np.nan)
    order = np.argsort(values, kind="stable")
    ranked, running = values[order], np.cumsum(weights[:, order], axis=1)
    total = running[:, -1]
    out = np.full((len(weights), len(shares)), np.nan)
    for j, share in enumerate(shares):
        place = share * np.maximum(total - 1, 0)
        low = ranked[np.argmax(running > np.floor(place)[:, None], axis=1)]
        high = ranked[np.argmax(running > np.ceil(place)[:, None], axis=1)]
        part = place - np.floor(place)
        step = np.subtract(high, low, out=np.zeros_like(low), where=high > low)
        moved = np.multiply(part, step, out=np.zeros_like(step), where=part > 0)
        out[:, j] = np.where(total > 0, low + moved, np.nan)
    return out


class Discoveries(NamedTuple):
    """Released cases as sums over accounts, each case shared out evenly among those it names; each shape `(n,)`."""

    false: Floats
    all: Floats
    false_cases: int
    cases: int

    def proportion(self, weights: Floats) -> Floats:
        """Return the false-discovery proportion under `(b, n)` weights, `(b,)`; NaN where nothing was released."""
        return ratio(weights @ self.false, weights @ self.all)


def discoveries(alerts: Alerts, attack: Bools, onset: Floats) -> Discoveries:
    """Return the cases, of which one is false when it names no account that is attacking by the time it is named."""
    right = attack[alerts.account] & ~(alerts.time < onset[alerts.account])
    cases, row = np.unique(alerts.case, return_inverse=True)
    true = np.bincount(row, right, len(cases)) > 0
    size = np.bincount(row, minlength=len(cases))
    part = 1.0 / size[row]
    wrong = np.where(true[row], 0.0, part)
    n = len(attack)
    return Discoveries(
        np.bincount(alerts.account, wrong, n).astype(np.float64),
        np.bincount(alerts.account, part, n).astype(np.float64),
        int((~true).sum()),
        len(cases),
    )  # fmt: skip
