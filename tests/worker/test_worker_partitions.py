"""A replay in several partitions finds what a worker over so many finds: the same accounts stand beside each other."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from test_worker_campaigns import MEMBERS, coordinated, members
from test_worker_campaigns import traffic as relayed
from worker_tools import Worker, prepare, produce, read, traffic, without_model

from siphonwatch.models.account.murmur import partitions_of
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts.alert import encode as encode_alert
from siphonwatch.streams.contracts.alert import to_alert
from siphonwatch.streams.contracts.telemetry import Telemetry, encode
from siphonwatch.streams.lab.offline import Offline
from siphonwatch.streams.worker.decode import Decoder

PARTITIONS = 4


def replayed(settings: Settings, records: Iterable[Telemetry], partitions: int = PARTITIONS) -> set[bytes]:
    """The alerts of a replay of one log, in the order of which telemetry was produced."""
    requests = Decoder().decode([encode(record) for record in records]).requests
    with Offline(settings, partitions) as scorer:
        findings = scorer.score(requests, np.arange(len(requests)))
    return {encode_alert(to_alert(finding)) for finding in findings}


def own(alert: bytes) -> dict[str, Any]:
    facts: dict[str, Any] = msgspec.json.decode(alert)["data"]["unmapped"]["siphonwatch"]
    return facts


def of_accounts(alerts: Iterable[bytes]) -> set[bytes]:
    return {alert for alert in alerts if own(alert)["pattern"] != "campaign"}


@pytest.mark.broker
async def test_a_replay_in_partitions_finds_what_a_worker_over_as_many_finds(
    settings: Settings, tmp_path: Path
) -> None:
    prepare(settings, PARTITIONS)
    records = [*traffic(), *relayed()]
    with Worker(settings, tmp_path) as worker:
        await worker.works()
        await produce(settings, traffic())
        await coordinated(settings)
        await produce(settings, relayed(), rate=120, part=12)  # so that partitions get on alike, as in life
        await coordinated(settings)
        worker.stop()
    found = {without_model(alert) for p in range(PARTITIONS) for alert in await read(settings, "alerts", p)}
    expected = await asyncio.to_thread(replayed, settings, records)  # it has an event loop of its own
    alone = await asyncio.to_thread(replayed, settings, records, 1)
    assert of_accounts(found) == of_accounts(expected) != set()
    assert of_accounts(found) != of_accounts(alone), "partitions matter"
    assert members(expected) == set(MEMBERS)
    named = members(found)  # sightings of several partitions meet in the order in which a worker gets to them
    assert named <= set(MEMBERS) and len(named) >= 24


@pytest.mark.broker
async def test_accounts_stand_in_the_partition_that_kafka_s_producers_choose(settings: Settings) -> None:
    prepare(settings, PARTITIONS)
    records = traffic()[:500]
    await produce(settings, records)
    requests = Decoder().decode([encode(record) for record in records]).requests
    chosen = partitions_of(requests["account"], PARTITIONS)
    for number in range(PARTITIONS):
        accounts = {msgspec.json.decode(value)["account"] for value in await read(settings, "telemetry", number)}
        assert accounts == {r.account for r, partition in zip(records, chosen, strict=True) if partition == number}
