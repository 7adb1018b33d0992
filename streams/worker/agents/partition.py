"""One assigned partition's life, in six steps. `Partition` orders them and nothing else; its worker takes them.

1. Restore: go on with what is in memory from before a rebalance where nobody else wrote since, or load the newest
   snapshot. It says where to read on.
2. Read: take the next batch that the transport handed over, in the order of offsets, one at a time.
3. Apply: decode its records, and score them into the state in memory.
4. Emit: send the alerts. It waits only for room in the producer's buffer.
5. Checkpoint, after some seconds or records: wait until all that was sent is acknowledged, then write what changed of
   the state, and wait for that.
6. Commit the offset that the checkpoint holds to the group, and nothing else ever; then clean up older state.

When the partition is revoked the batch at hand is finished, steps 5 and 6 come a last time, and the worker is kept for
step 1 until it is known who has the partition now.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

from faust.types import TP

from siphonwatch.streams.common.incarnation import mark_of
from siphonwatch.streams.worker.gauges import Readings
from siphonwatch.streams.worker.meter import Meter
from siphonwatch.streams.worker.metrics import COMMITTED, MOVED, TIMEOUT
from siphonwatch.streams.worker.transport import Batch, Begin, Consumer, Lease

log = logging.getLogger(__name__)

COMMIT_SECONDS = 30.0
"""A commit that takes longer is given up; the next checkpoint commits more."""


class Place(NamedTuple):
    """Where to read on, see `siphonwatch.streams.worker.transport.pump.Pump.open`."""

    offset: int | None
    """None for the log's begin, wherever that is."""
    sure: bool = True
    """Whether it is known to be an offset of the topic's present incarnation."""


class PartitionWorker(Protocol):
    """Processes the records of one partition."""

    async def restore(self, begin: Begin) -> Place:
        """Load state; return where to read on."""

    async def resume(self, begin: Begin) -> Place | None:
        """Go on after a rebalance with the state in memory; return where to read on, None where it must be restored.

        It is called after the last `checkpoint` of the stay before returned, and only then.
        """

    async def process(self, batch: Batch) -> None:
        """Apply a batch and emit its alerts.

        What must be on the broker before its offsets are committed is so once `checkpoint` has returned.
        """

    async def checkpoint(self) -> int | None:
        """Make all that was processed durable; return the offset to commit, None where nothing is new."""

    async def committed(self) -> None:
        """Called once the group holds the offset of the last checkpoint."""

    def blocked(self) -> float:
        """Return for how many seconds a broker has refused or not answered a send; 0 where it has not."""

    def readings(self) -> Readings:
        """Give the gauges it has, see `siphonwatch.streams.worker.gauges`."""

    async def close(self) -> None:
        """Release what the partition holds, without a checkpoint."""


