"""A real worker in a process of its own, for tests that kill it: SETTINGS.json [CRASH] [afresh].

CRASH says where it kills itself, once: `pages:N` before the N-th write to the state log, `manifest:N` after the N-th
checkpoint is complete but before its offset is committed, `batch:N` after the N-th batch is scored, `sighted:N` when
all sightings are acknowledged for the N-th time and no checkpoint says so yet.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec

from siphonwatch.streams.cli.worker import work
from siphonwatch.streams.common.logs import configure
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.worker.agents.coordinate import Sightings
from siphonwatch.streams.worker.agents.score import TelemetryPartition
from siphonwatch.streams.worker.state.kafka import KafkaJournal
from siphonwatch.streams.worker.transport import Limits

LIMITS = Limits(session_timeout=6.0, heartbeat_interval=0.5, rebalance_timeout=20.0, fetch_wait_ms=100, max_records=400)


def die_at(owner: type, method: str, number: int, *, before: bool) -> None:
    """Kill this process at the `number`-th call of a method."""
    original = getattr(owner, method)
    calls = 0

    async def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        this = calls  # others may begin while this one waits
        if before and this == number:
            os.kill(os.getpid(), signal.SIGKILL)
        result = await original(self, *args, **kwargs)
        if not before and this == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, method, counted)


def main() -> None:
    settings = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Settings)
    configure(settings.log)
    afresh = "afresh" in sys.argv[2:]
    if len(sys.argv) > 2 + afresh:
        where, _, number = sys.argv[2].partition(":")
        owner, method, before = {
            "pages": (KafkaJournal, "append", True),
            "manifest": (TelemetryPartition, "checkpoint", False),
            "batch": (TelemetryPartition, "process", False),
            "sighted": (Sightings, "flush", False),
        }[where]
        die_at(owner, method, int(number), before=before)
    sys.exit(asyncio.run(work(settings, LIMITS, afresh=afresh)))


if __name__ == "__main__":
    main()
