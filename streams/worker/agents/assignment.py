"""Which partitions this worker has now: starts one `Partition` for each, and stops them when they leave."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from faust.types import TP

from siphonwatch.streams.worker.agents.partition import Partition
from siphonwatch.streams.worker.transport import Batch, Consumer, Lease

log = logging.getLogger(__name__)


class Assignment:
    """The running partitions of one worker.

    Parameters
    ----------
    start
        Builds the `Partition` of a lease.
    leave_seconds
        How long leaving partitions may take for their last batch and checkpoint.
    stream_of
        Says what a topic is for, one of `siphonwatch.streams.worker.metrics.STREAMS`.
    """

    def __init__(
        self, start: Callable[[Consumer, Lease], Partition], leave_seconds: float, stream_of: Callable[[str], str]
    ) -> None:
        self._start = start
        self.stream_of = stream_of
        self._leave_seconds = leave_seconds
        self._partitions: dict[TP, Partition] = {}
        self._renewing: set[asyncio.Task[None]] = set()
        self.assigned = False
        """Whether the group has given this worker its partitions, be it none."""

    @property
    def partitions(self) -> list[Partition]:
        """Running partitions, by topic and number."""
        return [self._partitions[tp] for tp in sorted(self._partitions)]

    @property
    def ready(self) -> bool:
        """Whether all that is assigned is restored and being read."""
        return self.assigned and all(partition.ready for partition in self._partitions.values())

    def take(self, consumer: Consumer, tps: Iterable[TP]) -> None:
        """Start the partitions that were assigned."""
        for tp in sorted(tps):
            lease = consumer.lease(tp)
            if lease is not None:
                self._partitions[tp] = self._start(consumer, lease)
        self.assigned = True

    async def leave(self) -> None:
        """Finish, checkpoint and commit all partitions; a rebalance revokes every one."""
        self.assigned = False
        leaving, self._partitions = list(self._partitions.values()), {}
        await asyncio.gather(*(partition.stop(self._leave_seconds) for partition in leaving), *self._renewing)

    def renew(self, consumer: Consumer, tp: TP) -> None:
        """Start a partition under its new lease, after the old one left: its topic was made anew."""
        task = asyncio.create_task(self._renew(consumer, tp), name=f"renew {tp.topic}[{tp.partition}]")
        self._renewing.add(task)
        task.add_done_callback(self._renewing.discard)

    async def _renew(self, consumer: Consumer, tp: TP) -> None:
        old, lease = self._partitions.get(tp), consumer.lease(tp)
        if old is not None:
            await old.stop(self._leave_seconds)
        if lease is not None and lease.alive and self._partitions.get(tp) is old:
            self._partitions[tp] = self._start(consumer, lease)

    def dispatch(self, batch: Batch) -> None:
        """Hand a batch to its partition; a stale one is dropped."""
        partition = self._partitions.get(TP(batch.topic, batch.partition))
        if batch.current and partition is not None:
            partition.put(batch)
        else:
            log.debug("dropped %r of an earlier assignment", batch)