class Partition:
    """Runs the worker of one partition for one lease.

    Parameters
    ----------
    consumer, lease
        Where batches come from and commits go to.
    make_worker
        Builds what is done with the batches, without any state yet.
    kept
        The worker of the stay before, as `stop` returned it; it goes on where nobody else had the partition since.
    meter
        Counts commits.
    checkpoint_seconds, checkpoint_records
        A checkpoint is due after either.
    clock
        Monotonic seconds.
    fail
        Called with the exception that ends this partition; the process is to stop then.
    now
        Seconds since 1970, for gauges only.
    """

    def __init__(
        self,
        consumer: Consumer,
        lease: Lease,
        make_worker: Callable[[], PartitionWorker],
        meter: Meter,
        *,
        kept: PartitionWorker | None = None,
        checkpoint_seconds: float,
        checkpoint_records: int,
        clock: Callable[[], float],
        fail: Callable[[BaseException], None],
        now: Callable[[], float] = time.time,
    ) -> None:
        self.tp = TP(lease.topic, lease.partition)
        self.ready = False
        """Restored and being read."""
        self.records = 0
        """Records processed under this lease."""
        self.meter = meter
        self._consumer = consumer
        self._lease = lease
        self._make_worker = make_worker
        self._worker = kept or make_worker()
        self._kept = kept is not None
        self._whole = False  # the last checkpoint of a stay holds all that is in memory
        self._every = checkpoint_seconds
        self._records_due = checkpoint_records
        self._clock = clock
        self._fail = fail
        self._now = now
        self._queue: asyncio.Queue[Batch | None] = asyncio.Queue()
        self._due = clock() + checkpoint_seconds
        self._since = 0
        self._held = 0
        self._uncommitted = False
        self._position: int | None = None
        self._said = ""  # tells the record before the position, where topics have no ids
        self._committed: int | None = None
        self._progress_at = clock()
        self._fresh_at = now()  # no record that waits is older
        self._committed_at: float | None = None
        self._task = asyncio.create_task(self._run(), name=f"partition {lease.topic}[{lease.partition}]")

    def put(self, batch: Batch) -> None:
        """Queue a batch; the transport bounds how many there can be."""
        self._held += 1
        self._queue.put_nowait(batch)

    async def stop(self, seconds: float) -> PartitionWorker | None:
        """Finish the batch being processed, checkpoint and commit, within `seconds`; give up on the rest after that.

        Returns the worker where its checkpoint holds all that it has in memory: it may go on under another lease, and
        is to be closed otherwise. None where it did not come to that and is closed.

        A partition that is restoring, or whose sending is blocked, is left at once: its position holds.
        """
        if not self.ready or self._worker.blocked():
            self._task.cancel()
        self._queue.put_nowait(None)
        _, late = await asyncio.wait([self._task], timeout=seconds)
        if late:
            log.warning("%s did not finish within %.0f s: left without a checkpoint", self._name, seconds)
            self._task.cancel()
            await asyncio.wait([self._task])
        whole, self._whole = self._whole, False  # it has one taker
        return self._worker if whole else None

    @property
    def lag(self) -> int | None:
        """Offsets between what is processed and the log's end as of the last fetch, None if unknown."""
        return None if self._position is None else self._consumer.lag(self.tp, self._position)

    def stalled(self) -> float:
        """Return for how many seconds records have been waiting without a commit; to be called every second or so.

        0 while restoring, and while what it sends is refused: to be ended then would not make it shorter, and would
        stop the partitions beside it.
        """
        if not self.ready or self._worker.blocked():
            self._progress_at = self._clock()
        if self.ready and not self._held:
            caught_up = self._consumer.unread(self._lease) == 0
            if caught_up:
                self._fresh_at = self._now()
            # A broker that does not answer gives no records to commit: `streams.common.answers` reports it.
            if not self._uncommitted and (caught_up or not self._consumer.up_to_date(self._lease)):
                self._progress_at = self._clock()
        return self._clock() - self._progress_at

    def readings(self) -> Readings:
        """Give the gauges of the partition and of its worker."""
        yield "partition_ready", "", float(self.ready)
        if (lag := self.lag) is not None:
            yield "lag_records", "", lag
            yield "lag_seconds", "", max(self._now() - self._fresh_at, 0.0) if lag else 0.0
        yield "stalled_seconds", "", self.stalled()
        yield "blocked_seconds", "", self._worker.blocked()
        if self._committed_at is not None:
            yield "last_commit_timestamp_seconds", "", self._committed_at
        yield from self._worker.readings()

    @property
    def _name(self) -> str:
        return f"{self.tp.topic}[{self.tp.partition}]"

    async def _run(self) -> None:
        doing = "restoring"
        try:
            try:
                # 1. Restore
                begin = await self._consumer.begin_partition(self._lease)
                offset, sure = await self._restore(begin)
                self._said = begin.said if offset is not None and offset == begin.committed else ""
                if not self._lease.alive:
                    return
                await self._consumer.open_partition(self._lease, offset, sure=sure)
                self._position, self.ready = offset, True
                where = "the log's begin" if offset is None else f"offset {offset}"
                log.info("%s %s, reading on from %s", self._name, "kept" if self._kept else "restored", where)
                while (batch := await self._next()) is not None:  # 2. Read
                    if batch.current:
                        doing = f"processing offsets {batch.first_offset} to {batch.last_offset}"
                        await self._process(batch)  # 3. Apply, 4. Emit
                    batch.done()
                    self._held -= 1
                    doing = "taking a checkpoint"
                    await self._checkpoint_if_due()  # 5. Checkpoint, 6. Commit
                doing = "taking the last checkpoint"
                await self._checkpoint()
                self._whole = True
            finally:
                self.ready = False
                if not self._whole:
                    await self._worker.close()
        except Exception as error:
            log.exception("%s failed while %s; stopping, a restart goes on from the checkpoint", self._name, doing)
            self._fail(error)

    async def _restore(self, begin: Begin) -> Place:
        """Go on with the worker of the stay before where that is right, and otherwise restore a new one."""
        if self._kept:
            if (place := await self._worker.resume(begin)) is not None:
                return place
            await self._worker.close()
            self._worker, self._kept = self._make_worker(), False
        return await self._worker.restore(begin)

    async def _next(self) -> Batch | None:
        """Wait for the next batch, taking the checkpoints that fall due while there is none; None to stop."""
        while True:
            try:
                batch = await asyncio.wait_for(self._queue.get(), max(self._due - self._clock(), 0.001))
            except TimeoutError:
                await self._checkpoint_if_due()
                continue
            # A revocation ends the lease first, so batches queued before the stop are stale and skipped quickly.
            return batch

    async def _process(self, batch: Batch) -> None:
        await self._worker.process(batch)
        self._position = batch.next_offset
        if not self._lease.incarnation:
            self._said = mark_of(int(batch.timestamps[-1]), batch.values[-1])
        # A producer may stamp records as it likes: one of next year must not hide for a year that records wait.
        self._fresh_at = max(self._fresh_at, min(float(batch.timestamps[-1]) / 1000.0, self._now()))
        self.records += len(batch)
        self._since += len(batch)
        self._uncommitted = True

    async def _checkpoint_if_due(self) -> None:
        if self._since >= self._records_due or self._clock() >= self._due:
            await self._checkpoint()

    async def _checkpoint(self) -> None:
        # 5. Checkpoint
        self._since = 0
        offset = await self._worker.checkpoint()
        self._due = self._clock() + self._every
        if offset is None or offset == self._committed or self._lease.gone:
            self._uncommitted = False
            return
        # 6. Commit
        try:
            committing = self._consumer.commit_offsets({self.tp: offset}, self._lease.incarnation or self._said)
            done = await asyncio.wait_for(committing, COMMIT_SECONDS)
        except TimeoutError:
            log.warning("%s: commit of offset %d took longer than %.0f s", self._name, offset, COMMIT_SECONDS)
            self.meter.commit(TIMEOUT)
            return
        self.meter.commit(COMMITTED if done else MOVED)
        if done:
            self._committed_at = self._now()
            self._committed, self._progress_at, self._uncommitted = offset, self._clock(), False
            await self._worker.committed()
