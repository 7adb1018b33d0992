"""No record ends a worker, and none is lost without a count: the whole loop of every stream, on both brokers."""

from __future__ import annotations

import asyncio
import re
import urllib.request
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from click.testing import CliRunner, Result
from hostile import Hostile, send, strategies
from hypothesis import HealthCheck, Phase, given
from hypothesis import strategies as st
from kafka.admin import NewTopic
from worker_tools import KEY, Worker, prepare, traffic

from siphonwatch.models.evidence.cases import CaseBook
from siphonwatch.streams.cli.alerts import command as alerts_command
from siphonwatch.streams.cli.allow import command as allow_command
from siphonwatch.streams.cli.redrive import command as redrive_command
from siphonwatch.streams.cli.verdict import command as verdict_command
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts.alert import Alert, to_alert
from siphonwatch.streams.contracts.alert import encode as encode_alert
from siphonwatch.streams.contracts.control import Allow
from siphonwatch.streams.contracts.control import encode as encode_control
from siphonwatch.streams.contracts.provenance import Seals
from siphonwatch.streams.contracts.telemetry import encode
from siphonwatch.streams.contracts.verdict import encode as encode_verdict
from siphonwatch.streams.contracts.verdict import judge
from siphonwatch.streams.lab.broker.process import free_port
from siphonwatch.streams.operate.topics import connect

pytestmark = pytest.mark.broker
PARTITIONS, EXAMPLES, LEAST, MOST = 2, 25, 10, 40
STREAMS = ("telemetry", "sightings", "ingest")


def an_alert() -> Alert:
    book = CaseBook(1e-3, 86_400.0)
    return to_alert(
        book.record(
            "org-1", "extraction", 1.8e9, first_seen=1.8e9, log_e=7.0, score=0.5, level=0.4, requests_seen=100,
            signals=[], counterfactual="", samples=["r-1"],
        )
    )  # fmt: skip


class Loop:
    """One event loop, producer and consumer for all examples of a test."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.runner = asyncio.Runner()
        self.driven: Counter[str] = Counter()
        self.refused = 0
        self.ends: dict[TopicPartition, int] = {}
        ours = ("telemetry", "sightings", "verdicts", "alerts", "control")
        self.topics = {name: settings.topic(name) for name in ours}
        self.topics["ingest"] = f"{settings.topics.prefix}.gateway"
        self.runner.run(self._start())

    async def _start(self) -> None:
        bootstrap = self.settings.kafka.bootstrap
        self.producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", max_request_size=1 << 26)
        self.consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap, group_id=self.settings.kafka.group, enable_auto_commit=False
        )
        await self.producer.start()
        await self.consumer.start()

    async def _close(self) -> None:
        await self.producer.stop()
        await self.consumer.stop()

    def close(self) -> None:
        self.runner.run(self._close())
        self.runner.close()

    def committed(self) -> Counter[str]:
        """How many offsets the worker has committed, by stream."""
        return self.runner.run(self._committed())

    async def _committed(self) -> Counter[str]:
        found: Counter[str] = Counter()
        for stream in STREAMS:
            for partition in range(PARTITIONS):
                found[stream] += await self.consumer.committed(TopicPartition(self.topics[stream], partition)) or 0
        return found

    def drive(self, records: list[tuple[int, Hostile]], worker: Worker) -> None:
        """Send records, and wait until the worker has committed beyond them."""
        self.runner.run(self._drive(records, worker))

    async def _drive(self, records: list[tuple[int, Hostile]], worker: Worker) -> None:
        groups: defaultdict[tuple[str, int, bool], list[Hostile]] = defaultdict(list)
        for partition, record in records:
            groups[record.kind, partition, record.spoilt].append(record)
        for (kind, partition, spoilt), group in groups.items():
            taken = await send(self.producer, self.topics[kind], partition, group)
            self.refused += len(group) - len(taken)
            self.driven[kind] += len(taken)
            if (
                taken and kind in STREAMS and not spoilt
            ):  # the position moves beyond those with the next that can be read
                self.ends[TopicPartition(self.topics[kind], partition)] = taken[-1] + 1
        waiting = dict(self.ends)
        deadline = asyncio.get_running_loop().time() + 300.0
        while waiting:
            for tp, end in list(waiting.items()):
                if (await self.consumer.committed(tp) or 0) >= end:
                    del waiting[tp]
            assert worker.process.poll() is None, f"{records}\n{worker.log.read_text()[-5000:]}"
            assert asyncio.get_running_loop().time() < deadline, f"{waiting}\n{worker.log.read_text()[-5000:]}"
            await asyncio.sleep(0.05)


def cli(settings: Settings, command: Any, *arguments: str) -> Result:
    """Run a command with the settings of the test; it must not fail in another way than commands do."""
    environment = {
        "SIPHONWATCH_KAFKA_BOOTSTRAP": settings.kafka.bootstrap, "SIPHONWATCH_KAFKA_GROUP": settings.kafka.group,
        "SIPHONWATCH_TOPICS_PREFIX": settings.topics.prefix, "SIPHONWATCH_IDENTITY_KEY": KEY,
    }  # fmt: skip
    result = CliRunner().invoke(command, arguments, env=environment)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def totals(settings: Settings) -> Counter[tuple[str, str]]:
    """The worker's counters, summed by name and stream."""
    with urllib.request.urlopen(f"http://127.0.0.1:{settings.web.port}/metrics", timeout=60) as answer:
        text = answer.read().decode()
    found: Counter[tuple[str, str]] = Counter()
    for name, labels, value in re.findall(r"^siphonwatch_(\w+)(?:\{(.*)\})? (\S+)$", text, re.M):
        stream = re.search(r'stream="(\w+)"', labels or "")
        found[name, stream.group(1) if stream else ""] += float(value)
    return found


