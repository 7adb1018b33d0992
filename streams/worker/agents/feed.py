"""Follows one small topic that every worker reads whole, from the log's beginning on; keeps no position and no state.

Nothing waits for it: until the log is read, and while the broker is away, workers go on with what is known so far.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from siphonwatch.streams.common.incarnation import ASK_SECONDS, UNKNOWN, KnowingConsumer
from siphonwatch.streams.common.kafka import make_async_consumer
from siphonwatch.streams.common.polling import getmany
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.worker.metrics import Metrics

POLL_MS = 1000
MAX_RECORDS = 200
"""Records taken at a time, a few milliseconds of the event loop."""
RETRY_SECONDS = 10.0

_log = structlog.get_logger(__name__)


class _Another(Exception):
    """The topic that was read is gone, and another one has its name."""


class Feed(ABC):
    """Reads a topic into what a subclass keeps.

    Parameters
    ----------
    settings
        Where the topic is.
    metrics
        What is counted.
    retry_seconds
        Wait after the broker failed.
    clock
        Monotonic seconds.
    """

    topic: str
    """Ours without prefix, and the value of the label `stream`."""
    what: str
    """What its records are, for the log."""
    meanwhile: str
    """What happens while it cannot be read, for the log."""

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        retry_seconds: float = RETRY_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._retry_seconds = retry_seconds
        self._clock = clock
        self._incarnation = UNKNOWN

    @abstractmethod
    def take_records(self, records: Sequence[Any]) -> None:
        """Take aiokafka's records, in the order of the log."""

    @abstractmethod
    def clear(self) -> None:
        """Forget all: another topic has the name now."""

    @abstractmethod
    def reached_end(self) -> None:
        """Take note that all was taken that the topic held at the last poll; called after each such poll."""

    async def run(self) -> None:
        """Follow the topic until cancelled; reads it from its beginning again where the broker fails, or a record does.

        Nobody waits for it to end: a worker whose feed did would look well, and apply nothing that is decided.
        """
        topic = self._settings.topic(self.topic)
        while True:
            try:
                await self._follow(topic)
            except _Another:
                continue
            except (KafkaError, OSError) as error:
                _log.warning(
                    f"{self.what} cannot be read: {self.meanwhile}",
                    topic=topic, error=f"{type(error).__name__}: {error}", again_in_seconds=self._retry_seconds,
                )  # fmt: skip
            except Exception as error:  # noqa: BLE001 - see above
                place = traceback.extract_tb(error.__traceback__)[-1]  # what it says may quote a record
                _log.error(
                    f"{self.what} cannot be taken in, please report it: {self.meanwhile}",
                    topic=topic, error=f"{type(error).__name__} in {place.name}, line {place.lineno}",
                    again_in_seconds=self._retry_seconds,
                )  # fmt: skip
            await asyncio.sleep(self._retry_seconds)

    async def _follow(self, topic: str) -> None:
        """Read the topic until the broker fails, or it turns out to be another one than before."""
        consumer = make_async_consumer(self._settings.kafka, topic)
        try:
            await consumer.start()
            self._begin(await consumer.incarnation(topic), topic)
            due: dict[TopicPartition, int] = {}
            asked = self._clock()
            while True:
                polled = await getmany(consumer, timeout_ms=POLL_MS, max_records=MAX_RECORDS)
                if polled or self._clock() - asked >= ASK_SECONDS:
                    asked, now = self._clock(), await consumer.incarnation(topic)
                    if now not in (UNKNOWN, self._incarnation):
                        raise _Another
                for tp, records in polled.items():
                    await self._count_lost(consumer, tp, due.get(tp, 0), records[0].offset)
                    due[tp] = records[-1].offset + 1
                    self.take_records(records)
                if await _is_read(consumer):
                    self.reached_end()
        finally:
            await consumer.stop()

    def _begin(self, incarnation: str, topic: str) -> None:
        """Take note of which topic is read; of another one than before nothing is known yet."""
        if incarnation == UNKNOWN:
            return
        if self._incarnation not in (UNKNOWN, incarnation):
            _log.warning(f"the topic was made anew: its {self.what} alone stand now", topic=topic, topic_id=incarnation)
            self._metrics.recreated.labels(self.topic, topic, "0").inc()
            self.clear()
        self._incarnation = incarnation

    async def _count_lost(self, consumer: KnowingConsumer, tp: TopicPartition, due: int, came: int) -> None:
        """Count offsets before `came` that left the log unread; compaction loses no key's last record."""
        labels = (self.topic, tp.topic, str(tp.partition))
        self._metrics.lost_elsewhere[labels] += 0
        if came <= due:
            return
        begin = (await consumer.beginning_offsets([tp]))[tp]
        if (lost := min(begin, came) - due) > 0:
            self._metrics.lost_elsewhere[labels] += lost
            _log.error(
                f"{self.what} left the topic before they were read: its cleanup.policy must be compact alone",
                topic=tp.topic, partition=tp.partition, lost=lost,
            )  # fmt: skip


async def _is_read(consumer: KnowingConsumer) -> bool:
    """Whether nothing is left to read, as of each partition's last fetch."""
    ends = {tp: consumer.highwater(tp) for tp in consumer.assignment()}
    if not ends or None in ends.values():
        return False
    return all([await consumer.position(tp) >= end for tp, end in ends.items() if end])
