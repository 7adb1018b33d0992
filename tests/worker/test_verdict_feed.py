"""A worker follows the verdicts topic into its ranks; what goes wrong there stops nothing."""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.structs import TopicPartition
from prometheus_client import CollectorRegistry, generate_latest
from verdict_samples import facts
from worker_tools import Worker, expected_alerts, prepare, produce, read, scored, traffic, until, without_model

from siphonwatch.models.evaluate.anytime import anytime
from siphonwatch.models.learn.verdict_book import VerdictBook
from siphonwatch.streams.cli.verdict import send
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts.alert import decode as decode_alert
from siphonwatch.streams.contracts.alert import encode as encode_alert
from siphonwatch.streams.contracts.alert import to_alert
from siphonwatch.streams.contracts.telemetry import encode as encode_telemetry
from siphonwatch.streams.contracts.verdict import Verdict, encode, judge
from siphonwatch.streams.lab.broker.process import free_port
from siphonwatch.streams.operate.topics import connect, create
from siphonwatch.streams.worker.agents.verdicts import VerdictFeed
from siphonwatch.streams.worker.decode import Decoder
from siphonwatch.streams.worker.metrics import Metrics
from siphonwatch.streams.worker.scoring import make_scorer


def verdict(number: int, decision: str = "true-positive", pattern: str = "shift") -> Verdict:
    case = f"{number:016x}"
    record = {
        "case": case, "alert": f"{case}-0", "decision": decision, "time": 1.8e9, "by": "Ann", "account": "acme",
        "facts": facts(pattern), "note": "private words",
    }  # fmt: skip
    return msgspec.convert(msgspec.to_builtins(record), Verdict)


class Fed:
    """A feed, its book and its metrics."""

    def __init__(self, settings: Settings) -> None:
        self.book = VerdictBook()
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry)
        self.feed = VerdictFeed(settings, self.book, self.metrics, retry_seconds=0.2)

    def metric(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"siphonwatch_{name}", labels)


@contextlib.asynccontextmanager
async def following(fed: Fed) -> AsyncIterator[None]:
    task = asyncio.create_task(fed.feed.run())
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def test_metrics_count_decisions_by_pattern_and_name_nobody() -> None:
    fed = Fed(Settings())
    fed.feed.take(
        [encode(verdict(i, "true-positive" if i < 3 else "false-positive")) for i in range(4)]
        + [encode(verdict(9, "benign-expected", "extraction")), encode(verdict(8, pattern="not of ours"))]
        + [b'{"note": "private words"}', None]
    )
    assert fed.metric("verdicts", pattern="shift", decision="true-positive") == 3
    assert fed.metric("verdicts", pattern="shift", decision="benign-expected") == 0
    assert fed.metric("analyst_precision", pattern="shift") == 0.75
    assert fed.metric("analyst_precision", pattern="extraction") == 0
    assert fed.metric("ranker_updates_total") == 6
    assert fed.metric("unreadable_verdicts_total") == 2
    undecided = ("suspicious", "insufficient", "duplicate", "test")
    fed.feed.take([encode(verdict(20 + i, decision)) for i, decision in enumerate(undecided)])
    assert fed.metric("verdicts", pattern="shift", decision="duplicate") == 1
    assert fed.metric("analyst_precision", pattern="shift") == 0.75, "what is not decided is no part of it"
    fed.feed.take([encode(verdict(20 + i, "withdrawn")) for i in range(4)])
    fed.feed.take([encode(verdict(0, "false-positive")), encode(verdict(1))])
    assert fed.metric("verdicts", pattern="shift", decision="true-positive") == 2
    assert fed.metric("analyst_precision", pattern="shift") == 0.5
    assert fed.metric("ranker_updates_total") == 15, "the same verdict again is no news"
    fed.feed.take([encode(verdict(i, "withdrawn")) for i in range(4)])
    assert fed.metric("verdicts", pattern="shift", decision="true-positive") == 0
    precision = fed.metric("analyst_precision", pattern="shift")
    assert precision is not None and math.isnan(precision), "of nothing"
    text = generate_latest(fed.registry).decode()
    assert not re.search("Ann|acme|private|not of ours", text)


def test_the_interval_of_each_pattern_s_precision_is_shown_once_the_topic_is_read() -> None:
    fed = Fed(Settings())
    names = ("decided", "confirmed", "low", "high")

    def shown(pattern: str) -> list[float | None]:
        return [fed.metric(f"precision_{name}", pattern=pattern) for name in names]

    outcomes = [i % 4 != 0 for i in range(40)]
    fed.feed.take(encode(verdict(i, "true-positive" if one else "false-positive")) for i, one in enumerate(outcomes))
    fed.feed.take([encode(verdict(90, "suspicious", "extraction")), encode(verdict(91, pattern="not of ours"))])
    assert shown("shift") == [None] * 4, "older ones may follow"
    fed.feed.reached_end()
    one = anytime(outcomes)
    assert shown("shift") == [40, 30, one.low, one.high] and 0.4 < one.low < 0.75 < one.high < 1
    assert shown("extraction") == [None] * 4, "nothing is decided"
    fed.feed.take([encode(verdict(i, "withdrawn")) for i in range(1, 40)])
    fed.feed.reached_end()
    assert shown("shift")[:2] == [1, 0]
    fed.feed.clear()
    assert shown("shift") == [0, 0, 0, 1], "anything may be"
    assert "not of ours" not in generate_latest(fed.registry).decode()


