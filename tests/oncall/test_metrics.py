"""What a worker counts is what happened, under labels that name no account, and what left is shown no more."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from faust.types import TP
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from siphonwatch.models.engine.vitals import STEPS, Tally
from siphonwatch.streams.worker.gauges import PATTERN_TEXTS, TEXTS, PartitionGauges
from siphonwatch.streams.worker.meter import Meter
from siphonwatch.streams.worker.metrics import FRESHNESS, SCORES, BulkHistogram, Metrics
from siphonwatch.streams.worker.transport.gaps import Gaps, Meaning


@given(st.lists(st.floats(0, 5000, allow_nan=False), min_size=1, max_size=50))
def test_a_bulk_histogram_counts_as_prometheus_own_does(values: list[float]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    bulk = BulkHistogram("age_seconds", "Age.", "stream", FRESHNESS, ours)
    single = Histogram("age_seconds", "Age.", ["stream"], registry=theirs, buckets=FRESHNESS)
    for half in (values[::2], values[1::2]):
        bulk.observe("telemetry", np.array(half, np.float64))
    for value in values:
        single.labels("telemetry").observe(value)
    for bound in (*map(str, FRESHNESS), "+Inf"):
        labels = {"stream": "telemetry", "le": bound}
        assert ours.get_sample_value("age_seconds_bucket", labels) == theirs.get_sample_value(
            "age_seconds_bucket", labels
        )
    total = ours.get_sample_value("age_seconds_sum", {"stream": "telemetry"})
    assert total == pytest.approx(theirs.get_sample_value("age_seconds_sum", {"stream": "telemetry"}))


@settings(deadline=None)  # the first one compiles
@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=60))
def test_scores_fall_into_the_bucket_whose_bound_they_do_not_exceed(scores: list[float]) -> None:
    column = np.array(scores, np.float32)[:, None]
    tally = Tally(["extraction"])
    tally.add(column, np.ones(len(scores), np.bool_))
    registry = CollectorRegistry()
    bulk = BulkHistogram("score", "Scores.", "pattern", SCORES, registry)
    counts, total = tally.take()["extraction"]
    bulk.add("extraction", np.arange(STEPS + 1) / STEPS, counts, total)
    for bound in SCORES:
        seen = registry.get_sample_value("score_bucket", {"pattern": "extraction", "le": str(bound)})
        # A single's float may lie an ulp beside the bound's double: its place is that of the product.
        assert seen == sum(math.ceil(float(score) * STEPS) <= round(bound * STEPS) for score in column[:, 0])
    assert total == pytest.approx(sum(scores))
    assert tally.take()["extraction"][0].sum() == 0, "what was taken is not taken again"


def test_requests_late_before_a_restore_are_not_counted_again_after_it() -> None:
    registry = CollectorRegistry()
    meter = Meter(Metrics(registry), "telemetry", "t.telemetry.v1", 3)
    meter.restored(0.5, 40, 2)
    meter.scored((0.1, 0.0, 0.2, 0.1), 43, 2, {})
    labels = {"stream": "telemetry", "topic": "t.telemetry.v1", "partition": "3"}
    assert registry.get_sample_value("siphonwatch_late_requests_total", labels) == 3
    assert registry.get_sample_value("siphonwatch_ahead_requests_total", labels) == 0


def test_a_broker_s_clock_ahead_of_ours_makes_no_negative_age() -> None:
    registry = CollectorRegistry()
    Meter(Metrics(registry), "telemetry", "t", 0).batch(np.array([-3.0, 0.2]))
    assert registry.get_sample_value("siphonwatch_freshness_seconds_sum", {"stream": "telemetry"}) == 0.2


class Shown:
    """A partition that reads out what it is told."""

    def __init__(self, meter: Meter, readings: list[tuple[str, str, float]]) -> None:
        self.meter = meter
        self.tp = TP(meter.labels[1], int(meter.labels[2]))
        self._readings = readings

    def readings(self) -> Any:
        return iter(self._readings)


class Here:
    """The partitions of a worker."""

    def __init__(self, *partitions: Shown) -> None:
        self.partitions = list(partitions)

    def stream_of(self, topic: str) -> str:
        return "telemetry"


def test_a_partition_that_left_is_shown_no_more_and_its_counters_stay() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    meters = [Meter(metrics, "telemetry", "t", number) for number in range(2)]
    here = Here(*(Shown(meter, [("lag_records", "", 7.0), ("open_cases", "campaign", 2.0)]) for meter in meters))
    registry.register(PartitionGauges(here))  # type: ignore[arg-type]
    for meter in meters:
        meter.batch(np.zeros(5))
    labels = {"stream": "telemetry", "topic": "t", "partition": "1"}
    assert registry.get_sample_value("siphonwatch_lag_records", labels) == 7
    assert registry.get_sample_value("siphonwatch_open_cases", labels | {"pattern": "campaign"}) == 2
    assert registry.get_sample_value("siphonwatch_assigned_partitions", {"stream": "telemetry"}) == 2
    here.partitions.pop()
    assert registry.get_sample_value("siphonwatch_lag_records", labels) is None
    assert registry.get_sample_value("siphonwatch_assigned_partitions", {"stream": "telemetry"}) == 1
    assert registry.get_sample_value("siphonwatch_requests_total", labels) == 5


def test_series_begin_at_zero_so_that_a_first_event_is_an_increase() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    meter = Meter(metrics, "telemetry", "t", 0)
    labels = {"stream": "telemetry", "topic": "t", "partition": "0"}
    graver = {"pattern": "campaign", "severity": "critical", "outcome": "opened"}
    assert registry.get_sample_value("siphonwatch_alerts_total", graver) == 0
    assert registry.get_sample_value("siphonwatch_dead_letters_total", labels | {"reason": "json"}) == 0
    assert registry.get_sample_value("siphonwatch_commits_total", labels | {"outcome": "moved"}) == 0
    gaps = Gaps(None)
    registry.register(PartitionGauges(Here(Shown(meter, [])), lambda: gaps))  # type: ignore[arg-type]
    assert registry.get_sample_value("siphonwatch_lost_offsets_total", labels) == 0
    gaps.by_partition[("t", 0), Meaning.RETENTION] += 4
    gaps.by_partition[("t", 7), Meaning.LOST] += 2
    assert registry.get_sample_value("siphonwatch_lost_offsets_total", labels) == 4
    left = registry.get_sample_value("siphonwatch_lost_offsets_total", labels | {"partition": "7"})
    assert left == 2, "what was lost stays counted when the partition leaves"


def test_every_gauge_of_a_partition_is_described_and_named_by_its_unit() -> None:
    registry = CollectorRegistry()
    Metrics(registry)
    registry.register(PartitionGauges(Here()))  # type: ignore[arg-type]
    names = {family.name for family in registry.collect()}
    assert {f"siphonwatch_{name}" for name in (*TEXTS, *PATTERN_TEXTS)} <= names
    assert all(line.startswith(("#", "siphonwatch_")) for line in generate_latest(registry).decode().splitlines())
