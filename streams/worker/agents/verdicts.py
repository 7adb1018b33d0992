"""Follows the verdicts topic into the worker's ranker, from the log's beginning on; keeps no position and no state.

Nothing waits for it: until the log is read, and while the broker is away, alerts carry the rank known so far.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterable

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from siphonwatch.models.engine.patterns import patterns
from siphonwatch.models.learn.verdict_book import DECISIONS, VerdictBook, Vote
from siphonwatch.streams.common.incarnation import ASK_SECONDS, UNKNOWN, KnowingConsumer
from siphonwatch.streams.common.kafka import make_async_consumer
from siphonwatch.streams.common.polling import getmany
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts.verdict import NotAVerdict, decode
from siphonwatch.streams.worker.metrics import VERDICTS, Metrics

POLL_MS = 1000
MAX_RECORDS = 200
"""Records taken at a time, a few milliseconds of the event loop."""
RETRY_SECONDS = 10.0

_log = structlog.get_logger(__name__)


class _Another(Exception):
    """The topic that was read is gone, and another one has its name."""


class VerdictFeed:
    """Keeps a book up to date.

    Parameters
    ----------
    settings
        Where the topic is.
    book
        Takes the verdicts; the partitions of a worker share it.
    metrics
        What is counted: no account, analyst or note.
    retry_seconds
        Wait after the broker failed.
    clock
        Monotonic seconds.
    """

    def __init__(
        self,
        settings: Settings,
        book: VerdictBook,
        metrics: Metrics,
        retry_seconds: float = RETRY_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._book = book
        self._metrics = metrics
        self._retry_seconds = retry_seconds
        self._clock = clock
        self._incarnation = UNKNOWN
        self._patterns = {pattern.pattern for pattern in patterns()}
        self._measured: set[str] = set()

    async def run(self) -> None:
        """Follow the topic until cancelled; reads it from its beginning again where the broker fails."""
        topic = self._settings.topic("verdicts")
        while True:
            try:
                await self._follow(topic)
            except _Another:
                continue
            except (KafkaError, OSError) as error:
                _log.warning(
                    "verdicts cannot be read: alerts keep the rank known so far",
                    topic=topic, error=f"{type(error).__name__}: {error}", again_in_seconds=self._retry_seconds,
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
                    self.take(record.value for record in records)
        finally:
            await consumer.stop()

    def _begin(self, incarnation: str, topic: str) -> None:
        """Take note of which topic is read; another one than before is read into an empty book."""
        if incarnation == UNKNOWN:
            return
        if self._incarnation not in (UNKNOWN, incarnation):
            _log.warning("the topic was made anew: its verdicts alone stand now", topic=topic, topic_id=incarnation)
            self._metrics.recreated.labels(VERDICTS, topic, "0").inc()
            self._book.clear()
            self._measure()
        self._incarnation = incarnation

    async def _count_lost(self, consumer: KnowingConsumer, tp: TopicPartition, due: int, came: int) -> None:
        """Count offsets before `came` that left the log unread; compaction loses no case's last verdict."""
        labels = (VERDICTS, tp.topic, str(tp.partition))
        self._metrics.lost_elsewhere[labels] += 0
        if came <= due:
            return
        begin = (await consumer.beginning_offsets([tp]))[tp]
        if (lost := min(begin, came) - due) > 0:
            self._metrics.lost_elsewhere[labels] += lost
            _log.error(
                "verdicts left the topic before they were read: its cleanup.policy must be compact alone",
                topic=tp.topic, partition=tp.partition, lost=lost,
            )  # fmt: skip

    def take(self, values: Iterable[bytes | None]) -> None:
        """Take records of the topic in their order; those that are no verdicts are counted and left out."""
        votes: list[Vote] = []
        for value in values:
            try:
                votes.append(decode(value or b"").vote)
            except NotAVerdict:
                self._metrics.verdicts_unreadable.inc()
        self._metrics.ranker_updates.inc(self._book.take(votes))
        self._measure()

    def _measure(self) -> None:
        counts = self._book.counts()
        for pattern in self._patterns:
            given = [counts[pattern, decision] for decision in DECISIONS]
            if any(given) or pattern in self._measured:
                self._measured.add(pattern)
                for decision, count in zip(DECISIONS, given, strict=True):
                    self._metrics.verdicts.labels(pattern, decision).set(count)
                self._metrics.analyst_precision.labels(pattern).set(given[0] / sum(given) if any(given) else math.nan)
