"""Workers and producers that the transport's tests run: durable state is a dictionary that outlives the worker."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.operate.topics import connect, create
from siphonwatch.streams.worker.agents.partition import Place
from siphonwatch.streams.worker.app import WorkerApp, create_app, serve
from siphonwatch.streams.worker.gauges import Readings
from siphonwatch.streams.worker.meter import Meter
from siphonwatch.streams.worker.transport import Batch, Begin, Limits

FAST = Limits(session_timeout=6.0, heartbeat_interval=0.5, rebalance_timeout=20.0, fetch_wait_ms=100)
PATIENT = Limits(session_timeout=60.0, heartbeat_interval=0.5, rebalance_timeout=240.0, fetch_wait_ms=100)
"""The group gives no partition of a slow worker away: for tests that count what moves."""


@dataclass
class Store:
    """What survives a worker: for each partition, where to read on and how often each record was applied."""

    next_offset: dict[int, int] = field(default_factory=dict)
    applied: dict[int, Counter[bytes]] = field(default_factory=dict)
    version: Counter[int] = field(default_factory=Counter)

    def total(self) -> int:
        return sum(sum(counts.values()) for counts in self.applied.values())


class Counting:
    """Counts records by value in memory; a checkpoint copies the counts to the store."""

    def __init__(self, store: Store, meter: Meter) -> None:
        self.store = store
        self.partition = meter.partition
        self.counts: Counter[bytes] = Counter()
        self.batches: list[Batch] = []
        self.position = 0
        self.version = 0
        self.commits = 0

    async def restore(self, begin: Begin) -> Place:
        self.counts = Counter(self.store.applied.get(self.partition, Counter()))
        self.position = self.store.next_offset.get(self.partition, 0)
        self.version = self.store.version[self.partition]
        return Place(self.position)

    async def resume(self, begin: Begin) -> Place | None:
        return Place(self.position) if self.store.version[self.partition] == self.version else None

    async def process(self, batch: Batch) -> None:
        assert batch.first_offset >= self.position
        self.counts.update(value for value in batch.values if value is not None)
        self.position = batch.next_offset
        self.batches.append(batch)

    async def checkpoint(self) -> int | None:
        if self.position == self.store.next_offset.get(self.partition, 0):
            return None
        assert self.store.version[self.partition] == self.version, "another worker wrote this partition meanwhile"
        self.version = self.store.version[self.partition] = self.version + 1
        self.store.applied[self.partition] = Counter(self.counts)
        self.store.next_offset[self.partition] = self.position
        return self.position

    async def committed(self) -> None:
        self.commits += 1

    def blocked(self) -> float:
        return 0.0

    def readings(self) -> Readings:
        return iter(())

    async def close(self) -> None:
        self.counts = Counter()


@dataclass
class Worker:
    """A running worker of a test."""

    app: WorkerApp
    stopping: asyncio.Event
    exit: asyncio.Task[int]

    async def stop(self) -> int:
        self.stopping.set()
        return await asyncio.wait_for(self.exit, 300)


def prepare(settings: Settings) -> None:
    with connect(settings.kafka) as admin:
        create(settings, admin)


def start(settings: Settings, make: Callable[[Meter], object], limits: Limits = FAST, **options: object) -> Worker:
    app = create_app(settings, make_partition=make, limits=limits, **options)  # type: ignore[arg-type]
    stopping = asyncio.Event()
    return Worker(app, stopping, asyncio.create_task(serve(app, stopping)))


@asynccontextmanager
async def running(
    settings: Settings, make: Callable[[Meter], object], limits: Limits = FAST, **options: object
) -> AsyncIterator[Worker]:
    """A worker that must stop cleanly at the end of the block."""
    worker = start(settings, make, limits, **options)
    try:
        yield worker
    finally:
        code = await worker.stop()
    assert code == 0


async def until(condition: Callable[[], object], seconds: float = 600.0) -> None:
    """Wait for a condition; fail the test when it does not come true."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - conditions of any kind, not one event
            await asyncio.sleep(0.05)


@asynccontextmanager
async def producing(settings: Settings, **options: object) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka.bootstrap, linger_ms=5, **options)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def produce(settings: Settings, values: list[bytes], topic: str = "", partition: int | None = None) -> None:
    """Produce values, spread over the topic's partitions in turn unless one is named; return when acknowledged."""
    topic = topic or settings.topic("telemetry")
    async with producing(settings) as producer:
        sent = [
            await producer.send(
                topic, value, partition=i % settings.topics.partitions if partition is None else partition
            )
            for i, value in enumerate(values)
        ]
        await asyncio.gather(*sent)


def numbered(count: int, begin: int = 0) -> list[bytes]:
    return [b"%d" % i for i in range(begin, begin + count)]


async def committed(settings: Settings, topic: str = "") -> dict[int, int]:
    """Offsets the group has committed, by partition."""
    topic = topic or settings.topic("telemetry")
    partitions = [TopicPartition(topic, number) for number in range(settings.topics.partitions)]
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka.bootstrap, group_id=settings.kafka.group, enable_auto_commit=False
    )
    await consumer.start()
    try:
        consumer.assign(partitions)
        offsets = {tp.partition: await consumer.committed(tp) for tp in partitions}
    finally:
        await consumer.stop()
    return {partition: offset for partition, offset in offsets.items() if offset is not None}