@pytest.mark.broker
async def test_it_reads_from_the_beginning_and_goes_on_with_what_comes(settings: Settings) -> None:
    with connect(settings.kafka) as admin:
        create(settings, admin)
    send(settings, [verdict(i) for i in range(20)])
    first, second = Fed(settings), Fed(settings)
    async with following(first):
        await until(lambda: len(first.book) == 20, 300)
        await asyncio.to_thread(send, settings, [verdict(3, "false-positive"), verdict(20)])
        await until(lambda: len(first.book) == 21, 300)
    async with following(second):
        await until(lambda: len(second.book) == 21, 300)
    assert first.book.rank(facts("shift")) == second.book.rank(facts("shift"))
    assert first.metric("verdicts", pattern="shift", decision="false-positive") == 1


@pytest.mark.broker
@pytest.mark.parametrize("count", [2, 9], ids=["shorter", "longer"])
async def test_a_topic_made_anew_is_read_from_its_start_and_its_verdicts_alone_stand(
    settings: Settings, count: int
) -> None:
    topic = settings.topic("verdicts")
    with connect(settings.kafka) as admin:
        create(settings, admin)
    await asyncio.to_thread(send, settings, [verdict(i) for i in range(5)])
    fed = Fed(settings)
    async with following(fed):
        await until(lambda: len(fed.book) == 5, 300)
        with connect(settings.kafka) as admin:
            admin.delete_topics([topic])
            await until(lambda: topic not in admin.list_topics(), 300)
            create(settings, admin)
        await asyncio.to_thread(send, settings, [verdict(100 + i) for i in range(count)])
        await until(lambda: f"{100:016x}" in fed.book and len(fed.book) == count, 300)
    assert fed.metric("recreated_topics_total", stream="verdicts", topic=topic, partition="0") == 1


@pytest.mark.broker
@pytest.mark.kafka
async def test_verdicts_that_left_the_topic_before_they_were_read_are_counted(kafka: str, prefix: str) -> None:
    settings = Settings()
    settings.kafka.bootstrap = kafka
    settings.kafka.group = settings.topics.prefix = prefix
    topic = settings.topic("verdicts")
    with connect(settings.kafka) as admin:
        create(settings, admin)
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {"cleanup.policy": "delete"})])
        await asyncio.to_thread(send, settings, [verdict(i) for i in range(20)])
        admin.delete_records({TopicPartition(topic, 0): 12})
    fed = Fed(settings)
    async with following(fed):
        await until(lambda: len(fed.book) == 8, 300)
    assert fed.metrics.lost_elsewhere == {("verdicts", topic, "0"): 12}


async def test_a_broker_that_is_away_is_asked_again_and_ranks_stay(capsys: pytest.CaptureFixture[str]) -> None:
    settings = Settings()
    settings.kafka.bootstrap = f"127.0.0.1:{free_port()}"
    fed = Fed(settings)
    fed.feed.take([encode(verdict(1))])
    before = fed.book.rank(facts("shift"))
    said = []

    def twice() -> bool:
        said.append(capsys.readouterr().out)
        return "".join(said).count("verdicts cannot be read") >= 2

    async with following(fed):
        await until(twice, 300)
    assert fed.book.rank(facts("shift")) == before


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310 - our own worker
        text: str = answer.read().decode()
        return text


@pytest.mark.broker
async def test_a_worker_s_alerts_carry_the_ranks_of_its_verdicts(settings: Settings, tmp_path: Path) -> None:
    """Byte for byte what a replay with the same verdicts writes."""
    prepare(settings, 1)
    settings.web.port = free_port()
    records = traffic()[:5000]
    alerts = [decode_alert(alert) for alert in expected_alerts(settings, [encode_telemetry(r) for r in records])]
    assert alerts
    verdicts = [judge(alert, "false-positive", by="Ann", time=1.8e9, note="private words") for alert in alerts]
    await asyncio.to_thread(send, settings, verdicts)
    book = VerdictBook()
    book.take(one.vote for one in verdicts)
    with Worker(settings, tmp_path) as worker:
        await worker.works()

        async def learnt() -> bool:
            metrics = await asyncio.to_thread(fetch, f"http://127.0.0.1:{settings.web.port}/metrics")
            return f"siphonwatch_ranker_updates_total {float(len(verdicts))}" in metrics

        for _ in range(3000):
            if await learnt():
                break
            await asyncio.sleep(0.1)
        assert await learnt(), worker.log.read_text()
        await produce(settings, records)
        await scored(settings)
        worker.stop()
        log = worker.log.read_text()
    requests = Decoder().decode(await read(settings, "telemetry", 0)).requests
    findings = make_scorer(settings).score(requests, np.arange(len(requests)))
    expected = [encode_alert(to_alert(finding, book.rank_finding(finding))) for finding in findings]
    found = list(map(without_model, await read(settings, "alerts", 0)))
    assert found == expected
    assert "private words" not in log and b"private words" not in b"".join(expected)
