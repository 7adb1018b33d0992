"""An order to erase an account: nothing of it is left in the state, and what it sent before does not come back."""

from __future__ import annotations

import json

from partition_stay import LOG, Stay
from state_fakes import Topic
from worker_tools import traffic

from siphonwatch.models.account.table import named
from siphonwatch.models.evidence.cases import ERASED
from siphonwatch.streams.worker.metrics import TELEMETRY
from siphonwatch.streams.worker.orders import Order, Orders
from siphonwatch.streams.worker.transport import Begin

RECORDS = traffic()
LAST = max(record.time for record in RECORDS)


def dropped(run: Stay) -> float:
    """Requests of erased accounts that were not applied."""
    labels = {"stream": TELEMETRY, "topic": "", "partition": "0"}
    return run.registry.get_sample_value("siphonwatch_erased_requests_total", labels) or 0.0


def order(account: str, number: int = 1, *, time: float = LAST, dry_run: bool = False) -> Order:
    return Order(time, f"{number:012x}", account, dry_run)


async def told() -> str:
    """An account that has an open case at the end of the log."""
    run = Stay(Topic())
    await run.partition.restore(Begin())
    await run.feed(LOG, 0, len(LOG))
    return run.scorer.cases.standing()[0].accounts[0]


async def test_a_row_and_its_cases_go_at_the_next_checkpoint_with_a_receipt_and_a_second_order_finds_nothing() -> None:
    account, state = await told(), Topic()
    run = Stay(state)
    await run.partition.restore(Begin())
    await run.feed(LOG, 0, len(LOG))
    accounts, cases = len(run.scorer.table), run.scorer.cases.standing()
    own = [case for case in cases if case.accounts == [account]]
    run.orders.known = Orders([order(account, 1, dry_run=True)])
    await run.partition.checkpoint()
    assert len(run.scorer.table) == accounts and run.scorer.cases.standing() == cases, "it only counts"
    run.orders.known = Orders([order(account, 1, dry_run=True), order(account, 2), order("nobody", 3)])
    await run.partition.checkpoint()
    assert len(run.scorer.table) == accounts - 1
    assert account not in run.scorer.suspicion()
    assert all(account not in case.accounts for case in run.scorer.cases.standing())
    found = {receipt.order: (receipt.counts["rows"], receipt.counts["cases"]) for receipt in run.outlet.receipts}
    assert found == {f"{1:012x}": (1, len(own)), f"{2:012x}": (1, len(own)), f"{3:012x}": (0, 0)}
    assert {receipt.offset for receipt in run.outlet.receipts} == {len(LOG)}
    ends = run.outlet.alerts[-len(own) :]
    assert {end["subject"] for end in ends} == {case.case for case in own}
    for end in ends:
        assert "closed" in end["type"]
        assert end["data"]["unmapped"]["siphonwatch"]["accounts"] == [ERASED]
        assert account not in json.dumps(end)
    run.orders.known = Orders([*run.orders.known, order(account, 4)])
    await run.partition.checkpoint()
    assert not any(run.outlet.receipts[-1].counts.values())

    again = Stay(state, orders=run.orders.known)
    await again.partition.restore(Begin())
    assert len(again.scorer.table) == accounts - 1, "the state holds it no more"
    await again.partition.checkpoint()
    assert again.outlet.receipts == [], "what was carried out is not carried out again"


async def test_what_it_sent_before_does_not_come_back_and_what_it_sends_later_begins_anew() -> None:
    account, state = await told(), Topic()
    run = Stay(state)
    await run.partition.restore(Begin())
    await run.feed(LOG, 0, len(LOG))
    middle = sorted(record.time for record in RECORDS if record.account == account)[-3]
    run.orders.known = Orders([order(account, time=middle)])
    await run.partition.checkpoint()
    again = Stay(state, orders=run.orders.known)
    await again.partition.restore(Begin())
    await again.feed(LOG, 0, len(LOG), at=len(LOG))  # as a redrive, or a topic that is read anew, brings them
    sent = [record.time for record in RECORDS if record.account == account]
    before = sum(time <= middle for time in sent)
    assert dropped(again) == before
    (row,) = [r for r in again.scorer.table.rows[again.scorer.table.used()] if r["requests"] == len(sent) - before]
    assert row["first_seen"] > middle


async def chilled(state: Topic) -> tuple[Stay, str]:
    """A stay with room for few accounts, and one that left memory."""
    run = Stay(state, hot_accounts=8)
    await run.partition.restore(Begin())
    await run.feed(LOG, 0, len(LOG))
    await run.partition.checkpoint()
    here = set(run.scorer.suspicion())
    return run, next(record.account for record in RECORDS if record.account not in here)


async def assert_gone(state: Topic, run: Stay, account: str) -> None:
    """A stay that restores the state finds nothing of the account."""
    assert run.outlet.receipts[-1].counts["rows"] == 1
    again = Stay(state, orders=[*(run.orders.known or ()), order(account, 2)], hot_accounts=8)
    await again.partition.restore(Begin())
    await again.partition.checkpoint()
    assert not any(again.outlet.receipts[-1].counts.values())


async def test_an_account_on_a_cold_page_goes_too() -> None:
    state = Topic()
    run, account = await chilled(state)
    run.orders.known = Orders([order(account)])
    await run.partition.checkpoint()
    await assert_gone(state, run, account)


async def test_a_crash_before_the_checkpoint_repeats_the_order_and_one_after_does_not() -> None:
    account, state = await told(), Topic()
    run = Stay(state)
    await run.partition.restore(Begin())
    await run.feed(LOG, 0, len(LOG))
    await run.partition.checkpoint()
    run.orders.known = Orders([order(account)])
    await run.partition._erase(len(LOG))  # and the worker is killed before its state is written
    again = Stay(state, orders=run.orders.known)
    await again.partition.restore(Begin())
    await again.partition.checkpoint()
    assert [one.counts for one in again.outlet.receipts] == [one.counts for one in run.outlet.receipts]
    assert account not in again.scorer.suspicion()


async def test_a_partition_without_any_state_answers_as_well() -> None:
    run = Stay(Topic(), orders=[order("nobody")])
    await run.partition.restore(Begin())
    assert await run.partition.checkpoint() is None
    assert [one.counts["rows"] for one in run.outlet.receipts] == [0]


async def test_a_copy_that_an_earlier_stay_left_on_a_cold_page_does_not_come_back() -> None:
    state = Topic()
    run, account = await chilled(state)
    await run.partition._tiers.admit(named([account]))  # it came back: its page holds others, and a copy of it
    run.orders.known = Orders([order(account)])
    await run.partition.checkpoint()
    await assert_gone(state, run, account)
