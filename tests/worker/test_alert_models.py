"""Each alert names what made it: version, card, reference, code, and the places in the log, the same after a crash."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from partition_stay import LOG, MIDDLE, STEP, Kept, Stay, kinds
from prometheus_client import CollectorRegistry
from state_fakes import Topic, state_log
from test_deployed_versions import NEXT, Deployed
from test_worker_campaigns import MEMBERS
from test_worker_campaigns import traffic as relayed

from siphonwatch.models.learn.version import shipped
from siphonwatch.streams.common.release import release
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts.control import CHALLENGER
from siphonwatch.streams.contracts.provenance import SEAL, UNKEYED
from siphonwatch.streams.contracts.provenance import SIGHTINGS as SIGHTINGS_SEAL
from siphonwatch.streams.contracts.sighting import pack
from siphonwatch.streams.contracts.telemetry import encode
from siphonwatch.streams.worker.agents.coordinate import SightingsPartition
from siphonwatch.streams.worker.decode import Decoder
from siphonwatch.streams.worker.meter import Meter
from siphonwatch.streams.worker.metrics import SIGHTINGS, Metrics
from siphonwatch.streams.worker.scoring import make_coordinator, make_scorer
from siphonwatch.streams.worker.transport import Batch, Begin
from siphonwatch.streams.worker.transport.batch import Lease


def own(alert: dict[str, Any]) -> dict[str, Any]:
    facts: dict[str, Any] = alert["data"]["unmapped"]["siphonwatch"]
    return facts


def models(alerts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [own(alert)["model"] for alert in alerts]


async def test_an_alert_names_the_record_that_raised_it_and_the_checkpoint_that_its_state_came_from() -> None:
    run = Stay(Topic())
    await run.partition.restore(Begin())
    nothing = run.scorer.judge.reference_id
    await run.feed(LOG, 0, MIDDLE)
    before = len(run.outlet.alerts)
    assert await run.partition.checkpoint() == MIDDLE
    await run.feed(LOG, MIDDLE, len(LOG))
    for number, alert in enumerate(run.outlet.alerts):
        model, facts = own(alert)["model"], own(alert)
        assert (model["version"], model["card"], model["release"]) == (shipped().id, facts["card"], release())
        assert (model["stream"], model["partition"]) == ("telemetry", 0)
        record = msgspec.json.decode(LOG[model["offset"]])
        assert record["account"] == facts["accounts"][0]
        if kinds([alert]) != ["closed"]:
            assert record["id"] == facts["sample_requests"][0]
            assert (model["offset"] >= MIDDLE) == (number >= before)
        assert model.get("checkpoint") == (None if number < before else MIDDLE)
    references = [model["reference"] for model in models(run.outlet.alerts)]
    assert set(references[:before]) == {nothing} != set(references[before:])
    assert len(set(references[before:])) == 1, "it is that of the checkpoint, not of the moment"


async def test_what_is_sent_again_after_a_crash_names_the_same() -> None:
    state = Topic()
    first = Stay(state)
    await first.partition.restore(Begin())
    await first.feed(LOG, 0, MIDDLE)
    await first.partition.checkpoint()
    before = len(first.outlet.alerts)
    await first.feed(LOG, MIDDLE, len(LOG))
    second = Stay(state)
    await second.partition.restore(Begin(committed=MIDDLE))
    await second.feed(LOG, MIDDLE, len(LOG))
    assert second.outlet.alerts == first.outlet.alerts[before:] != []


async def test_after_a_promotion_alerts_name_the_new_version_from_the_switch_s_offset_on() -> None:
    run = Deployed(Topic(), challenger=NEXT)
    await run.partition.restore(Begin())
    await run.feed(LOG, 0, MIDDLE)
    run.set(champion=NEXT)
    before = len(run.outlet.alerts)
    assert await run.partition.checkpoint() == MIDDLE
    await run.feed(LOG, MIDDLE, len(LOG))
    shown = [(model["version"], model["offset"] >= MIDDLE) for model in models(run.outlet.alerts)]
    assert set(shown[:before]) == {(shipped().id, False)}
    opened = [place for place, alert in zip(shown, run.outlet.alerts, strict=True) if kinds([alert]) != ["closed"]]
    assert {place for place in opened if place[1]} == {(NEXT.id, True)}
    ended = {version for version, _ in shown[before:]}
    assert ended == {NEXT.id}, "also of the ends of cases that were opened before"


async def test_what_a_shadow_finds_names_its_version_and_its_own_reference() -> None:
    run = Deployed(Topic(), challenger=NEXT)
    await run.partition.restore(Begin())
    await run.feed(LOG, 0, MIDDLE)
    await run.partition.checkpoint()
    shadowed, alerts = len(run.outlet.shadowed), len(run.outlet.alerts)
    await run.feed(LOG, MIDDLE, len(LOG))
    theirs = models([alert for _, _, alert in run.outlet.shadowed[shadowed:]])
    ours = models(run.outlet.alerts[alerts:])
    assert {model["version"] for model in theirs} == {NEXT.id}
    assert {model["reference"] for model in theirs}.isdisjoint(model["reference"] for model in ours)


async def test_before_the_first_checkpoint_a_deployed_version_s_reference_is_that_of_its_beginning() -> None:
    run = Deployed(Topic(), champion=NEXT, challenger=shipped())
    await run.partition.restore(Begin())
    ours, theirs = run.scorer.judge.reference_id, run.scorer.shadows[CHALLENGER][0].reference_id
    await run.feed(LOG, 0, MIDDLE)
    assert run.outlet.alerts and {model["reference"] for model in models(run.outlet.alerts)} == {ours}
    shadowed = [alert for role, _, alert in run.outlet.shadowed if role == CHALLENGER]
    assert shadowed and {model.get("reference") for model in models(shadowed)} == {theirs}


async def test_offsets_are_those_of_the_topic_as_it_is_now() -> None:
    state = Topic()
    first = Stay(state)
    await first.partition.restore(Begin("one"))
    await first.feed(LOG, 0, MIDDLE)
    await first.partition.checkpoint()
    anew = Stay(state)
    place = await anew.partition.restore(Begin("two"))
    assert place.offset == 0
    await anew.feed(LOG[MIDDLE:], 0, len(LOG) - MIDDLE)
    for alert in anew.outlet.alerts:
        model = own(alert)["model"]
        if kinds([alert]) == ["closed"] and "offset" not in model:
            continue  # its newest evidence is from before the topic was made anew
        record = msgspec.json.decode(LOG[MIDDLE + model["offset"]])
        assert record["account"] == own(alert)["accounts"][0]
        assert model["checkpoint"] == 0
    assert anew.outlet.alerts


async def test_an_alert_of_a_campaign_names_the_record_of_sightings() -> None:
    requests = Decoder().decode([encode(record) for record in relayed()]).requests
    scorer, outlet = make_scorer(Settings()), Kept()
    partition = SightingsPartition(
        make_coordinator(Settings()), state_log(Topic(), max_value=1 << 20), outlet,
        Meter(Metrics(CollectorRegistry()), SIGHTINGS, "", 0),
    )  # fmt: skip
    await partition.restore(Begin())
    mac, offset = UNKEYED.mac(SIGHTINGS_SEAL, 0), 0
    for start in range(0, len(requests), STEP):
        part = requests[start : start + STEP]
        scorer.score(part, np.arange(start, start + len(part)))
        values = pack("telemetry:0", part, np.arange(start, start + len(part)), scorer.sighted)
        n = len(values)
        if not n:
            continue
        await partition.process(
            Batch(
                Lease("sightings", 0, 1, lambda _: None), keys=[None] * n, values=values,
                headers=[((SEAL, mac(value)),) for value in values],
                next_offset=offset + n, offsets=np.arange(offset, offset + n), timestamps=np.zeros(n, np.int64),
                size=1, missing=0,
            )
        )  # fmt: skip
        offset += n
    told = [own(alert) for alert in outlet.alerts if kinds([alert]) != ["closed"]]
    assert told and all(set(facts["accounts"]) <= set(MEMBERS) for facts in told)
    assert all(facts["model"]["stream"] == "sightings" and "reference" not in facts["model"] for facts in told)
    assert all(facts["model"]["offset"] < offset for facts in told)
