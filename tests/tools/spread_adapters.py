"""Adapters that other processes of a test make for themselves."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.contracts.telemetry import Malformed, Telemetry
from siphonwatch.streams.edge.adapters import Adapter

FATAL = b"end this process"


class Numbered(Adapter):
    """Telemetry of a record that is a number; `FATAL` kills the process that reads it."""

    name = "numbered"

    def element(self, raw: bytes) -> Iterator[Telemetry]:
        if raw == FATAL:
            os.kill(os.getpid(), signal.SIGKILL)
        if not raw.isdigit():
            raise Malformed("json", "no number")
        if int(raw) % 7 == 0:
            self.pass_over("a seventh")
            return
        self.without_text += 1
        yield Telemetry(id=f"r{raw.decode()}", time=float(raw), account="a")


def numbered() -> Adapter:
    """Return one."""
    return Numbered((), Identity("a key of these tests alone"), None, 1000)  # type: ignore[arg-type]


def topics() -> dict[str, Adapter]:
    """Return one of a topic."""
    return {"numbers": numbered()}
