"""More partitions under a running worker: noticed, said, grown by one command, read to the end."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from kafka.admin import KafkaAdminClient
from worker_tools import Worker, assert_applied_once, prepare, produce, read, scored, traffic, until

from siphonwatch.streams.cli import cli
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.lab.broker.process import free_port
from siphonwatch.streams.operate.topics import connect, describe

pytestmark = [pytest.mark.broker, pytest.mark.kafka]


@pytest.fixture
def settings(kafka: str, prefix: str) -> Settings:
    """Two partitions on Apache Kafka."""
    found = Settings()
    found.kafka.bootstrap, found.kafka.group, found.topics.prefix = kafka, prefix, prefix
    prepare(found, 2)
    found.web.port = free_port()
    return found


def alter(settings: Settings, topic: str, partitions: int) -> None:
    """Grow a topic as `kafka-topics.sh --alter --partitions` does."""
    admin = KafkaAdminClient(bootstrap_servers=settings.kafka.bootstrap)
    admin.create_partitions({topic: partitions})
    admin.close()


def topics(settings: Settings, *arguments: str) -> tuple[int, str]:
    """Run `siphonwatch topics`."""
    env = {
        "SIPHONWATCH_KAFKA_BOOTSTRAP": settings.kafka.bootstrap,
        "SIPHONWATCH_TOPICS_PREFIX": settings.topics.prefix,
        "SIPHONWATCH_TOPICS_PARTITIONS": str(settings.topics.partitions),
    }
    result = CliRunner().invoke(cli, ["topics", *arguments], env=env)
    return result.exit_code, result.output


def readiness(settings: Settings) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{settings.web.port}/readyz") as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


async def accounts(settings: Settings, partition: int) -> set[str]:
    return {msgspec.json.decode(value)["account"] for value in await read(settings, "telemetry", partition)}


async def test_a_running_worker_says_what_it_waits_for_and_reads_every_partition_once_state_has_grown(
    settings: Settings, tmp_path: Path
) -> None:
    telemetry, state = settings.topic("telemetry"), settings.topic("state")
    records = traffic()
    third = len(records) // 3
    with Worker(settings, tmp_path) as worker:
        await worker.works()
        await produce(settings, records[:third])
        await scored(settings)
        before = [await accounts(settings, p) for p in range(2)]
        await asyncio.to_thread(alter, settings, telemetry, 4)
        settings.topics.partitions = 4
        said = f"{state}[3] does not exist"
        await until(lambda: said in worker.log.read_text(), 300, worker.log.read_text)
        assert worker.process.poll() is None
        waiting = (503, f"restoring {telemetry}[2], {telemetry}[3]\n")
        await until(lambda: readiness(settings) == waiting, 300, lambda: str(readiness(settings)))
        await produce(settings, records[third : 2 * third])
        code, output = await asyncio.to_thread(topics, settings, "--check")
        assert code == 1
        assert f"{state} has 2 partitions and {telemetry} 4: run `siphonwatch topics --create`" in output
        code, output = await asyncio.to_thread(topics, settings, "--create")
        assert code == 0, output
        assert f"{state} has 4 partitions now, 2 before" in output
        assert (await asyncio.to_thread(topics, settings, "--check"))[0] == 0
        await until(lambda: readiness(settings)[0] == 200, 300, worker.log.read_text)
        await scored(settings)
        await asyncio.to_thread(worker.stop)
    after = [await accounts(settings, p) for p in range(4)]
    moved = (before[0] | before[1]) & (after[2] | after[3])
    assert moved, "some accounts belong to the new partitions"
    with Worker(settings, tmp_path) as again:
        await again.works()
        await produce(settings, records[2 * third :])
        await scored(settings)
        await asyncio.to_thread(again.stop)
    # Each partition's state is what its own log gives: an account that moved begins anew in its new partition, and
    # what it did before stays where it was.
    alter(settings, settings.topic("alerts"), 4)  # it may have any number, and is read to that of telemetry here
    await assert_applied_once(settings)


async def test_a_worker_that_starts_before_state_has_grown_reads_what_it_can(
    settings: Settings, tmp_path: Path
) -> None:
    await asyncio.to_thread(alter, settings, settings.topic("telemetry"), 4)
    await produce(settings, traffic()[:500])
    with Worker(settings, tmp_path) as worker:
        await worker.works()
        settings.topics.partitions = 2
        await scored(settings)
        settings.topics.partitions = 4
        assert (await asyncio.to_thread(topics, settings, "--create"))[0] == 0
        await scored(settings)
        await asyncio.to_thread(worker.stop)


def test_more_partitions_than_telemetry_has_are_made_only_when_asked_for(settings: Settings) -> None:
    settings.topics.partitions = 4
    telemetry = settings.topic("telemetry")
    code, output = topics(settings, "--check")
    assert code == 1
    assert f"{telemetry} has 2 partitions, settings say 4: set topics.partitions to 2, or run" in output
    code, output = topics(settings, "--create")
    assert code == 0, "nothing was to be created"
    assert telemetry in output, "what differs is said all the same"
    assert "now" not in output
    code, output = topics(settings, "--grow")
    assert code == 0, output
    with connect(settings.kafka) as admin:
        shapes = {topic.name: topic.partitions for topic in describe(settings, admin)}
    grown = ("telemetry", "state", "sightings", "campaigns")
    assert {name: shapes[settings.topic(name)] for name in grown} == dict.fromkeys(grown, 4)
    assert topics(settings, "--check")[0] == 0
    settings.topics.partitions = 2
    code, output = topics(settings, "--grow")
    assert f"{telemetry} has 4 partitions, settings say 2: set topics.partitions to 4" in output


async def test_a_gateway_s_topic_that_grows_is_read_to_its_end(settings: Settings, tmp_path: Path) -> None:
    from aiokafka import AIOKafkaProducer

    from siphonwatch.streams.lab.scenario import Scenario

    gateway = f"{settings.topics.prefix}.gateway"
    settings.ingest.topics = {gateway: "litellm"}
    with connect(settings.kafka) as admin:
        admin.create_topics({gateway: {"num_partitions": 1, "replication_factor": 1}})
    raw = [msgspec.json.encode(event.record) for event in Scenario(5, 20, 0.5) if event.format == "litellm"][:200]
    with Worker(settings, tmp_path) as worker:
        await worker.works()
        await asyncio.to_thread(alter, settings, gateway, 3)
        async with AIOKafkaProducer(bootstrap_servers=settings.kafka.bootstrap, acks="all") as producer:
            for number, value in enumerate(raw):
                await producer.send_and_wait(gateway, value, partition=number % 3)
        await scored(settings, least=200)
        await asyncio.to_thread(worker.stop)
