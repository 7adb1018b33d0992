"""A worker shows which cards it runs, and says and counts it where a partition's state was of another one."""

from __future__ import annotations

from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from siphonwatch.models.engine.patterns import patterns
from siphonwatch.models.evidence.places import Change
from siphonwatch.streams.worker.meter import Meter
from siphonwatch.streams.worker.metrics import Metrics


def test_a_worker_shows_the_card_of_each_pattern() -> None:
    registry = CollectorRegistry()
    Metrics(registry)
    for detector in patterns():
        labels = {"pattern": detector.pattern, "card": detector.id}
        assert registry.get_sample_value("siphonwatch_card_info", labels) == 1.0


def test_a_changed_card_is_counted_from_zero_and_logged_with_both_ids() -> None:
    registry = CollectorRegistry()
    meter = Meter(Metrics(registry), "telemetry", "t", 3)
    labels = {"stream": "telemetry", "topic": "t", "partition": "3", "pattern": "shift"}
    assert registry.get_sample_value("siphonwatch_card_restarts_total", labels) == 0.0
    with capture_logs() as logs:
        meter.changed(Change("shift", "0123", "4567"))
    assert registry.get_sample_value("siphonwatch_card_restarts_total", labels) == 1.0
    (line,) = logs
    assert (line["event"], line["log_level"], line["partition"]) == ("card changed", "warning", "3")
    assert line["what"].startswith("card shift was 0123 and is 4567: its evidence and its reference begin anew")
