"""Gauges of the partitions assigned to this worker, read at scrape time: a partition that left has none.

It changes nothing but the note of when a partition had last caught up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from siphonwatch.streams.worker.metrics import PARTITION, STREAMS, Labels
from siphonwatch.streams.worker.transport.absent import Absent
from siphonwatch.streams.worker.transport.gaps import Gaps, Meaning

if TYPE_CHECKING:
    from siphonwatch.streams.worker.agents.assignment import Assignment

Readings = Iterator[tuple[str, str, float]]
"""A worker's gauges: name, pattern or bound or nothing, value."""

TEXTS = {
    "partition_ready": "1 when restored and read, 0 while restoring",
    "lag_records": "Offsets between what is processed and the log's end",
    "lag_seconds": "How old the oldest record that waits may be; 0 when caught up",
    "stalled_seconds": "For how long records have waited, or been applied, without a commit",
    "blocked_seconds": "For how long the broker has not taken what a partition sends; 0 while it does",
    "last_commit_timestamp_seconds": "When offsets were last committed",
    "last_checkpoint_timestamp_seconds": "When a checkpoint was last acknowledged",
    "watermark_timestamp_seconds": "Event time of the partition",
    "hot_accounts": "Accounts in memory",
    "cold_accounts": "Accounts in the state topic only",
    "state_bytes": "Memory of account rows and their index",
    "shadows_off": "Shadow judges that failed and were switched off",
    "budget_spent_ratio": "Share of the false-discovery budget that the accounts so far have",
}
PATTERN_TEXTS = {
    "open_cases": "Cases open now",
    "unjudged_cases": "Open cases without a verdict",
    "oldest_unjudged_case_seconds": "Event-time age of the oldest open case without a verdict; 0 where there is none",
    "held_cases": "Accounts with evidence beyond 1/alpha that the budget holds back",
    "release_threshold_e": "E-value that the newest account needs for a case to be told",
    "reference_hours": "Weight of the benign account-hours learnt",
    "drift_ratio": "Share of benign account-hours in a detector's tail, over what it promised",
}
BOUND_TEXTS = {
    "bound_used": "How many there are of what memory is bounded by",
    "bound_limit": "How many of them there may be",
    "bound_dropped": "How many had to go because there were too many, since the partition came here",
}
GAPS = {
    "lost_offsets": (
        "Offsets that the broker no longer had, or that no client can read",
        (Meaning.RETENTION, Meaning.LOST, Meaning.UNREADABLE),
    ),
    "reread_gaps": ("Offsets of gaps that were read again", (Meaning.REREAD,)),
}


class AbsentGauge(Collector):
    """Which gateway topics a worker waits for.

    Parameters
    ----------
    topics
        Those of `ingest.topics`.
    absent
        Returns what waits, None before there is a consumer.
    """

    def __init__(self, topics: Sequence[str], absent: Callable[[], Absent | None] = lambda: None) -> None:
        self._topics = topics
        self._absent = absent

    def describe(self) -> list[Metric]:
        """Return the metric without values."""
        return [self._family()]

    def collect(self) -> Iterator[Metric]:
        """Give the metric with the values of now."""
        family, waiting = self._family(), self._absent()
        if waiting is not None:
            for topic in self._topics:
                family.add_metric([topic], float(topic in waiting.topics))
        yield family

    def _family(self) -> GaugeMetricFamily:
        return GaugeMetricFamily("siphonwatch_topic_absent", "1 while a gateway topic does not exist", labels=["topic"])


class Watched(Protocol):
    """A worker's partition that has something to say."""

    def readings(self) -> Readings:
        """Give its gauges, names of `TEXTS`, `PATTERN_TEXTS` and `BOUND_TEXTS`."""


class PartitionGauges(Collector):
    """Collects from the partitions a worker has now.

    Parameters
    ----------
    assignment
        The partitions.
    gaps
        Returns the counts of offset gaps, None before there is a consumer.
    elsewhere
        Offsets lost of topics that are followed without an assignment, by labels.
    """

    def __init__(
        self,
        assignment: Assignment,
        gaps: Callable[[], Gaps | None] = lambda: None,
        elsewhere: Mapping[Labels, int] | None = None,
    ) -> None:
        self._assignment = assignment
        self._gaps = gaps
        self._elsewhere = {} if elsewhere is None else elsewhere

    def describe(self) -> list[Metric]:
        """Return the metrics without values."""
        return list(_families().values())

    def collect(self) -> Iterator[Metric]:
        """Give every metric with the values of now."""
        families = _families()
        counts = dict.fromkeys(STREAMS, 0)
        for partition in self._assignment.partitions:
            counts[partition.meter.labels[0]] += 1
            for name, pattern, value in partition.readings():
                families[name].add_metric([*partition.meter.labels, *([pattern] if pattern else [])], value)
        for stream, count in counts.items():
            families["assigned_partitions"].add_metric([stream], count)
        for labels, name, value in self._gap_counts():
            families[name].add_metric(labels, value)
        yield from families.values()

    def _gap_counts(self) -> Iterator[tuple[Labels, str, float]]:
        """Of the partitions that are here, 0 included, and of those that left with gaps: a counter never goes back."""
        for labels, lost in sorted(self._elsewhere.items()):
            yield labels, "lost_offsets", lost
        gaps = self._gaps()
        if gaps is None:
            return
        here = {(partition.tp.topic, partition.tp.partition) for partition in self._assignment.partitions}
        left = {tp for tp, _ in list(gaps.by_partition)}  # copied at once: the consumer's thread adds to it
        for topic, number in sorted(here | left):
            labels = (self._assignment.stream_of(topic), topic, str(number))
            for name, (_, meanings) in GAPS.items():
                yield labels, name, sum(gaps.by_partition[(topic, number), meaning] for meaning in meanings)


def _families() -> dict[str, GaugeMetricFamily | CounterMetricFamily]:
    """Every metric, without values."""
    texts: list[tuple[str, str, tuple[str, ...]]] = [(name, text, PARTITION) for name, text in TEXTS.items()]
    texts += [(name, text, (*PARTITION, "pattern")) for name, text in PATTERN_TEXTS.items()]
    texts += [(name, text, (*PARTITION, "bound")) for name, text in BOUND_TEXTS.items()]
    texts += [("assigned_partitions", "Partitions assigned to this worker", ("stream",))]
    families: dict[str, GaugeMetricFamily | CounterMetricFamily] = {
        name: GaugeMetricFamily(f"siphonwatch_{name}", text, labels=labels) for name, text, labels in texts
    }
    for name, (text, _) in GAPS.items():
        families[name] = CounterMetricFamily(f"siphonwatch_{name}", text, labels=PARTITION)
    return families
