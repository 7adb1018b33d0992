"""Follows the verdicts topic into the worker's ranker; alerts carry the rank known so far."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from siphonwatch.models.engine.patterns import patterns
from siphonwatch.models.evaluate.anytime import anytime
from siphonwatch.models.learn.verdict_book import DECIDED, DECISIONS, VerdictBook, Vote
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts.verdict import NotAVerdict, decode
from siphonwatch.streams.worker.agents.feed import RETRY_SECONDS, Feed
from siphonwatch.streams.worker.metrics import VERDICTS, Metrics


class VerdictFeed(Feed):
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

    topic = VERDICTS
    what = "verdicts"
    meanwhile = "alerts keep the rank known so far"

    def __init__(
        self,
        settings: Settings,
        book: VerdictBook,
        metrics: Metrics,
        retry_seconds: float = RETRY_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(settings, metrics, retry_seconds, clock)
        self._book = book
        self._patterns = {pattern.pattern for pattern in patterns()}
        self._measured: set[str] = set()
        self._outcomes: dict[str, list[bool]] = {}

    def take_records(self, records: Sequence[Any]) -> None:
        """Take records of the topic."""
        self.take(record.value for record in records)

    def clear(self) -> None:
        """Forget every verdict."""
        self._book.clear()
        self._measure()
        self._measure_precision()

    def reached_end(self) -> None:
        """Measure how sure the precision is. Verdicts count as they come, this takes up to a tenth of a second."""
        self._measure_precision()

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
                confirmed, decided = counts[pattern, "true-positive"], sum(counts[pattern, one] for one in DECIDED)
                self._metrics.analyst_precision.labels(pattern).set(confirmed / decided if decided else math.nan)

    def _measure_precision(self) -> None:
        """Show each pattern's outcomes with their interval, where they are others than those shown."""
        known, self._outcomes = self._outcomes, self._book.outcomes()
        for pattern in self._patterns & (known.keys() | self._outcomes.keys()):
            outcomes = self._outcomes.get(pattern, [])
            if outcomes != known.get(pattern):
                seen = anytime(outcomes)
                figures = {"decided": seen.of, "confirmed": sum(outcomes), "low": seen.low, "high": seen.high}
                for name, value in figures.items():
                    self._metrics.precision[name].labels(pattern).set(value)
