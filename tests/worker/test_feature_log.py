"""Features are logged as they were when scored: of alerts sent, and once an account-hour; the same after a crash."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import numpy as np
import pytest
from partition_stay import LOG, MIDDLE, Stay, kinds
from state_fakes import Topic
from test_deployed_versions import NEXT, deploy

from siphonwatch.models.engine.engine import Trace
from siphonwatch.models.engine.patterns import detectors
from siphonwatch.models.learn.version import shipped, table_id
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts.control import CHALLENGER, CHAMPION
from siphonwatch.streams.contracts.features import Logged, NoFeatures, decode, encode, json_schema, once
from siphonwatch.streams.worker.agents.feature_log import What
from siphonwatch.streams.worker.decode import Decoder
from siphonwatch.streams.worker.entries import Entry
from siphonwatch.streams.worker.scoring import make_scorer
from siphonwatch.streams.worker.transport import Begin

HOUR = 3600
SCHEMA = Path(__file__).parents[2] / "deploy" / "schemas" / "features.v1.json"


async def ran(features: What, *entries: Entry) -> Stay:
    run = Stay(Topic(), entries, features=features)
    await run.partition.restore(Begin("one"))
    await run.feed(LOG, 0, len(LOG))
    return run


def seen() -> dict[int, tuple[Any, Any, Any]]:
    """Features, scores and log e-values of every request, from the same scorer, offline."""
    scorer, found = make_scorer(Settings()), {}

    def watch(trace: Trace) -> None:
        for i, offset in enumerate(trace.offsets.tolist()):
            found[offset] = (trace.features[i].copy(), trace.scores[i].copy(), trace.log_e[i].copy())

    scorer.judge.trace = watch
    requests = Decoder().decode(LOG).requests
    scorer.score(requests, np.arange(len(requests)))
    return found


async def test_each_alert_that_is_sent_has_its_features_to_the_last_bit() -> None:
    run, whole = await ran("alerts"), seen()
    raised = {a["id"]: a["data"]["unmapped"]["siphonwatch"] for a in run.outlet.alerts if kinds([a]) != ["closed"]}
    assert sorted(id_ for logged in run.outlet.logged for id_ in logged.alerts) == sorted(raised)
    patterns = [detector.pattern for detector in detectors()]
    for logged in run.outlet.logged:
        features, scores, log_e = whole[logged.offset]
        assert logged.vector.tobytes() == features.tobytes()
        assert [logged.scores[pattern] for pattern in patterns] == scores.tolist()
        known = {p: value for p, value in zip(patterns, log_e.tolist(), strict=True) if not math.isnan(value)}
        assert logged.log_e == known
        for id_ in logged.alerts:
            assert raised[id_]["model"]["offset"] == logged.offset and raised[id_]["accounts"] == [logged.account]
            assert logged.log_e[raised[id_]["pattern"]] == np.float32(raised[id_]["log_e_value"])
            assert logged.cards[raised[id_]["pattern"]] == raised[id_]["card"]
        assert logged.patterns == [raised[id_]["pattern"] for id_ in logged.alerts]
        assert logged.account == msgspec.json.decode(LOG[logged.offset])["account"]
        assert (logged.at, logged.incarnation, logged.table) == (["alert"], "one", table_id())


async def test_what_is_logged_changes_no_alert() -> None:
    off, hourly = await ran("off"), await ran("hourly")
    assert off.outlet.alerts == hourly.outlet.alerts != []
    assert not off.outlet.logged


async def test_each_account_hour_that_closed_is_logged_at_the_account_s_next_request() -> None:
    run = await ran("hourly")
    hours: dict[str, int] = {}
    expected = []
    for offset, value in enumerate(LOG):
        record = msgspec.json.decode(value)
        hour = int(record["time"] // HOUR)
        before = hours.setdefault(record["account"], hour)
        if hour > before:
            expected.append(offset)
        hours[record["account"]] = max(before, hour)
    assert [logged.offset for logged in run.outlet.logged if "hourly" in logged.at] == expected != []
    both = [logged for logged in run.outlet.logged if logged.at == ["alert", "hourly"]]
    assert len({logged.key for logged in run.outlet.logged}) == len(run.outlet.logged), "one record a request"
    assert all(logged.alerts for logged in both)
    whole = seen()
    assert all(logged.vector.tobytes() == whole[logged.offset][0].tobytes() for logged in run.outlet.logged)


@pytest.mark.parametrize("features", ["alerts", "hourly"])
async def test_what_is_scored_again_after_a_crash_is_logged_again_the_same(features: What) -> None:
    state = Topic()
    first = Stay(state, features=features)
    await first.partition.restore(Begin("one"))
    await first.feed(LOG, 0, MIDDLE)
    await first.partition.checkpoint()
    before = len(first.outlet.logged)
    await first.feed(LOG, MIDDLE, len(LOG))
    second = Stay(state, features=features)
    await second.partition.restore(Begin("one", committed=MIDDLE))
    for start in range(MIDDLE, len(LOG), 130):  # in other batches
        await second.feed(LOG, start, min(start + 130, len(LOG)))
    assert second.outlet.logged == first.outlet.logged[before:] != []
    assert once([*first.outlet.logged, *second.outlet.logged]) == sorted(
        first.outlet.logged, key=lambda logged: logged.offset
    )


async def test_what_an_allow_entry_hides_is_not_logged() -> None:
    whole = await ran("alerts")
    first = whole.outlet.alerts[0]["data"]["unmapped"]["siphonwatch"]
    hidden = await ran("alerts", Entry("0123456789ab", first["pattern"], 1e12, tuple(first["accounts"]), ""))
    ids = {alert["id"] for _, alert in hidden.outlet.hid}
    assert ids
    left = [
        (logged, [place for place, id_ in enumerate(logged.alerts) if id_ not in ids]) for logged in whole.outlet.logged
    ]
    assert hidden.outlet.logged == [
        msgspec.structs.replace(
            logged, alerts=[logged.alerts[i] for i in kept], patterns=[logged.patterns[i] for i in kept]
        )
        for logged, kept in left
        if kept
    ]


async def test_from_a_promotion_on_the_new_version_and_its_cards_are_named() -> None:
    run = Stay(Topic(), features="alerts")
    run.deploys.known = {CHALLENGER: deploy(NEXT, CHALLENGER)}
    await run.partition.restore(Begin())
    await run.feed(LOG, 0, MIDDLE)
    run.deploys.known = {CHAMPION: deploy(NEXT, CHAMPION)}
    await run.partition.checkpoint()
    await run.feed(LOG, MIDDLE, len(LOG))
    named = {(logged.version, logged.offset >= MIDDLE) for logged in run.outlet.logged}
    assert named == {(shipped().id, False), (NEXT.id, True)}, "what the shadow finds is not logged"
    assert run.outlet.logged[-1].cards == {detector.pattern: detector.id for detector in NEXT.detectors()}


def test_records_come_back_and_are_as_the_schema_says() -> None:
    logged = Logged(
        partition=3, offset=7, incarnation="one", account="a" * 16, time=1.8e9, at=["hourly"], version="0" * 12,
        cards={"scraping": "12345678"}, table=table_id(), features=np.arange(3, dtype="<f4").tobytes(),
        scores={"scraping": 0.5}, log_e={},
    )  # fmt: skip
    assert decode(encode(logged)) == logged and logged.vector.tolist() == [0.0, 1.0, 2.0]
    published = json.loads(SCHEMA.read_text())
    assert published == json_schema(), "renew deploy/schemas/features.v1.json: the contract has changed"
    jsonschema.Draft202012Validator(published).validate(json.loads(encode(logged)))
    for broken in (
        b"{}",
        b"",
        encode(logged).replace(b"hourly", b"yearly"),
        encode(logged).replace(b'"v":1', b'"v":2'),
    ):
        with pytest.raises(NoFeatures):
            decode(broken)
    with pytest.raises(NoFeatures, match="whole number"):
        decode(encode(msgspec.structs.replace(logged, features=b"123")))