def test_no_record_ends_a_worker_and_none_is_lost_without_a_count(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.ingest.topics = {f"{settings.topics.prefix}.gateway": "litellm"}
    prepare(settings, PARTITIONS)
    settings.state.checkpoint_interval = 0.2
    settings.web.port = free_port()
    with connect(settings.kafka) as admin:
        admin.create_topics([NewTopic(f"{settings.topics.prefix}.gateway", PARTITIONS, 1)])
    alert = an_alert()
    verdict = encode_verdict(judge(alert, "true-positive", by="Ann", time=1.8e9))
    allow = encode_control(
        Allow(id="0" * 12, pattern="extraction", until=2e9, accounts=["org-1"], why="", by="Ann", time=1.8e9)
    )
    records = strategies(Seals.from_settings(settings), PARTITIONS, verdict, encode_alert(alert), allow)
    loop = Loop(settings)
    with Worker(settings, tmp_path) as worker:
        try:
            loop.runner.run(worker.works())

            @hypothesis.settings(
                max_examples=EXAMPLES,
                deadline=None,
                database=None,
                derandomize=True,
                phases=[Phase.explicit, Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(st.lists(records, min_size=LEAST, max_size=MOST))
            def drive(some: list[tuple[int, Hostile]]) -> None:
                loop.drive(some, worker)

            drive()
            after = [
                (partition, Hostile(kind, None, value, (), None))
                for kind, value in (("telemetry", encode(traffic()[0])), ("sightings", b""), ("ingest", b""))
                for partition in range(PARTITIONS)
            ]
            loop.drive(after, worker)  # behind what no client can read
            loop.drive(after, worker)  # and behind the telemetry that ingest made of the first
            found, sums = totals(settings), loop.committed()
            redriven = cli(settings, redrive_command, "--all")
            loop.drive(after, worker)
        finally:
            loop.close()
        worker.stop()
    log = worker.log.read_text()
    with capsys.disabled():
        print(f"\n{loop.driven.total()} records driven: {dict(loop.driven)}; {loop.refused} refused by the broker")
    for stream, names in (
        ("telemetry", ("requests", "skipped_requests", "dead_letters", "passed_over_elements", "lost_offsets")),
        ("ingest", ("requests", "lost_offsets")),
    ):
        assert sum(found[f"{name}_total", stream] for name in names) == sums[stream], (stream, found)
    assert found["lost_dead_letters_total", "telemetry"] == found["lost_dead_letters_total", "ingest"] == 0
    assert found["forged_records_total", "telemetry"] > 0 and found["forged_records_total", "sightings"] > 0
    assert "failed while" not in log and "Traceback" not in log, log[-5000:]
    assert "letters" in redriven.output or redriven.exit_code == 0, redriven.output
    for command, *arguments in (
        (redrive_command, "--all", "--show"), (alerts_command, "--json"), (alerts_command, "--table"),
        (alerts_command, "--by-rank"), (verdict_command, "--list"), (allow_command, "--list"),
    ):  # fmt: skip
        result = cli(settings, command, *arguments)
        assert result.exit_code == 0, (arguments, result.output, result.exception)
