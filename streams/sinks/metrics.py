"""What the deliverer counts and times, in base units, by sink; no account or case is ever a label."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

OUTCOMES = ("delivered", "failed", "refused", "filtered", "repeated", "unreadable", "expired")
ATTEMPT = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
DELAY = (0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 900, 3600)


class Metrics:
    """The deliverer's metrics.

    Parameters
    ----------
    registry
        Where they are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        sink = ["sink"]
        self._deliveries = Counter(
            "siphonwatch_deliveries",
            "Alerts by what became of them; failed ones are attempts that are repeated",
            ["sink", "outcome"], registry=registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "siphonwatch_delivery_seconds", "Time an attempt takes", sink, registry=registry, buckets=ATTEMPT
        )
        self._delay = Histogram(
            "siphonwatch_delivery_delay_seconds", "From an alert's record to its delivery", sink,
            registry=registry, buckets=DELAY,
        )  # fmt: skip
        self._lag = Gauge("siphonwatch_delivery_lag_records", "Alerts waiting", sink, registry=registry)
        self._failing = Gauge(
            "siphonwatch_failing_seconds", "Since the first failure in a row, or waiting for partitions; 0 when fine",
            sink, registry=registry,
        )  # fmt: skip
        self._last = Gauge(
            "siphonwatch_last_delivery_timestamp_seconds", "When an alert was last delivered", sink, registry=registry
        )

    def of(self, sink: str) -> SinkMetrics:
        """Return the metrics of one sink, all of its outcomes at 0."""
        for outcome in OUTCOMES:
            self._deliveries.labels(sink, outcome)
        return SinkMetrics(self, sink)


class SinkMetrics:
    """The metrics of one sink; `Metrics.of` makes it."""

    def __init__(self, metrics: Metrics, sink: str) -> None:
        self._metrics = metrics
        self._sink = sink
        self._seconds = metrics._seconds.labels(sink)  # noqa: SLF001 - two halves of one thing
        self._delay = metrics._delay.labels(sink)  # noqa: SLF001

    def count(self, outcome: str, alerts: int = 1) -> None:
        """Count alerts with one of `OUTCOMES`."""
        self._metrics._deliveries.labels(self._sink, outcome).inc(alerts)  # noqa: SLF001

    def attempt(self, seconds: float) -> None:
        """Note how long an attempt took."""
        self._seconds.observe(seconds)

    def delivered(self, now: float, sent: float) -> None:
        """Count a delivery at `now` of an alert that the worker sent at `sent`, seconds since 1970."""
        self.count("delivered")
        self._delay.observe(max(now - sent, 0.0))
        self._metrics._last.labels(self._sink).set(now)  # noqa: SLF001

    def watch(self, lag: Callable[[], float], failing: Callable[[], float]) -> None:
        """Ask these when metrics are read."""
        self._metrics._lag.labels(self._sink).set_function(lag)  # noqa: SLF001
        self._metrics._failing.labels(self._sink).set_function(failing)  # noqa: SLF001
