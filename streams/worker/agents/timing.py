"""Says in the log when requests come late or claim the future: a backfill beside live traffic, or a wrong clock."""

from __future__ import annotations

import math
from collections.abc import Callable

import structlog

EVERY = 60.0
"""Seconds between two lines of one partition."""
WORTH_SAYING = 0.01
"""Share of late requests from which a line is worth reading: a few are late whenever a gateway restarts."""

_log = structlog.get_logger(__name__)


class Timing:
    """The requests of one partition that were out of time since the last line.

    Parameters
    ----------
    stream, partition
        Named in the line.
    clock
        Monotonic seconds.

    Examples
    --------
    >>> timing = Timing("telemetry", 0, lambda: 0.0)
    >>> timing.restored(10, 0)
    >>> timing.note(100, 10, 0), timing.note(100, 10, 0)
    (False, False)
    """

    def __init__(self, stream: str, partition: int, clock: Callable[[], float]) -> None:
        self._names = {"stream": stream, "partition": partition}
        self._clock = clock
        self._said_at = -math.inf
        self._requests = self._late = self._ahead = 0

    def restored(self, late: int, ahead: int) -> None:
        """Start from the counts that the restored state holds."""
        self._late, self._ahead = late, ahead

    def note(self, requests: int, late: int, ahead: int) -> bool:
        """Take the requests of a batch and how many were late and ahead so far; return whether it was logged."""
        self._requests += requests
        now = self._clock()
        if now - self._said_at < EVERY:
            return False
        out = late - self._late, ahead - self._ahead
        telling = out[1] > 0 or out[0] > WORTH_SAYING * self._requests
        if telling:
            _log.warning(
                "requests out of time", requests=self._requests, late=out[0], ahead=out[1], **self._names,
                advice="late: a backfill or a gateway that sends with delay, which counts but is found later; "
                "ahead: a gateway's clock is wrong, and what it sends counts as of when the broker had it",
            )  # fmt: skip
            self._said_at = now
        self._requests, (self._late, self._ahead) = 0, (late, ahead)
        return telling
