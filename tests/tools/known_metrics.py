"""Every metric there is with its labels, read from the code that exports it."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry

from siphonwatch.streams.common import answers
from siphonwatch.streams.deliver import metrics as sink_metrics
from siphonwatch.streams.worker import gauges, metrics

TARGET = frozenset({"job", "instance", "namespace"})
"""Labels that a scrape adds."""
PROCESS = (
    "process_resident_memory_bytes",
    "process_cpu_seconds_total",
    "process_open_fds",
    "process_start_time_seconds",
)
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}


def known() -> dict[str, frozenset[str]]:
    """Return the labels of each series, by its name as Prometheus has it."""
    found: dict[str, frozenset[str]] = {"up": TARGET, "ALERTS": TARGET | {"alertname", "alertstate", "severity"}}
    found |= dict.fromkeys(PROCESS, TARGET)
    for holder in (metrics.Metrics(CollectorRegistry()), sink_metrics.Metrics(CollectorRegistry())):
        for metric in vars(holder).values():
            if hasattr(metric, "describe"):
                _add(found, metric.describe()[0], _labels(metric))
    for family in (*gauges._families().values(), answers._family(), *gauges.AbsentGauge(()).describe()):
        _add(found, family, tuple(family._labelnames))
    return found


def _labels(metric: Any) -> tuple[str, ...]:
    return (metric._label,) if isinstance(metric, metrics.BulkHistogram) else tuple(metric._labelnames)


def _add(found: dict[str, frozenset[str]], family: Any, labels: tuple[str, ...]) -> None:
    for suffix in SUFFIXES.get(family.type, ("",)):
        more = {"le"} if suffix == "_bucket" else set()
        found[family.name + suffix] = frozenset({*labels, *more}) | TARGET
