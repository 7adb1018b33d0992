"""Cases that opened, by pattern, cohort and hour of event time, over the last days: what drift of rates goes by."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.row import MAX_PATTERNS
from siphonwatch.models.common.arrays import Parts, as_bytes, like
from siphonwatch.models.evidence.calibration import COHORTS

DAY, HOUR = 86_400, 3600
KEPT = 28
"""Days of cases, by the hour."""
WARM_UP = 14
"""Days, as `siphonwatch drift` leaves out: after 7, `job_days` and `new_ip_1d` still move in honest traffic."""

Hours = npt.NDArray[np.uint16]


class CaseHours:
    """Counts cases into hours; memory and state are fixed, 4 KB a pattern.

    Days go by the event time that many accounts agree on. Where it leaps by more than `KEPT` days, or goes back, all
    begins anew.

    Attributes
    ----------
    day : int
        The day that is being counted, since 1970; -1 before the first one.
    begin : int
        The first one that is counted, behind the warm-up.
    """

    def __init__(self) -> None:
        self.clear(-1)

    @property
    def patterns(self) -> list[str]:
        """Those that have had a case, in the order of the arrays."""
        return list(self._hours)

    def clear(self, day: int) -> None:
        """Begin anew on a day."""
        self.day, self.begin = day, day + WARM_UP
        self._hours: dict[str, Hours] = {}

    def turn(self, day: int) -> None:
        """Go on to a day."""
        if day == self.day or day == self.day - 1:  # the clock may go back a little about midnight
            return
        if self.day < 0 or not 0 < day - self.day <= KEPT:
            self.clear(day)
            return
        for one in range(self.day, day):
            for hours in self._hours.values():
                hours[(one + 1) % KEPT] = 0
        self.day = day

    def opened(self, pattern: str, cohort: int, time: float) -> None:
        """Count a case that opened now, by event time, of a place in `COHORTS`."""
        if self.day < self.begin or int(time // DAY) != self.day:
            return
        if pattern not in self._hours and len(self._hours) < 2 * MAX_PATTERNS:  # those of two versions
            self._hours[pattern] = np.zeros((KEPT, len(COHORTS), 24), np.uint16)
        if (hours := self._hours.get(pattern)) is not None:
            place = self.day % KEPT, cohort, int(time % DAY // HOUR)
            hours[place] = min(int(hours[place]) + 1, 65_535)

    def cases(self) -> dict[str, npt.NDArray[np.int64]]:
        """Return the cases that opened on each whole day that is kept, by pattern: `(days, COHORTS, 24)`, oldest first.

        There are up to `KEPT - 1` days, those of the warm-up left out.
        """
        first = max(self.day - KEPT + 1, self.begin)
        places = np.arange(first, max(self.day, first)) % KEPT
        return {pattern: hours[places].astype(np.int64) for pattern, hours in self._hours.items()}

    def snapshot(self) -> dict[str, npt.NDArray[Any] | bytes]:
        """Copy everything."""
        return {
            "days": msgspec.msgpack.encode((self.day, self.begin, self.patterns)),
            "hours": np.array(list(self._hours.values()), np.uint16).reshape(-1, KEPT, len(COHORTS), 24),
        }

    def restore(self, parts: Parts) -> None:
        """Take over a snapshot; begin anew where there is none, as state of an earlier release has it.

        Raises
        ------
        ValueError
            Where it does not fit this version.
        """
        self.clear(-1)
        if not parts:
            return
        day, begin, patterns = msgspec.msgpack.decode(as_bytes(parts, "days"), type=tuple[int, int, list[str]])
        hours = like(parts, "hours", np.zeros((len(patterns), KEPT, len(COHORTS), 24), np.uint16))
        self.day, self.begin = day, begin
        self._hours = dict(zip(patterns, hours, strict=True))
