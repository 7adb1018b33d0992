"""What the archiver counts and how far it is behind, by kind of record, in base units; no account is ever a label."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from siphonwatch.streams.lab.archive.layout import KINDS, Kind, Manifest


class Behind(NamedTuple):
    """How far one kind's archive is behind its topic."""

    records: int | None
    """Offsets that no step holds; None where the broker does not say where the log ends."""
    seconds: float
    """How old the oldest record that no step holds may be; 0 when all are in one."""


class _BehindGauges(Collector):
    """The gauges of now."""

    _labelnames = ("kind",)

    def __init__(self, ask: Callable[[], Mapping[Kind, Behind]]) -> None:
        self._ask = ask

    def describe(self) -> list[Metric]:
        """Return the metrics without values."""
        return list(self._families())

    def collect(self) -> Iterator[Metric]:
        """Give the metrics with the values of now."""
        records, seconds = self._families()
        for kind, behind in sorted(self._ask().items()):
            if behind.records is not None:
                records.add_metric([kind], behind.records)
            seconds.add_metric([kind], behind.seconds)
        yield from (records, seconds)

    def _families(self) -> tuple[GaugeMetricFamily, GaugeMetricFamily]:
        return (
            GaugeMetricFamily(
                "siphonwatch_archive_lag_records", "Offsets that no step holds", labels=self._labelnames
            ),
            GaugeMetricFamily(
                "siphonwatch_archive_behind_seconds", "How old the oldest record that no step holds may be",
                labels=self._labelnames,
            ),
        )  # fmt: skip


class Metrics:
    """The archiver's metrics.

    Parameters
    ----------
    registry
        Where they are registered.
    behind
        Returns how far each kind is behind.
    """

    def __init__(self, registry: CollectorRegistry, behind: Callable[[], Mapping[Kind, Behind]] = dict) -> None:
        kind = ["kind"]
        self._rows = Counter("siphonwatch_archived_rows", "Rows in closed steps", kind, registry=registry)
        self._bytes = Counter("siphonwatch_archived_bytes", "Bytes of their files", kind, registry=registry)
        self._steps = Counter("siphonwatch_archive_steps", "Steps closed", registry=registry)
        self._dropped = Counter(
            "siphonwatch_archive_dropped_records", "Records that hold nothing to keep, by reason", ["kind", "reason"],
            registry=registry,
        )  # fmt: skip
        self._gaps = Counter(
            "siphonwatch_archive_gaps", "Ranges of offsets that were never read, by reason", ["kind", "reason"],
            registry=registry,
        )  # fmt: skip
        self._last = Gauge(
            "siphonwatch_last_archive_step_timestamp_seconds", "When the newest step was closed", registry=registry
        )
        for name in KINDS:
            self._rows.labels(name)
            self._bytes.labels(name)
            self._dropped.labels(name, "tombstone")
            for reason in ("expired", "anew", "absent"):
                self._gaps.labels(name, reason)
        registry.register(_BehindGauges(behind))

    def begun(self, newest: Manifest) -> None:
        """Note the newest step that was there at the start."""
        self._last.set(newest.at)

    def step(self, manifest: Manifest) -> None:
        """Count a step."""
        self._steps.inc()
        self._last.set(manifest.at)
        for taken in manifest.ranges:
            self._rows.labels(taken.kind).inc(taken.rows)
            for reason, records in taken.dropped.items():
                self._dropped.labels(taken.kind, reason).inc(records)
            for gap in taken.gaps:
                self._gaps.labels(taken.kind, gap.reason).inc()
        for file in manifest.files:
            self._bytes.labels(file.kind).inc(file.size)
