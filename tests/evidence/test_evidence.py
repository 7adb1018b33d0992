"""Evidence in the loop: what is reported when, who teaches and who is suspect, and what a restart or a replay leaves.

Its promises over benign streams are simulated in tests/evidence.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from core_fakes import START, chat, run, sweep
from hypothesis import given, settings
from hypothesis import strategies as st

from siphonwatch.models.account.request import blank
from siphonwatch.models.account.row import ROW
from siphonwatch.models.engine.config import ScorerConfig
from siphonwatch.models.engine.engine import BLOCK
from siphonwatch.models.engine.scorer import Scorer
from siphonwatch.models.evidence.budget import NUMBERED, RELEASED, bar, make_budget
from siphonwatch.models.evidence.calibration import POOLED, make_reference
from siphonwatch.models.evidence.cases import CaseBook
from siphonwatch.models.evidence.process import (
    COOL,
    EVENT,
    OPEN,
    REFRESH,
    SUSPECT,
    UPDATE,
    is_suspect,
    log_add,
    severity,
    weigh,
)

NULL = 0.3
Scores = npt.NDArray[np.float32]


class Accounts:
    """Accounts whose scores are given; each request `step` seconds after the account's one before."""

    def __init__(self, n: int, alpha: float = 1e-3, step: float = 3600.0) -> None:
        self.rows = np.zeros(n, ROW)
        self.slots = np.arange(n)
        self.reference = make_reference([NULL], [1.0])
        self.budget = make_budget(1.0, [1.0])
        self.budget.counts[RELEASED] = 10**6  # alpha alone decides
        self.threshold, self.step, self.t = -math.log(alpha), step, START
        self.requests = np.repeat(blank(), n)
        self.block = 0
        self.events: list[np.void] = []

    def take(self, scores: Scores) -> Scores:
        """One request of every account; returns each one's highest log e-value."""
        n = len(self.slots)
        hour = int(self.t // 3600.0)
        fresh = self.rows["last_hour"] < hour
        self.rows["last_hour"] = hour
        log_e, events, now = np.empty((n, 1), np.float32), np.zeros(n, EVENT), np.full(n, self.t)
        written = weigh(
            self.rows["judged"], self.slots, self.requests, scores.astype(np.float32).reshape(n, 1), now, now, fresh,
            self.reference, self.budget, self.block, self.threshold, 86_400.0, np.ones(1), log_e,
            events,
        )  # fmt: skip
        self.events += [event.copy() for event in events[:written]]
        self.t += self.step
        return log_e[:, 0]

    @property
    def log_e(self) -> npt.NDArray[np.floating]:
        return self.rows["judged"]["evidence"]["log_e"][:, 0]

    @property
    def taught(self) -> int:
        """Account-hours learnt; a blank request is a program's."""
        return int(self.reference.taught[1, POOLED, 0])


@settings(deadline=None)
@given(st.floats(-40, 40), st.floats(-40, 40))
def test_capital_adds_up(a: float, b: float) -> None:
    assert math.exp(log_add(a, b)) == pytest.approx(math.exp(a) + math.exp(b))


def test_the_capital_put_in_over_all_days_adds_up_to_at_most_one() -> None:
    """At e-values of exactly 1 only what is put in moves the capital."""
    accounts = Accounts(1, alpha=1e-30, step=86_400.0)
    accounts.reference.e[:] = 1.0
    accounts.reference.taught[:] = 1  # and far from a renewal
    for days in range(1, 60):
        accounts.take(np.array([0.1]))
        assert math.exp(accounts.log_e[0]) == pytest.approx(1.0 - 1.0 / (days + 1), rel=1e-4)


@pytest.mark.parametrize("days", [0, 3, 60])
def test_a_change_after_a_long_benign_life_is_found_within_three_hours(days: int) -> None:
    accounts = Accounts(1)
    for _ in range(24 * days):
        accounts.take(np.array([0.05]))
    assert not accounts.events
    for _ in range(3):
        accounts.take(np.array([0.95]))
    assert [int(e["kind"]) for e in accounts.events][:1] == [OPEN]


def test_heat_counts_hours_of_evidence_and_halves_in_a_week() -> None:
    accounts = Accounts(1, alpha=1e-300)
    for _ in range(4):
        accounts.take(np.array([0.9]))
    assert accounts.rows["judged"]["evidence"]["heat"][0, 0] == pytest.approx(3.0, rel=0.02)
    accounts.t += COOL
    accounts.take(np.array([0.0]))
    assert accounts.rows["judged"]["evidence"]["heat"][0, 0] == pytest.approx(2.0, rel=0.02)


def test_the_same_evidence_again_moves_the_capital_less_each_hour() -> None:
    accounts = Accounts(1, alpha=1e-300)
    steps = []
    for _ in range(6):
        before = float(accounts.log_e[0]) if steps else -math.log(2.0)
        accounts.take(np.array([0.5]))
        steps.append(float(accounts.log_e[0]) - before)
    assert steps == sorted(steps, reverse=True) and steps[-1] > 0.0


def test_a_case_is_reported_once_then_when_it_is_graver_or_after_a_while_with_new_evidence() -> None:
    accounts = Accounts(1)
    for _ in range(8):
        accounts.take(np.array([0.9]))
    kinds = [int(e["kind"]) for e in accounts.events]
    assert kinds[0] == OPEN and set(kinds[1:]) == {UPDATE}
    grades = [severity(float(e["log_e"]) - accounts.threshold) for e in accounts.events[:3]]
    assert grades == sorted(set(grades))
    last = float(accounts.events[-1]["log_e"])
    accounts.step = 60.0
    accounts.t = float(accounts.rows["judged"]["evidence"]["reported"][0, 0]) + REFRESH
    told = len(accounts.events)
    accounts.take(np.array([0.1]))
    assert len(accounts.events) == told, "no evidence, no report"
    accounts.take(np.array([0.9]))
    assert len(accounts.events) == told + 1 and float(accounts.events[-1]["log_e"]) > last - 1.0


def test_after_a_case_has_closed_evidence_starts_anew() -> None:
    accounts = Accounts(1)
    for _ in range(4):
        accounts.take(np.array([0.9]))
    before = len(accounts.events)
    assert before and accounts.log_e[0] > accounts.threshold
    accounts.t += 86_401.0
    accounts.take(np.array([0.1]))
    assert math.exp(accounts.log_e[0]) < 0.6 and len(accounts.events) == before
    for _ in range(6):
        accounts.take(np.array([0.9]))
    assert int(accounts.events[before]["kind"]) == OPEN


@pytest.mark.parametrize("beyond", [-0.3, 0.0, 0.2, 0.3, 0.7, 1.0])
def test_row_and_case_book_close_a_case_at_one_time(beyond: float) -> None:
    """A row notes whole seconds; where the book went by fractions one case was released twice."""
    accounts, cases = Accounts(1), CaseBook(1e-3, 86_400.0)
    accounts.t += 0.75
    for _ in range(4):
        accounts.take(np.array([0.9]))
    last = float(accounts.rows["judged"]["evidence"]["reported"][0, 0]) + 0.75
    cases.record("a", "x", last, log_e=9.0, score=0.9, level=0.5, requests_seen=1, first_seen=START, signals=[],
                 counterfactual="", samples=[])  # fmt: skip
    accounts.t = last - 0.75 + 86_400.0 + beyond
    closed = cases.close_until(accounts.t)
    accounts.take(np.array([0.1]))
    assert (accounts.rows["judged"]["evidence"]["open"][0, 0] == 0) == bool(closed) == (beyond > 0.0)


def test_what_was_applied_before_weighs_nothing() -> None:
    accounts = Accounts(3)
    accounts.slots = np.full(3, -1)
    before = accounts.rows.tobytes()
    hour = accounts.rows["last_hour"].copy()
    assert np.isnan(accounts.take(np.ones(3))).all()
    accounts.rows["last_hour"] = hour
    assert accounts.rows.tobytes() == before and not accounts.events


def test_an_hour_teaches_once_and_when_the_next_one_begins() -> None:
    accounts = Accounts(5, step=600.0)
    for _ in range(18):
        accounts.take(np.full(5, 0.1))
    assert accounts.taught == 5 * 2, "the third hour is not over"


def test_suspects_teach_nothing_and_what_made_them_suspect_weighs_as_one_hour() -> None:
    accounts = Accounts(2)
    for _ in range(24):
        accounts.take(np.array([0.95, 0.05]))
    suspect, calm = accounts.rows["judged"]["suspect"]
    assert is_suspect(int(suspect), 10) == 1 and is_suspect(int(calm), 10) == 0
    assert accounts.taught <= 23 + 2
    odd = accounts.reference.counts[1, POOLED, 0][len(accounts.reference.edges[0]) // 2 :]
    assert 0.0 < odd.sum() <= 1.5


def test_an_hour_s_own_score_has_no_say_in_whether_it_teaches() -> None:
    accounts = Accounts(1)
    accounts.take(np.array([1.0]))
    assert accounts.log_e[0] > SUSPECT * accounts.threshold
    accounts.take(np.array([0.0]))
    assert accounts.taught == 1


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from((0.0, 0.95))), min_size=1, max_size=80))
def test_whether_an_account_is_suspect_changes_at_block_boundaries_only(steps: list[tuple[int, float]]) -> None:
    accounts = Accounts(1, alpha=0.2, step=1200.0)
    seen: dict[int, int] = {}
    for ahead, score in steps:
        accounts.block += ahead // 3
        answer = is_suspect(int(accounts.rows["judged"]["suspect"][0]), accounts.block)
        assert seen.setdefault(accounts.block, answer) == answer, "it changed within a block"
        accounts.take(np.array([score]))
    last = is_suspect(int(accounts.rows["judged"]["suspect"][0]), accounts.block + 1)
    e = float(accounts.log_e[0])
    if e >= SUSPECT * accounts.threshold:
        assert last == 1
    if e < 0.0:
        assert last == 0


