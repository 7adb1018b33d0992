"""A deployed version judges from one offset of a partition on, the same after any crash, and the partition says so."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from partition_stay import LOG, MIDDLE, Stay, ids, kinds
from state_fakes import Topic
from structlog.testing import capture_logs

from siphonwatch.models.learn.version import Info, Version, make_version, shipped
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts import control as contract
from siphonwatch.streams.contracts.control import CHALLENGER, CHAMPION, Deploy, NotAControl, decode, deploy_of, encode
from siphonwatch.streams.worker.scoring import make_scorer
from siphonwatch.streams.worker.transport import Begin


def version(null: float = 0.2, pattern: str = "scraping", name: str = "next") -> Version:
    """The shipped cards, one with another null level."""
    texts = dict(shipped().texts)
    lines = texts[pattern].decode().splitlines()
    texts[pattern] = "\n".join(f"null = {null}" if x.startswith("null =") else x for x in lines).encode()
    return make_version(Info(name=name), texts, shipped().supports)


def deploy(chosen: Version | None, role: str) -> Deploy:
    if chosen is None:
        return Deploy(id=role, version="", by="Ann", time=1.8e9)  # type: ignore[arg-type]
    record = decode(encode(deploy_of(chosen, role, by="Ann", why="because", time=1.8e9)))
    assert isinstance(record, Deploy)
    return record


class Deployed(Stay):
    """A stay of which `set` is what the control topic says of versions."""

    def __init__(self, state: Topic, **roles: Version | None) -> None:
        super().__init__(state)
        self.set(**roles)

    def said(self) -> list[tuple[str, str, int]]:
        return [(one.role, one.version, one.offset) for one in self.outlet.applied]

    def set(self, **roles: Version | None) -> None:
        self.deploys.known = {role: deploy(chosen, role) for role, chosen in roles.items()}

    def cards(self, first: int = 0) -> set[str]:
        alerts = self.outlet.alerts[first:]
        return {a["data"]["unmapped"]["siphonwatch"]["card"] for a in alerts if kinds([a]) != ["closed"]}


NEXT = version()
CARD = next(d.id for d in NEXT.detectors() if d.pattern == "scraping")
OLD = next(d.id for d in shipped().detectors() if d.pattern == "scraping")


async def alone() -> list[dict[str, Any]]:
    run = Deployed(Topic())
    await run.partition.restore(Begin())
    await run.feed(LOG, 0, len(LOG))
    assert not run.outlet.applied and not run.outlet.shadowed
    return run.outlet.alerts


async def test_a_challenger_changes_no_alert_and_what_it_finds_goes_elsewhere() -> None:
    run = Deployed(Topic(), challenger=NEXT)
    await run.partition.restore(Begin())
    await run.feed(LOG, 0, len(LOG))
    await run.partition.checkpoint()
    assert run.outlet.alerts == await alone()
    assert {(role, chosen) for role, chosen, _ in run.outlet.shadowed} == {(CHALLENGER, NEXT.id)}
    found = {a["data"]["unmapped"]["siphonwatch"]["card"] for _, _, a in run.outlet.shadowed}
    assert CARD in found and OLD not in found
    assert run.said() == [(CHALLENGER, NEXT.id, 0)]


async def test_what_a_challenger_costs_is_said_at_a_checkpoint_and_changes_no_alert() -> None:
    run = Deployed(Topic(), challenger=NEXT)
    await run.partition.restore(Begin())
    await run.feed(LOG, 0, MIDDLE)
    assert not run.outlet.measured
    await run.partition.checkpoint()
    (one,) = run.outlet.measured
    assert (one.stream, one.partition, one.version, one.requests) == ("telemetry", 0, NEXT.id, MIDDLE)
    assert one.seconds > 0 and one.champion_seconds > 0 and one.rows > 0
    assert 100 < one.size / one.rows < 100_000
    await run.feed(LOG, MIDDLE, len(LOG))
    await run.partition.checkpoint()
    assert len(run.outlet.measured) == 1, "not again within five minutes"
    plain = Deployed(Topic())
    await plain.partition.restore(Begin())
    for first, last in ((0, MIDDLE), (MIDDLE, len(LOG))):
        await plain.feed(LOG, first, last)
        await plain.partition.checkpoint()
    assert run.outlet.alerts == plain.outlet.alerts and not plain.outlet.measured


async def test_a_challenger_is_promoted_at_the_offset_of_a_checkpoint_and_the_log_says_so() -> None:
    run = Deployed(Topic(), challenger=NEXT)
    await run.partition.restore(Begin())
    await run.feed(LOG, 0, MIDDLE)
    run.set(champion=NEXT, challenger=None)
    before = len(run.outlet.alerts)
    assert await run.partition.checkpoint() == MIDDLE
    assert run.said()[1:] == [
        (CHAMPION, NEXT.id, MIDDLE), (CHALLENGER, "", MIDDLE), ("previous", shipped().id, MIDDLE),
    ]  # fmt: skip
    assert {(one.by, one.why) for one in run.outlet.applied if one.role == CHAMPION} == {("Ann", "because")}
    await run.feed(LOG, MIDDLE, len(LOG))
    assert OLD not in run.cards(before) and OLD in run.cards()
    whole = await alone()
    assert run.outlet.alerts[:before] == whole[:before]
    assert {role for role, _, _ in run.outlet.shadowed[-5:]} == {"previous"}


async def test_rolling_back_lets_the_previous_version_judge_again_with_its_evidence() -> None:
    run = Deployed(Topic(), challenger=NEXT)
    await run.partition.restore(Begin())
    await run.feed(LOG, 0, MIDDLE)
    run.set(champion=NEXT)
    await run.partition.checkpoint()
    run.set(champion=shipped())
    assert await run.partition.checkpoint() == MIDDLE
    assert run.said()[-2:] == [(CHAMPION, shipped().id, MIDDLE), ("previous", NEXT.id, MIDDLE)]
    await run.feed(LOG, MIDDLE, len(LOG))
    whole = await alone()
    opened = [a for a in whole if kinds([a]) != ["closed"]]
    assert [a["id"] for a in run.outlet.alerts if kinds([a]) != ["closed"]] == [a["id"] for a in opened]
    assert CARD not in run.cards()


@pytest.mark.parametrize("crash", ["before", "after"])
async def test_a_crash_around_the_switch_loses_nothing_and_the_log_has_the_offset_that_counts(crash: str) -> None:
    state, whole = Topic(), Deployed(Topic(), challenger=NEXT)
    await whole.partition.restore(Begin())
    await whole.feed(LOG, 0, MIDDLE)
    await whole.partition.checkpoint()
    whole.set(champion=NEXT)
    await whole.partition.checkpoint()
    await whole.feed(LOG, MIDDLE, len(LOG))

    first = Deployed(state, challenger=NEXT)
    await first.partition.restore(Begin())
    await first.feed(LOG, 0, MIDDLE)
    assert await first.partition.checkpoint() == MIDDLE
    first.set(champion=NEXT)
    if crash == "after":
        assert await first.partition.checkpoint() == MIDDLE
        first.outlet.applied.clear()  # it was killed before the broker had them
    else:
        await first.feed(LOG, MIDDLE, MIDDLE + 500)  # what was scored after the checkpoint is scored again
    kept = Deployed(state, champion=NEXT)
    place = await kept.partition.restore(Begin(committed=MIDDLE))
    assert place.offset == MIDDLE
    assert await kept.partition.checkpoint() == MIDDLE
    assert (CHAMPION, NEXT.id, MIDDLE) in kept.said()
    await kept.feed(LOG, MIDDLE, len(LOG))
    before = len(first.outlet.alerts) if crash == "after" else len(whole.outlet.alerts) - len(kept.outlet.alerts)
    assert kept.outlet.alerts == whole.outlet.alerts[before:]
    third = Deployed(state, champion=NEXT)
    await kept.partition.checkpoint()
    await third.partition.restore(Begin(committed=len(LOG)))
    assert third.outlet.applied == [], "what was said is not said again"


async def test_a_version_that_nobody_shadowed_begins_with_the_evidence_of_the_cards_that_both_have() -> None:
    run = Deployed(Topic())
    await run.partition.restore(Begin())
    await run.feed(LOG, 0, MIDDLE)
    before = len(run.outlet.alerts)
    run.set(champion=NEXT)
    await run.partition.checkpoint()
    await run.feed(LOG, MIDDLE, len(LOG))
    whole = await alone()

    def others(alerts: list[dict[str, Any]]) -> list[str]:
        return ids(a for a in alerts if a["data"]["unmapped"]["siphonwatch"]["pattern"] != "scraping")

    assert others(run.outlet.alerts[before:]) == others(whole[before:]) != []


async def test_a_partition_without_state_begins_with_what_is_deployed() -> None:
    run = Deployed(Topic(), champion=NEXT)
    await run.partition.restore(Begin())
    await run.feed(LOG, 0, len(LOG))
    assert OLD not in run.cards() and CARD in run.cards()
    await run.partition.checkpoint()
    assert (CHAMPION, NEXT.id, 0) in run.said()


async def test_a_state_of_a_version_that_this_release_cannot_use_lets_the_installed_cards_judge(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state = Topic()
    run = Deployed(state, champion=NEXT)
    await run.partition.restore(Begin())
    await run.feed(LOG, 0, MIDDLE)
    await run.partition.checkpoint()
    monkeypatch.setattr("siphonwatch.models.learn.version.table_id", lambda: "another")
    later = Deployed(state)
    with capture_logs() as logs:
        await later.partition.restore(Begin(committed=MIDDLE))
    assert "train it anew" in next(entry["error"] for entry in logs if "cannot be used" in entry["event"])
    assert later.partition.scorer.judge.id == make_scorer(Settings()).judge.id


def test_a_version_with_a_wrong_hash_is_refused_before_anything_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    record = deploy(NEXT, CHAMPION)
    cards = {**record.cards, "scraping": record.cards["scraping"] + "\n# changed on the way\n"}
    bad = encode(msgspec.structs.replace(record, cards=cards))

    def parsed(*_: object, **__: object) -> None:
        raise AssertionError("it was parsed")

    monkeypatch.setattr(contract, "make_version", parsed)
    with pytest.raises(NotAControl, match="not those that its sha256 is of"):
        decode(bad)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"version": "", "id": CHAMPION}, "there always is one"),
        ({"version": "0" * 12}, "are those of"),
        ({"version": "x"}, "matching regex"),
        ({"features": "0" * 12}, "train it anew"),
    ],
)
def test_a_malformed_deploy_is_no_control_record(change: dict[str, Any], told: str) -> None:
    raw = encode(msgspec.structs.replace(deploy(NEXT, CHAMPION), **change))
    with pytest.raises(NotAControl, match=told):
        decode(raw)
