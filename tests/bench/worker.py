"""The worker end to end on Apache Kafka: a real process, timed by its own counters; rate, stages and latency."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from bench.data import Traffic
from bench.feed import create_topics, delete_topics, pace, preload
from bench.machine import Machine, cpu_seconds
from siphonwatch.streams.common.settings import PREFIX, Settings
from siphonwatch.streams.common.tail import Tail
from siphonwatch.streams.lab.demo.processes import ProcessError, Worker
from siphonwatch.streams.worker.metrics import STAGES

LOOK_SECONDS = 0.05
STALL_SECONDS = 120.0
STOP_SECONDS = 60.0
CHECKPOINT_SECONDS = 2.0
"""Five times as often as by default: a run takes some seconds, and checkpoints are to be in it."""
WARM = 4096
"""Requests scored before latency is measured: compiled code is loaded by then."""


class Reading(NamedTuple):
    """A worker's counters at one moment."""

    at: float
    requests: int
    seconds: dict[str, float]
    """Spent by stage, and in checkpoints."""
    cpu: float
    accounts: int
    state_bytes: int


class Throughput(NamedTuple):
    """One run."""

    rate: float
    """Requests a second, from the first look at a worker that is ready to the last batch done."""
    stages: dict[str, float]
    """Share of the wall time, by stage; `transport` is what is left: fetching, unpacking, Faust, the event loop."""
    busy: float
    """Processor time over wall time: 1 is a whole core."""
    bytes_per_account: float


@contextmanager
def worker(settings: Settings, machine: Machine, folder: Path) -> Iterator[Worker]:
    """A worker on the measured core, ready."""
    config = write_config(settings, folder)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    environment[PREFIX + "CONFIG"] = str(config)
    with Worker(folder / f"{settings.topics.prefix}.log", environment, settings.web.port) as process:
        machine.measure(process.pid)
        end = time.monotonic() + STALL_SECONDS
        while not process.ready():
            if time.monotonic() > end:
                raise ProcessError(process.failure("is not ready"))
            time.sleep(LOOK_SECONDS)
        yield process


def throughput(settings: Settings, traffic: Traffic, machine: Machine, folder: Path) -> Throughput:
    """Let a worker score what is on the topic already."""
    settings.state.checkpoint_interval = CHECKPOINT_SECONDS
    create_topics(settings)
    preload(settings, traffic)
    with worker(settings, machine, folder) as process:
        first = _wait(process, 0)
        last = _wait(process, len(traffic.values))
        process.stop(STOP_SECONDS)
    delete_topics(settings)
    wall = last.at - first.at
    stages = {name: (last.seconds[name] - first.seconds[name]) / wall for name in last.seconds}
    stages["transport"] = 1 - sum(stages.values())
    return Throughput(
        (last.requests - first.requests) / wall, stages, (last.cpu - first.cpu) / wall,
        last.state_bytes / last.accounts if last.accounts else 0.0,
    )  # fmt: skip


def latencies(
    settings: Settings, traffic: Traffic, rate: float, seconds: float, machine: Machine, folder: Path
) -> list[float]:
    """Return the seconds from the timestamp of the telemetry record that an alert rests on to the broker's append of
    the alert, for every opening and update, at a steady `rate`.

    Records carry the time at which the producer hands them over; the record is the newest of the alert's sample
    requests. Ascending.
    """
    create_topics(settings)
    with worker(settings, machine, folder) as process:
        pace(settings, traffic, 0, 1e9, WARM / 1e9)
        _wait(process, WARM)
        sent = pace(settings, traffic, WARM, rate, seconds)
        _wait(process, WARM + len(sent))
        process.stop(STOP_SECONDS)
    found = []
    for value, stamp in _alerts(settings):
        alert = msgspec.json.decode(value)
        samples = alert["data"]["unmapped"]["siphonwatch"]["sample_requests"]
        if alert["type"] != "siphonwatch.case.closed.v1" and samples and samples[0] in sent:
            found.append((stamp - sent[samples[0]]) / 1000)
    delete_topics(settings)
    return sorted(found)


def _alerts(settings: Settings) -> list[tuple[bytes, int]]:
    with Tail.connect(settings, settings.topic("alerts")) as tail:
        return [(record.value, record.timestamp) for record in tail.records()]


def _wait(process: Worker, requests: int) -> Reading:
    """The first reading with so many requests scored."""
    end = time.monotonic() + STALL_SECONDS
    before = -1
    while True:
        reading = _read(process)
        if reading is not None and reading.requests >= requests:
            return reading
        if reading is not None and reading.requests > before:
            before, end = reading.requests, time.monotonic() + STALL_SECONDS
        if time.monotonic() > end:
            raise ProcessError(process.failure(f"scored {before:,} of {requests:,} requests and then nothing"))
        time.sleep(LOOK_SECONDS)


def _read(process: Worker) -> Reading | None:
    samples = process.metrics()
    if samples is None:
        return None
    values: dict[str, float] = dict.fromkeys(STAGES, 0.0) | {"checkpoint": 0.0}
    plain: dict[str, Any] = {}
    for sample in samples:
        if sample.name == "siphonwatch_stage_seconds_total":
            values[sample.labels["stage"]] += sample.value
        elif sample.name == "siphonwatch_checkpoint_seconds_sum":
            values["checkpoint"] += sample.value
        elif sample.labels.get("stream") != "sightings":  # those were counted as requests before
            plain[sample.name.removeprefix("siphonwatch_")] = sample.value
    return Reading(
        time.monotonic(), int(plain.get("requests_total", 0)), values, cpu_seconds(process.pid),
        int(plain.get("hot_accounts", 0)), int(plain.get("state_bytes", 0)),
    )  # fmt: skip


def write_config(settings: Settings, folder: Path) -> Path:
    """Write what differs from the defaults, strings and integers only, as a TOML file; return it."""
    lines: list[str] = []
    for section in ("kafka", "topics", "identity", "state", "web"):
        lines.append(f"[{section}]")
        now, default = getattr(settings, section), getattr(Settings(), section)
        lines += [
            f"{name} = {msgspec.json.encode(getattr(now, name)).decode()}"
            for name in now.__struct_fields__
            if getattr(now, name) != getattr(default, name)
        ]
    path = folder / f"{settings.topics.prefix}.toml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
