"""The scorer's findings and state depend on the requests alone: not on batches, redelivery or restarts."""

from __future__ import annotations

import numpy as np
import pytest
from core_fakes import START, chat, requests, run, state, sweep, traffic
from hypothesis import given, settings
from hypothesis import strategies as st

from siphonwatch.models.engine.config import ScorerConfig
from siphonwatch.models.engine.engine import BLOCK
from siphonwatch.models.engine.scorer import Scorer
from siphonwatch.models.evidence.cases import Finding

TRAFFIC = traffic(seed=1)
N = len(TRAFFIC)
CONFIG = ScorerConfig(close_after=4 * 3600.0, budget=1.0)


def fresh() -> Scorer:
    return Scorer(CONFIG)


def whole() -> tuple[list[Finding], tuple[bytes, dict[int, bytes | None]]]:
    scorer = fresh()
    findings = run(scorer, TRAFFIC)
    return findings, state(scorer)


@pytest.fixture(scope="module")
def expected() -> tuple[list[Finding], tuple[bytes, dict[int, bytes | None]]]:
    return whole()


POINTS = st.lists(st.integers(0, N) | st.sampled_from((BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK)), max_size=12)


def test_the_traffic_shows_every_kind_of_finding(
    expected: tuple[list[Finding], tuple[bytes, dict[int, bytes | None]]],
) -> None:
    findings, (_, pages) = expected
    assert N > 2 * BLOCK
    assert {f.kind for f in findings} == {"open", "update", "close"}
    assert {f.accounts[0] for f in findings} == {"sweeper", "walker", "late-sweeper"}
    assert len(pages) >= 2


@settings(max_examples=40, deadline=None)
@given(points=POINTS)
def test_any_cut_into_batches_gives_the_same_findings_and_state(
    expected: tuple[list[Finding], tuple[bytes, dict[int, bytes | None]]], points: list[int]
) -> None:
    scorer = fresh()
    assert run(scorer, TRAFFIC, points) == expected[0]
    assert state(scorer) == expected[1]


def test_one_by_one_gives_the_same_findings_and_state(
    expected: tuple[list[Finding], tuple[bytes, dict[int, bytes | None]]],
) -> None:
    scorer = fresh()
    assert run(scorer, TRAFFIC, range(N)) == expected[0]
    assert state(scorer) == expected[1]


OPEN = int(np.searchsorted(TRAFFIC["time"], START + 11.62 * 3600.0))
"""Place in the traffic at which two cases are open and go on."""


@pytest.mark.parametrize("points", [[OPEN + 8], [OPEN + 9], range(N + 9), [300, OPEN + 3, OPEN + 12]])
def test_a_clock_that_was_dragged_and_set_back_closes_the_same_cases_however_cut(points: list[int]) -> None:
    ahead = requests("runaway", [START + 40 * 86_400.0] * 9)
    q = np.concatenate([TRAFFIC[:OPEN], ahead, TRAFFIC[OPEN:]])
    one, other = fresh(), fresh()
    findings = run(one, q)
    assert run(other, q, points) == findings
    assert state(other) == state(one)


@settings(max_examples=30, deadline=None)
@given(first=st.integers(0, N), back=st.integers(0, N), points=POINTS)
def test_redelivering_what_was_applied_changes_nothing(
    expected: tuple[list[Finding], tuple[bytes, dict[int, bytes | None]]], first: int, back: int, points: list[int]
) -> None:
    scorer = fresh()
    findings = run(scorer, TRAFFIC[:first])
    again = max(first - back, 0)
    findings += run(scorer, TRAFFIC[again:], points, first=again)
    assert findings == expected[0]
    assert scorer.stage.count.skipped == first - again
    scorer.stage.count.skipped = 0
    assert state(scorer) == expected[1]


def test_a_redelivered_prefix_is_counted_and_nothing_else() -> None:
    scorer = fresh()
    run(scorer, TRAFFIC[:300])
    before = state(scorer)
    assert run(scorer, TRAFFIC[:300]) == []
    assert scorer.stage.count.skipped == 300
    scorer.stage.count.skipped = 0
    assert state(scorer) == before


def test_offsets_are_remembered_by_account_so_that_holes_are_filled() -> None:
    scorer = fresh()
    q = np.concatenate([chat("a", START + np.arange(3.0)), chat("b", START + 3 + np.arange(3.0))])
    offsets = np.array([0, 1, 2, 10, 11, 12])
    scorer.score(q, offsets)
    scorer.score(q[[0, 3]], np.array([5, 11]))
    rows = scorer.table.rows[scorer.table.used()]
    assert rows["requests"].tolist() == [4, 3]
    assert rows["last_offset"].tolist() == [5, 12]


def test_nothing_in_gives_nothing_out_and_changes_nothing() -> None:
    scorer = fresh()
    before = state(scorer)
    assert run(scorer, TRAFFIC[:0]) == []
    assert state(scorer) == before


def test_a_sweep_for_training_examples_is_found_within_a_hundred_requests_and_a_chat_never() -> None:
    scorer = Scorer(ScorerConfig())
    findings = run(scorer, sweep("a", START + 3500.0 + 2.0 * np.arange(100)))
    findings += run(scorer, chat("b", START + 3801.0 + 30.0 * np.arange(400)), first=100)
    assert {(f.accounts[0], f.pattern) for f in findings if f.kind == "open"} == {("a", "extraction")}


def test_suspicion_names_every_account() -> None:
    scorer = fresh()
    run(scorer, TRAFFIC)
    suspicion = scorer.suspicion()
    assert len(suspicion) == len(scorer.table) == len(np.unique(TRAFFIC["account_hash"]))
    attackers = {"sweeper", "walker", "late-sweeper"}
    assert set(sorted(suspicion, key=lambda a: -suspicion[a])[:3]) == attackers


def test_more_detectors_than_a_row_has_places_for_are_refused() -> None:
    from siphonwatch.models.account.row import MAX_PATTERNS
    from siphonwatch.models.engine.patterns import detectors

    with pytest.raises(ValueError, match=f"9 cards are installed .*; a row has places for {MAX_PATTERNS}"):
        Scorer(CONFIG, chosen=(*detectors(), *detectors())[:9])
