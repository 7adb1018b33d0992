"""Retries of sends that a broker refuses or does not answer: each is counted, logged, and repeated after a wait.

Nothing is given up here: the sender holds its partition's position back until all is acknowledged.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

import structlog

from siphonwatch.streams.worker.meter import Meter

FIRST_SECONDS, MOST_SECONDS = 0.5, 30.0
"""Longest wait after the first failure and after many: a topic put right is used again within half a minute."""
SAID_SECONDS = 60.0
"""Between two log lines of one topic that goes on failing."""

_log = structlog.get_logger(__name__)


class Retries:
    """The failures of one partition's sending, by topic sent to.

    Parameters
    ----------
    meter
        The partition's; counts failures.
    pause
        Sleeps between attempts.
    clock
        Monotonic seconds.
    """

    def __init__(
        self,
        meter: Meter,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._meter = meter
        self._pause = pause
        self._clock = clock
        self._failing: dict[str, list[float]] = {}  # topic -> since when, when it was last said, failures

    def blocked(self) -> float:
        """Return for how many seconds a broker has refused or not answered a send; 0 where it has not."""
        return max((self._clock() - since for since, _, _ in self._failing.values()), default=0.0)

    async def failed(self, topic: str, error: BaseException) -> None:
        """Note that a send to a topic failed, and wait before the next attempt."""
        now = self._clock()
        failing = self._failing.setdefault(topic, [now, now - SAID_SECONDS, 0])
        failing[2] += 1
        wait = min(MOST_SECONDS, FIRST_SECONDS * 2.0 ** min(failing[2] - 1, 10)) * random.uniform(0.5, 1.0)  # noqa: S311 - spreads retries
        self._meter.send_failure(topic)
        if now - failing[1] >= SAID_SECONDS:
            failing[1] = now
            _log.warning(
                "cannot send; this partition waits and tries again, and its position stays",
                source="{1}[{2}]".format(*self._meter.labels), to=topic, failures=int(failing[2]),
                error=f"{type(error).__name__}: {error}".removesuffix(": "), for_seconds=round(now - failing[0], 1),
            )  # fmt: skip
        await self._pause(wait)

    def passed(self, topic: str) -> None:
        """Note that a send to a topic was acknowledged."""
        if (failing := self._failing.pop(topic, None)) is not None:
            _log.info(
                "sent again",
                source="{1}[{2}]".format(*self._meter.labels), to=topic, failures=int(failing[2]),
                for_seconds=round(self._clock() - failing[0], 1),
            )  # fmt: skip
