"""Archives our topics as they grow. It keeps no position but the archive's own and is in no consumer group: killed at
any moment, it goes on behind the last step; two of them beside each other write each step once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from siphonwatch.streams.common.answers import Answers, silent
from siphonwatch.streams.common.incarnation import ASK_SECONDS, UNKNOWN, KnowingConsumer, mark_of
from siphonwatch.streams.common.kafka import make_async_consumer
from siphonwatch.streams.common.polling import getmany
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.common.tail import Tail, TailError
from siphonwatch.streams.contracts import provenance
from siphonwatch.streams.contracts.control import Erase, NotAControl, decode
from siphonwatch.streams.contracts.provenance import Seals
from siphonwatch.streams.lab.archive.layout import KINDS, Gap, Kind, Manifest, Position
from siphonwatch.streams.lab.archive.metrics import Behind
from siphonwatch.streams.lab.archive.store import Store, TakenError
from siphonwatch.streams.lab.archive.writer import STEP_ROWS, Writer
from siphonwatch.streams.worker.agents.sources import fresh
from siphonwatch.streams.worker.orders import Order, Orders
from siphonwatch.streams.worker.transport import codecs

POLL_MS = 500
MAX_RECORDS = 8192
RETRY_SECONDS = 5.0
SETTLE_SECONDS = 2.0
"""How long a partition with nothing to read may take to say so."""
STEP_SECONDS = 300.0
"""A step is due so long after its first row: twelve files an hour and partition."""

_log = structlog.get_logger(__name__)


class _Again(Exception):
    """Begin again from the archive's positions."""


