"""Letters on Apache Kafka, to a dead-letter topic that takes less than they are."""

from __future__ import annotations

import random

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts.dead_letter import DeadLetter, DeadLetters, Joiner, read
from siphonwatch.streams.worker.outlet import make_producer

pytestmark = [pytest.mark.broker, pytest.mark.kafka]


def letters(count: int, size: int) -> list[DeadLetter]:
    """Letters that do not compress."""
    draw = random.Random(size)
    return [DeadLetter(None, draw.randbytes(size), "json", "", "gateway", 0, i, 0) for i in range(count)]


async def sent(settings: Settings, limit: int, wanted: list[DeadLetter]) -> tuple[list[DeadLetter], list[DeadLetter]]:
    """Send letters to a topic of so many bytes a request; return those it refused, and those that are on it."""
    topic = settings.topic("dlq")
    admin = KafkaAdminClient(bootstrap_servers=settings.kafka.bootstrap)
    admin.create_topics([NewTopic(topic, 2, 1, topic_configs={"max.message.bytes": str(limit)})])
    admin.close()
    producer: AIOKafkaProducer = make_producer(settings)
    async with producer:
        refused = await DeadLetters(producer, topic).send(wanted)
    found: list[DeadLetter] = []
    async with AIOKafkaConsumer(bootstrap_servers=settings.kafka.bootstrap) as consumer:
        for tp in (TopicPartition(topic, 0), TopicPartition(topic, 1)):
            consumer.assign([tp])
            await consumer.seek_to_beginning(tp)
            joiner, end = Joiner(), (await consumer.end_offsets([tp]))[tp]
            while await consumer.position(tp) < end:
                for record in (await consumer.getmany(tp, timeout_ms=500)).get(tp, ()):
                    letter = joiner.add(read(record.key, record.value, record.headers), record.offset)
                    found += [letter] if letter else []
    return refused, found


async def test_a_narrow_topic_gets_every_letter_whole(kafka: str, prefix: str) -> None:
    settings = Settings()
    settings.kafka.bootstrap, settings.topics.prefix = kafka, prefix
    wanted = [*letters(3, 50_000), *letters(20, 900), *letters(1, 1_500_000)]
    refused, found = await sent(settings, 12_000, wanted)
    assert refused == []
    assert {(letter.offset, letter.value) for letter in found} == {(letter.offset, letter.value) for letter in wanted}


async def test_what_the_topic_takes_in_no_size_is_returned_and_the_others_are_there(kafka: str, prefix: str) -> None:
    settings = Settings()
    settings.kafka.bootstrap, settings.topics.prefix = kafka, prefix
    wanted = [*letters(2, 5_000), *letters(3, 10)]
    refused, found = await sent(settings, 400, wanted)
    assert refused == wanted[:2]
    assert {letter.value for letter in found} == {letter.value for letter in wanted[2:]}
