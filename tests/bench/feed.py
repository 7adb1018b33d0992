"""Topics of a run, and telemetry into them: all at once, or at a steady rate, each record stamped when it is sent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from aiokafka import AIOKafkaProducer

from bench.data import KEY, Traffic
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.lab.broker.process import free_port
from siphonwatch.streams.operate.topics import connect, create

BATCH_BYTES = 256 * 1024
"""As `siphonwatch.streams.edge` sends: zstd, batches of 256 KiB."""
IN_FLIGHT = 16
PATIENCE_MS = 300_000
"""A busy machine's broker may answer late; the benchmark then says so by its figures."""
TICK = 0.01
"""Seconds between batches of a steady feed."""


def settings_for(bootstrap: str, prefix: str) -> Settings:
    """Return a worker's settings with one partition, all else as delivered."""
    settings = Settings()
    settings.kafka.bootstrap = bootstrap
    settings.kafka.group = settings.topics.prefix = prefix
    settings.topics.partitions = 1
    settings.identity.key = KEY
    settings.web.port = free_port()
    return settings


def create_topics(settings: Settings) -> None:
    """Create the topics; alerts are stamped by the broker as it appends them."""
    with connect(settings.kafka) as admin:
        shape = {"num_partitions": 1, "replication_factor": 1, "configs": {"message.timestamp.type": "LogAppendTime"}}
        admin.create_topics({settings.topic("alerts"): shape}, wait_for_metadata=True)
        create(settings, admin)


def delete_topics(settings: Settings) -> None:
    """Delete a run's topics, so that disk use stays that of one run."""
    with connect(settings.kafka) as admin:
        admin.delete_topics([settings.topic(name) for name in ("telemetry", "alerts", "state", "dlq")])


def preload(settings: Settings, traffic: Traffic) -> None:
    """Send all telemetry as fast as possible."""
    asyncio.run(_preload(settings, traffic))


def pace(settings: Settings, traffic: Traffic, first: int, rate: float, seconds: float) -> dict[str, int]:
    """Send telemetry from index `first` on at `rate` a second; return each request's time of sending, ms since 1970."""
    return asyncio.run(_pace(settings, traffic, first, rate, seconds))


def _producer(settings: Settings) -> Any:
    return AIOKafkaProducer(
        bootstrap_servers=settings.kafka.bootstrap,
        acks="all",
        compression_type="zstd",
        max_batch_size=BATCH_BYTES,
        request_timeout_ms=PATIENCE_MS,
    )


async def _preload(settings: Settings, traffic: Traffic) -> None:
    async with _producer(settings) as producer:
        await _send(producer, settings.topic("telemetry"), traffic.keys, traffic.values, None)


async def _pace(settings: Settings, traffic: Traffic, first: int, rate: float, seconds: float) -> dict[str, int]:
    sent: dict[str, int] = {}
    topic = settings.topic("telemetry")
    async with _producer(settings) as producer:
        started = time.monotonic()
        last = min(len(traffic.values), first + round(rate * seconds))
        at = first
        under_way: list[asyncio.Task[None]] = []
        while at < last:
            due = min(last, first + round((time.monotonic() - started) * rate))
            if due > at:
                stamp = round(time.time() * 1000)
                sent.update(dict.fromkeys(traffic.ids[at:due], stamp))
                part = (traffic.keys[at:due], traffic.values[at:due])
                under_way = [task for task in under_way if not task.done() or task.result()]
                under_way.append(asyncio.create_task(_send(producer, topic, *part, stamp)))
                at = due
            await asyncio.sleep(TICK)
        await asyncio.gather(*under_way)
    return sent


async def _send(producer: Any, topic: str, keys: Sequence[bytes], values: Sequence[bytes], stamp: int | None) -> None:
    """Send records in batches, each batch waited for in the end."""
    futures: list[Any] = []
    batch = producer.create_batch()
    for key, value in zip(keys, values, strict=True):
        now = round(time.time() * 1000) if stamp is None else stamp
        if batch.append(key=key, value=value, timestamp=now) is None:
            futures.append(await producer.send_batch(batch, topic, partition=0))
            if len(futures) >= IN_FLIGHT:
                await futures.pop(0)
            batch = producer.create_batch()
            batch.append(key=key, value=value, timestamp=now)
    if batch.record_count():
        futures.append(await producer.send_batch(batch, topic, partition=0))
    for future in futures:
        await future
