"""Event time: it follows the requests, one of them cannot drag it, and what is late still counts."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import pytest
from core_fakes import START, chat, requests, run, sweep
from hypothesis import given, settings
from hypothesis import strategies as st

from siphonwatch.models.account.clock import CELLS, QUORUM, make_clock, settled, tick
from siphonwatch.models.account.sums import SUMS, TAUS, sum_index
from siphonwatch.models.engine.config import ScorerConfig
from siphonwatch.models.engine.scorer import Scorer

GRACE, AHEAD = 60.0, 600.0
FAR = START + 10 * 86_400.0


WEEK = 7 * 86_400.0
Step = tuple[int, float, float]
"""Number of an account, time of its request, and when the broker had it."""


def cell(account: int) -> np.uint64:
    """A hash that has a cell of its own for each account below `CELLS`."""
    return np.uint64(account % CELLS) << np.uint64(58)


def feed(clock: np.ndarray, steps: Iterable[Step]) -> list[float]:
    return [tick(clock[0], cell(a), t, at, GRACE, AHEAD) for a, t, at in steps]


def crowd(n: int, since: float, accounts: int = 50, gap: float = 1.0, lag: float = math.inf) -> list[Step]:
    """Honest requests of many accounts, each `lag` seconds before the broker has it."""
    return [(i % accounts, since + i * gap, since + i * gap + lag) for i in range(n)]


def ticked(times: list[float], account: int = 0) -> tuple[np.ndarray, list[float]]:
    clock = make_clock()
    return clock[0], feed(clock, [(account, t, math.inf) for t in times])


def steady(n: int = 20) -> list[float]:
    return [START + i for i in range(n)]


def test_the_clock_starts_at_the_first_request_and_follows_the_latest() -> None:
    clock, counted = ticked([START, START + 5, START + 3])
    assert clock["now"] == settled(clock, AHEAD) == START + 5
    assert counted == [START, START + 5, START + 3]
    assert clock["late"] == clock["ahead"] == 0


@pytest.mark.parametrize("n", [1, QUORUM - 1])
def test_fewer_than_a_quorum_from_the_future_do_not_drag_the_clock(n: int) -> None:
    clock = make_clock()
    feed(clock, crowd(100, START))
    counted = feed(clock, [(50 + i, FAR + i, math.inf) for i in range(n)])
    feed(clock, crowd(1, START + 100))
    assert clock["now"] == START + 100
    assert counted == [START + 99] * n
    assert clock["ahead"] == n and clock["late"] == 0


def test_an_idle_night_moves_the_clock_of_one_account_after_a_quorum_of_requests_in_a_row() -> None:
    clock, _ = ticked([*steady(), *[FAR + 8 - i for i in range(QUORUM)]])
    assert clock["now"] == FAR + 1


def test_an_idle_night_moves_the_clock_of_many_accounts_for_good() -> None:
    clock = make_clock()
    feed(clock, crowd(500, START))
    feed(clock, crowd(500, FAR))
    assert clock["now"] == settled(clock[0], AHEAD) == FAR + 499
    assert clock["late"] == 0


def test_a_first_request_from_the_future_is_corrected_by_the_next_one() -> None:
    clock, counted = ticked([FAR, START, START + 1])
    assert clock["now"] == START + 1
    assert counted[1:] == [START, START + 1]


def test_a_clock_of_long_standing_is_not_set_back_by_an_old_request() -> None:
    clock, counted = ticked([*steady(), START - 86_400.0])
    assert clock["now"] == START + 19
    assert counted[-1] == START - 86_400.0 and clock["late"] == 1


@pytest.mark.parametrize("arrives", ["unknown", "long after", "live"])
@pytest.mark.parametrize(
    ("accounts", "requests_each"), [(1, 16), (1, 900), (2, 8), (7, 100), (12, 1), (20, 1)], ids=str
)
@pytest.mark.parametrize("step", [WEEK, 599.0, 30.0], ids=["at once", "walk", "small steps"])
def test_few_accounts_ahead_move_nothing_that_concerns_others(
    arrives: str, accounts: int, requests_each: int, step: float
) -> None:
    lag = {"unknown": math.inf, "long after": 30 * 86_400.0, "live": 0.2}[arrives]
    clock = make_clock()
    feed(clock, crowd(3000, START, 40, lag=lag))
    now = START + 3000
    for i in range(requests_each):
        claimed = now + (WEEK if step == WEEK else (i + 1) * step)
        feed(clock, [(63 - a, claimed, now + lag) for a in range(accounts)])
        assert settled(clock[0], AHEAD) <= now + AHEAD
    honest = crowd(1000, now, 40, lag=lag)
    assert feed(clock, honest) == [t for _, t, _ in honest]
    assert clock["now"] == now + 999
    assert clock["late"] <= AHEAD, "who is ahead by less than the allowance makes the others late by less"


@pytest.mark.parametrize(("accounts", "requests_each"), [(1, 5000), (12, 100), (30, 1000)], ids=str)
def test_accounts_that_had_the_stream_to_themselves_are_contradicted_by_the_others(
    accounts: int, requests_each: int
) -> None:
    clock = make_clock()
    feed(clock, crowd(3000, START, 60))
    for i in range(requests_each):
        feed(clock, [(63 - a, START + 3000 + i * 599.0, math.inf) for a in range(accounts)])
    late = int(clock["late"][0])
    feed(clock, crowd(500, START + 3000, 60))
    assert clock["now"] == START + 3499
    assert clock["late"] - late <= 2 * accounts + QUORUM


@pytest.mark.parametrize("between", [1, 3])
def test_one_account_between_the_others_moves_nothing(between: int) -> None:
    clock = make_clock()
    feed(clock, crowd(1000, START))
    for i in range(2000):
        feed(clock, [(60, START + 1000 + i * between + WEEK + 599.0 * i, math.inf)])
        feed(clock, crowd(between, START + 1000 + i * between))
        assert settled(clock[0], AHEAD) < START + 1000 + i * between + 2 * AHEAD
    assert clock["late"] == 0


def test_many_accounts_of_one_attacker_are_outvoted_as_soon_as_the_others_go_on() -> None:
    clock = make_clock()
    feed(clock, crowd(1000, START))
    feed(clock, [(i % 64, START + 1000 + WEEK, math.inf) for i in range(300)])
    assert settled(clock[0], AHEAD) > START + WEEK, "nothing contradicts them yet"
    feed(clock, crowd(500, START + 1000))
    assert clock["now"] == START + 1499
    assert clock["late"] <= 45


def test_many_accounts_are_held_to_what_the_broker_had_by_then() -> None:
    clock = make_clock()
    feed(clock, crowd(1000, START, lag=0.5))
    feed(clock, [(i % 64, START + 1000 + WEEK, START + 1000) for i in range(5000)])
    assert clock["now"] == START + 1000
    assert clock["ahead"] == 5000
    feed(clock, crowd(500, START + 1000, lag=0.5))
    assert clock["late"] == 0


def test_a_gateway_whose_clock_is_fast_is_timed_by_the_broker() -> None:
    clock = make_clock()
    counted = feed(clock, [(i % 50, START + i + 3600, START + i) for i in range(500)])
    assert counted == [START + i for i in range(500)]
    assert clock["ahead"] == 500 and clock["now"] == START + 499


def test_a_wrong_clock_that_was_put_right_is_left() -> None:
    clock = make_clock()
    feed(clock, crowd(1000, START + WEEK, lag=0.5))
    feed(clock, crowd(1000, START, lag=0.5))
    assert clock["now"] == START + 999


@pytest.mark.parametrize("ratio", [2, 50])
def test_a_backfill_beside_live_traffic_is_late_and_moves_nothing(ratio: int) -> None:
    clock = make_clock()
    feed(clock, crowd(200, START, 30, lag=0.5))
    live = crowd(1000, START + 200, 30, lag=0.5)
    for i, request in enumerate(live):
        assert feed(clock, [request]) == [request[1]]
        old = [(40 + (i * ratio + k) % 20, START - WEEK + i * ratio + k, request[2]) for k in range(ratio)]
        assert feed(clock, old) == [t for _, t, _ in old]
        assert clock["now"] == request[1]
    assert clock["late"] == 1000 * ratio
    feed(clock, crowd(500, START + 1200, 30, lag=0.5))
    assert clock["now"] == START + 1699
    assert clock["late"] == 1000 * ratio


def test_old_records_alone_are_followed_once_nobody_is_live() -> None:
    clock = make_clock()
    feed(clock, crowd(200, START, lag=0.5))
    old = [(i % 50, START - WEEK + i, START + 3600 + i * 0.001) for i in range(1000)]
    feed(clock, old)
    assert clock["now"] == START - WEEK + 999
    assert clock["late"] <= 60
    later = crowd(200, START + 7200, lag=0.5)
    assert feed(clock, later) == [t for _, t, _ in later], "live requests count at their own time at once"
    assert clock["now"] == START + 7200 + 199


def test_one_live_account_does_not_move_the_clock_of_a_log_of_long_ago() -> None:
    clock = make_clock()
    feed(clock, crowd(1000, START, lag=30 * 86_400.0))
    for i in range(1000):
        now = START + 1000 + i
        feed(clock, [(60, now + 30 * 86_400.0, now + 30 * 86_400.0), (i % 50, now, now + 30 * 86_400.0)])
    assert clock["now"] == START + 1999


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 63), st.floats(0, 2**34), st.floats(0, 2**34)), min_size=1, max_size=80))
def test_no_request_counts_beyond_the_clock_or_its_arrival(steps: list[Step]) -> None:
    clock = make_clock()
    for step in steps:
        (counted,) = feed(clock, [step])
        _, time, arrived = step
        assert counted <= max(clock["now"][0], arrived + GRACE), "a live one may be ahead by the grace"
        assert counted in (time, arrived, clock["now"][0])
        assert np.isfinite(settled(clock[0], AHEAD)) and settled(clock[0], AHEAD) <= clock["now"][0]


def test_late_requests_are_counted_and_still_in_the_sums() -> None:
    scorer = Scorer(ScorerConfig(grace=GRACE))
    q = requests("a", [START + 1000.0, START + 1000.0 - GRACE - 240.0])
    q["tokens_out"] = 1000
    run(scorer, q)
    (row,) = scorer.table.rows[scorer.table.used()]
    assert scorer.late == 1
    assert row["requests"] == 2
    kept = 1.0 + np.exp(-(GRACE + 240.0) / TAUS)
    assert row["sums"][:, sum_index("requests")] == pytest.approx(kept, rel=1e-6)
    assert row["sums"][:, sum_index("tokens_out")] == pytest.approx(kept, rel=1e-6)
    assert row["last_time"] == START + 1000.0 and row["first_seen"] == START + 700.0


ORDERED = {
    "known_template", "new_content", "sweep", "new_ip", "new_key", "rotated", "washed",
    "new_resource", "step", "page_step", "quick", "log_gap", "log_gap_sq",
}  # fmt: skip
"""What compares a request with those before it."""
ORDERLESS = [sum_index(s.name) for s in SUMS if s.name not in ORDERED]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_order_within_the_grace_does_not_matter_to_the_sums(data: st.DataObject) -> None:
    n = data.draw(st.integers(2, 25))
    base = START + np.cumsum(data.draw(st.lists(st.floats(0, 400), min_size=n, max_size=n)))
    q = np.concatenate([chat("a", base[: n // 2], 3), sweep("a", base[n // 2 :], 4)])
    q["masks"][:, 1] = np.arange(n) % 3
    q["status"] = np.array([200, 429, 410, 500, 451])[np.arange(n) % 5]
    delay = np.array(data.draw(st.lists(st.floats(0, GRACE * 0.99), min_size=n, max_size=n)))
    shuffled = q[np.argsort(q["time"] + delay, kind="stable")]
    one, other = Scorer(ScorerConfig(grace=GRACE)), Scorer(ScorerConfig(grace=GRACE))
    run(one, q)
    run(other, shuffled)
    (a,), (b,) = (s.table.rows[s.table.used()] for s in (one, other))
    assert one.late == other.late == 0
    assert (a["requests"], a["first_seen"], a["last_time"]) == (b["requests"], b["first_seen"], b["last_time"])
    assert b["sums"][:, ORDERLESS] == pytest.approx(a["sums"][:, ORDERLESS], rel=2e-5, abs=2e-6)
    assert b["embed"] == pytest.approx(a["embed"], rel=2e-5, abs=2e-4)
    assert b["embed_weight"] == pytest.approx(a["embed_weight"], rel=2e-5)


def test_an_account_touched_while_the_clock_ran_ahead_gets_capital_for_its_later_hours() -> None:
    scorer = Scorer(ScorerConfig())
    hours = START + np.arange(0.0, 7201.0, 400.0)
    run(scorer, np.concatenate([requests("a", [FAR]), requests("b", [START]), requests("a", hours)]))
    rows = scorer.table.rows[scorer.table.used()]
    assert rows["judged"]["days"].tolist() == [1 + 1, 1]
    assert rows["judged"]["hour"].tolist() == [int(START // 3600) + 2, int(START // 3600)]


def test_an_account_ahead_of_a_clock_that_was_set_back_goes_on_from_now() -> None:
    scorer = Scorer(ScorerConfig())
    run(scorer, np.concatenate([requests("a", [FAR]), requests("b", [START]), requests("a", [START + 1])]))
    rows = scorer.table.rows[scorer.table.used()]
    assert rows["last_time"].max() == START + 1
    assert rows["first_seen"].tolist() == [START + 1, START]
