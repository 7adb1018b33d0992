"""The features of fingerprints are logged as the coordinator's judge saw them, of each campaign alert that is sent."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from partition_stay import Kept, kinds
from prometheus_client import CollectorRegistry
from state_fakes import Topic, state_log
from test_worker_campaigns import coordinated, traffic
from test_worker_sightings import batch, campaign, cut, packed
from worker_tools import Worker, prepare, produce, read
from worker_tools import traffic as accounts_traffic

from siphonwatch.models.account.request import Array, names
from siphonwatch.models.engine.engine import Trace
from siphonwatch.models.engine.patterns import detectors
from siphonwatch.models.learn.version import shipped, table_id
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts.features import Logged, by_pattern, decode, once
from siphonwatch.streams.contracts.sighting import unpack
from siphonwatch.streams.lab.archive.reader import Archive
from siphonwatch.streams.lab.archive.store import Store
from siphonwatch.streams.lab.archive.writer import Writer
from siphonwatch.streams.worker.agents.coordinate import SightingsPartition
from siphonwatch.streams.worker.agents.feature_log import What
from siphonwatch.streams.worker.entries import Entries, Entry, EntryList
from siphonwatch.streams.worker.meter import Meter
from siphonwatch.streams.worker.metrics import SIGHTINGS, Metrics
from siphonwatch.streams.worker.scoring import make_coordinator
from siphonwatch.streams.worker.transport import Begin


def partition(state: Topic, outlet: Kept, features: What = "alerts", *entries: Entry) -> SightingsPartition:
    known = EntryList()
    known.known = Entries(entries)
    return SightingsPartition(
        make_coordinator(Settings()), state_log(state, max_value=1 << 20), outlet,
        Meter(Metrics(CollectorRegistry()), SIGHTINGS, "", 0), entries=known, features=features,
    )  # fmt: skip


async def ran(features: What, values: list[bytes], *entries: Entry) -> Kept:
    outlet = Kept()
    run = partition(Topic(), outlet, features, *entries)
    await run.restore(Begin("one"))
    for one in cut(values, random.Random(5)):
        await run.process(one)
    await run.close()
    return outlet


def seen(requests: Array) -> dict[int, list[tuple[bytes, dict[str, float], dict[str, float]]]]:
    """What the judge sees and says of each request's fingerprints, offline."""
    coordinator = make_coordinator(Settings())
    found: dict[int, list[Any]] = {}
    patterns = coordinator.judge.patterns

    def watch(trace: Trace) -> None:
        for i, offset in enumerate(trace.offsets.tolist()):
            said = by_pattern(patterns, trace.scores[i].astype(np.float32)), by_pattern(patterns, trace.log_e[i])
            found.setdefault(offset, []).append((trace.features[i].tobytes(), *said))

    coordinator.judge.trace = watch
    coordinator.score(requests, np.arange(len(requests)))
    return found


def own(alert: dict[str, Any]) -> dict[str, Any]:
    return alert["data"]["unmapped"]["siphonwatch"]  # type: ignore[no-any-return]


async def test_each_campaign_alert_that_is_sent_has_its_features_to_the_last_bit() -> None:
    requests = campaign(1500)
    values = packed(requests, random.Random(1))
    outlet, whole = await ran("alerts", values), seen(requests)
    raised = {alert["id"]: own(alert) for alert in outlet.alerts if kinds([alert]) != ["closed"]}
    assert [one.alerts for one in outlet.logged] == [[id_] for id_ in raised] != []
    places = [(at, row) for at, value in enumerate(values) for row in range(len(unpack(value).indexes))]
    for logged in outlet.logged:
        alert = raised[logged.alerts[0]]
        number = places.index((logged.offset, logged.row))
        assert (logged.features, logged.scores, logged.log_e) in whole[number]
        assert logged.patterns == [alert["pattern"]] and logged.cards[alert["pattern"]] == alert["card"]
        assert logged.log_e[alert["pattern"]] == np.float32(alert["log_e_value"])
        assert logged.offset == alert["model"]["offset"] and logged.account in alert["accounts"]
        assert logged.account == names(requests["account"][number : number + 1])[0]
        assert (logged.over, logged.at, logged.incarnation) == ("campaign", ["alert"], "one")
        assert (logged.version, logged.table, logged.partition) == (shipped().id, table_id(), 0)
        assert len(logged.fingerprint) == 16 and logged.scores.keys() == {d.pattern for d in detectors("campaign")}


