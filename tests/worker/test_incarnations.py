"""Topics made anew, told by their ids; and where a broker gives none, by what else stands in them."""

from __future__ import annotations

import time
from io import BytesIO
from typing import Any

import pytest
from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from transport_fakes import Counting, Store, committed, numbered, prepare, produce, running, until

from siphonwatch.streams.common import incarnation
from siphonwatch.streams.common.incarnation import UNKNOWN, KnowingConsumer, Uuid
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.operate.topics import connect
from siphonwatch.streams.worker.metrics import Metrics
from siphonwatch.streams.worker.transport import Batch, pump


@given(st.binary(min_size=16, max_size=16))
def test_a_topic_id_comes_back_from_its_text(raw: bytes) -> None:
    text = Uuid.decode(BytesIO(raw))
    assert Uuid.encode(text) == raw
    assert len(text) == (22 if any(raw) else 0)


async def test_a_topic_has_one_id_until_it_is_made_anew(settings: Settings) -> None:
    topic = settings.topic("telemetry")
    prepare(settings)
    consumer = KnowingConsumer(bootstrap_servers=settings.kafka.bootstrap)
    await consumer.start()
    try:
        first = await consumer.incarnation(topic)
        assert len(first) == 22
        assert await consumer.incarnation(topic) == first
        with connect(settings.kafka) as admin:
            ids = {t["name"]: t["topic_id"] for t in admin.describe_topics([topic])}
        assert Uuid.encode(first).hex() == str(ids[topic]).replace("-", "")
        remade(settings, topic)
        end = time.monotonic() + 300
        while (second := await consumer.incarnation(topic)) in (first, UNKNOWN):
            assert time.monotonic() < end, f"still {second!r}"
        assert await consumer.incarnation("no-such-topic") == UNKNOWN
    finally:
        await consumer.stop()


def remade(settings: Settings, topic: str) -> None:
    with connect(settings.kafka) as admin:
        if topic in admin.list_topics():
            admin.delete_topics([topic])
        end = time.monotonic() + 300
        while topic in admin.list_topics():
            assert time.monotonic() < end
        admin.create_topics({topic: {"num_partitions": 1, "replication_factor": 1}})


class Keeping:
    """An ingest that keeps what it is given."""

    def __init__(self) -> None:
        self.values: list[bytes | None] = []

    async def process(self, batch: Batch) -> None:
        self.values += batch.values

    def blocked(self) -> float:
        return 0.0

    async def close(self) -> None:
        """Nothing is held."""


@pytest.mark.kafka
@pytest.mark.broker
@pytest.mark.parametrize("count", [40, 300], ids=["shorter", "longer"])
@pytest.mark.parametrize("kept", [True, False], ids=["commits kept", "commits deleted"])
async def test_without_topic_ids_a_topic_made_anew_is_told_by_the_record_before_the_position(
    kafka: str, prefix: str, monkeypatch: pytest.MonkeyPatch, count: int, kept: bool
) -> None:
    """`commits kept`: by a broker that forgets no commit when a topic is deleted; Apache Kafka itself forgets them."""

    async def no_ids(_: object, topics: Any) -> dict[str, str]:
        return dict.fromkeys(topics, UNKNOWN)

    monkeypatch.setattr(pump, "incarnations", no_ids)
    monkeypatch.setattr(incarnation, "incarnations", no_ids)
    settings = Settings()
    settings.kafka.bootstrap = kafka
    settings.kafka.group = settings.topics.prefix = prefix
    settings.topics.partitions = 1
    gateway = f"{prefix}.gateway"
    settings.ingest.topics = {gateway: "kong"}
    prepare(settings)
    remade(settings, gateway)
    metrics = Metrics(CollectorRegistry())

    def options(ingest: Keeping) -> dict[str, object]:
        return {"make_ingest": lambda *_: ingest, "metrics": metrics}

    first, second, third = Keeping(), Keeping(), Keeping()
    await produce(settings, numbered(100), topic=gateway, partition=0)
    async with running(settings, lambda p: Counting(Store(), p), **options(first)):
        await until(lambda: len(first.values) == 100)
    said = await beside(settings, gateway)
    assert said.startswith("~")
    remade(settings, gateway)
    await produce(settings, numbered(count, 1000), topic=gateway, partition=0)
    if kept:
        await commit(settings, gateway, 100, said)
        assert await beside(settings, gateway) == said
    async with running(settings, lambda p: Counting(Store(), p), **options(second)):
        await until(lambda: len(second.values) == count)
    assert second.values == numbered(count, 1000)
    assert metrics.recreated.labels("ingest", gateway, "0")._value.get() == int(kept)
    async with running(settings, lambda p: Counting(Store(), p), **options(third)) as worker:
        await until(lambda: worker.app.assignment.ready)
    assert third.values == []
    assert await committed(settings, gateway) == {0: count}
    assert (await beside(settings, gateway)).startswith("~"), "a restart without records keeps what tells the topic"


def knowing(settings: Settings) -> KnowingConsumer:
    """A consumer in the worker's group that commits nothing by itself: that would wipe out what stands beside."""
    return KnowingConsumer(
        bootstrap_servers=settings.kafka.bootstrap, group_id=settings.kafka.group, enable_auto_commit=False
    )


async def beside(settings: Settings, topic: str) -> str:
    consumer = knowing(settings)
    await consumer.start()
    try:
        return (await consumer.committed_in(TopicPartition(topic, 0)))[1]
    finally:
        await consumer.stop()


async def commit(settings: Settings, topic: str, offset: int, said: str) -> None:
    consumer = knowing(settings)
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, 0)])
        await consumer.commit({TopicPartition(topic, 0): (offset, said)})
    finally:
        await consumer.stop()
