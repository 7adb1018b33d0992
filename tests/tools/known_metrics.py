"""Every metric there is with its labels, read from the code that exports it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry

from siphonwatch.streams.common.answers import AnswerGauge
from siphonwatch.streams.common.status import process_registry
from siphonwatch.streams.deliver import metrics as deliverer
from siphonwatch.streams.deliver.feedback import metrics as feedback
from siphonwatch.streams.desk.views import Reading
from siphonwatch.streams.desk.web import metrics as desk
from siphonwatch.streams.desk.web.service import IndexGauges
from siphonwatch.streams.lab.archive import metrics as archiver
from siphonwatch.streams.worker.drift_gauges import DriftGauges
from siphonwatch.streams.worker.gauges import AbsentGauge, PartitionGauges
from siphonwatch.streams.worker.metrics import BulkHistogram, Metrics

TARGET = frozenset({"job", "instance", "namespace"})
"""Labels that a scrape adds."""
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}


class Nowhere:
    """An assignment without partitions."""

    partitions: tuple[()] = ()


def of_worker() -> CollectorRegistry:
    """Return what a worker registers, beside what every process has."""
    registry = CollectorRegistry()
    Metrics(registry)
    for collector in (PartitionGauges(Nowhere()), AnswerGauge(dict), AbsentGauge(()), DriftGauges()):  # type: ignore[arg-type]
        registry.register(collector)
    return registry


def of_deliverer() -> CollectorRegistry:
    """Return what a deliverer registers, beside what every process has."""
    registry = CollectorRegistry()
    deliverer.Metrics(registry)
    return registry


def of_archiver() -> CollectorRegistry:
    """Return what an archiver registers, beside what every process has."""
    registry = CollectorRegistry()
    archiver.Metrics(registry)
    return registry


def of_feedback() -> CollectorRegistry:
    """Return what the service that takes verdicts from other tools registers, beside what every process has."""
    registry = CollectorRegistry()
    feedback.Metrics(registry)
    return registry


def of_desk() -> CollectorRegistry:
    """Return what a desk registers, beside what every process has."""
    registry = CollectorRegistry()
    desk.Metrics(registry)
    registry.register(IndexGauges(lambda: Reading(trouble="", topics=[], stepped=[])))
    return registry


def names(registry: CollectorRegistry) -> set[str]:
    """Return each metric's name: a histogram's without suffix, a counter's with `_total`."""
    return {family.name + ("_total" if family.type == "counter" else "") for family, _ in _families(registry)}


def series(registry: CollectorRegistry) -> dict[str, frozenset[str]]:
    """Return the labels of each series, by its name as Prometheus has it."""
    found = {}
    for family, labels in _families(registry):
        for suffix in SUFFIXES.get(family.type, ("",)):
            found[family.name + suffix] = frozenset(labels) | ({"le"} if suffix == "_bucket" else set())
    return found


def known() -> dict[str, frozenset[str]]:
    """Return the labels of each series that Prometheus has of us, by name."""
    found = {"up": frozenset[str](), "ALERTS": frozenset({"alertname", "alertstate", "severity"})}
    found |= {sample.name: frozenset(sample.labels) for each in process_registry().collect() for sample in each.samples}
    # A metric of both, such as recreated_topics, has the labels of either.
    for name, labels in (
        pair for made in (of_worker, of_deliverer, of_archiver, of_feedback, of_desk) for pair in series(made()).items()
    ):
        found[name] = found.get(name, frozenset()) | labels
    return {name: labels | TARGET for name, labels in found.items()}


def _families(registry: CollectorRegistry) -> Iterator[tuple[Any, tuple[str, ...]]]:
    for collector in registry._collector_to_names:
        for family in collector.describe():  # type: ignore[attr-defined]
            if isinstance(collector, BulkHistogram):
                yield family, (collector._label,)
            else:
                yield family, tuple(getattr(family, "_labelnames", None) or getattr(collector, "_labelnames", ()))
