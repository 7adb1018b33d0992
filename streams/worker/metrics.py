"""What a worker counts and times, in base units; no account is ever a label. Nothing is registered at import.

What is so at the moment of a scrape is in `siphonwatch.streams.worker.gauges`.
"""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
)
from prometheus_client.metrics_core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from siphonwatch.models.engine.patterns import patterns
from siphonwatch.models.evidence.process import SEVERITIES

PARTITION = ("stream", "topic", "partition")
"""Labels of what belongs to a partition; `stream` is what the topic is for, whatever its name: one of `STREAMS`."""
TELEMETRY, SIGHTINGS, INGEST = STREAMS = ("telemetry", "sightings", "ingest")
VERDICTS, CONTROL = "verdicts", "control"
"""The streams of topics that every worker follows from their beginning."""
Labels = tuple[str, str, str]
"""Values of `PARTITION`."""
OUTCOMES = {"open": "opened", "update": "updated", "close": "closed"}
"""Outcome of an alert, by the kind of its finding."""
ALLOWED, ENTRY = WITHHELD = ("allowed", "entry")
"""Why an alert is not sent: its accounts are on the allow-list of the settings, or an allow entry covers it."""
COMMITTED, MOVED, TIMEOUT = COMMITS = ("committed", "moved", "timeout")
"""Outcomes of a commit; `moved` where the group went on without us."""
PRECISION = {
    "decided": "Judged cases that are decided, of the verdicts that the worker keeps",
    "confirmed": "Decided cases that analysts confirmed",
    "low": "Least share of confirmed cases, with 95 % however often one looks",
    "high": "Most share of confirmed cases, with 95 % however often one looks",
}
"""What is shown of each pattern's decided cases."""
STAGES = ("decode", "thaw", "score", "emit")

FRESHNESS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)
SCORES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


class BulkHistogram(Collector):
    """A histogram that takes arrays: prometheus-client's own costs a microsecond a value.

    Parameters
    ----------
    name, text, label
        Of the metric; it has one label.
    bounds
        Upper bounds of the buckets, ascending.
    registry
        Where it is registered.
    """

    def __init__(self, name: str, text: str, label: str, bounds: Sequence[float], registry: CollectorRegistry) -> None:
        self._name, self._text, self._label = name, text, label
        self._bounds = np.array(bounds)
        self._names = [*map(floatToGoString, bounds), "+Inf"]
        self._counts: dict[str, npt.NDArray[np.int64]] = {}
        self._sums: dict[str, float] = {}
        registry.register(self)

    def observe(self, label: str, values: npt.NDArray[np.float64]) -> None:
        """Count values, `(n,)`."""
        places = np.searchsorted(self._bounds, values, side="left")
        self._add(label, np.bincount(places, minlength=len(self._names)), float(values.sum()))

    def add(self, label: str, bounds: npt.NDArray[np.float64], counts: npt.NDArray[np.int64], total: float) -> None:
        """Add counts made elsewhere: `counts`, `(m,)`, of values up to each of `bounds`, `(m,)`."""
        places = np.searchsorted(self._bounds, bounds, side="left")
        self._add(label, np.bincount(places, counts, minlength=len(self._names)).astype(np.int64), total)

    def begin(self, label: str) -> None:
        """Show a label before anything was counted under it."""
        self._add(label, np.zeros(len(self._names), np.int64), 0.0)

    def _add(self, label: str, counts: npt.NDArray[np.int64], total: float) -> None:
        known = self._counts.setdefault(label, np.zeros(len(self._names), np.int64))
        known += counts
        self._sums[label] = self._sums.get(label, 0.0) + total

    def describe(self) -> list[Metric]:
        """Return the metric without values."""
        return [HistogramMetricFamily(self._name, self._text, labels=[self._label])]

    def collect(self) -> Iterator[Metric]:
        """Give the metric with its counts."""
        family = HistogramMetricFamily(self._name, self._text, labels=[self._label])
        for label, counts in sorted(self._counts.items()):
            family.add_metric(
                [label], list(zip(self._names, np.cumsum(counts).tolist(), strict=True)), self._sums[label]
            )
        yield family


