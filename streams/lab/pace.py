"""When a record of the past is played: at a multiple of real time, or moved so that it happens now. Sends nothing."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from siphonwatch.streams.contracts.telemetry import Telemetry


class Pace:
    """Waits so that event time passes at a multiple of real time; a record earlier than one before it never waits.

    Parameters
    ----------
    speed
        Event seconds a second; 0 never waits.
    clock, sleep
        `time.monotonic` and `time.sleep`, or a test's.
    """

    def __init__(self, speed: float, clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
        self._speed = speed
        self._clock = clock
        self._sleep = sleep
        self._origin: tuple[float, float] | None = None

    @property
    def waits(self) -> bool:
        """Whether there is a time to wait for."""
        return self._speed > 0

    def wait(self, moment: float | None) -> None:
        """Wait until the event time `moment` is due."""
        if not self._speed or moment is None:
            return
        if self._origin is None:
            self._origin = (moment, self._clock())
        began, started = self._origin
        ahead = (moment - began) / self._speed - (self._clock() - started)
        if ahead > 0:
            self._sleep(ahead)


class Live:
    """Moves event time, so that the first record happened so long ago and the others keep their distance from it, and
    waits until a record has happened: those of the past go at once, the later ones when their time comes.

    Parameters
    ----------
    ago
        Seconds before the present at which the first record stands; 0 is now.
    clock, sleep
        `time.time` and `time.sleep`, or a test's.
    """

    def __init__(self, ago: float, clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
        self._ago = ago
        self._clock = clock
        self._sleep = sleep
        self._shift: float | None = None

    waits = True
    """There is a time to wait for."""

    def moved(self, record: Telemetry) -> Telemetry:
        """Return the record at its new time."""
        if self._shift is None:
            self._shift = self._clock() - self._ago - record.time
        return msgspec.structs.replace(record, time=round(record.time + self._shift, 3))

    def wait(self, moment: float | None) -> None:
        """Wait until the moved event time `moment` is no longer ahead of the clock."""
        if moment is not None and (ahead := moment - self._clock()) > 0:
            self._sleep(ahead)
