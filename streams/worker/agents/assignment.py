"""Which partitions this worker has now: starts one `Partition` for each, and stops them when they leave.

The group's protocol is eager: each rebalance revokes every partition. So what was revoked is kept in memory until it is
known who has it now.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from faust.types import TP

from siphonwatch.streams.worker.agents.partition import Partition, PartitionWorker
from siphonwatch.streams.worker.transport import Batch, Consumer, Lease

log = logging.getLogger(__name__)


class Assignment:
    """The running partitions of one worker.

    Parameters
    ----------
    start
        Builds the `Partition` of a lease, given what `Partition.stop` returned of the one before, where there was one.
    leave_seconds
        How long leaving partitions may take for their last batch and checkpoint.
    stream_of
        Says what a topic is for, one of `siphonwatch.streams.worker.metrics.STREAMS`.
    """

    def __init__(
        self,
        start: Callable[[Consumer, Lease, PartitionWorker | None], Partition],
        leave_seconds: float,
        stream_of: Callable[[str], str],
    ) -> None:
        self._start = start
        self.stream_of = stream_of
        self._leave_seconds = leave_seconds
        self._partitions: dict[TP, Partition] = {}
        self._kept: dict[TP, PartitionWorker] = {}
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

    async def take(self, consumer: Consumer, tps: Iterable[TP]) -> None:
        """Start the partitions that were assigned; let go of those that were kept and are another worker's now."""
        for tp in sorted(tps):
            lease = consumer.lease(tp)
            if lease is not None:
                self._partitions[tp] = self._start(consumer, lease, self._kept.pop(tp, None))
        self.assigned = True
        await self._let_go()

    async def leave(self) -> None:
        """Finish, checkpoint and commit all partitions; a rebalance revokes every one."""
        self.assigned = False
        leaving, self._partitions = self._partitions, {}
        await asyncio.gather(*(self._leave(tp, partition) for tp, partition in leaving.items()), *self._renewing)

    async def close(self) -> None:
        """Leave all partitions and keep nothing."""
        await self.leave()
        await self._let_go()

    async def _leave(self, tp: TP, partition: Partition) -> None:
        if (worker := await partition.stop(self._leave_seconds)) is not None:
            self._kept[tp] = worker

    async def _let_go(self) -> None:
        kept, self._kept = self._kept, {}
        await asyncio.gather(*(worker.close() for worker in kept.values()))

    def renew(self, consumer: Consumer, tp: TP) -> None:
        """Start a partition under its new lease, after the old one left: its topic was made anew."""
        task = asyncio.create_task(self._renew(consumer, tp), name=f"renew {tp.topic}[{tp.partition}]")
        self._renewing.add(task)
        task.add_done_callback(self._renewing.discard)

    async def _renew(self, consumer: Consumer, tp: TP) -> None:
        old, lease = self._partitions.get(tp), consumer.lease(tp)
        worker = None if old is None else await old.stop(self._leave_seconds)
        if lease is not None and lease.alive and self._partitions.get(tp) is old:
            self._partitions[tp] = self._start(consumer, lease, worker)
        elif worker is not None:
            await worker.close()

    def dispatch(self, batch: Batch) -> None:
        """Hand a batch to its partition; a stale one is dropped."""
        partition = self._partitions.get(TP(batch.topic, batch.partition))
        if batch.current and partition is not None:
            partition.put(batch)
        else:
            log.debug("dropped %r of an earlier assignment", batch)
