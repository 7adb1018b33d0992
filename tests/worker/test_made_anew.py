"""Topics that are deleted and made again while a worker runs, and while it is stopped: the new one is read whole."""

from __future__ import annotations

import asyncio
import time
import urllib.request
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from kafka.admin import KafkaAdminClient
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from worker_tools import Worker, prepare, produce, read, scored, traffic, until

from siphonwatch.models.account.request import names
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts.telemetry import Telemetry, encode
from siphonwatch.streams.lab.broker.process import free_port
from siphonwatch.streams.operate.topics import connect, create
from siphonwatch.streams.worker.agents.coordinate import SightingsPartition
from siphonwatch.streams.worker.agents.score import TelemetryPartition
from siphonwatch.streams.worker.meter import Meter
from siphonwatch.streams.worker.metrics import SIGHTINGS, TELEMETRY, Metrics
from siphonwatch.streams.worker.scoring import make_coordinator, make_scorer
from siphonwatch.streams.worker.state.kafka import open_state
from siphonwatch.streams.worker.transport import Begin

pytestmark = pytest.mark.broker


def some(count: int, begin: int = 0) -> list[Telemetry]:
    return traffic()[begin : begin + count]


def remade(settings: Settings, topic: str) -> None:
    """Delete a topic and create it again, as `siphonwatch topics --create` or its gateway does."""
    with connect(settings.kafka) as admin:
        admin.delete_topics([topic])
        end = time.monotonic() + 300
        while topic in admin.list_topics():
            assert time.monotonic() < end, f"{topic} is not deleted"
        make(settings, admin)


def make(settings: Settings, admin: KafkaAdminClient) -> None:
    create(settings, admin)
    there = set(admin.list_topics())
    for topic in settings.ingest.topics.keys() - there:
        admin.create_topics({topic: {"num_partitions": settings.topics.partitions, "replication_factor": 1}})


async def to_gateway(settings: Settings, topic: str, records: list[Telemetry]) -> None:
    from aiokafka import AIOKafkaProducer

    async with AIOKafkaProducer(bootstrap_servers=settings.kafka.bootstrap, acks="all") as producer:
        sent = [
            await producer.send(topic, encode(record), partition=i % settings.topics.partitions)
            for i, record in enumerate(records)
        ]
        await asyncio.gather(*sent)


def counters(port: int, name: str) -> Counter[str]:
    """Values of one of the worker's counters, by stream."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        text = answer.read().decode()
    found: Counter[str] = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == f"siphonwatch_{name}_total":
                found[sample.labels["stream"]] += int(sample.value)
    return found


async def counted(settings: Settings, name: str, stream: str, least: int, log: Worker) -> None:
    """Wait until a worker has counted so many."""
    end = time.monotonic() + 300.0
    value = -1
    while value < least:
        assert time.monotonic() < end, f"{name} of {stream} is {value}, wanted {least}\n{log.log.read_text()}"
        await asyncio.sleep(0.3)
        try:
            value = (await asyncio.to_thread(counters, settings.web.port, name))[stream]
        except OSError:
            continue


async def applied(settings: Settings) -> Counter[str]:
    """How often each account's requests are in the state that a worker would go on from."""
    total: Counter[str] = Counter()
    for partition in range(settings.topics.partitions):
        state = TelemetryPartition(
            make_scorer(settings), open_state(settings, partition), None,
            Meter(Metrics(CollectorRegistry()), TELEMETRY, "", partition),
            hot_accounts=settings.state.hot_accounts, forget_after=settings.state.forget_after,
        )  # fmt: skip
        try:
            await state.restore(Begin())
            rows = state.scorer.table.rows[state.scorer.table.used()]
            total.update(dict(zip(names(rows["account"]), rows["requests"].tolist(), strict=True)))
        finally:
            await state.close()
    return total


def accounts(records: list[Telemetry]) -> Counter[str]:
    return Counter(record.account for record in records)


@pytest.mark.parametrize("running", [True, False])
async def test_a_gateway_topic_made_anew_is_ingested_whole(settings: Settings, tmp_path: Path, running: bool) -> None:
    gateway = f"{settings.topics.prefix}.gateway"
    settings.ingest.topics = {gateway: "telemetry"}
    prepare(settings, 2)
    settings.web.port = free_port()
    with connect(settings.kafka) as admin:
        make(settings, admin)
    old, new = some(600), some(900, 600)
    await to_gateway(settings, gateway, old)
    with Worker(settings, tmp_path) as worker:
        await counted(settings, "requests", "telemetry", 600, worker)
        await scored(settings, 600)
        if not running:
            worker.stop()
        remade(settings, gateway)
        await to_gateway(settings, gateway, new)
        with Worker(settings, tmp_path) if not running else worker as worker:
            await counted(settings, "requests", "ingest", 900, worker)
            await scored(settings, 1500)
            if running:
                assert counters(settings.web.port, "recreated_topics")["ingest"] == 2
                assert worker.log.read_text().count("the topic was made anew") == 2
            worker.stop()
    assert await applied(settings) == accounts(old + new)


