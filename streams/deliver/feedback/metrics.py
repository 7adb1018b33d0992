"""What the feedback service counts, by source: the name of a sink that is polled, or `webhook`."""

from __future__ import annotations

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge

from siphonwatch.streams.deliver.feedback.book import RESULTS

WEBHOOK = "webhook"


class Metrics:
    """The service's metrics.

    Parameters
    ----------
    registry
        Where they are registered.
    clock
        Seconds since 1970.
    """

    def __init__(self, registry: CollectorRegistry, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self.decisions = Counter(
            "siphonwatch_feedback_decisions", "Decisions from other tools by what became of them",
            ["source", "result"], registry=registry,
        )  # fmt: skip
        self.failing = Gauge(
            "siphonwatch_feedback_failing_seconds", "Since the first failure in a row; 0 when fine",
            ["source"], registry=registry,
        )  # fmt: skip
        self._since: dict[str, float | None] = {}

    def watch(self, source: str) -> None:
        """Show a source, all of its results at 0."""
        for result in (*RESULTS, "forged", "unsent"):
            self.decisions.labels(source, result)
        self._since[source] = None
        self.failing.labels(source).set_function(lambda: self._failing(source))

    def count(self, source: str, result: str) -> None:
        """Count a decision: one of `RESULTS`, `forged` without a good signature, `unsent` as Kafka did not take it."""
        self.decisions.labels(source, result).inc()

    def went(self, source: str, well: bool) -> None:
        """Note how the last attempt went."""
        self._since[source] = None if well else self._since[source] or self._clock()

    def _failing(self, source: str) -> float:
        since = self._since[source]
        return 0.0 if since is None else max(self._clock() - since, 0.0)
