"""Turns SIGINT and SIGTERM into an exception at safe points."""

from __future__ import annotations

import signal
import time
from types import FrameType
from typing import Any, Self

NUMBERS = (signal.SIGINT, signal.SIGTERM)
SLICE_SECONDS = 0.2


class Interrupt:
    """A context manager that records signals; `check` and `sleep` raise them.

    An exception out of the handler itself could come while a process is being started, and be lost there.
    """

    def __init__(self) -> None:
        self._wanted = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._note) for number in NUMBERS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def check(self) -> None:
        """Return if no signal has come.

        Raises
        ------
        KeyboardInterrupt
            When a signal came.
        """
        if self._wanted:
            raise KeyboardInterrupt

    def forget(self) -> None:
        """Forget the signals so far."""
        self._wanted = False

    def sleep(self, seconds: float) -> None:
        """Sleep until a signal comes or the time is over; raises as `check` does."""
        deadline = time.monotonic() + seconds
        self.check()
        while (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, SLICE_SECONDS))
            self.check()

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self._wanted = True
