"""What the deliverer counts and times, in base units, by sink; no account or case is ever a label."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

OUTCOMES = ("delivered", "failed", "refused", "filtered", "unchanged", "repeated", "unreadable", "expired")
ATTEMPT = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
DELAY = (0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 900, 3600)


class Lag(Collector):
    """How many alerts wait, by sink; of a sink that does not know nothing is said."""

    _labelnames = ("sink",)

    def __init__(self, registry: CollectorRegistry) -> None:
        self.of: dict[str, Callable[[], int | None]] = {}
        registry.register(self)

    def describe(self) -> list[Metric]:
        """Return the metric without values."""
        return [self._family()]

    def collect(self) -> Iterator[Metric]:
        """Give the metric with the values of now."""
        family = self._family()
        for sink, ask in sorted(self.of.items()):
            if (lag := ask()) is not None:
                family.add_metric([sink], lag)
        yield family

    def _family(self) -> GaugeMetricFamily:
        return GaugeMetricFamily("siphonwatch_delivery_lag_records", "Alerts waiting", labels=self._labelnames)


class Metrics:
    """The deliverer's metrics.

    Parameters
    ----------
    registry
        Where they are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        sink = ["sink"]
        self.deliveries = Counter(
            "siphonwatch_deliveries",
            "Alerts by outcome; failed ones are attempts that are repeated",
            ["sink", "outcome"], registry=registry,
        )  # fmt: skip
        self.seconds = Histogram(
            "siphonwatch_delivery_seconds", "Time an attempt takes", sink, registry=registry, buckets=ATTEMPT
        )
        self.delay = Histogram(
            "siphonwatch_delivery_delay_seconds", "From an alert's record to its delivery", sink,
            registry=registry, buckets=DELAY,
        )  # fmt: skip
        self.recreated = Counter(
            "siphonwatch_recreated_topics", "Times the partition's topic turned out to have been made anew",
            ["stream", "topic", "partition", "sink"], registry=registry,
        )  # fmt: skip
        self.lag = Lag(registry)
        self.failing = Gauge(
            "siphonwatch_failing_seconds", "Since the first failure in a row, or waiting for partitions; 0 when fine",
            sink, registry=registry,
        )  # fmt: skip
        self.last = Gauge(
            "siphonwatch_last_delivery_timestamp_seconds", "When an alert was last delivered", sink, registry=registry
        )

    def of(self, sink: str) -> SinkMetrics:
        """Return the metrics of one sink, all of its outcomes at 0."""
        for outcome in OUTCOMES:
            self.deliveries.labels(sink, outcome)
        return SinkMetrics(self, sink)


class SinkMetrics:
    """The metrics of one sink; `Metrics.of` makes it."""

    def __init__(self, metrics: Metrics, sink: str) -> None:
        self._metrics = metrics
        self._sink = sink
        self._seconds = metrics.seconds.labels(sink)
        self._delay = metrics.delay.labels(sink)

    def count(self, outcome: str, alerts: int = 1) -> None:
        """Count alerts with one of `OUTCOMES`."""
        self._metrics.deliveries.labels(self._sink, outcome).inc(alerts)

    def made_anew(self, topic: str, partition: int) -> None:
        """Count that the alerts topic was made anew."""
        self._metrics.recreated.labels("alerts", topic, str(partition), self._sink).inc()

    def attempt(self, seconds: float) -> None:
        """Note how long an attempt took."""
        self._seconds.observe(seconds)

    def delivered(self, now: float, sent: float) -> None:
        """Count a delivery at `now` of an alert that the worker sent at `sent`, seconds since 1970."""
        self.count("delivered")
        self._delay.observe(max(now - sent, 0.0))
        self._metrics.last.labels(self._sink).set(now)

    def watch(self, lag: Callable[[], int | None], failing: Callable[[], float]) -> None:
        """Ask these when metrics are read; a lag of None is not known."""
        self._metrics.lag.of[self._sink] = lag
        self._metrics.failing.labels(self._sink).set_function(failing)