class Follower:
    """Writes an archive from Kafka.

    Parameters
    ----------
    settings
        Where the topics are.
    store
        Where the archive is.
    step_rows, step_seconds
        A step is closed after either.
    on_step
        Called with each manifest that was written.
    on_begin
        Called with the newest manifest that was there before.
    clock
        Monotonic seconds.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        *,
        step_rows: int = STEP_ROWS,
        step_seconds: float = STEP_SECONDS,
        on_step: Callable[[Manifest], None] = lambda _: None,
        on_begin: Callable[[Manifest], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._store = store
        self._kinds: dict[str, Kind] = {settings.topic(kind): kind for kind in KINDS}
        self._seals = Seals.from_settings(settings)
        self._step_rows = step_rows
        self._step_seconds = step_seconds
        self._on_step = on_step
        self._on_begin = on_begin
        self._clock = clock
        self._incarnations: dict[str, str] = {}
        self._ends: dict[TopicPartition, int] = {}
        self._answers: Answers | None = None
        self._lags: dict[TopicPartition, tuple[int, float | None]] = {}
        """Offsets that no step holds, and since when the oldest of them may have waited, seconds since 1970."""
        self._away_since: float | None = time.time()
        self.waiting = "the topics have not been read yet"
        """Why not every partition is being read; empty where each is."""

    def broker_ages(self) -> dict[str, float]:
        """Return for how many seconds each broker has not answered."""
        return {} if self._answers is None else self._answers.ages()

    def behind(self) -> dict[Kind, Behind]:
        """Return how far each kind is behind its topic."""
        now = time.time()
        ages = self.broker_ages()
        unheard = max(ages.values(), default=0.0) if silent(ages) else 0.0
        if self._away_since is not None:
            unheard = max(unheard, now - self._away_since)
        found: dict[Kind, Behind] = {}
        for kind in KINDS:
            lags = [lag for tp, lag in list(self._lags.items()) if self._kinds[tp.topic] == kind]
            oldest = max((now - since for _, since in lags if since is not None), default=0.0)
            records = None if unheard else sum(offsets for offsets, _ in lags)
            found[kind] = Behind(records, max(oldest, unheard, 0.0))
        return found

    async def run(self, stop: asyncio.Event, *, once: bool = False) -> None:
        """Archive until stopped, or with `once` what the topics hold now.

        Raises
        ------
        StoreError
            When the archive cannot be read or written.
        KafkaError, TailError
            When the topics cannot be read, and `once` is set.
        """
        while not stop.is_set():
            try:
                await self._follow(stop, once)
                return
            except (_Again, TakenError) as error:
                self._leave(str(error))
                _log.info("beginning again where the archive ends", reason=str(error))
            except (KafkaError, OSError, TailError) as error:
                if once:
                    raise
                self._leave(f"topics cannot be read: {type(error).__name__}: {error}")
                _log.warning("topics cannot be read", error=f"{type(error).__name__}: {error}", again_in=RETRY_SECONDS)
                await asyncio.sleep(RETRY_SECONDS)

    async def _follow(self, stop: asyncio.Event, once: bool) -> None:
        codecs.bound()
        writer = await asyncio.to_thread(Writer, self._store)
        if writer.manifests:
            self._on_begin(writer.manifests[-1])
        consumer = make_async_consumer(self._settings.kafka, *self._kinds, client_id="siphonwatch-archive")
        self._ends, self._lags = {}, {}
        asking: asyncio.Task[None] | None = None
        try:
            await consumer.start()
            self._answers = Answers(consumer._client)  # noqa: SLF001 - the consumer does not tell when it was answered
            asking = asyncio.create_task(self._answers.run())
            self._incarnations = {topic: await consumer.incarnation(topic) for topic in self._kinds}
            begun: set[TopicPartition] = set()
            for tp in sorted(consumer.assignment()):
                await self._begin(consumer, writer, tp)
                begun.add(tp)
            ends = await consumer.end_offsets(list(begun))
            asked = quiet = self._clock()
            self.waiting, self._away_since = "", None
            while not stop.is_set():
                polled = await getmany(consumer, timeout_ms=POLL_MS, max_records=MAX_RECORDS)
                now = self._clock()
                if polled:
                    quiet = now
                if polled or now - asked >= ASK_SECONDS:
                    asked = now
                    if await self._another(consumer):
                        await self._close(writer)  # what came with this poll may be of either topic
                        raise _Again("a topic was made anew")
                for tp, records in polled.items():
                    if tp not in begun:
                        await self._begin(consumer, writer, tp)
                        begun.add(tp)
                    await self._take(consumer, writer, tp, records)
                self._look(consumer, writer, begun)
                since = writer.since
                if writer.waiting >= self._step_rows or (since and time.time() - since >= self._step_seconds):
                    await self._close(writer)
                if once and await self._is_read(consumer, ends, now - quiet):
                    break
            await self._close(writer)
            self._look(consumer, writer, begun)
        finally:
            self._answers = None
            if asking is not None:
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
            await consumer.stop()

    def _leave(self, why: str) -> None:
        """Note that nothing is read from now on."""
        self.waiting = why
        if self._away_since is None:
            self._away_since = time.time()

    def _look(self, consumer: KnowingConsumer, writer: Writer, begun: Collection[TopicPartition]) -> None:
        """Note how far each partition is behind."""
        now = time.time()
        for tp in begun:
            key = self._kinds[tp.topic], tp.partition
            since = writer.oldest(*key)
            reached = writer.next(*key) if since is None else writer.held(*key)
            lag = max((consumer.highwater(tp) or 0) - reached, 0)
            _, before = self._lags.get(tp, (0, None))
            if since is None and lag:
                since = now if before is None else before
            self._lags[tp] = lag, since

    async def _close(self, writer: Writer) -> None:
        if writer.waiting:
            # Up to now, so that what was ordered before somebody looked into the archive is in no later step.
            writer.orders = await asyncio.to_thread(self._orders)
        if manifest := await asyncio.to_thread(writer.close):
            self._on_step(manifest)

    def _orders(self) -> Orders:
        """Return the orders to erase accounts."""
        found = []
        with Tail.connect(self._settings, self._settings.topic("control")) as tail:
            for value in tail.history():
                try:
                    control = decode(value)
                except NotAControl:
                    continue
                if isinstance(control, Erase):
                    found.append(Order.of(control))
        return Orders(found)

    async def _another(self, consumer: KnowingConsumer) -> bool:
        """Whether one of the topics is another one than when reading began."""
        for topic, known in self._incarnations.items():
            now = await consumer.incarnation(topic)
            if now not in (UNKNOWN, known):
                return True
        return False

    async def _is_read(self, consumer: KnowingConsumer, ends: dict[TopicPartition, int], quiet: float) -> bool:
        """Whether all is read that the topics held when reading began, or at each partition's first fetch."""
        for tp in ends.keys() - self._ends.keys():
            if (high := consumer.highwater(tp)) is not None:
                self._ends[tp] = max(ends[tp], high)
        if len(self._ends) < len(ends) and quiet < SETTLE_SECONDS:
            return False
        return all([await consumer.position(tp) >= end for tp, end in (ends | self._ends).items()])

    async def _begin(self, consumer: KnowingConsumer, writer: Writer, tp: TopicPartition) -> None:
        """Go on with a partition where the archive ends, or at its begin."""
        kind, known = self._kinds[tp.topic], self._incarnations[tp.topic]
        first = (await consumer.beginning_offsets([tp]))[tp]
        position = writer.positions.get((kind, tp.partition))
        if position is None:
            writer.begin(kind, tp.partition, known or "topic", first)
        elif await self._is_same(consumer, tp, position, known, first):
            writer.begin(kind, tp.partition, position.incarnation, position.next)
            first = max(first, position.next)
            writer.expired(kind, tp.partition, first)
        else:
            number = sum(r.kind == kind and r.partition == tp.partition for m in writer.manifests for r in m.ranges)
            writer.begin(
                kind, tp.partition, known or f"anew{number}", first, Gap(position.next, -1, "anew")
            )  # fmt: skip
            _log.warning("the topic was made anew: what was not read of the old one is gone", topic=tp.topic)
        consumer.seek(tp, first)

    async def _is_same(
        self, consumer: KnowingConsumer, tp: TopicPartition, position: Position, known: str, first: int
    ) -> bool:
        """Whether a topic is the one that a position was noted in; by its last record where the broker gives no id."""
        if known != UNKNOWN:
            return position.incarnation == known
        last = position.next - 1
        if not position.mark or last < first:
            return position.next >= first or first > 0
        consumer.seek(tp, last)
        polled = await getmany(consumer, tp, timeout_ms=int(SETTLE_SECONDS * 1000), max_records=1)
        return any(
            record.offset == last and mark_of(record.timestamp, record.value) == position.mark
            for record in polled.get(tp, ())
        )

    async def _take(self, consumer: KnowingConsumer, writer: Writer, tp: TopicPartition, records: list[Any]) -> None:
        kind = self._kinds[tp.topic]
        due = writer.next(kind, tp.partition)
        if records[0].offset > due:
            begin = (await consumer.beginning_offsets([tp]))[tp]
            writer.expired(kind, tp.partition, min(begin, records[0].offset))
        repeated = None
        if kind == "telemetry" and any(record.headers for record in records):
            mac = self._seals.mac(provenance.SOURCE, tp.partition)
            repeated = ~fresh([r.headers for r in records], writer.sources(kind, tp.partition), mac).keep
        writer.take(
            kind,
            tp.partition,
            [record.value for record in records],
            np.array([record.offset for record in records], np.int64),
            np.array([record.timestamp for record in records], np.int64),
            repeated=repeated,
            mark="" if self._incarnations[tp.topic] else mark_of(records[-1].timestamp, records[-1].value),
        )
