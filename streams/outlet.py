"""Where the worker's output goes: alerts and dead letters to their topics, acknowledged before any checkpoint."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from streams.dlq import DeadLetter, DeadLetters
from streams.kafka import aiokafka_config
from streams.settings import Settings

LINGER_MS = 5
"""An alert may wait so long for company."""
BATCH_BYTES = 512 * 1024
"""Of one request to a partition, before compression: aiokafka has one under way, and 16 KiB, its default, held a
partition to some 15,000 records/s. Half of what brokers accept by default."""


class NotSent(RuntimeError):
    """The broker did not take everything: nothing that led to it may be committed."""


def make_producer(settings: Settings) -> AIOKafkaProducer:
    """Return a producer, not started, that waits for all replicas.

    It is not idempotent, which the embedded broker lacks: aiokafka has one request a partition under way, so a retry
    can repeat records but not reorder them, and what is repeated here is told by its id (alerts) or by its `source`
    header (telemetry).
    """
    return AIOKafkaProducer(
        **aiokafka_config(settings.kafka),
        acks="all",
        linger_ms=LINGER_MS,
        max_batch_size=BATCH_BYTES,
        compression_type="zstd",
    )


class KafkaOutlet:
    """Sends through one producer.

    Parameters
    ----------
    producer
        Started; shared by the partitions of a worker.
    settings
        Names of the topics.
    """

    def __init__(self, producer: AIOKafkaProducer, settings: Settings) -> None:
        self._producer = producer
        self._alerts = settings.topic("alerts")
        self._dead_letters = DeadLetters(producer, settings.topic("dlq"))
        self._waiting: list[asyncio.Future[Any]] = []

    async def alert(self, key: bytes, value: bytes) -> None:
        """Send an alert keyed by its case; waits only for room in the buffer."""
        await self.send(self._alerts, key, value)

    async def send(self, topic: str, key: bytes, value: bytes, headers: Iterable[tuple[str, bytes]] = ()) -> None:
        """Send one record; what became of it is known at `flush`.

        Records are stamped with the time of sending: brokers keep a log by that stamp, and event time may be long ago.
        """
        try:
            future = await self._producer.send(topic, value=value, key=key, headers=list(headers))
        except (KafkaError, OSError) as error:
            raise NotSent(f"cannot send to {topic}: {type(error).__name__}: {error}") from error
        self._waiting.append(future)

    async def dead_letters(self, letters: Iterable[DeadLetter]) -> list[DeadLetter]:
        """Send bad records with their reasons and wait until the broker has them; return those it takes in no size."""
        return await self._dead_letters.send(letters)

    async def flush(self) -> None:
        """Wait until all that was sent is acknowledged.

        Raises
        ------
        NotSent
            When the broker refused something or did not answer in time.
        """
        waiting, self._waiting = self._waiting, []
        for result in await asyncio.gather(*waiting, return_exceptions=True):
            if isinstance(result, BaseException):
                raise NotSent(f"not acknowledged: {type(result).__name__}: {result}") from result
