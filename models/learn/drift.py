"""Drift: which features, scores and alert rates are no longer what they were in a baseline, by cohort. Trains nothing.

A column (a feature, or a pattern's score, whose honest values are the reference) is compared by its population
stability index (PSI): the baseline's quantiles make at most `BINS` bins, and the index is `sum((p - q) ln(p / q))`.

- **An account counts once a day**: its mean of a feature, its highest score, in steps of `STEP`. The bins of a window
  are then scaled to as many observations as there are accounts in it, so that a loud account moves a share by one in
  that many, however much it sends.
- **Noise floor.** Two samples of `n` and `m` accounts from one population have a PSI of about `(1/n + 1/m)` times a
  chi-square of `B - 1` degrees (Yurdakul 2018), so `(B - 1)(1/n + 1/m)` is expected and taken off. A column moved where
  the rest reaches `LEAST` and chance alone reaches it in less than `FALSE` of comparisons (Bonferroni over columns,
  cohorts and windows).
- **Windows.** The last day shows what is abrupt, the last `WINDOW` days what is slow. A baseline that has working days
  and weekends is weighed as the window has them. Days are whole ones, so day and night are no change.
- **Since**: the day at which splitting all days, baseline included, gives the most likely two multinomials.
- **Alert rates** of a cohort and pattern, cases an hour over accounts that had none that day, go to ADWIN (Bifet &
  Gavalda 2007), the hours of a day in the order of van der Corput: every stretch is a fair sample of day and night.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import chi2

from siphonwatch.models.engine.population import STEP
from siphonwatch.models.evidence.calibration import COHORTS
from siphonwatch.models.learn.stability import FALSE, FEWEST, LEAST, excess, rate_moved, smoothed

DAY, HOUR = 86_400, 3600
BINS = 10
"""Deciles: the convention of the index."""
WINDOW = 7
"""Days: a week."""
ROWS = 4096
"""Accounts of a cohort and day that make quantiles: 11 MB of float32 for seven days of 100 columns."""
GRACE = HOUR
"""Seconds after its end that a day waits for requests that come late."""

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Values = npt.NDArray[np.float32]


class TooShort(ValueError):
    """There is no whole day after the baseline, or none in it; the message says what there is."""


class Moved(NamedTuple):
    """A column that is not what it was."""

    column: int
    cohort: str
    psi: float
    """Beyond what chance makes expect."""
    floor: float
    """PSI that chance reaches in less than `FALSE` of comparisons, likewise beyond what is expected."""
    days: int
    """Of the window that shows it."""
    since: float
    """Midnight UTC of the day from which it is likely, seconds since 1970."""
    direction: str
    """up, down, or spread: wider or narrower about the same middle."""
    accounts: int
    """In the window."""


class RateMoved(NamedTuple):
    """A pattern whose cases come more often or more seldom than they did."""

    pattern: int
    cohort: str
    before: float
    """Cases a day until then."""
    after: float
    """Cases a day since."""
    since: float
    """Midnight UTC, seconds since 1970."""


class Drift(NamedTuple):
    """What a comparison found."""

    baseline: tuple[float, float]
    """First midnight of the baseline, and the one that ends it; seconds since 1970."""
    until: float
    """The midnight that ends the last day that was compared."""
    moved: list[Moved]
    """Those that moved most first."""
    rates: list[RateMoved]
    too_few: list[str]
    """Cohorts that were not compared, having fewer than `FEWEST` accounts in the baseline or in each window."""
    late: int
    """Requests that came after their day was closed."""


class _Open:
    """A day whose requests still come: for each account and cohort a row."""

    def __init__(self, width: int) -> None:
        self.place: dict[int, int] = {}
        self.total = np.zeros((256, width))
        self.count = np.zeros(256)

    def take(self, keys: Ints, values: Values, scored: int) -> None:
        order = np.argsort(keys, kind="stable")
        found, starts = np.unique(keys[order], return_index=True)
        at = np.array([self.place.setdefault(k, len(self.place)) for k in found.tolist()], np.int64)
        while len(self.place) > len(self.count):
            self.total, self.count = (np.concatenate([a, np.zeros_like(a)]) for a in (self.total, self.count))
        sums = np.add.reduceat(values[order][:, :scored], starts, axis=0, dtype=np.float64)
        self.total[at, :scored] += sums
        highest = np.maximum.reduceat(values[order][:, scored:], starts, axis=0)
        self.total[at, scored:] = np.maximum(self.total[at, scored:], highest)
        self.count[at] += np.diff([*starts, len(keys)])

    def rows(self, scored: int) -> tuple[Ints, Values]:
        """Return the keys and what stands for each of them."""
        n = len(self.place)
        values = self.total[:n].copy()
        values[:, :scored] /= self.count[:n, None]
        return np.array(list(self.place), np.int64), (np.round(values / STEP) * STEP).astype(np.float32)


class DriftWatch:
    """Takes requests in about the order of their event time; compares the days after a baseline with it.

    Memory grows by the accounts of a day, and by a number for each account and day, not by requests.

    Parameters
    ----------
    features, patterns
        How many of each: columns are the features, then the patterns' scores (0 or above).
    begin, until
        Midnights: where the baseline begins and ends, seconds since 1970.

    Raises
    ------
    TooShort
        Where it has no day.
    """

    def __init__(self, features: int, patterns: int, begin: float, until: float) -> None:
        self._features, self._width = features, features + patterns
        self._begin, self._until = int(begin) // DAY, int(until) // DAY
        if self._until <= self._begin:
            raise TooShort(
                "the baseline ends before its first whole day: give a later end, a shorter warm-up, or older data"
            )
        self._open: dict[int, _Open] = {}
        self._closed = self._begin
        self._newest = -math.inf
        self._late = 0
        self._kept: dict[tuple[int, int], Values] = {}
        self._edges: dict[int, list[Values]] = {}
        self._nobody = np.zeros((self._width, 2 * BINS), np.int64)
        """Bins of every day without requests: a log may have a gap of years."""
        self._bins: dict[tuple[int, int], Ints] = {}
        self._accounts: dict[tuple[int, int], Ints] = {}
        self._cases: dict[tuple[int, int], dict[int, Ints]] = {}
        self._alerted: set[tuple[int, int, int]] = set()

    def take(self, account: Ints, cohort: Ints, time: Floats, features: Values, scores: Values) -> None:
        """Take requests: accounts by number, places in `COHORTS`, event times, `(m, F)` features, `(m, P)` scores."""
        if not len(time):
            return
        day = (time // DAY).astype(np.int64)
        late = (day < self._closed) & (day >= self._begin)
        self._late += int(late.sum())
        values = np.concatenate([features, scores], axis=1, dtype=np.float32)
        for one in np.unique(day[day >= self._closed]).tolist():
            mine = day == one
            keys = account[mine] * len(COHORTS) + cohort[mine]
            self._open.setdefault(one, _Open(self._width)).take(keys, values[mine], self._features)
        self._newest = max(self._newest, float(time.max()))
        while (self._closed + 1) * DAY + GRACE <= self._newest:
            self._close()

    def take_case(self, account: int, cohort: int, pattern: int, time: float) -> None:
        """Take a case that opened; an account's further ones of that day and pattern are left out."""
        day = int(time // DAY)
        if day < self._begin or (account, day, pattern) in self._alerted:
            return
        self._alerted.add((account, day, pattern))
        hours = self._cases.setdefault((cohort, pattern), {}).setdefault(day, np.zeros(24, np.int64))
        hours[int(time % DAY // HOUR)] += 1

    def _close(self) -> None:
        day = self._closed
        self._closed += 1
        keys, values = self._open.pop(day, _Open(self._width)).rows(self._features)
        for c in range(len(COHORTS)):
            mine = keys % len(COHORTS) == c
            self._accounts[day, c] = keys[mine] // len(COHORTS)
            if day >= self._until:
                self._bins[day, c] = self._histogram(values[mine], c)
            else:
                own = values[mine]
                if len(own) > ROWS:
                    own = own[np.random.default_rng(day).choice(len(own), ROWS, replace=False)]
                self._kept[day, c] = own
        if day + 1 == self._until:
            self._fix()

    def _fix(self) -> None:
        """Make bins of the baseline's quantiles, and put its days into them."""
        days = range(self._begin, self._until)
        for c in range(len(COHORTS)):
            self._edges[c] = _edges(np.concatenate([self._kept[day, c] for day in days]))
        for day in days:
            for c in range(len(COHORTS)):
                self._bins[day, c] = self._histogram(self._kept.pop((day, c)), c)

    def _histogram(self, values: Values, cohort: int) -> Ints:
        if not len(values):
            return self._nobody
        out = np.zeros_like(self._nobody)
        for k, edges in enumerate(self._edges[cohort]):
            place = np.searchsorted(edges, values[:, k])
            out[k] = np.bincount(place, minlength=2 * BINS)
        return out

    def result(self) -> Drift:
        """Return what moved up to the last whole day; nothing may be taken any more.

        Raises
        ------
        TooShort
            Where no whole day is left after the baseline.
        """
        # A day that the data leave before its last GRACE is not whole.
        while (self._closed + 1) * DAY - GRACE <= self._newest:
            self._close()
        end = self._closed
        if end <= self._until:
            days = max(end - self._begin, 0)
            raise TooShort(
                f"{days} whole days from where the baseline begins, and it takes {self._until - self._begin} of them: "
                "give a shorter baseline or warm-up, or more data"
            )
        windows = dict.fromkeys((1, min(WINDOW, end - self._until)))
        moved: list[Moved] = []
        too_few: list[str] = []
        for c, cohort in enumerate(COHORTS):
            found: dict[int, Moved] = {}
            compared = False
            for days in windows:
                window = self._window(c, range(end - days, end), len(windows))
                compared |= window is not None
                for k, psi, floor, direction, accounts in window or ():
                    if k not in found or psi > found[k].psi:
                        found[k] = Moved(k, cohort, psi, floor, days, self._since(c, k, end), direction, accounts)
            moved += found.values()
            if not compared:
                too_few.append(cohort)
        return Drift(
            (self._begin * DAY, self._until * DAY), end * DAY,
            sorted(moved, key=lambda one: -one.psi), self._rates(end), too_few, self._late,
        )  # fmt: skip

    def _distinct(self, cohort: int, days: Sequence[int]) -> int:
        return len(np.unique(np.concatenate([self._accounts[day, cohort] for day in days])))

    def _window(
        self, cohort: int, days: Sequence[int], windows: int
    ) -> list[tuple[int, float, float, str, int]] | None:
        """Columns that moved in a window, their index, floor and direction; None where there are too few accounts."""
        base = range(self._begin, self._until)
        n, m = self._distinct(cohort, base), self._distinct(cohort, days)
        if min(n, m) < FEWEST:
            return None
        weekends = float(np.mean([_weekend(day) for day in days]))
        parts = [
            (share, np.sum([self._bins[day, cohort] for day in base if _weekend(day) is free], axis=0))
            for share, free in ((weekends, True), (1 - weekends, False))
            if any(_weekend(day) is free for day in base)
        ]
        if len(parts) < 2 or any(not part.sum() for _, part in parts):
            parts = [(1.0, np.sum([self._bins[day, cohort] for day in base], axis=0))]
        before = sum(share * part / part.sum(axis=1, keepdims=True) for share, part in parts)
        now = np.sum([self._bins[day, cohort] for day in days], axis=0)
        after = now / now.sum(axis=1, keepdims=True)
        found = []
        for k, edges in enumerate(self._edges[cohort]):
            b = len(edges) + 1
            p, q = (smoothed(shares[k, :b], size) for shares, size in ((before, n), (after, m)))
            psi = excess(p, q, n, m)
            chance = FALSE / (self._width * len(COHORTS) * windows)
            floor = (float(chi2.isf(chance, b - 1)) - (b - 1)) * (1 / n + 1 / m)
            if psi >= LEAST and psi > floor:
                found.append((k, psi, floor, _direction(p, q), m))
        return found

    def _since(self, cohort: int, column: int, end: int) -> float:
        """The day at which two multinomials, one before and one from it on, explain all days best."""
        counts = np.array([self._bins[day, cohort][column] for day in range(self._begin, end)], np.float64)
        best, since = -math.inf, self._until
        for split in range(1, len(counts)):
            gain = _log_likelihood(counts[:split].sum(axis=0)) + _log_likelihood(counts[split:].sum(axis=0))
            if gain > best:
                best, since = gain, self._begin + split
        return float(since * DAY)

    def _rates(self, end: int) -> list[RateMoved]:
        found = []
        for (cohort, pattern), by_day in sorted(self._cases.items()):
            days = [by_day.get(day, np.zeros(24, np.int64)) for day in range(self._begin, end)]
            base = self._until - self._begin
            if rate_moved(days, base, FALSE / len(self._cases)):
                counts = np.array([hours.sum() for hours in days], np.float64)
                since = max(range(1, len(days)), key=lambda split: _poisson(counts[:split]) + _poisson(counts[split:]))
                before, after = float(counts[:since].mean()), float(counts[since:].mean())
                found.append(RateMoved(pattern, COHORTS[cohort], before, after, float((self._begin + since) * DAY)))
        return found


def _weekend(day: int) -> bool:
    """Whether a day since 1970, which began on a Thursday, is a Saturday or Sunday."""
    return (day + 3) % 7 >= 5


def _edges(values: Values) -> list[Values]:
    """Inner edges of each column: its quantiles, and a value that many share in a bin of its own.

    Examples
    --------
    >>> [len(edges) for edges in _edges(np.c_[np.arange(100), np.zeros(100)].astype(np.float32))]
    [9, 2]
    """
    if not len(values):
        return [np.zeros(0, np.float32)] * values.shape[1]
    levels = np.arange(1, BINS) / BINS
    quantiles = np.quantile(values, levels, axis=0, method="lower").astype(np.float32)
    out = []
    for column in quantiles.T:
        edges, times = np.unique(column, return_counts=True)
        atoms = edges[times > 1]
        out.append(np.union1d(edges, np.nextafter(atoms, np.float32(-np.inf))))
    return out


def _direction(before: Floats, after: Floats) -> str:
    """Where the chance that a value of now exceeds one of before lies."""
    chance = float((after * (np.cumsum(before) - before / 2)).sum())
    return "up" if chance > 0.6 else "down" if chance < 0.4 else "spread"


def _poisson(counts: Floats) -> float:
    """Log-likelihood of days with one mean, but for what no split changes."""
    total = float(counts.sum())
    return total * math.log(total / len(counts)) if total else 0.0


def _log_likelihood(counts: Floats) -> float:
    some = counts[counts > 0]
    return float((some * np.log(some / some.sum())).sum())
