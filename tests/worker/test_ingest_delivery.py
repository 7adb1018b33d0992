"""What comes of a gateway's records reaches telemetry once and in order, whatever the broker refuses in between."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaTimeoutError, MessageSizeTooLargeError
from kafka.admin import ConfigResource, ConfigResourceType
from prometheus_client import CollectorRegistry
from worker_tools import KEY, Worker, prepare, read, scored, traffic, until

from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts import provenance
from siphonwatch.streams.contracts.provenance import UNKEYED, Seals
from siphonwatch.streams.contracts.telemetry import encode
from siphonwatch.streams.edge.adapters import make_adapter
from siphonwatch.streams.edge.children import Beside
from siphonwatch.streams.edge.sketch import Sketcher
from siphonwatch.streams.operate.topics import connect
from siphonwatch.streams.worker.agents.ingest import GatewayIngest
from siphonwatch.streams.worker.agents.sources import SOURCE, fresh
from siphonwatch.streams.worker.inorder import InOrder, make_turns
from siphonwatch.streams.worker.meter import Meter
from siphonwatch.streams.worker.metrics import INGEST, Metrics
from siphonwatch.streams.worker.outlet import KafkaOutlet
from siphonwatch.streams.worker.retries import Retries
from siphonwatch.streams.worker.transport import Batch
from siphonwatch.streams.worker.transport.batch import Lease


class Builder:
    """Room for as many records as a request of aiokafka's might hold."""

    def __init__(self) -> None:
        self.records: list[tuple[bytes, Any]] = []

    def append(self, *, key: bytes, value: bytes, timestamp: None, headers: Any) -> object | None:
        if len(self.records) == 100:
            return None
        self.records.append((value, tuple(headers)))
        return value

    def close(self) -> None:
        """Nothing is added any more."""


class Broker:
    """A producer to a broker that fails as `fails(request number, its records)` says."""

    def __init__(self, fails: Any = lambda _number, _records: None) -> None:
        self.fails = fails
        self.numbers = 0
        self.log: defaultdict[int, list[tuple[bytes, Any]]] = defaultdict(list)

    async def partitions_for(self, topic: str) -> set[int]:
        return {0, 1}

    def create_batch(self) -> Any:
        return Builder()

    async def send_batch(self, builder: Builder, topic: str, partition: int) -> asyncio.Future[None]:
        self.numbers += 1
        error = self.fails(self.numbers, builder.records)

        async def answer() -> None:
            await asyncio.sleep(0.001)
            if error is not None:
                raise error
            self.log[partition] += builder.records

        return asyncio.ensure_future(answer())

    def applied(self) -> Counter[bytes]:
        """What the readers of both partitions make of it."""
        found: Counter[bytes] = Counter()
        for partition, records in self.log.items():
            keep = fresh([headers for _, headers in records], {}, UNKEYED.mac(provenance.SOURCE, partition)).keep
            found.update(value for (value, _), new in zip(records, keep, strict=True) if new)
        return found


async def no_pause(_: float) -> None:
    await asyncio.sleep(0)


def ingest(broker: Broker, topic: str, number: int = 0, turns: Any = None) -> tuple[GatewayIngest, Retries]:
    settings = Settings()
    settings.identity.key = KEY
    identity = Identity.from_settings(settings)
    adapter = make_adapter("telemetry", settings, Sketcher(identity), identity)
    meter = Meter(Metrics(CollectorRegistry()), INGEST, topic, number)
    retries = Retries(meter, no_pause)
    outlet = KafkaOutlet(broker, settings, retries)  # type: ignore[arg-type]
    sender = InOrder(broker, "telemetry", make_turns() if turns is None else turns, retries)  # type: ignore[arg-type]
    return GatewayIngest(Beside({topic: adapter}, dict, 1), sender, outlet, retries, meter, UNKEYED), retries


def batches(values: list[bytes], topic: str, size: int = 300, first: int = 0) -> list[Batch]:
    lease = Lease(topic, 0, 1, lambda _: None)
    return [
        Batch(
            lease, keys=[None] * len(part), values=list(part), headers=[()] * len(part), size=1,
            offsets=np.arange(start, start + len(part)), timestamps=np.zeros(len(part), np.int64),
            next_offset=start + len(part),
        )
        for start in range(first, len(values), size)
        for part in [values[start : start + size]]
    ]  # fmt: skip


def log_of(topic: str) -> list[bytes]:
    return [encode(msgspec.structs.replace(record, id=f"{topic}-{i}")) for i, record in enumerate(traffic()[:1500])]


async def test_a_batch_is_done_only_when_all_that_came_of_it_is_acknowledged_whoever_else_sends() -> None:
    held = asyncio.Event()

    class Holding(Broker):
        """Takes nothing of one gateway until it is told to."""

        async def send_batch(self, builder: Builder, topic: str, partition: int) -> asyncio.Future[None]:
            future = await super().send_batch(builder, topic, partition)

            async def answer() -> None:
                if builder.records[0][1][0][1].startswith(b"slow"):
                    await held.wait()
                await future

            return asyncio.ensure_future(answer())

    broker, turns = Holding(), make_turns()
    slow, _ = ingest(broker, "slow", turns=turns)
    quick, _ = ingest(broker, "quick", turns=turns)
    waiting = asyncio.create_task(slow.process(batches(log_of("slow"), "slow")[0]))
    for batch in batches(log_of("quick"), "quick"):
        await quick.process(batch)
    assert not waiting.done(), "another's flush is not ours"
    held.set()
    await waiting
    assert broker.applied() == Counter(log_of("slow")[:300] + log_of("quick"))


