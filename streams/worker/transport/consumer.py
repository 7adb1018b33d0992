"""Faust's consumer over the pump: one message a batch, and no commit but the checkpoint's.

Faust's own bookkeeping of acknowledged offsets is switched off: its commit interval, its commit when partitions are
revoked and its seek to committed offsets do nothing here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from concurrent.futures import CancelledError as ThreadCancelledError
from typing import Any, TypeVar, cast

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import CommitFailedError, IllegalStateError
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage

from siphonwatch.streams.common.answers import Answers
from siphonwatch.streams.common.kafka import make_async_consumer
from siphonwatch.streams.worker.transport import codecs
from siphonwatch.streams.worker.transport.absent import Absent
from siphonwatch.streams.worker.transport.assignor import StickyAssignor
from siphonwatch.streams.worker.transport.batch import Batch, Begin, Lease, MadeAnew
from siphonwatch.streams.worker.transport.gaps import Gaps
from siphonwatch.streams.worker.transport.limits import Limits
from siphonwatch.streams.worker.transport.pump import Pump

log = logging.getLogger(__name__)
T = TypeVar("T")


class RebalanceListener(driver.ConsumerRebalanceListener):
    """Pauses partitions as they are assigned: nothing is fetched before `Consumer.open_partition`."""

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        assigned = set(assigned)
        self._thread._ensure_consumer().pause(*assigned)  # noqa: SLF001
        await super().on_partitions_assigned(assigned)


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """Runs aiokafka and the pump in a thread of their own, so that heartbeats go on while a batch is scored."""

    pump: Pump

    def _create_worker_consumer(self, transport: Any) -> AIOKafkaConsumer:
        codecs.bound()
        limits = limits_of(self.app)
        return make_async_consumer(
            self.app.kafka,
            group_id=self.app.conf.id,
            partition_assignment_strategy=[StickyAssignor()],
            isolation_level="read_committed",
            check_crcs=False,  # the unpacker checks
            max_partition_fetch_bytes=limits.fetch_bytes,
            fetch_max_wait_ms=limits.fetch_wait_ms,
            request_timeout_ms=int(limits.request_timeout * 1000),
            session_timeout_ms=int(limits.session_timeout * 1000),
            heartbeat_interval_ms=int(limits.heartbeat_interval * 1000),
            rebalance_timeout_ms=int(limits.rebalance_timeout * 1000),
        )

    def _look(self) -> AIOKafkaConsumer:
        """Return a consumer for a look at single records; see `Pump`."""
        return make_async_consumer(
            self.app.kafka,
            auto_offset_reset="none",
            request_timeout_ms=int(limits_of(self.app).request_timeout * 1000),
        )

    async def on_start(self) -> None:
        await super().on_start()
        consumer = self._ensure_consumer()
        self.pump = Pump(consumer, limits_of(self.app), cast("Consumer", self.consumer).deliver, self._look)
        self.answers = Answers(consumer._client)  # noqa: SLF001 - the consumer does not tell when a broker answered
        self._beside = [self.thread_loop.create_task(self.answers.run())]
        self.app.answers = self.answers

    async def on_thread_stop(self) -> None:
        for task in self._beside:
            task.cancel()
        await asyncio.gather(*self._beside, return_exceptions=True)
        await super().on_thread_stop()

    async def subscribe(self, topics: Iterable[str]) -> None:
        """Subscribe to the topics that exist, and to each other one once it does."""
        await self.run_here(self._subscribe(set(topics)))

    async def _subscribe(self, topics: set[str]) -> None:
        consumer = self._ensure_consumer()
        listener = self._rebalance_listener
        self.absent = Absent(consumer._client, lambda found: consumer.subscribe(found, listener=listener))  # noqa: SLF001 - as above
        self.app.absent = self.absent
        begun: asyncio.Future[None] = self.thread_loop.create_future()
        waiting = self.thread_loop.create_task(self.absent.run(topics, begun))
        self._beside.append(waiting)
        await asyncio.wait([waiting, begun], return_when=asyncio.FIRST_COMPLETED)
        if waiting.done():
            waiting.result()

    def run_here(self, coroutine: Coroutine[Any, Any, T]) -> Awaitable[T]:
        """Run a coroutine in this thread's event loop; awaited in the main one."""
        return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self.thread_loop))

    async def commit_position(self, offsets: Mapping[TP, int], said: str) -> bool:
        """Commit, in this thread; False when the group moved on without us."""
        wanted = {TopicPartition(*tp): OffsetAndMetadata(offset, said) for tp, offset in offsets.items()}
        try:
            await self._ensure_consumer().commit(wanted)
        except (CommitFailedError, IllegalStateError) as error:
            log.warning("offsets not committed, the partitions have moved: %s", error)
            return False
        return True


