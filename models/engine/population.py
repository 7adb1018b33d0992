"""What the features of a partition's accounts look like this week, and what they looked like before, by cohort.

It compares nothing, `siphonwatch.models.learn.live_drift` does, and it decides about nobody: no score reads it.

- **An account counts once a week**, from the weekday on that its hash says, at its first request after an hour of its
  own has closed, with the features that this request has. So the counts of seven days are of different accounts,
  however much each one sends.
- **Bins.** Each feature has `BINS` of equal width over its range; the counts of partitions add up.
- **This week** is the last `WINDOW` whole days, one by one; a day that leaves it goes to **before**, which halves in
  `HALF_LIFE` days. A change that stays is what is ordinary after some weeks.
- The first `WARM_UP` days are left out, while sums that fade over 7 days fill.
- Days go by the event time that many accounts agree on. Where it leaps by more than `KEPT` days, or goes back, all
  begins anew.
- **Cases** that open are counted by the hour, over `KEPT` days.

Memory and state are fixed: some 550 KB a partition, whatever traffic does.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.features import FEATURES
from siphonwatch.models.account.request import Array
from siphonwatch.models.common.arrays import Parts, as_bytes, like
from siphonwatch.models.common.kernel import kernel
from siphonwatch.models.engine.case_hours import DAY, KEPT, WARM_UP, CaseHours
from siphonwatch.models.evidence.calibration import COHORTS

WINDOW = 7
"""Days: a week, so that working days and weekends have their share."""
HALF_LIFE = 14.0
"""Days. A choice: twice the longest window of a feature."""
LEFT_OUT = frozenset({"seen", "age", "rare_trees", "rare_forest"})
"""Features that leave a baseline of themselves: they rise for as long as an account is known, or are ranks by what the
partition has learnt so far, which go on moving in stationary traffic. What they are taken from is compared."""
BINS = 64
STEP = 0.01
"""Of a share, or of a natural logarithm: sums that fade leave shares of ever less, which differ and say nothing."""
CELLS = 1 << 16
"""Accounts are told apart by so many cells, by hash; of two in one cell one counts. So that is the most that a
partition counts in a week."""
RANGES = {"share": (0, 1), "rank 0..1": (0, 1), "0..1": (0, 1), "0 or 1": (0, 1), "0..2": (0, 2), "days": (0, 8),
          "difference of shares": (-1, 1), "log ratio": (-8, 8), "standard deviation of a log": (0, 4),
          "completions a request": (0, 4), "spans a request": (0, 4)}  # fmt: skip
"""Range of a feature by its unit; what is beyond counts in the last bin."""
LOGARITHM = (0, 16)
"""Range of the others: exp(16) is 9 million, of requests or tokens an hour."""

WATCHED = tuple(feature.name for feature in FEATURES if feature.name not in LEFT_OUT)
"""Features that are counted, in the order of the arrays."""
_COLUMNS = np.array([i for i, feature in enumerate(FEATURES) if feature.name not in LEFT_OUT])
_LOW, _HIGH = np.array(
    [RANGES.get(feature.unit, LOGARITHM) for feature in FEATURES if feature.name not in LEFT_OUT], np.float32
).T
_SCALE = np.float32(BINS) / (_HIGH - _LOW)


def cohorts(requests: Array) -> npt.NDArray[np.int64]:
    """Return the place in `COHORTS` of each request, `(n,)`."""
    talks = (requests["session"] != 0) | (requests["stream"] == 1)
    return np.where(requests["rest"] == 1, 2, np.where(talks, 0, 1)).astype(np.int64)


@kernel
def _count(
    requests: Array,
    closed: npt.NDArray[np.bool_],
    values: npt.NDArray[np.float32],
    columns: npt.NDArray[np.int64],
    low: npt.NDArray[np.float32],
    scale: npt.NDArray[np.float32],
    due: npt.NDArray[np.uint16],
    today: npt.NDArray[np.uint16],
    age: int,
) -> None:
    """Count the accounts that are due, on day `age` since the first one that counts; before it nobody is."""
    for i in range(len(closed)):
        q = requests[i]
        cell = np.int64(q.account_hash % np.uint64(CELLS))
        if not closed[i] or due[cell] > age:
            continue
        due[cell] = min(age + WINDOW, 65_535)
        cohort = 2 if q.rest == 1 else (0 if (q.session != 0 or q.stream == 1) else 1)
        for k in range(len(columns)):
            place = (np.floor(values[i, columns[k]] / STEP + 0.5) * STEP - low[k]) * scale[k]
            # What is no number is in no bin but the first.
            today[cohort, k, np.int64(min(place, BINS - 1.0)) if place > 0.0 else 0] += 1


class Population:
    """Counts accounts into bins, and cases into hours.

    Attributes
    ----------
    day : int
        The day that is being counted, since 1970; -1 before the first request.
    begin : int
        The first one that is counted.
    before : `(COHORTS, F, BINS) float32`
        Accounts of the days that have left the window, faded; F features in the order of `WATCHED`.
    days_before : float
        So many days are in it, faded alike.
    """

    def __init__(self) -> None:
        self._cases = CaseHours()
        self._clear(-1)

    def _clear(self, day: int) -> None:
        shape = (len(COHORTS), len(WATCHED), BINS)
        self.day, self.begin = day, day + WARM_UP
        self._cases.clear(day)
        self.before, self.days_before = np.zeros(shape, np.float32), 0.0
        self._days = np.zeros((WINDOW, *shape), np.uint16)
        self._today = np.zeros(shape, np.uint16)
        self._due = np.arange(CELLS, dtype=np.uint16) % WINDOW
        """From which day on, since `begin`, an account in a cell counts again."""

    @property
    def ready(self) -> bool:
        """Whether there is a whole week, and another one before it."""
        return self.day >= 0 and self.day - self.begin >= 2 * WINDOW

    @property
    def week(self) -> npt.NDArray[np.int64]:
        """Accounts of the last `WINDOW` whole days, `(COHORTS, F, BINS)`."""
        return np.asarray(self._days.sum(axis=0, dtype=np.int64))

    def cases(self) -> dict[str, npt.NDArray[np.int64]]:
        """Return the cases that opened on each whole day that is kept, by pattern: `(days, COHORTS, 24)`, oldest first.

        There are up to `KEPT - 1` days, those of the warm-up left out.
        """
        return self._cases.cases()

    def take(
        self,
        requests: Array,
        closed: npt.NDArray[np.bool_],
        sure: npt.NDArray[np.float64],
        values: npt.NDArray[np.float32],
    ) -> None:
        """Take a block of requests: those whose account has `closed` an hour count, where it is their account's day.

        `sure`, `(n,)` seconds, is the event time that many accounts agree on; `values` are all features, `(n, WIDTH)`.
        """
        if not len(sure):
            return
        if sure.min() // DAY == self.day == sure.max() // DAY:
            self._count(requests, closed, values)
            return
        days = (sure // DAY).astype(np.int64)
        for part in np.split(np.arange(len(days)), np.flatnonzero(np.diff(days)) + 1):
            self._turn(int(days[part[0]]))
            self._count(requests[part], closed[part], values[part])

    def _count(self, requests: Array, closed: npt.NDArray[np.bool_], values: npt.NDArray[np.float32]) -> None:
        _count(requests, closed, values, _COLUMNS, _LOW, _SCALE, self._due, self._today, self.day - self.begin)

    def opened(self, pattern: str, cohort: int, time: float) -> None:
        """Count a case that opened now, by event time."""
        self._cases.opened(pattern, cohort, time)

    def _turn(self, day: int) -> None:
        """Go on to a day."""
        if day == self.day or day == self.day - 1:  # the clock may go back a little about midnight
            return
        if self.day < 0 or not 0 < day - self.day <= KEPT:
            self._clear(day)
            return
        fade = 0.5 ** (1 / HALF_LIFE)
        for one in range(self.day, day):
            if one >= self.begin:
                leaving = self._days[one % WINDOW]
                if one - self.begin >= WINDOW:
                    self.before = self.before * np.float32(fade) + leaving
                    self.days_before = self.days_before * fade + 1
                self._days[one % WINDOW] = self._today
            self._today[:] = 0
        self._cases.turn(day)
        self.day = day

    def snapshot(self) -> dict[str, npt.NDArray[Any] | bytes]:
        """Copy everything."""
        return {
            "of": _of(),
            "place": msgspec.msgpack.encode((self.day, self.begin, self.days_before, self._cases.patterns)),
            "before": self.before.copy(),
            "days": self._days.copy(),
            "today": self._today.copy(),
            "due": self._due.copy(),
            "hours": self._cases.snapshot()["hours"],
        }

    def restore(self, parts: Parts) -> None:
        """Take over a snapshot; begin anew where it is none, or of other features.

        Raises
        ------
        ValueError
            Where it does not fit this version.
        """
        self._clear(-1)
        if not parts or as_bytes(parts, "of") != _of():
            return
        kept = msgspec.msgpack.decode(as_bytes(parts, "place"), type=tuple[int, int, float, list[str]])
        due = like(parts, "due", self._due)
        days, today = like(parts, "days", self._days), like(parts, "today", self._today)
        cases = CaseHours()
        cases.restore({"days": msgspec.msgpack.encode((kept[0], kept[1], kept[3])), "hours": parts["hours"]})
        self.before = like(parts, "before", self.before)
        self._days, self._today, self._due, self._cases = days, today, due, cases
        self.day, self.begin, self.days_before = kept[:3]


def _of() -> bytes:
    """What the arrays are counts of."""
    return msgspec.msgpack.encode((WATCHED, BINS, _LOW.tolist(), _HIGH.tolist()))