@pytest.mark.parametrize("failing", [{2}, {1, 2, 3}, {3, 5, 6, 9, 14}, set(range(1, 40, 2))])
async def test_records_of_a_request_that_failed_are_applied_though_later_ones_arrive(failing: set[int]) -> None:
    broker = Broker(lambda number, _: KafkaTimeoutError() if number in failing else None)
    worker, retries = ingest(broker, "gateway")
    for batch in batches(log_of("gateway"), "gateway"):
        await worker.process(batch)
    assert broker.applied() == Counter(log_of("gateway"))
    assert retries.blocked() == 0.0


@pytest.mark.parametrize("died", [1, 4, 7])
async def test_a_worker_that_dies_while_a_request_fails_loses_nothing_and_doubles_nothing(died: int) -> None:
    """It stops at the request that fails; who comes next goes on from the last batch that was done."""
    failed = asyncio.Event()

    def fails(number: int, _: object) -> KafkaTimeoutError | None:
        if number < died or failed.is_set():
            return None
        failed.set()
        return KafkaTimeoutError()

    broker = Broker(fails)
    log, done = log_of("gateway"), 0
    first, _ = ingest(broker, "gateway")

    async def go() -> None:
        nonlocal done
        for batch in batches(log, "gateway"):
            await first.process(batch)
            done = batch.next_offset

    task = asyncio.create_task(go())
    await failed.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await first.close()
    again, _ = ingest(broker, "gateway")
    for batch in batches(log, "gateway", first=done):
        await again.process(batch)
    assert broker.applied() == Counter(log)


async def test_requests_too_large_for_the_topic_are_cut_until_they_fit_and_grow_again() -> None:
    limit = [7]

    def fails(_: int, records: list[Any]) -> MessageSizeTooLargeError | None:
        return MessageSizeTooLargeError() if len(records) > limit[0] else None

    broker = Broker(fails)
    worker, retries = ingest(broker, "gateway")
    log = log_of("gateway")
    parts = batches(log, "gateway")
    await worker.process(parts[0])
    assert broker.applied() == Counter(log[:300])
    limit[0] = 1000
    before = broker.numbers
    for batch in parts[1:]:
        await worker.process(batch)
    assert broker.applied() == Counter(log)
    assert broker.numbers - before < 150, "1,200 records one by one would be 1,200 requests"
    assert retries.blocked() == 0.0


async def sources(settings: Settings) -> list[bytes]:
    """Ids of what the scoring side applies of the telemetry topic."""
    ids: list[bytes] = []
    for partition in range(settings.topics.partitions):
        tp = TopicPartition(settings.topic("telemetry"), partition)
        consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka.bootstrap, enable_auto_commit=False)
        await consumer.start()
        try:
            consumer.assign([tp])
            await consumer.seek_to_beginning(tp)
            records: list[Any] = []
            end = (await consumer.end_offsets([tp]))[tp]
            while await consumer.position(tp) < end:
                records += (await consumer.getmany(tp, timeout_ms=200)).get(tp, ())
        finally:
            await consumer.stop()
        mac = Seals.from_settings(settings).mac(provenance.SOURCE, partition)
        keep = fresh([tuple(record.headers) for record in records], {}, mac).keep
        ids += [msgspec.json.decode(r.value)["id"] for r, new in zip(records, keep, strict=True) if new]
    return ids


@pytest.mark.kafka
@pytest.mark.broker
async def test_a_topic_that_refuses_for_a_while_stops_its_source_alone_and_costs_no_record(
    kafka: str, prefix: str, tmp_path: Path
) -> None:
    """Telemetry's max.message.bytes is too small for a while, and put right; the worker is stopped in between."""
    settings = Settings()
    settings.kafka.bootstrap = kafka
    settings.kafka.group = settings.topics.prefix = prefix
    gateway = f"{prefix}.gateway"
    settings.ingest.topics = {gateway: "telemetry"}
    prepare(settings, 2)
    with connect(settings.kafka) as admin:
        admin.create_topics({gateway: {"num_partitions": 2, "replication_factor": 1}})

        def limit(size: int) -> None:
            name = settings.topic("telemetry")
            admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, {"max.message.bytes": str(size)})])

        limit(500)  # some records fit, others do not
        log = log_of("gateway")
        async with AIOKafkaProducer(bootstrap_servers=kafka) as producer:
            for i, value in enumerate(log):
                await producer.send(gateway, value, partition=i % 2)
            await producer.flush()
        with Worker(settings, tmp_path) as worker:
            await until(lambda: worker.log.read_text().count("cannot send; this partition waits") >= 2, 300.0)
            assert worker.process.poll() is None
            worker.stop()
        with Worker(settings, tmp_path) as worker:
            await until(lambda: "cannot send; this partition waits" in worker.log.read_text(), 300.0)
            limit(1_048_588)
            await scored(settings, len(log), name="telemetry")
            worker.stop()
    found = Counter(await sources(settings))
    assert found == Counter(msgspec.json.decode(value)["id"] for value in log)
    assert not [value for p in range(2) for value in await read(settings, "dlq", p)]


def test_every_ingested_record_says_where_it_came_from() -> None:
    broker = Broker()
    worker, _ = ingest(broker, "gateway")
    asyncio.run(worker.process(batches(log_of("gateway"), "gateway")[0]))
    assert all(headers[0][0] == SOURCE for records in broker.log.values() for _, headers in records)