class Metrics:
    """The worker's metrics.

    Parameters
    ----------
    registry
        Where they are registered; each worker has its own.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str, of: Sequence[str] = PARTITION) -> Counter:
            return Counter(f"siphonwatch_{name}", text, [*of, *labels], registry=registry)

        def histogram(name: str, text: str, *buckets: float) -> Histogram:
            return Histogram(f"siphonwatch_{name}", text, ["stream"], registry=registry, buckets=buckets)

        self.requests = counter("requests", "Requests processed")
        self.skipped = counter("skipped_requests", "Requests applied before: redelivered or ingested again")
        self.forged = counter("forged_records", "Records that claim an origin without the seal that goes with it")
        self.erased = counter("erased_requests", "Requests of accounts that were erased, from before that: not applied")
        self.unopened = counter("unopened_requests", "Requests with sealed parts that no key of this worker opens")
        self.passed_over = counter("passed_over_elements", "Elements of records that are no requests, and tombstones")
        self.misplaced = counter("misplaced_requests", "Requests in another partition than their account's by murmur2")
        self.refused = counter("refused_requests", "Requests turned away (400, 401, 403, 407) of unknown accounts")
        self.late = counter("late_requests", "Requests later than the grace; counted all the same")
        self.ahead = counter("ahead_requests", "Requests further ahead of the clock than one may be")
        self.alerts = counter("alerts", "Alerts sent", "pattern", "severity", "outcome", of=())
        self.suppressed = counter("suppressed_alerts", "Alerts not sent", "pattern", "reason", of=())
        self.dead_letters = counter("dead_letters", "Records sent to the dead-letter topic", "reason")
        self.lost_letters = counter("lost_dead_letters", "Bad records that the dead-letter topic takes in no size")
        self.lost_elsewhere: Counts[Labels] = Counts()
        """Offsets lost of topics that no partition is assigned of; shown among `siphonwatch_lost_offsets_total`."""
        self.recreated = counter("recreated_topics", "Times the partition's topic turned out to have been made anew")
        self.send_failures = counter("send_failures", "Attempts to send what came of a partition that failed", "to")
        self.stages = counter("stage_seconds", "Time spent, by stage", "stage")
        self.shadow_seconds = counter("shadow_seconds", "Time spent in judges beside the champion; part of score")
        self.checkpoint_bytes = counter("checkpoint_bytes", "Written to the state topic")
        self.commits = counter("commits", "Commits of offsets", "outcome")
        self.rebalances = Counter(
            "siphonwatch_rebalances", "Times the group gave this worker its partitions", registry=registry
        )
        self.freshness = BulkHistogram(
            "siphonwatch_freshness_seconds", "From a record's timestamp at the broker to the end of its batch",
            "stream", FRESHNESS, registry,
        )  # fmt: skip
        self.scores = BulkHistogram("siphonwatch_score", "Scores of requests, by detector", "pattern", SCORES, registry)
        self.batch = histogram(
            "batch_requests", "Requests handed over at a time", 1, 10, 100, 500, 1000, 5000, 10_000, 50_000
        )
        self.checkpoint = histogram(
            "checkpoint_seconds", "Time a checkpoint takes", 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30
        )
        self.restore = histogram("restore_seconds", "Time a restore takes", 0.1, 0.5, 1, 5, 10, 30, 60, 120, 300)
        self.model = Gauge(
            "siphonwatch_model_info", "What scores: version, format of its state, its cards",
            ["version", "state_format", "reference"], registry=registry,
        )  # fmt: skip
        self.cards = Gauge(
            "siphonwatch_card_info", "What scores a pattern: its card, by the hash of what it computes",
            ["pattern", "card"], registry=registry,
        )  # fmt: skip
        self.card_restarts = counter("card_restarts", "Times a card was another one than the state's", "pattern")
        self.verdicts = Gauge(
            "siphonwatch_verdicts", "Standing verdicts; every worker knows them all", ["pattern", "decision"],
            registry=registry,
        )  # fmt: skip
        self.analyst_precision = Gauge(
            "siphonwatch_analyst_precision", "Share of the judged cases that analysts confirmed", ["pattern"],
            registry=registry,
        )  # fmt: skip
        self.precision = {
            name: Gauge(f"siphonwatch_precision_{name}", what, ["pattern"], registry=registry)
            for name, what in PRECISION.items()
        }
        self._begin_at_zero()
        self.ranker_updates = Counter(
            "siphonwatch_ranker_updates", "Verdicts that changed the ranker since the start", registry=registry
        )
        self.verdicts_unreadable = Counter(
            "siphonwatch_unreadable_verdicts", "Records of the verdicts topic that are none", registry=registry
        )
        self.controls_unreadable = Counter(
            "siphonwatch_unreadable_controls", "Records of the control topic that are none", registry=registry
        )

    def _begin_at_zero(self) -> None:
        """Give every series a beginning: of one that first appears at 1, Prometheus sees no increase."""
        for detector in patterns():
            pattern = detector.pattern
            self.cards.labels(pattern, detector.id).set(1)
            for reason in WITHHELD:
                self.suppressed.labels(pattern, reason)
            self.scores.begin(pattern)
            for severity in SEVERITIES:
                for outcome in OUTCOMES.values():
                    self.alerts.labels(pattern, severity, outcome)
        for stream in STREAMS:
            self.freshness.begin(stream)
            for histogram in (self.batch, self.checkpoint, self.restore):
                histogram.labels(stream)
