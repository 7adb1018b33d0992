"""Whether a worker is live and ready: its partitions commit while records wait, and are restored."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from siphonwatch.streams.common.answers import silent
from siphonwatch.streams.common.settings import Web
from siphonwatch.streams.common.status import Status, StatusServer

if TYPE_CHECKING:
    from siphonwatch.streams.worker.agents.assignment import Assignment

WATCH_SECONDS = 1.0


class HealthServer(StatusServer):
    """Serves a worker's liveness, readiness and metrics.

    Parameters
    ----------
    settings
        Address and the time without a commit after which the worker counts as stuck; port 0 picks a free one.
    assignment
        The partitions that are asked.
    registry
        Metrics.
    ages
        Returns for how many seconds each broker has not answered.
    """

    def __init__(
        self,
        settings: Web,
        assignment: Assignment,
        registry: CollectorRegistry,
        ages: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        super().__init__(settings.host, settings.port, registry)
        self._limit = settings.stall_seconds
        self._assignment = assignment
        self._ages = ages
        self._watch: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen, and watch the partitions.

        Raises
        ------
        OSError
            When the port is taken.
        """
        await super().start()
        self._watch = asyncio.create_task(self._keep_watching())

    async def stop(self) -> None:
        """Stop watching and listening."""
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch
        await super().stop()

    def live(self) -> Status:
        """Return whether no partition is stalled for longer than it may be.

        One that waits for a broker is no reason for a restart: it would mend nothing, and could not begin.
        """
        if waiting := silent(self._ages()):
            return Status(True, f"ok, but {waiting}")
        if stalled := self._stalled():
            return Status(False, f"records wait and nothing is committed: {', '.join(stalled)}")
        return Status(True, "ok")

    def ready(self) -> Status:
        """Return whether brokers answer and partitions, be it none, are assigned and all of them restored."""
        if waiting := silent(self._ages()):
            return Status(False, waiting)
        if not self._assignment.assigned:
            return Status(False, "no partitions assigned yet")
        restoring = [p.tp for p in self._assignment.partitions if not p.ready]
        if restoring:
            return Status(False, f"restoring {', '.join(f'{tp.topic}[{tp.partition}]' for tp in restoring)}")
        return Status(True, f"ok, {len(self._assignment.partitions)} partitions")

    async def _keep_watching(self) -> None:
        """Note every second which partitions have caught up, so that a new record after a quiet hour is no stall."""
        while True:
            self._stalled()
            await asyncio.sleep(WATCH_SECONDS)

    def _stalled(self) -> list[str]:
        ages = ((partition.tp, partition.stalled()) for partition in self._assignment.partitions)
        return [f"{tp.topic}[{tp.partition}] {age:.0f} s" for tp, age in ages if age > self._limit]
