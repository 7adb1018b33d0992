"""A promotion under load, with a kill in the middle and a second worker: nothing is lost, one offset a partition."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from test_deployed_versions import version
from worker_tools import KEY, Worker, counted, prepare, produce, read, scored, traffic, until

from siphonwatch.models.account.request import names
from siphonwatch.models.learn.version import Version, shipped
from siphonwatch.streams.cli.allow import send
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts.control import CHALLENGER, CHAMPION, deploy_of
from siphonwatch.streams.contracts.deployment import Applied, decode, once
from siphonwatch.streams.worker.agents.score import TelemetryPartition
from siphonwatch.streams.worker.meter import Meter
from siphonwatch.streams.worker.metrics import TELEMETRY, Metrics
from siphonwatch.streams.worker.scoring import make_scorer
from siphonwatch.streams.worker.state.kafka import open_state
from siphonwatch.streams.worker.transport import Begin

NEXT = version()
CARDS = {d.id for d in NEXT.detectors()} - {d.id for d in shipped().detectors()}
OLD = {d.id for d in shipped().detectors()} - {d.id for d in NEXT.detectors()}


async def deploy(settings: Settings, chosen: Version, role: str) -> None:
    await asyncio.to_thread(send, settings, deploy_of(chosen, role, by="Ann", why="", time=1.8e9))


async def applied(settings: Settings, role: str = CHAMPION) -> list[Applied]:
    found = [decode(value) for value in await read(settings, "deployments", 0)]
    return [one for one in once(found) if one.role == role]


async def everywhere(settings: Settings, role: str, chosen: Version, log: Path, count: int = 1) -> None:
    """Wait until every partition of both streams says that a version is in a role, for the `count`-th time."""
    wanted = 2 * settings.topics.partitions * count
    for _ in range(600):
        found = await applied(settings, role)
        if len([one for one in found if one.version == chosen.id]) >= wanted:
            return
        await asyncio.sleep(0.5)
    raise AssertionError(f"{found}: see {log}")


async def rows(settings: Settings, partition: int) -> dict[str, int]:
    """Requests of each account as the state has them."""
    from prometheus_client import CollectorRegistry

    state = TelemetryPartition(
        make_scorer(settings), open_state(settings, partition), None,
        Meter(Metrics(CollectorRegistry()), TELEMETRY, "", partition), hot_accounts=10_000, forget_after=1e9,
    )  # fmt: skip
    try:
        await state.restore(Begin())
        own = state.scorer.table.rows[state.scorer.table.used()]
        return dict(zip(names(own["account"]), own["requests"].tolist(), strict=True))
    finally:
        await state.close()


@pytest.mark.broker
@pytest.mark.timeout(900)
async def test_a_promotion_under_load_survives_a_kill_and_switches_each_partition_at_one_offset(
    settings: Settings, tmp_path: Path
) -> None:
    prepare(settings, 2)
    assert settings.identity.key == KEY
    records = traffic()
    third = len(records) // 3
    with Worker(settings, tmp_path) as first:
        await deploy(settings, NEXT, CHALLENGER)
        async with AIOKafkaProducer(bootstrap_servers=settings.kafka.bootstrap) as producer:
            await producer.send_and_wait(settings.topic("control"), b'{"type":"deploy","id":"champion"}', b"champion")
        await produce(settings, records[:third])
        await scored(settings)
        await everywhere(settings, CHALLENGER, NEXT, first.log)
        loading = asyncio.create_task(produce(settings, records[third : 2 * third], rate=500.0))
        await deploy(settings, NEXT, CHAMPION)
        await until(lambda: "a version judges from here on" in first.log.read_text(), 300, first.log.read_text)
        first.kill()
        await loading
    with Worker(settings, tmp_path) as second, Worker(settings, tmp_path) as joined:
        await second.works()
        await joined.works()
        await everywhere(settings, CHAMPION, NEXT, second.log)
        await produce(settings, records[2 * third :])
        await scored(settings)
        second.stop()
        joined.stop()
    switched = [one for one in await applied(settings) if one.version == NEXT.id]
    places = {(one.stream, one.partition): one.offset for one in switched}
    assert len(places) == len(switched) == 4, "each partition of both streams switched once, at one offset"
    for partition in range(2):
        log = await read(settings, "telemetry", partition)
        assert await rows(settings, partition) == counted(log), "every request was applied once"
    found = {}
    for partition in range(2):
        for value in await read(settings, "alerts", partition):
            alert = json.loads(value)
            assert found.setdefault(alert["id"], value) == value, "what was sent again is the same"
    shown = {json.loads(value)["data"]["unmapped"]["siphonwatch"]["card"] for value in found.values()}
    assert shown & (CARDS | OLD)
    letters = [value for partition in range(2) for value in await read(settings, "dlq", partition)]
    assert letters == [b'{"type":"deploy","id":"champion"}'], "the malformed record is a dead letter, once"