async def test_logging_changes_no_campaign_alert_and_what_is_hidden_is_not_logged() -> None:
    values = packed(campaign(1500), random.Random(1))
    off, hourly = await ran("off", values), await ran("hourly", values)
    assert off.alerts == hourly.alerts != [] and not off.logged and hourly.logged
    first = own(off.alerts[0])
    everyone = tuple({account for alert in off.alerts for account in own(alert)["accounts"]})
    hidden = await ran("alerts", values, Entry("0123456789ab", first["pattern"], 1e12, everyone, ""))
    ids = {alert["id"] for _, alert in hidden.hid}
    assert ids and not ids & {id_ for logged in hidden.logged for id_ in logged.alerts}


async def test_what_a_coordinator_sees_again_after_a_crash_is_logged_again_the_same() -> None:
    values, state = packed(campaign(1500), random.Random(1)), Topic()
    first, second = Kept(), Kept()
    run = partition(state, first)
    await run.restore(Begin("one"))
    half = len(values) // 8
    await run.process(batch(list(values[:half])))
    await run.checkpoint()
    before = len(first.logged)
    await run.process(batch(list(values[half:]), half))
    again = partition(state, second)
    await again.restore(Begin("one", committed=half))
    for start in range(half, len(values), 3):
        await again.process(batch(list(values[start : start + 3]), start))
    assert second.logged == first.logged[before:] != []
    assert once([*first.logged, *second.logged]) == first.logged


def test_a_request_and_a_sighting_at_one_place_are_two_records() -> None:
    facts: dict[str, Any] = {
        "partition": 0, "offset": 7, "incarnation": "", "account": "ann", "time": 1.0, "at": ["alert"],
        "version": "", "cards": {}, "table": "", "features": b"", "scores": {}, "log_e": {},
    }  # fmt: skip
    account = Logged(**facts)
    shared = [Logged(**facts, over="campaign", row=row, fingerprint=edge) for row in (0, 1) for edge in ("a", "b")]
    assert once([account, *shared, account]) == [*shared, account]


def archived(folder: Path, records: list[bytes]) -> list[dict[str, Any]]:
    writer = Writer(Store(str(folder)))
    writer.begin("features", 0, "log", 0)
    writer.take("features", 0, records, np.arange(len(records)), np.full(len(records), 10**12))
    writer.close()
    rows = [row for table in Archive(str(folder)).tables("features") for row in table.to_pylist()]
    return sorted(rows, key=lambda row: row["log_offset"])


@pytest.mark.broker
async def test_the_topic_has_the_features_of_an_account_s_alert_and_of_a_campaign_s(
    settings: Settings, tmp_path: Path
) -> None:
    prepare(settings, 1)
    records = sorted([*accounts_traffic(), *traffic()], key=lambda record: record.time)
    with Worker(settings, tmp_path) as worker:
        await worker.works()
        await produce(settings, records)
        await coordinated(settings)
        worker.stop()
    sent = await read(settings, "features", 0)
    log = once([decode(value) for value in sent])
    alerts = [json.loads(value) for value in await read(settings, "alerts", 0)]
    raised = {alert["id"]: own(alert) for alert in alerts if kinds([alert]) != ["closed"]}
    of = {over: [one for one in log if one.over == over] for over in ("account", "campaign")}
    assert of["account"] and of["campaign"]
    assert sorted(raised) == sorted(id_ for one in log for id_ in one.alerts)
    for one in log:
        for id_, pattern in zip(one.alerts, one.patterns, strict=True):
            alert = raised[id_]
            assert (pattern, one.cards[pattern]) == (alert["pattern"], alert["card"])
            assert one.log_e[pattern] == np.float32(alert["log_e_value"])
            assert (one.partition, one.offset) == (alert["model"]["partition"], alert["model"]["offset"])
    telemetry = await read(settings, "telemetry", 0)
    assert all(msgspec.json.decode(telemetry[one.offset])["account"] == one.account for one in of["account"])
    rows = archived(tmp_path / "archive", sent)
    assert [row["over"] for row in rows] == [decode(value).over for value in sent]
    for row, value in zip(rows, sent, strict=True):
        one = decode(value)
        assert (row["row"], row["fingerprint"], row["patterns"], row["value"]) == (
            one.row, one.fingerprint, one.patterns, None
        )  # fmt: skip
        if one.over == "campaign":
            made = np.array([v for name, v in row.items() if name.startswith("campaign_")], np.float32)
            assert made.tobytes() == one.features and row["seen"] is None
            assert row["score_campaign"] == np.float32(one.scores["campaign"])
        else:
            assert row["campaign_seen"] is None and row["seen"] is not None
