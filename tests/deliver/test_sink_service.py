"""The deliverer as a service: exit codes, a broker that goes and comes back, and what ends it."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest
from aiokafka.structs import TopicPartition
from kafka_apache import ApacheKafka
from prometheus_client import CollectorRegistry
from service_process import Deliverer, until
from sink_fakes import Scripted
from sink_receiver import Receiver
from sink_samples import SECRET, life, prepare, records, send

from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.common.sink_settings import Sink
from siphonwatch.streams.deliver import service
from siphonwatch.streams.deliver.alert import AlertRecord
from siphonwatch.streams.deliver.group import Group
from siphonwatch.streams.deliver.lane import Lane
from siphonwatch.streams.deliver.make import Channel
from siphonwatch.streams.deliver.metrics import Metrics
from siphonwatch.streams.deliver.outcome import Backoff, Outcome
from siphonwatch.streams.deliver.service import deliver
from siphonwatch.streams.deliver.wanted import Filter


def set_up(bootstrap: str, prefix: str) -> Settings:
    settings = Settings()
    settings.kafka.bootstrap, settings.topics.partitions = bootstrap, 2
    settings.kafka.group = settings.topics.prefix = prefix
    settings.sinks = {"ops": Sink(kind="slack", url="http://127.0.0.1:1/", since="all")}
    prepare(settings)
    return settings


class Broken(Scripted):
    async def deliver(self, told: AlertRecord) -> Outcome:
        raise RuntimeError("a bug")


@pytest.mark.broker
async def test_a_bug_in_a_sink_ends_the_process_with_1_and_passes_no_alert_over(
    tansu: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = await asyncio.to_thread(set_up, tansu, prefix)
    alerts = records(life("org-1"))
    await asyncio.to_thread(send, settings, alerts)
    receiver: Scripted = Broken()

    def make(settings: Settings, name: str) -> Channel:
        backoff = Backoff(1.0, 60.0, 300.0, lambda _, high: high)
        return Channel(name, settings.sinks[name], Filter(), receiver, backoff)

    monkeypatch.setattr(service, "make", make)
    async with asyncio.timeout(300):
        assert await deliver(settings, stop=asyncio.Event()) == 1
    receiver, stop = Scripted(), asyncio.Event()
    running = asyncio.create_task(deliver(settings, stop=stop))
    await until(lambda: len(receiver.delivered) == 3)
    stop.set()
    assert await running == 0


async def test_a_receiver_is_told_that_partitions_came_and_not_that_none_did(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(self: Lane) -> None:
        await asyncio.sleep(3600)

    async def finish(self: Lane, task: asyncio.Task[None], seconds: float) -> None:
        task.cancel()

    monkeypatch.setattr(Lane, "run", run)
    monkeypatch.setattr(Lane, "finish", finish)
    told: list[bool] = []
    receiver = Scripted()
    monkeypatch.setattr(receiver, "took", lambda: told.append(True))
    channel = Channel("ops", Sink(kind="slack"), Filter(), receiver, Backoff(1.0, 1.0, 1.0, max))
    group = Group(Settings(), channel, Metrics(CollectorRegistry()).of("ops"), lambda: None)
    try:
        await group.on_partitions_assigned([])
        assert told == []
        await group.on_partitions_assigned([TopicPartition("alerts", 0), TopicPartition("alerts", 1)])
        assert told == [True]
    finally:
        await group.stop()


async def test_a_sink_that_is_given_no_partitions_counts_as_failing_after_a_minute() -> None:
    now = [1000.0]
    settings = Settings()
    channel = Channel("ops", Sink(kind="slack"), Filter(), Scripted(), Backoff(1.0, 1.0, 1.0, max))
    group = Group(settings, channel, Metrics(CollectorRegistry()).of("ops"), lambda: None, lambda: now[0])
    try:
        now[0] += 59
        assert group.failing() == 0, "joining takes its time"
        now[0] += 2
        assert group.failing() == 61
        await group.on_partitions_assigned([])
        assert group.failing() == 0, "others have all partitions"
        await group.on_partitions_revoked([])
        now[0] += 70
        assert group.failing() == 70
    finally:
        await group.stop()


@pytest.mark.broker
async def test_a_taken_port_ends_it_before_anything_is_delivered(tansu: str, prefix: str) -> None:
    settings = await asyncio.to_thread(set_up, tansu, prefix)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings.deliver.port = taken.getsockname()[1]
        with pytest.raises(OSError, match="address already in use"):
            await deliver(settings, stop=asyncio.Event())


@pytest.mark.kafka
@pytest.mark.broker
async def test_a_broker_that_goes_away_and_comes_back_costs_no_alert(
    kafka_node: ApacheKafka, prefix: str, tmp_path: Path
) -> None:
    settings = await asyncio.to_thread(set_up, kafka_node.bootstrap, prefix)
    async with Receiver() as receiver:
        sink = {"kind": "webhook", "url": receiver.url, "secret": SECRET, "since": "all"}
        with Deliverer(settings, tmp_path, ops=sink) as deliverer:
            await deliverer.ready()
            await asyncio.to_thread(send, settings, records(life("org-1")))
            await until(lambda: len(receiver.ids) == 3, describe=deliverer.log.read_text)
            kafka_node.stop()
            try:
                await asyncio.sleep(5.0)
                assert (await deliverer.get("/healthz"))[0] == 200
                assert deliverer.process.poll() is None, deliverer.log.read_text()
            finally:
                kafka_node.start()
            await asyncio.to_thread(send, settings, records(life("org-2")))
            await until(lambda: len(receiver.ids) >= 6, 300, deliverer.log.read_text)
            await deliverer.stop()
        assert len(receiver.ids) == len(set(receiver.ids)) == 6
