"""What Kafka deletes of a topic before it is read is counted and logged, also while the worker is stopped."""

from __future__ import annotations

from pathlib import Path

import pytest
from kafka.structs import TopicPartition
from test_made_anew import accounts, applied, counted, counters, make, some, to_gateway
from worker_tools import Worker, prepare, produce, read, scored

from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.lab.broker.process import free_port
from siphonwatch.streams.operate.topics import connect

pytestmark = [pytest.mark.broker, pytest.mark.kafka]


@pytest.fixture
def settings(kafka: str, prefix: str) -> Settings:
    """Of Apache Kafka: the embedded broker deletes no records."""
    fresh = Settings()
    fresh.kafka.bootstrap = kafka
    fresh.kafka.group = fresh.topics.prefix = prefix
    fresh.ingest.topics = {f"{prefix}.gateway": "telemetry"}
    prepare(fresh, 1)
    fresh.web.port = free_port()
    with connect(fresh.kafka) as admin:
        make(fresh, admin)
    return fresh


def delete(settings: Settings, topic: str, before: int) -> None:
    with connect(settings.kafka) as admin:
        admin.delete_records({TopicPartition(topic, 0): before})


async def test_retention_that_overtakes_a_stopped_ingest_is_counted(settings: Settings, tmp_path: Path) -> None:
    (gateway,) = settings.ingest.topics
    await to_gateway(settings, gateway, some(600))
    with Worker(settings, tmp_path) as worker:
        await scored(settings, 600)
        worker.stop()
    await to_gateway(settings, gateway, some(600, 600))
    delete(settings, gateway, 1000)
    with Worker(settings, tmp_path) as worker:
        await counted(settings, "lost_offsets", "ingest", 400, worker)
        await scored(settings, 800)
        assert counters(settings.web.port, "lost_offsets")["ingest"] == 400
        assert "600 was due, 1000 came: retention removed the records" in worker.log.read_text()
        worker.stop()
    assert await applied(settings) == accounts(some(600) + some(200, 1000))


async def test_retention_that_overtakes_a_stopped_scorer_is_counted(settings: Settings, tmp_path: Path) -> None:
    await produce(settings, some(600))
    with Worker(settings, tmp_path) as worker:
        await scored(settings, 600)
        worker.stop()
    await produce(settings, some(600, 600))
    delete(settings, settings.topic("telemetry"), 1000)
    with Worker(settings, tmp_path) as worker:
        await counted(settings, "lost_offsets", "telemetry", 400, worker)
        await counted(settings, "requests", "telemetry", 200, worker)
        assert counters(settings.web.port, "lost_offsets")["telemetry"] == 400
        worker.stop()


async def test_retention_that_overtakes_the_coordinator_is_counted(settings: Settings, tmp_path: Path) -> None:
    await produce(settings, some(2500))
    with Worker(settings, tmp_path) as worker:
        await scored(settings, 2500)
        await scored(settings, name="sightings")
        worker.stop()
    held = len(await read(settings, "sightings", 0))
    assert held > 0
    # What a worker that stopped between sending sightings and reading them would leave behind.
    from aiokafka import AIOKafkaProducer

    async with AIOKafkaProducer(bootstrap_servers=settings.kafka.bootstrap) as producer:
        for i in range(5):
            await producer.send_and_wait(settings.topic("sightings"), b"%d" % i, partition=0)
    delete(settings, settings.topic("sightings"), held + 3)
    with Worker(settings, tmp_path) as worker:
        await counted(settings, "lost_offsets", "sightings", 3, worker)
        assert counters(settings.web.port, "lost_offsets")["sightings"] == 3
        worker.stop()


async def test_what_was_deleted_before_a_first_start_is_no_loss(settings: Settings, tmp_path: Path) -> None:
    (gateway,) = settings.ingest.topics
    await to_gateway(settings, gateway, some(600))
    delete(settings, gateway, 400)
    with Worker(settings, tmp_path) as worker:
        await scored(settings, 200)
        assert counters(settings.web.port, "lost_offsets")["ingest"] == 0
        worker.stop()
