"""The demo waits for what its worker says it has done: each request once, and the cases it opened."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from siphonwatch.streams.contracts.telemetry import Malformed
from siphonwatch.streams.lab.demo.processes import Counts, Process, counted
from siphonwatch.streams.worker.meter import Meter
from siphonwatch.streams.worker.metrics import Metrics


def test_counts_are_requests_once_what_was_not_scored_and_cases_opened() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    for stream, requests in (("telemetry", 70), ("sightings", 40), ("ingest", 75)):
        meter = Meter(metrics, stream, stream, 0)
        meter.batch(np.zeros(requests))
        meter.skipped(3)
        meter.dead_letter(Malformed("json"))
    metrics.alerts.labels("campaign", "high", "opened").inc(2)
    metrics.alerts.labels("campaign", "high", "updated").inc(9)
    text = generate_latest(registry).decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    assert counted(samples) == Counts(requests=70, rejected=3 + 1 + 1, alerts=2)


COMPILES = """
import numpy as np
from siphonwatch.streams.worker.scan.tokens import space
from siphonwatch.streams.worker.warm import compiling
with compiling(lambda module: print(f"compiling module={module}", flush=True)):
    space(np.zeros(3, np.uint8), 0, 3)
"""


def test_what_a_process_compiles_is_read_out_of_its_log(tmp_path: Path) -> None:
    """Compiled anew, as the cache is empty; what the cache has is not said."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    said = []
    for name in ("first", "second"):
        with Process(name, ["-c", COMPILES], tmp_path / f"{name}.log", environment) as process:
            while process.running():
                time.sleep(0.05)
            said.append(process.compiling())
    assert said == ["siphonwatch.streams.worker.scan.tokens", ""]
