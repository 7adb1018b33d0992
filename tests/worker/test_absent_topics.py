"""A gateway topic that does not exist: the worker reads all others, says what it waits for, and takes it later."""

from __future__ import annotations

import asyncio
import urllib.request
from pathlib import Path

import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from worker_tools import Worker, prepare, produce, scored, traffic, until

from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.lab.broker.process import free_port
from siphonwatch.streams.lab.scenario import Scenario
from siphonwatch.streams.operate.topics import check, connect

pytestmark = [pytest.mark.broker, pytest.mark.timeout(300)]


async def test_an_absent_gateway_topic_is_waited_for_while_all_others_are_read(
    settings: Settings, tmp_path: Path
) -> None:
    there, late = (f"{settings.topics.prefix}.{name}" for name in ("there", "late"))
    settings.ingest.topics = {there: "litellm", late: "litellm"}
    prepare(settings, 2)
    settings.web.port = free_port()
    with connect(settings.kafka) as admin:
        admin.create_topics({there: {"num_partitions": 1, "replication_factor": 1}}, wait_for_metadata=True)

    def absent(topic: str) -> bool | None:
        with urllib.request.urlopen(f"http://127.0.0.1:{settings.web.port}/metrics") as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith(f'siphonwatch_topic_absent{{topic="{topic}"}}'):
                    return bool(float(line.rpartition(" ")[2]))
        return None

    raw = [msgspec.json.encode(event.record) for event in Scenario(5, 20, 0.5) if event.format == "litellm"][:20]

    async def send(topic: str) -> None:
        async with AIOKafkaProducer(bootstrap_servers=settings.kafka.bootstrap, acks="all") as producer:
            for value in raw:
                await producer.send_and_wait(topic, value, partition=0)

    with Worker(settings, tmp_path) as worker:
        await worker.works()
        await produce(settings, traffic()[:100])
        await send(there)
        await scored(settings, 120)
        log = worker.log.read_text()
        assert f"waiting for {late}, which does not exist" in log
        assert (absent(there), absent(late)) == (False, True)
        with connect(settings.kafka) as admin:
            (problem,) = check(settings, admin)
            assert problem.startswith(f"{late} of ingest.topics does not exist, workers wait for it"), (
                "not created by us"
            )
            admin.create_topics({late: {"num_partitions": 1, "replication_factor": 1}}, wait_for_metadata=True)
        await until(lambda: absent(late) is False, 60, worker.log.read_text)
        await send(late)
        await scored(settings, 140)
        await produce(settings, traffic()[100:200])
        await scored(settings, 240)
        await asyncio.to_thread(worker.stop)
