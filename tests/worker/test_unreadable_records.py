"""A record that aiokafka cannot read is passed over, with what is behind it in its batch, and costs no other record."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka import TopicPartition as AioPartition
from hostile import SPOILT, Hostile, send

from siphonwatch.streams.common.polling import getmany
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.operate.topics import connect, create

pytestmark = pytest.mark.broker
PARTITIONS = 2
PLAN = [["a"], ["b", "!", "c"], ["d"], ["!"], ["!", "e"], ["f"]]
"""Record batches; `!` stands for a record that cannot be read, and what is behind it in its batch is lost with it."""
READ = ["a", "b", "d", "f"]


async def fill(settings: Settings) -> None:
    async with AIOKafkaProducer(bootstrap_servers=settings.kafka.bootstrap) as producer:
        for partition in range(PARTITIONS):
            for values in PLAN:
                records = [
                    Hostile(
                        "alerts", b"k", f"{value}{partition}".encode(), ((SPOILT, b""),) if value == "!" else (), None
                    )
                    for value in values
                ]
                await send(producer, settings.topic("alerts"), partition, records)


def make(settings: Settings) -> str:
    settings.topics.partitions = PARTITIONS
    with connect(settings.kafka) as admin:
        create(settings, admin)
    asyncio.run(fill(settings))
    return settings.topic("alerts")


def expected() -> list[str]:
    return sorted(f"{value}{partition}" for partition in range(PARTITIONS) for value in READ)


def test_aiokafka_passes_over_it(settings: Settings) -> None:
    topic = make(settings)

    async def read() -> list[str]:
        found: list[Any] = []
        async with AIOKafkaConsumer(bootstrap_servers=settings.kafka.bootstrap) as consumer:
            consumer.assign([AioPartition(topic, number) for number in range(PARTITIONS)])
            await consumer.seek_to_beginning()
            for _ in range(60):
                for records in (await getmany(consumer, timeout_ms=200, max_records=100)).values():
                    found += [record.value.decode() for record in records]
                if len(found) >= len(expected()):
                    return found
        return found

    assert sorted(asyncio.run(read())) == expected()