@pytest.mark.parametrize(("count", "running"), [(300, True), (1500, True), (1500, False)])
async def test_telemetry_made_anew_is_scored_whole_into_the_state_there_is(
    settings: Settings, tmp_path: Path, running: bool, count: int
) -> None:
    prepare(settings, 2)
    settings.web.port = free_port()
    old, new = some(1000), some(count, 1000)
    await produce(settings, old)
    with Worker(settings, tmp_path) as worker:
        await scored(settings, 1000)
        if not running:
            worker.stop()
        remade(settings, settings.topic("telemetry"))
        await produce(settings, new)
        with Worker(settings, tmp_path) if not running else worker as worker:
            await counted(settings, "recreated_topics", "telemetry", 2, worker)
            await scored(settings, count)
            assert "the topic was made anew" in worker.log.read_text()
            worker.stop()
    assert await applied(settings) == accounts(old + new)
    with Worker(settings, tmp_path) as worker:  # and it goes on from there
        await worker.works()
        await produce(settings, some(100, 2500))
        await scored(settings, count + 100)
        assert counters(settings.web.port, "recreated_topics")["telemetry"] == 0
        worker.stop()
    assert await applied(settings) == accounts(old + new + some(100, 2500))


async def test_sightings_made_anew_are_put_together_with_those_before(settings: Settings, tmp_path: Path) -> None:
    prepare(settings, 1)
    settings.web.port = free_port()
    old, new = some(2500), some(2500, 2500)
    await produce(settings, old)
    with Worker(settings, tmp_path) as worker:
        await scored(settings, 2500)
        await scored(settings, name="sightings")
        worker.stop()
    before = await coordinated(settings)
    remade(settings, settings.topic("sightings"))
    await produce(settings, new)
    with Worker(settings, tmp_path) as worker:
        await scored(settings, 5000)
        await counted(settings, "recreated_topics", "sightings", 1, worker)
        await scored(settings, name="sightings")
        sighted = counters(settings.web.port, "requests")["sightings"]
        worker.stop()
    assert sighted > 0
    assert await coordinated(settings) == before + sighted


async def coordinated(settings: Settings) -> int:
    """Sightings in the state of the coordinator."""
    state = SightingsPartition(
        make_coordinator(settings),
        open_state(settings, 0, topic="campaigns"),
        None,
        Meter(Metrics(CollectorRegistry()), SIGHTINGS, "", 0),
    )
    try:
        await state.restore(Begin())
        return int(state.scorer.stage.count.requests)
    finally:
        await state.close()


async def test_state_that_is_gone_is_refused_until_it_may_be_started_afresh(settings: Settings, tmp_path: Path) -> None:
    prepare(settings, 2)
    old, new = some(1000), some(200, 1000)
    await produce(settings, old)
    with Worker(settings, tmp_path) as worker:
        await scored(settings, 1000)
        worker.stop()
    remade(settings, settings.topic("state"))
    await produce(settings, new)
    with Worker(settings, tmp_path) as worker:
        await until(lambda: worker.process.poll() is not None, 300.0, worker.log.read_text)
        assert worker.process.returncode == 1
        said = worker.log.read_text()
    assert "holds no state, and the group has committed offset" in said
    assert "siphonwatch worker --start-afresh" in said
    with Worker(settings, tmp_path, afresh=True) as worker:
        await scored(settings, 1200)
        worker.stop()
    assert await applied(settings) == accounts(old + new)
    with Worker(settings, tmp_path) as worker:  # once was enough
        await worker.works()
        worker.stop()


async def test_a_first_start_is_no_loss_of_state(settings: Settings, tmp_path: Path) -> None:
    prepare(settings, 2)
    await produce(settings, some(100))
    with Worker(settings, tmp_path) as worker:
        await scored(settings, 100)
        worker.stop()
    assert await applied(settings) == accounts(some(100))
    assert not [msgspec.json.decode(value) for p in range(2) for value in await read(settings, "dlq", p)]
