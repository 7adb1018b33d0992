"""An allow entry hides alerts from one offset on, the same after any crash; cases and evidence go on beneath it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from partition_stay import LOG, MIDDLE, STEP, Kept, Stay, ids, kinds
from state_fakes import Topic

from siphonwatch.models.common.arrays import pack
from siphonwatch.models.evidence.cases import Finding
from siphonwatch.streams.worker.agents import scored
from siphonwatch.streams.worker.entries import Entries, Entry
from siphonwatch.streams.worker.transport import Begin

FOREVER = 2.0**34


def of(alerts: Iterable[dict[str, Any]], account: str) -> list[dict[str, Any]]:
    return [alert for alert in alerts if alert["data"]["unmapped"]["siphonwatch"]["accounts"] == [account]]


async def plain() -> Kept:
    run = Stay(Topic())
    await run.partition.restore(Begin())
    await run.feed(LOG, 0, len(LOG))
    return run.outlet


def chosen(alerts: list[dict[str, Any]], before: int) -> tuple[str, str]:
    """An account and pattern told before the middle of the log and after it."""
    for alert in alerts[:before]:
        (account,) = alert["data"]["unmapped"]["siphonwatch"]["accounts"]
        own = [one for one in of(alerts, account) if one["subject"] == alert["subject"]]
        after = [one for one in own if one in alerts[before:]]
        if "updated" in kinds(after) and "closed" not in kinds(own[: len(own) - len(after)]):
            return account, alert["data"]["unmapped"]["siphonwatch"]["pattern"]
    raise AssertionError("no such account in the traffic")


async def halves() -> tuple[list[dict[str, Any]], int]:
    """All alerts without any entry, and how many of them come before the middle."""
    first = Stay(Topic())
    await first.partition.restore(Begin())
    await first.feed(LOG, 0, MIDDLE)
    return (await plain()).alerts, len(first.outlet.alerts)


async def test_an_entry_closes_what_was_told_and_hides_what_follows_in_the_same_case() -> None:
    whole, before = await halves()
    account, pattern = chosen(whole, before)
    run = Stay(Topic())
    await run.partition.restore(Begin())
    await run.feed(LOG, 0, MIDDLE)
    entry = Entry("0123456789ab", pattern, FOREVER, (account,), "")
    run.list.known = Entries([entry])
    assert ids(run.outlet.alerts) == ids(whole[:before])
    await run.partition.checkpoint()
    told = of(run.outlet.alerts[before:], account)
    assert kinds(told) == ["closed"], "at the checkpoint that takes the entry over, not before"
    await run.feed(LOG, MIDDLE, len(LOG))

    mine = [alert for alert in of(whole[before:], account)
            if alert["data"]["unmapped"]["siphonwatch"]["pattern"] == pattern]  # fmt: skip
    hid = [alert for by, alert in run.outlet.hid if by == entry.id]
    assert kinds(hid) == kinds(mine) and {a["subject"] for a in hid} == {a["subject"] for a in mine}
    assert [a["data"]["unmapped"]["siphonwatch"]["e_value"] for a in hid] == [
        a["data"]["unmapped"]["siphonwatch"]["e_value"] for a in mine
    ], "evidence goes on as without it"
    assert (
        hid[0]["data"]["unmapped"]["siphonwatch"]["sequence"]
        == told[0]["data"]["unmapped"]["siphonwatch"]["sequence"] + 1
    )
    shown = ids(whole[before:])
    others = [one for one in ids(run.outlet.alerts[before:]) if one != told[0]["id"]]
    assert others == [one for one in shown if one not in ids(mine)], "and nothing else is hidden"
    labels = {"pattern": pattern, "reason": "entry"}
    assert run.registry.get_sample_value("siphonwatch_suppressed_alerts_total", labels) == len(hid)


async def test_another_pattern_of_the_account_is_not_hidden() -> None:
    whole, before = await halves()
    account, pattern = chosen(whole, before)
    other = "scraping" if pattern != "scraping" else "extraction"
    run = Stay(Topic(), [Entry("0123456789ab", other, FOREVER, (account,), "")])
    await run.partition.restore(Begin())
    await run.feed(LOG, 0, len(LOG))
    assert [a for a in of(run.outlet.alerts, account) if a["data"]["unmapped"]["siphonwatch"]["pattern"] == pattern]


@pytest.mark.parametrize("by_case", [False, True])
async def test_an_expired_entry_lets_the_next_alert_of_the_case_open_it_again_and_is_announced(
    by_case: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, before = await halves()
    account, pattern = chosen(whole, before)
    case = next(a["subject"] for a in of(whole, account) if a["data"]["unmapped"]["siphonwatch"]["pattern"] == pattern)
    mine = [alert for alert in whole if alert["subject"] == case]
    assert kinds(mine)[:2] == ["opened", "updated"]
    until = mine[-1]["data"]["time"] / 1000 if kinds(mine)[-1] == "updated" else mine[-2]["data"]["time"] / 1000
    run = Stay(Topic(), [Entry("0123456789ab", pattern, until, () if by_case else (account,), case if by_case else "")])
    await run.partition.restore(Begin())
    await run.feed(LOG, 0, len(LOG))
    shown = [alert for alert in run.outlet.alerts if alert["subject"] == case]
    assert kinds(shown)[0] == "opened"
    hid = [alert["id"] for _, alert in run.outlet.hid if alert["subject"] == case]
    assert hid + ids(shown) == ids(mine), "each is told or hidden, under the id that it has without the entry"
    last = run.partition.scorer.now
    assert capsys.readouterr().out.count("an allow entry has expired") == (until <= last)


async def test_an_entry_that_is_ended_opens_the_case_with_its_next_evidence() -> None:
    whole, before = await halves()
    account, pattern = chosen(whole, before)
    run = Stay(Topic(), [Entry("0123456789ab", pattern, FOREVER, (account,), "")])
    await run.partition.restore(Begin())
    await run.feed(LOG, 0, MIDDLE)
    assert not [a for a in of(run.outlet.alerts, account) if a["data"]["unmapped"]["siphonwatch"]["pattern"] == pattern]
    run.list.known = Entries()
    await run.partition.checkpoint()
    await run.feed(LOG, MIDDLE, len(LOG))
    shown = [a for a in of(run.outlet.alerts, account) if a["data"]["unmapped"]["siphonwatch"]["pattern"] == pattern]
    assert kinds(shown)[0] == "opened"
    assert {a["subject"] for a in shown} <= {a["subject"] for a in of(whole, account)}


@pytest.mark.parametrize("late", [0, 1], ids=["before the checkpoint", "after it"])
async def test_a_crash_and_a_replay_tell_and_hide_the_same(late: int) -> None:
    """Whatever the control topic says by then: an entry applies from the checkpoint that took it over."""
    whole, before = await halves()
    account, pattern = chosen(whole, before)
    entry = Entry("0123456789ab", pattern, FOREVER, (account,), "")
    state = Topic()
    first = Stay(state)
    await first.partition.restore(Begin())
    await first.feed(LOG, 0, MIDDLE)
    await first.partition.checkpoint()
    told = len(first.outlet.alerts)
    await first.feed(LOG, MIDDLE, MIDDLE + 2 * STEP)
    first.list.known = Entries([entry])
    if late:
        await first.partition.checkpoint()
        closing = first.outlet.alerts[-1:]
    due = MIDDLE + 2 * STEP if late else MIDDLE
    at_crash = ids(first.outlet.alerts[told:])

    again = Stay(state, [entry])
    assert (await again.partition.restore(Begin())).offset == due
    if late:
        assert again.outlet.alerts == closing, "its end may not have arrived: it is told again, under its id"
    else:
        await again.feed(LOG, due, MIDDLE + 2 * STEP)
        assert ids(again.outlet.alerts) == at_crash and not again.outlet.hid
        await again.partition.checkpoint()
    await again.feed(LOG, MIDDLE + 2 * STEP, len(LOG))

    unbroken = Stay(Topic())
    await unbroken.partition.restore(Begin())
    await unbroken.feed(LOG, 0, MIDDLE + 2 * STEP)
    unbroken.list.known = Entries([entry])
    await unbroken.partition.checkpoint()
    await unbroken.feed(LOG, MIDDLE + 2 * STEP, len(LOG))
    assert set(ids(first.outlet.alerts)) | set(ids(again.outlet.alerts)) == set(ids(unbroken.outlet.alerts))
    assert [(by, alert["id"]) for by, alert in again.outlet.hid] == [
        (by, alert["id"]) for by, alert in unbroken.outlet.hid
    ]


async def test_an_entry_reaches_a_partition_that_nothing_comes_to() -> None:
    whole, before = await halves()
    account, pattern = chosen(whole, before)
    state = Topic()
    run = Stay(state)
    await run.partition.restore(Begin())
    assert await run.partition.checkpoint() is None
    await run.feed(LOG, 0, MIDDLE)
    assert await run.partition.checkpoint() == MIDDLE
    run.list.known = Entries([Entry("0123456789ab", pattern, FOREVER, (account,), "")])
    written = state.end
    assert await run.partition.checkpoint() == MIDDLE and state.end > written
    assert kinds(run.outlet.alerts[before:]) == ["closed"]
    written = state.end
    assert await run.partition.checkpoint() == MIDDLE and state.end == written, "once"


async def test_state_from_before_there_were_entries_is_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scored, "pack", lambda parts: pack({k: v for k, v in parts.items() if k != scored.ENTRIES}))
    state = Topic()
    run = Stay(state, [Entry("0123456789ab", "shift", FOREVER, ("acme",), "")])
    await run.partition.restore(Begin())
    await run.feed(LOG, 0, STEP)
    await run.partition.checkpoint()
    again = Stay(state)
    again.list.known = None
    assert (await again.partition.restore(Begin())).offset == STEP
    assert again.partition._entries == Entries()


def finding(**changes: Any) -> Finding:
    fields = {
        "kind": "open", "case": "0123456789abcdef", "sequence": 0, "pattern": "relay", "accounts": ["a", "b"],
        "time": 1000.0, "opened": 1000.0, "first_seen": 0.0, "log_e": 7.0, "alpha": 1e-3, "score": 0.5, "level": 0.4,
        "bar": 7.0, "budget": 0.1, "requests_seen": 9, "severity": "low", "signals": [], "counterfactual": "",
        "samples": [],
    }  # fmt: skip
    return msgspec.convert(fields | changes, Finding)


def test_a_campaign_is_covered_by_its_case_or_where_all_of_its_accounts_are_named() -> None:
    some = Entry("000000000001", "relay", 2000.0, ("a",), "")
    both = Entry("000000000002", "relay", 2000.0, ("a", "b", "c"), "")
    case = Entry("000000000003", "relay", 3000.0, (), "0123456789abcdef")
    assert Entries([some]).covering(finding()) is None
    assert Entries([some, both]).covering(finding()) == both
    assert Entries([some, both, case]).covering(finding(accounts=["x"])) == case
    assert Entries([both, case]).covering(finding()) == case, "the one that lasts longest"
    assert Entries([both, case]).covering(finding(pattern="shift")) is None
    assert Entries([both]).covering(finding(time=2000.0)) is None, "it has expired"


def test_entries_survive_a_checkpoint() -> None:
    entries = Entries([Entry("000000000001", "relay", 2000.0, ("a", "é"), "0123456789abcdef")])
    assert Entries.decode(entries.encode()) == entries
    with pytest.raises(ValueError, match="malformed"):
        Entries.decode(b"\xc1")
