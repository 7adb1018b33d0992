"""A topic that a gateway writes, consumed directly: runs an `Ingest` as the worker of each of its partitions.

It keeps no state: its position is the offset it committed.
"""

from __future__ import annotations

from typing import Protocol

from siphonwatch.streams.worker.agents.place import Place
from siphonwatch.streams.worker.gauges import Readings
from siphonwatch.streams.worker.meter import Meter
from siphonwatch.streams.worker.transport import Batch, Begin


class Ingest(Protocol):
    """Turns a gateway's records into telemetry."""

    async def process(self, batch: Batch) -> None:
        """Adapt, sketch and produce a batch; return when the broker has acknowledged all of it."""

    def blocked(self) -> float:
        """Return for how many seconds what it sends has been refused or unanswered; 0 where it is not."""

    async def close(self) -> None:
        """Stop sending."""


class IngestPartition:
    """Commits a batch's offsets after `Ingest.process` returned: at least once, never lost.

    Parameters
    ----------
    ingest
        Of this partition alone: what it waits for is its own.
    meter
        What is counted.
    """

    def __init__(self, ingest: Ingest, meter: Meter) -> None:
        self._ingest = ingest
        self._meter = meter
        self._next: int | None = None

    async def restore(self, begin: Begin) -> Place:
        """Read on from the committed offset, and a topic that was made anew from its start."""
        if begin.anew:
            self._meter.made_anew(begin.incarnation)
        return Place(0 if begin.anew else begin.committed, begin.sure or begin.anew)

    async def resume(self, begin: Begin) -> None:
        """Return None: nothing is kept over a rebalance, so there is nothing to go on with."""

    async def process(self, batch: Batch) -> None:
        """Ingest one batch."""
        await self._ingest.process(batch)
        self._next = batch.next_offset

    async def checkpoint(self) -> int | None:
        """Return the offset that all ingested batches reach."""
        return self._next

    async def committed(self) -> None:
        """Nothing is to be cleaned up."""

    def blocked(self) -> float:
        """Return for how many seconds what it sends has been refused or unanswered; 0 where it is not."""
        return self._ingest.blocked()

    def readings(self) -> Readings:
        """Nothing is kept."""
        return iter(())

    async def close(self) -> None:
        """Stop sending."""
        await self._ingest.close()
