"""The pump: runs in the consumer's thread and moves what partitions have ready into batches, fairly and bounded.

It takes from a partition only while that partition has room, so what is not taken stays with the broker. It never
commits, and never touches a partition whose lease ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer.fetcher import Fetcher, FetchResult
from aiokafka.errors import ConsumerStoppedError, KafkaError, OffsetOutOfRangeError

from siphonwatch.streams.common.answers import SILENT_SECONDS
from siphonwatch.streams.common.incarnation import ASK_SECONDS, MARK, UNKNOWN, incarnation_of, incarnations, mark_of
from siphonwatch.streams.worker.transport.batch import Batch, Begin, Lease, MadeAnew
from siphonwatch.streams.worker.transport.gaps import Gaps, Meaning
from siphonwatch.streams.worker.transport.limits import Limits
from siphonwatch.streams.worker.transport.unpack import Unpacker

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5
"""A safety net: arrival of data, returned room and new partitions all wake the pump at once."""

MARK_MS = 5000
"""How long the record before a position may take to come; the position is trusted without it."""


class TransportError(RuntimeError):
    """The log and our position in it do not fit together; the message names both and the remedy."""


@dataclass(slots=True, eq=False)
class _Lane:
    """What the pump knows of one leased partition."""

    lease: Lease
    tp: TopicPartition
    room: int
    expected: int | None
    sure: bool = True
    result: FetchResult | None = None
    verified: object = None
    """What was fetched last that is known to be of the incarnation that was leased."""
    unpacker: Unpacker | None = None


class Pump:
    """Moves records of leased partitions into batches.

    All methods run in the consumer's event loop.

    Parameters
    ----------
    consumer
        A started aiokafka consumer.
    limits
        Batch and flight limits.
    deliver
        Gets each batch, and where one is not of the topic that was leased, that; must not block.
    look
        Returns a consumer without a group, not started, that resets no offset: for a look at single records.
    clock
        Monotonic seconds.
    """

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        limits: Limits,
        deliver: Callable[[Batch | MadeAnew], None],
        look: Callable[[], AIOKafkaConsumer],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._consumer = consumer
        self._fetcher: Fetcher = consumer._fetcher  # noqa: SLF001 - public calls build a Python object a record
        self._limits = limits
        self._deliver = deliver
        self._look = look
        self._lanes: dict[TopicPartition, _Lane] = {}
        self._read: dict[TopicPartition, str] = {}  # the incarnations that were begun here
        self._wake = asyncio.Event()
        self._clock = clock
        self._asked = clock()
        self._answered = True
        self._asking: asyncio.Task[None] | None = None
        self.gaps = Gaps(consumer)

    async def begin(self, lease: Lease) -> Begin:
        """Return what is known of a partition before it is read; its lease knows the topic's incarnation from then on.

        Raises
        ------
        KafkaError
            When the broker does not answer.
        """
        tp = TopicPartition(lease.topic, lease.partition)
        lease.incarnation = await incarnation_of(self._consumer._client, tp.topic)  # noqa: SLF001 - a request that it lacks
        offsets = await self._consumer._coordinator.fetch_committed_offsets([tp])  # noqa: SLF001 - with their metadata
        committed, said = offsets.get(tp, (None, ""))
        known = bool(said and lease.incarnation and not said.startswith(MARK))
        anew = lease.anew or (known and said != lease.incarnation)
        if committed and said.startswith(MARK) and not lease.incarnation:
            anew = anew or await self._mark(tp, committed - 1) not in ("", said)
        if committed is None and lease.incarnation:  # brokers forget what was committed of a topic that is deleted
            anew = anew or self._read.get(tp, lease.incarnation) != lease.incarnation
        self._read[tp] = lease.incarnation
        return Begin(lease.incarnation, None if anew else committed, known and not anew, anew, said)

    async def _mark(self, tp: TopicPartition, offset: int) -> str:
        """Return the mark of the record at an offset, see `mark_of`; empty where the record is gone."""
        async with self._look() as consumer:
            consumer.assign([tp])
            consumer.seek(tp, offset)
            try:
                polled = await consumer.getmany(tp, timeout_ms=MARK_MS, max_records=1)
            except OffsetOutOfRangeError:  # `open` sees it too
                return ""
        records = [record for record in polled.get(tp, ()) if record.offset == offset]
        return mark_of(records[0].timestamp, records[0].value) if records else ""

    async def open(self, lease: Lease, offset: int | None, *, sure: bool = True) -> None:
        """Begin to read a partition that was paused when it was assigned.

        Parameters
        ----------
        offset
            First offset to read: the log should have it. None for the log's begin, wherever that is.
        sure
            Whether the offset is known to be one of the topic's present incarnation.

        Raises
        ------
        KafkaError
            When the broker does not answer.
        """
        tp = TopicPartition(lease.topic, lease.partition)
        if not lease.alive:
            return
        if offset:
            self._consumer.seek(tp, offset)
        else:
            await self._consumer.seek_to_beginning(tp)
        if lease.alive:
            self._lanes[tp] = _Lane(lease, tp, self._limits.max_in_flight, offset, sure)
            self._consumer.resume(tp)
            self._wake.set()

    def give_back(self, lease: Lease) -> None:
        """Take note that a batch of the lease is done."""
        lane = self._lanes.get(TopicPartition(lease.topic, lease.partition))
        if lane is not None and lane.lease is lease:
            lane.room += 1
            self._wake.set()

    def unread(self, lease: Lease) -> int | None:
        """Return how many offsets are still unread, as of the last fetch; None before one, or where it is old.

        What is read includes transaction markers, which no batch shows. Safe to call from any thread.
        """
        state = self._state(lease)
        if state is None or not self.up_to_date(lease):
            return None
        end = state.highwater if state.lso is None else state.lso
        return max(end - state.position, 0) if end is not None and state.has_valid_position else None

    def end(self, lease: Lease) -> int | None:
        """Return the offset behind the log's last record, as of the last fetch; None before one, or where it is old.

        A partition whose assignment was just taken back has none. Safe to call from any thread.
        """
        state = self._state(lease)
        return None if state is None or not self.up_to_date(lease) else state.highwater

    def up_to_date(self, lease: Lease) -> bool:
        """Return whether a partition's last fetch is up to date: the broker answered it, or none is under way.

        Nothing is asked while what was fetched waits for room. Safe to call from any thread.
        """
        state = self._state(lease)
        waits = TopicPartition(lease.topic, lease.partition) in self._fetcher._records  # noqa: SLF001 - as in `_take`
        if state is None or state.timestamp is None or waits:
            return True
        return bool(time.time() - state.timestamp / 1000 < SILENT_SECONDS)

    def _state(self, lease: Lease) -> Any:
        """What aiokafka knows of a leased partition; None where it is not open or moved on."""
        lane = self._lanes.get(TopicPartition(lease.topic, lease.partition))
        assignment = self._consumer._subscription.subscription.assignment  # noqa: SLF001 - `position` would ask the broker
        if lane is None or lane.lease is not lease or assignment is None or lane.tp not in assignment.tps:
            return None
        return assignment.state_value(lane.tp)

    async def run(self) -> None:
        """Pump until cancelled.

        Raises
        ------
        TransportError
            When a partition's offsets go back.
        KafkaError
            What aiokafka cannot recover from, such as missing authorisation or a corrupt record.
        """
        try:
            # Held all the time, so that aiokafka does not take back-pressure for an idle consumer and leave the group.
            with self._fetcher._subscriptions.fetch_context():  # noqa: SLF001
                while True:
                    self._wake.clear()
                    if not await self._round():
                        await self._wait()
        finally:
            if self._asking is not None:
                self._asking.cancel()

    async def _round(self) -> bool:
        """Take at most one batch of each partition with room; whether there was any."""
        if self._fetcher._closed:  # noqa: SLF001
            raise ConsumerStoppedError
        moved = False
        self._verify()
        for lane in list(self._lanes.values()):
            if self._lanes.get(lane.tp) is not lane:
                continue  # it left while another one was waited for
            if not lane.lease.alive:
                del self._lanes[lane.tp]
                self.gaps.forget(lane.tp)
            elif lane.room and not self._fetcher._subscriptions.reassignment_in_progress:  # noqa: SLF001
                batch = await self._take(lane)
                if batch is not None:
                    lane.room -= 1
                    self._deliver(batch)
                    moved = True
                    await asyncio.sleep(0)  # heartbeats and fetches come first
        return moved

    def _verify(self) -> None:
        """Have the broker asked whether the fetched records are of the leased incarnations.

        Nothing that was fetched is taken before the answer, see `_take`. What was verified before is taken meanwhile,
        so that the partitions which have it do not wait for the broker.
        """
        if self._asking is not None:
            if not self._asking.done():
                return
            self._asking.result()  # raises what it failed of, other than an answer that did not come
        fetched = {lane.tp: self._fetcher._records.get(lane.tp) for lane in self._lanes.values() if lane.lease.alive}  # noqa: SLF001
        lanes = [self._lanes[tp] for tp in fetched if self._lanes[tp].lease.incarnation]
        due = self._clock() - self._asked >= ASK_SECONDS  # of a topic that is shorter now some brokers send nothing
        if not lanes or not (due or any(fetched[lane.tp] is not lane.verified for lane in lanes)):
            return
        self._asking = asyncio.create_task(self._ask({lane: fetched[lane.tp] for lane in lanes}))

    async def _ask(self, fetched: Mapping[_Lane, object]) -> None:
        """Ask for the topics' ids; note what is verified, and end the leases of topics made anew.

        It asks after the fetch: a topic's id is never used again, so one that is as before was so all the time. While
        the broker does not answer, what was fetched stays where it is.
        """
        try:
            found = await incarnations(self._consumer._client, {lane.tp.topic for lane in fetched})  # noqa: SLF001
        except KafkaError as error:
            if self._answered:
                log.warning("topic ids are not known, so nothing is taken: %s: %s", type(error).__name__, error)
            self._answered = False
            return
        self._asked, self._answered = self._clock(), True
        for lane, result in fetched.items():
            incarnation = found.get(lane.tp.topic, UNKNOWN)
            if self._lanes.get(lane.tp) is not lane or not lane.lease.alive:
                continue  # it was revoked meanwhile
            if incarnation == lane.lease.incarnation:
                lane.verified = result
            elif incarnation:
                self._leave_anew(lane)
        self._wake.set()

    def _leave_anew(self, lane: _Lane) -> None:
        """End a lease whose topic was made anew, and hand over a `MadeAnew`."""
        self._release(lane)
        self._lanes.pop(lane.tp, None)
        self.gaps.forget(lane.tp)
        self._consumer.pause(lane.tp)
        lane.lease.gone, lane.lease.alive = True, False
        self._deliver(MadeAnew(lane.lease))

    async def _wait(self) -> None:
        arrival = self._fetcher._create_fetch_waiter()  # noqa: SLF001
        woken = asyncio.ensure_future(self._wake.wait())
        try:
            await asyncio.wait([arrival, woken], timeout=POLL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if arrival.done():
                arrival.result()  # raises what the coordinator cannot recover from
        finally:
            woken.cancel()
            if not arrival.done():
                arrival.cancel()

    async def _take(self, lane: _Lane) -> Batch | None:
        result = self._fetcher._records.get(lane.tp)  # noqa: SLF001
        if result is None or (lane.lease.incarnation and result is not lane.verified):
            return None
        if not isinstance(result, FetchResult):
            self._release(lane)
            result.check_raise()
        if not result.check_assignment(lane.tp):
            self._release(lane)
            return None
        if lane.result is not result or lane.unpacker is None:
            lane.result, lane.unpacker = result, Unpacker(result._partition_records, lane.expected)  # noqa: SLF001
        batch = lane.unpacker.take(lane.lease, self._limits)
        if batch is None and lane.unpacker.gap is not None:
            if not await self._pass_gap(lane, lane.unpacker):
                return None
            batch = lane.unpacker.take(lane.lease, self._limits)
        self._advance(lane, result, lane.unpacker)
        return batch

    def _advance(self, lane: _Lane, result: FetchResult, unpacker: Unpacker) -> None:
        """Tell aiokafka how far the response is read, and let it fetch on when it is read to its end."""
        lane.expected = unpacker.position
        result._partition_records.next_fetch_offset = unpacker.position  # noqa: SLF001
        result._update_position()  # noqa: SLF001
        if unpacker.exhausted:
            self._release(lane)

    async def _pass_gap(self, lane: _Lane, unpacker: Unpacker) -> bool:
        """Whether reading goes on behind the gap; otherwise it is fetched again, or the partition left."""
        gap = unpacker.gap
        assert gap is not None  # noqa: S101 - for the type checker: the caller saw it
        if gap.end < gap.begin:
            if lane.sure:
                raise TransportError(
                    f"{lane.tp.topic}[{lane.tp.partition}] has no offset {gap.begin}, which is due next, and reading "
                    f"fell back to {gap.end}: the topic lost its tail. Restore it; or delete it and create it "
                    "again, which is recognised: it is read from its start then"
                )
            self._leave_anew(lane)
            return False
        meaning = await self.gaps.judge(lane.tp, gap)
        if not lane.lease.alive:
            return False
        if meaning is Meaning.REREAD:
            self._consumer.seek(lane.tp, gap.begin)
            lane.result = lane.unpacker = None
            return False
        unpacker.skip()
        return True

    def _release(self, lane: _Lane) -> None:
        """Drop the response, so that aiokafka fetches on."""
        lane.result = lane.unpacker = None
        with contextlib.suppress(KeyError):
            del self._fetcher._records[lane.tp]  # noqa: SLF001
        self._fetcher._notify(self._fetcher._wait_consume_future)  # noqa: SLF001