@pytest.mark.parametrize("block", [2**29 - 1, 2**29, 2**30 + 5, 2**40])
def test_a_mark_waits_for_the_next_block_after_years_of_them_too(block: int) -> None:
    accounts = Accounts(1)
    accounts.block = block
    accounts.take(np.array([0.95]))
    mark = int(accounts.rows["judged"]["suspect"][0])
    assert [is_suspect(mark, block + ahead) for ahead in range(3)] == [0, 1, 1]


def test_an_account_beyond_the_last_number_needs_as_much_as_the_one_that_has_it() -> None:
    accounts = Accounts(3)
    accounts.budget.counts[NUMBERED] = 2**31 - 2
    accounts.take(np.full(3, 0.1))
    numbers = accounts.rows["judged"]["number"].tolist()
    assert numbers == [2**31 - 2, 2**31 - 1, 2**31 - 1]
    assert min(bar(accounts.budget, number, 0) for number in numbers) > bar(accounts.budget, 10**9, 0) - 1e-9
    assert accounts.budget.counts[NUMBERED] == 2**31 + 1


def test_in_the_scorer_a_suspect_s_mark_waits_for_the_next_block() -> None:
    scorer = Scorer(ScorerConfig())
    q = sweep("a", START + 2.0 * np.arange(100))
    run(scorer, q)
    (row,) = scorer.table.rows[scorer.table.used()]
    assert scorer.stage.count.requests < BLOCK
    assert is_suspect(int(row["judged"]["suspect"]), 0) == 0 and is_suspect(int(row["judged"]["suspect"]), 1) == 1


def test_samples_are_the_two_newest_requests_that_show_it() -> None:
    scorer = Scorer(ScorerConfig())
    findings = run(scorer, sweep("a", START + 3500.0 + 2.0 * np.arange(100)))
    numbers = [[int(s.rpartition("-")[2]) for s in f.samples] for f in findings]
    assert all(pair[0] == pair[1] + 1 for pair in numbers)
    assert findings[0].requests_seen == numbers[0][0] + 1


def test_a_cohort_s_hours_do_not_teach_another() -> None:
    scorer = Scorer(ScorerConfig())
    run(scorer, chat("a", START + 4000.0 * np.arange(40)))
    assert scorer.judge.reference.taught[0].any() and not scorer.judge.reference.taught[1:].any()
