"""Alerts fire and resolve on a real Prometheus: the worker is stopped, the broker is blocked, and both come back.

The rules are those that ship, with every span of time divided by `FACTOR`; what they count stays.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from kafka_apache import ApacheKafka
from prometheus_client.parser import text_string_to_metric_families
from prometheus_node import Prometheus
from rule_files import FRESH_SECONDS, RULES
from scaled_rules import scaled
from worker_tools import Worker, assert_applied_once, prepare, produce, scored, traffic, until

from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts.telemetry import Telemetry
from siphonwatch.streams.lab.broker.process import free_port

pytestmark = [pytest.mark.broker, pytest.mark.kafka]

FACTOR, SECONDS = 60.0, 10.0
"""Minutes become seconds; ages in seconds are divided by ten."""


class Scene:
    """One worker on Apache Kafka, and a Prometheus that watches it."""

    def __init__(self, kafka: str, prefix: str, folder: Path) -> None:
        self.settings = Settings()
        self.settings.kafka.bootstrap = kafka
        self.settings.kafka.group = self.settings.topics.prefix = prefix
        prepare(self.settings, 2)
        self.settings.web.port = free_port()
        self.folder = folder
        self.records = iter(traffic())
        self.enough = asyncio.Event()
        targets = {"siphonwatch": [f"127.0.0.1:{self.settings.web.port}"]}
        rules = scaled(RULES.read_text(), FACTOR, seconds=SECONDS)
        self.prometheus = Prometheus(folder / "prometheus", targets, rules, scrape=0.5)

    def __enter__(self) -> Scene:
        self.prometheus.__enter__()
        self.worker = Worker(self.settings, self.folder)
        return self

    def __exit__(self, *_: object) -> None:
        self.worker.__exit__()
        self.prometheus.__exit__()

    def some(self, count: int) -> list[Telemetry]:
        """The next records of the traffic."""
        return list(itertools.islice(self.records, count))

    async def load(self) -> None:
        """Produce, a hundred a second, until it is enough."""
        while not self.enough.is_set() and (part := self.some(50)):
            await produce(self.settings, part)
            await asyncio.sleep(0.5)

    async def fires(self, *names: str, seconds: float = 300.0) -> None:
        """Wait until all of these alerts fire."""
        firing = self.prometheus.firing
        await until(lambda: set(names) <= firing(), seconds, lambda: f"{names}, and firing: {firing()}")

    async def resolves(self, *names: str, seconds: float = 300.0) -> None:
        """Wait until none of these alerts fires."""
        firing = self.prometheus.firing
        await until(lambda: not set(names) & firing(), seconds, lambda: f"{names}, and firing: {firing()}")


@pytest.fixture
def scene(kafka: str, prefix: str, tmp_path: Path) -> Iterator[Scene]:
    with Scene(kafka, prefix, tmp_path) as scene:
        yield scene


async def test_a_stopped_worker_pages_and_so_do_the_requests_it_was_late_for(scene: Scene) -> None:
    await scene.worker.works()
    await produce(scene.settings, scene.some(500))
    await scored(scene.settings)
    await asyncio.to_thread(scene.worker.stop)
    await produce(scene.settings, scene.some(500))
    await scene.fires("SiphonwatchNoWorker")
    await asyncio.sleep(FRESH_SECONDS + 1)  # a bucket's bound, which no rule's scale changes
    scene.worker = Worker(scene.settings, scene.folder)
    await scene.fires("SiphonwatchFreshnessBurnFast")
    await scene.resolves("SiphonwatchNoWorker")
    loading = asyncio.create_task(scene.load())
    try:
        await scene.resolves("SiphonwatchFreshnessBurnFast")
    finally:
        scene.enough.set()
        await loading


async def block(scene: Scene, pid: int) -> None:
    """Stop the broker at a moment when the worker has something to commit; at others nothing would be stuck."""
    stalled = "max(siphonwatch_stalled_seconds)"
    for _ in range(100):
        os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(3)
        if scene.prometheus.value(stalled) > 1.5:
            return
        os.kill(pid, signal.SIGCONT)
        await asyncio.sleep(1.7)
    pytest.fail("a hundred times the worker had nothing to commit")


async def test_a_blocked_broker_pages_for_commits_that_are_stuck_until_it_answers(
    scene: Scene, kafka_node: ApacheKafka
) -> None:
    await scene.worker.works()
    loading = asyncio.create_task(scene.load())
    pid = kafka_node.pid
    assert pid is not None
    try:
        await until(lambda: bool(scene.prometheus.query("siphonwatch_last_commit_timestamp_seconds")), 300)
        assert "SiphonwatchStuckCommits" not in scene.prometheus.firing()
        await block(scene, pid)
        await scene.fires("SiphonwatchStuckCommits")
        os.kill(pid, signal.SIGCONT)
        await scene.resolves("SiphonwatchStuckCommits")
    finally:
        os.kill(pid, signal.SIGCONT)
        scene.enough.set()
        await loading
    await produce(scene.settings, list(scene.records))  # the attacks are in it
    await scored(scene.settings)
    await asyncio.to_thread(scene.worker.stop)
    await assert_applied_once(scene.settings)


def gauges(scene: Scene, name: str) -> list[float]:
    """The values of a worker's metric as they are served, whatever their labels."""
    url = f"http://127.0.0.1:{scene.settings.web.port}/metrics"
    with urllib.request.urlopen(url) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    return [sample.value for each in families for sample in each.samples if sample.name == f"siphonwatch_{name}"]


def readiness(scene: Scene, path: str = "readyz") -> tuple[int, str]:
    """Answer of a probe."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{scene.settings.web.port}/{path}") as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


async def test_a_broker_that_stops_while_nothing_waits_is_told(scene: Scene, kafka_node: ApacheKafka) -> None:
    await scene.worker.works()
    await produce(scene.settings, scene.some(500))
    await scored(scene.settings)
    await until(lambda: gauges(scene, "lag_records") == [0] * 4 and readiness(scene)[0] == 200, 300)
    await until(lambda: not any(gauges(scene, "stalled_seconds")) or max(gauges(scene, "stalled_seconds")) < 1, 300)
    pid = kafka_node.pid
    assert pid is not None
    try:
        os.kill(pid, signal.SIGSTOP)
        await until(lambda: readiness(scene)[0] == 503, 300)
        assert f"{kafka_node.bootstrap} has not answered for 3" in readiness(scene)[1]
        await until(lambda: gauges(scene, "lag_records") == gauges(scene, "lag_seconds") == [], 300)
        await scene.fires("SiphonwatchBrokerSilent")
        assert readiness(scene, "healthz")[0] == 200, "a restart would not mend it"
    finally:
        os.kill(pid, signal.SIGCONT)
    await scene.resolves("SiphonwatchBrokerSilent")
    await until(lambda: readiness(scene)[0] == 200, 300)
    await produce(scene.settings, list(scene.records))
    await scored(scene.settings)
    await until(lambda: gauges(scene, "lag_records") == [0] * 4, 300)
    await asyncio.to_thread(scene.worker.stop)
    await assert_applied_once(scene.settings)