class Consumer(driver.Consumer):
    """Consumer that hands over batches.

    A message's `value` is a `Batch`. A partition is read only after `open_partition`, and its offset moves only by
    `commit_offsets`.
    """

    RebalanceListener = RebalanceListener
    _thread: ConsumerThread

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._leases: dict[TP, Lease] = {}
        self._epoch = 0
        self._inbox: asyncio.Queue[Batch | MadeAnew | BaseException] = asyncio.Queue()
        self.on_made_anew: Callable[[TP], None] = lambda _: None
        """Told of a partition that has another lease now, as its topic was made anew."""

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    # What the application uses.

    @property
    def gaps(self) -> Gaps:
        """Counts of offset gaps."""
        return self._thread.pump.gaps

    def lease(self, tp: TP) -> Lease | None:
        """Return the running lease of a partition, None when it is not ours."""
        return self._leases.get(tp)

    def lag(self, tp: TP, position: int) -> int | None:
        """Return how many offsets lie between `position` and the log's end as of the last fetch, None if unknown."""
        lease = self._leases.get(tp)
        end = None if lease is None else self._thread.pump.end(lease)
        return None if end is None else max(end - position, 0)

    def unread(self, lease: Lease) -> int | None:
        """Return how many offsets of a leased partition are not read yet, as of the last fetch, None if unknown."""
        return self._thread.pump.unread(lease)

    def up_to_date(self, lease: Lease) -> bool:
        """Return whether the end known of a leased partition is up to date."""
        return self._thread.pump.up_to_date(lease)

    async def begin_partition(self, lease: Lease) -> Begin:
        """Return what is known of a leased partition before it is read.

        Raises
        ------
        KafkaError
            When the broker does not answer.
        """
        return await self._thread.run_here(self._thread.pump.begin(lease))

    async def open_partition(self, lease: Lease, offset: int | None, *, sure: bool = True) -> None:
        """Begin to read a leased partition at `offset`, or at the log's begin when None; see `Pump.open`.

        Raises
        ------
        KafkaError
            When the broker does not answer.
        """
        await self._thread.run_here(self._thread.pump.open(lease, offset, sure=sure))

    async def commit_offsets(self, offsets: Mapping[TP, int], said: str = "") -> bool:
        """Commit the next offset to read of each partition; False when the group moved on without us.

        Beside the offset it writes the topic's incarnation, for the partition's next owner.

        Raises
        ------
        KafkaError
            When the broker refuses for another reason; retriable ones are retried until the caller's own timeout.
        """
        return await self._thread.run_here(self._thread.commit_position(offsets, said))

    # The pump's end in this thread.

    def deliver(self, item: Batch | MadeAnew | BaseException) -> None:
        """Pass a batch, or what takes its place, on to the main thread."""
        self.loop.call_soon_threadsafe(self._inbox.put_nowait, item)

    def _give_back(self, lease: Lease) -> None:
        if lease.alive:
            self._thread.thread_loop.call_soon_threadsafe(self._thread.pump.give_back, lease)

    async def _drain_messages(self, fetcher: Any) -> None:
        pump = asyncio.ensure_future(self._thread.run_here(self._thread.pump.run()))
        pump.add_done_callback(self._pump_ended)
        try:
            while not (self.should_stop or fetcher.should_stop):
                item = await self._inbox.get()
                if isinstance(item, BaseException):
                    raise item
                if isinstance(item, MadeAnew):
                    self._lease_anew(item.lease)
                    continue
                while item.current and not self.flow_active:
                    await self.can_resume_flow.wait()
                if item.current:
                    # A rebalance must not wait for a stream that flow control holds back.
                    await self.wait_first(self.callback(self._message(item)), self.suspend_flow.wait())
        except self.consumer_stopped_errors:
            if not self.app.should_stop:
                raise
        finally:
            pump.remove_done_callback(self._pump_ended)
            pump.cancel()

    def _pump_ended(self, pump: asyncio.Future[None]) -> None:
        error = None if pump.cancelled() else pump.exception()
        self._inbox.put_nowait(error or ThreadCancelledError("the consumer's thread ended"))

    def _message(self, batch: Batch) -> ConsumerMessage:
        tp = TP(batch.topic, batch.partition)
        stamp = float(batch.timestamps[-1]) / 1000.0
        head = (batch.topic, batch.partition, batch.first_offset, stamp, 0, None, None, batch, None, 0, batch.size)
        return ConsumerMessage(*head, tp, generation_id=self.app.consumer_generation_id)

    # Leases follow the group's assignment.

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        self._end_leases()
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        self._end_leases()
        self._epoch += 1
        self._leases = {tp: Lease(tp.topic, tp.partition, self._epoch, self._give_back) for tp in assigned}
        await super().on_partitions_assigned(assigned, generation_id)

    def _lease_anew(self, lease: Lease) -> None:
        tp = TP(lease.topic, lease.partition)
        if self._leases.get(tp) is lease:
            self._epoch += 1
            self._leases[tp] = Lease(tp.topic, tp.partition, self._epoch, self._give_back, anew=True)
            self.on_made_anew(tp)

    def _end_leases(self) -> None:
        # The protocol is eager: every rebalance revokes every partition, kept ones too.
        for lease in self._leases.values():
            lease.alive = False
        self._leases = {}

    async def on_stop(self) -> None:
        self._end_leases()
        await super().on_stop()

    # Faust's own offset bookkeeping, switched off.

    def ack(self, message: Any) -> bool:
        message.acked = True
        return True

    def track_message(self, message: Any) -> None:
        self._on_message_in(message.tp, message.offset, message)

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        return False

    async def force_commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        return False

    async def perform_seek(self) -> None:
        return None

    async def seek_to_committed(self) -> Mapping[TP, int]:
        return {}

    def verify_event_path(self, now: float, tp: TP) -> None:
        return None

    def close(self) -> None:
        """Do nothing: Faust calls it when the group rebalances while we stop; stopping closes the client in order."""


def limits_of(app: Any) -> Limits:
    """Return the limits an application carries as `transport_limits`, or the defaults."""
    limits = getattr(app, "transport_limits", None)
    return limits if isinstance(limits, Limits) else Limits()
