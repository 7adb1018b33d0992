"""Where the worker's output goes: alerts and dead letters to their topics, acknowledged before any checkpoint."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from siphonwatch.streams.common.kafka import make_async_producer
from siphonwatch.streams.common.release import release
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts.dead_letter import DeadLetter, DeadLetters, Undelivered
from siphonwatch.streams.contracts.telemetry import Malformed
from siphonwatch.streams.worker.retries import Retries
from siphonwatch.streams.worker.transport import Batch

LINGER_MS = 5
"""How long an alert may wait to share a request with others."""
BATCH_BYTES = 512 * 1024
"""Of one request to a partition, before compression: aiokafka has one under way, and 16 KiB, its default, held a
partition to some 15,000 records/s. Half of what brokers accept by default."""


def make_producer(settings: Settings) -> AIOKafkaProducer:
    """Return a producer, not started, that waits for all replicas.

    It is not idempotent, which the embedded broker lacks: aiokafka has one request a partition under way, so a retry
    can repeat records but not reorder them, and what is repeated is recognised by its id (alerts) or by its `source`
    header (telemetry).
    """
    return make_async_producer(
        settings.kafka,
        linger_ms=LINGER_MS,
        max_batch_size=BATCH_BYTES,
        compression_type="zstd",
    )


ALLOWED_BY = "allowed-by"
"""Header of a hidden alert: the id of the allow entry that hid it."""


ROLE, VERSION = "role", "version"
"""Headers of what a shadow found: which one, and the version that it is of."""


class Sent(NamedTuple):
    """A record that was handed to the producer, and what becomes of it."""

    topic: str
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]
    future: asyncio.Future[Any]


class Outlet(Protocol):
    """Where alerts and dead letters go."""

    async def alert(self, key: bytes, value: bytes) -> None:
        """Send one alert; may wait for room."""

    async def hidden(self, key: bytes, value: bytes, entry: str) -> None:
        """Send one alert to the topic of those that are hidden by an entry; may wait for room."""

    async def shadow(self, key: bytes, value: bytes, role: str, version: str) -> None:
        """Send what a judge beside the champion found to the topic of shadows; may wait for room."""

    async def deployed(self, value: bytes) -> None:
        """Append to the log of deployments; may wait for room."""

    async def receipt(self, key: bytes, value: bytes) -> None:
        """Send the receipt of an order; may wait for room."""

    async def features(self, key: bytes, value: bytes) -> None:
        """Send the features of a request; may wait for room."""

    async def dead_letters(self, letters: Iterable[DeadLetter]) -> list[DeadLetter]:
        """Send bad records with their reasons; returns, once they are acknowledged, those that cannot be kept."""

    async def flush(self) -> None:
        """Wait until every alert, hidden ones too, every receipt and all features are acknowledged."""

    def blocked(self) -> float:
        """Return for how many seconds a broker has refused or not answered a send; 0 where it has not."""


class KafkaOutlet:
    """Sends one partition's alerts and dead letters, until the broker has them; each partition has its own.

    Parameters
    ----------
    producer
        Started; shared by the partitions of a worker.
    settings
        Names of the topics.
    retries
        The partition's.
    """

    def __init__(self, producer: AIOKafkaProducer, settings: Settings, retries: Retries) -> None:
        self._producer = producer
        self._alerts = settings.topic("alerts")
        self._hidden = settings.topic("hidden")
        self._shadow = settings.topic("shadow")
        self._deployments = settings.topic("deployments")
        self._dlq = settings.topic("dlq")
        self._receipts = settings.topic("receipts")
        self._features = settings.topic("features")
        self._dead_letters = DeadLetters(producer, self._dlq)
        self._retries = retries
        self._waiting: list[Sent] = []

    async def alert(self, key: bytes, value: bytes) -> None:
        """Send an alert keyed by its case; whether it arrived is known at `flush`. Waits only for room in the buffer.

        Records are stamped with the time of sending: brokers keep a log by that stamp, and event time may be long ago.
        """
        await self._send(self._alerts, key, value, [])

    async def hidden(self, key: bytes, value: bytes, entry: str) -> None:
        """Send an alert that an entry hides, as `alert` sends others."""
        await self._send(self._hidden, key, value, [(ALLOWED_BY, entry.encode())])

    async def shadow(self, key: bytes, value: bytes, role: str, version: str) -> None:
        """Send what a judge beside the champion found, as `alert` sends the champion's."""
        await self._send(self._shadow, key, value, [(ROLE, role.encode()), (VERSION, version.encode())])

    async def deployed(self, value: bytes) -> None:
        """Append to the log of deployments."""
        await self._send(self._deployments, b"", value, [])

    async def receipt(self, key: bytes, value: bytes) -> None:
        """Send a receipt keyed by its order, as `alert` sends alerts."""
        await self._send(self._receipts, key, value, [])

    async def features(self, key: bytes, value: bytes) -> None:
        """Send features keyed by their request's place, as `alert` sends alerts."""
        await self._send(self._features, key, value, [])

    async def _send(self, topic: str, key: bytes, value: bytes, headers: list[tuple[str, bytes]]) -> None:
        while True:
            try:
                future = await self._producer.send(topic, value=value, key=key, headers=headers)
            except (KafkaError, OSError) as error:
                await self._retries.failed(topic, error)
            else:
                self._waiting.append(Sent(topic, key, value, headers, future))
                return

    async def dead_letters(self, letters: Iterable[DeadLetter]) -> list[DeadLetter]:
        """Send bad records with their reasons and wait until the broker has them; return those it takes in no size."""
        kept = list(letters)
        while True:
            try:
                lost = await self._dead_letters.send(kept)
            except Undelivered as error:
                await self._retries.failed(self._dlq, error)
            else:
                self._retries.passed(self._dlq)
                return lost

    async def flush(self) -> None:
        """Wait until all alerts are acknowledged; sends again those that the broker refused or did not answer."""
        while self._waiting:
            waiting = list(self._waiting)
            results = await asyncio.gather(*(one.future for one in waiting), return_exceptions=True)
            failed = [i for i, result in enumerate(results) if isinstance(result, BaseException)]
            self._waiting = []
            for i in failed[:1]:
                await self._retries.failed(waiting[i].topic, results[i])
            for i in failed:
                await self._send(*waiting[i][:4])
            for topic in {one.topic for one in waiting} - {waiting[i].topic for i in failed}:
                self._retries.passed(topic)

    def blocked(self) -> float:
        """Return for how many seconds a broker has not taken what the partition sends; 0 where nothing is refused."""
        return self._retries.blocked()


def dead_letter(batch: Batch, row: int, error: Malformed, index: int = 0) -> DeadLetter:
    """Return a record of a batch as a dead letter."""
    return DeadLetter(
        key=batch.keys[row], value=batch.values[row], reason=error.reason, detail=str(error), topic=batch.topic,
        partition=batch.partition, offset=int(batch.offsets[row]), timestamp=int(batch.timestamps[row]), index=index,
        version=release(), headers=batch.headers[row],
    )  # fmt: skip
