"""Campaigns through the sightings topic: what the worker finds over Kafka is what a replay finds, killed or not."""

from __future__ import annotations

import asyncio
import base64
import random
from pathlib import Path

import msgspec
import numpy as np
import pytest
from kafka_broker import over
from prometheus_client import CollectorRegistry
from worker_tools import Worker, prepare, produce, read, scored, without_model

from siphonwatch.models.campaign.edges import CAP
from siphonwatch.models.common.arrays import pack
from siphonwatch.models.engine.coordinator import Coordinator
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts.alert import encode as encode_alert
from siphonwatch.streams.contracts.alert import to_alert
from siphonwatch.streams.contracts.telemetry import Telemetry, encode
from siphonwatch.streams.worker.agents.coordinate import STATE, TOPIC, SightingsPartition
from siphonwatch.streams.worker.decode import Decoder
from siphonwatch.streams.worker.meter import Meter
from siphonwatch.streams.worker.metrics import SIGHTINGS, Metrics
from siphonwatch.streams.worker.scoring import make_coordinator, make_together
from siphonwatch.streams.worker.state.kafka import open_state
from siphonwatch.streams.worker.transport import Begin

DAY, START = 86_400.0, 1_767_571_200.0
MEMBERS = [f"member-{i}" for i in range(30)]


def traffic(seed: int = 1) -> list[Telemetry]:
    """One list handed round thirty accounts for two days, the odd prompt refused first, beside forty customers."""
    r = random.Random(seed)
    relay = {"headers": "07" * 8, "agent": "08" * 8, "system": "09" * 8, "temperature": 1.0, "max_tokens": 2048}
    found: list[Telemetry] = []

    def send(account: str, time: float, content: str = "", **more: object) -> None:
        vector = base64.b64encode(bytes(r.randrange(256) for _ in range(32))).decode()
        content = content or f"{r.getrandbits(64):016x}"
        found.append(
            Telemetry(
                id=f"r{len(found)}",
                time=time,
                account=account,
                model="m",
                template=f"{r.getrandbits(63) + 1:016x}",
                prefix="0a" * 8,
                content=content,
                projection=vector,
                turns=1,
                chars=100,
                net=f"{hash_of(account):016x}",
                **more,
            )
        )

    for i in range(1200):
        time, content = START + i * 2 * DAY / 1200 + r.random() * 60, f"{r.getrandbits(64):016x}"
        if r.random() < 0.03:
            send(MEMBERS[(i - 1) % 30], time - 3.0, content, status=429, **relay)
        send(MEMBERS[i % 30], time, content, **relay)
    for i in range(40):
        for start in [START + r.random() * 2 * DAY for _ in range(r.randrange(1, 6))]:
            for _ in range(r.randrange(1, 8)):
                send(f"customer-{i}", start + r.random() * 900, agent="0b" * 8)
    return sorted(found, key=lambda record: record.time)


def hash_of(account: str) -> int:
    return int.from_bytes(account.encode()[-7:].rjust(8, b"\1"), "big")


def expected(settings: Settings, log: list[bytes]) -> set[bytes]:
    """The alerts of a replay of one partition's log."""
    requests = Decoder().decode(log).requests
    findings = make_together(settings).score(requests, np.arange(len(requests)))
    return {encode_alert(to_alert(finding)) for finding in findings}


def placeless(coordinator: Coordinator) -> bytes:
    """What a checkpoint keeps, without the places of sightings, which depend on how many went into a record."""
    parts = coordinator.snapshot()
    cases = msgspec.msgpack.decode(parts["judge.cases.open"])
    assert cases, "the campaign's case is open"
    for case in cases:
        del case["last"]["offset"]
    return pack({**parts, "judge.cases.open": msgspec.msgpack.encode(cases)})


def members(alerts: set[bytes]) -> set[str]:
    """All accounts that relay alerts name."""
    own = [msgspec.json.decode(alert)["data"]["unmapped"]["siphonwatch"] for alert in alerts]
    return {account for facts in own if facts["pattern"] == "campaign" for account in facts["accounts"]}


async def coordinated(settings: Settings) -> None:
    """Wait until all telemetry is scored, and all sightings of it are put together."""
    await scored(settings)
    await scored(settings, least=1, name=TOPIC)


@over("crash", kafka=["", "batch:4", "manifest:2", "sighted:2"], tansu=["sighted:2"])
async def test_a_campaign_found_over_kafka_is_the_one_a_replay_finds(
    settings: Settings, tmp_path: Path, crash: str
) -> None:
    prepare(settings, 1)
    records = traffic()
    with Worker(settings, tmp_path, crash) as first:
        await first.works()  # so that it meets the records in many batches
        sending = asyncio.create_task(produce(settings, records, rate=250 if crash else 0, part=50))
        if crash:
            await first.dies()
        with Worker(settings, tmp_path) as second:
            await sending
            if not crash:  # the partition stays with the first one while it is there
                await asyncio.to_thread(first.stop)
            await second.works()
            await coordinated(settings)
            second.stop()
    alerts = list(map(without_model, await read(settings, "alerts", 0)))
    assert set(alerts) == expected(settings, await read(settings, "telemetry", 0))
    assert members(set(alerts)) == set(MEMBERS)
    state = SightingsPartition(
        make_coordinator(settings),
        open_state(settings, 0, topic=STATE),
        None,
        Meter(Metrics(CollectorRegistry()), SIGHTINGS, "", 0),
    )
    try:
        await state.restore(Begin())
        requests = Decoder().decode(await read(settings, "telemetry", 0)).requests
        replayed = make_together(settings)
        replayed.score(requests, np.arange(len(requests)))
        assert placeless(state.scorer) == placeless(replayed.coordinator)
    finally:
        await state.close()


@pytest.mark.broker
async def test_accounts_on_several_partitions_make_one_campaign(settings: Settings, tmp_path: Path) -> None:
    prepare(settings, 4)
    with Worker(settings, tmp_path) as worker:
        await worker.works()
        await produce(settings, traffic(), rate=120, part=12)  # event time goes on alike on all partitions, as in life
        await coordinated(settings)
        worker.stop()
    alerts = {without_model(alert) for p in range(4) for alert in await read(settings, "alerts", p)}
    assert len(members(alerts) & set(MEMBERS)) >= 24
    assert members(alerts) <= set(MEMBERS)


def test_the_sightings_of_an_account_are_bounded() -> None:
    flood = [msgspec.structs.replace(traffic()[0], id=f"f{i}", time=START + i, account="one") for i in range(500)]
    requests = Decoder().decode([encode(record) for record in flood]).requests
    both = make_together(Settings())
    both.score(requests, np.arange(len(requests)))
    # CAP whole, then four for each time that an hour's requests double: never none, however busy the account.
    assert CAP < len(both.scorer.sighted) < 3 * CAP
    assert max(both.scorer.sighted) > len(requests) / 2
