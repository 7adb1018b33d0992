"""What a scorer says of its own health follows from its state and changes none of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from card_tools import bound
from core_fakes import START, chat, sweep

from siphonwatch.models.account.row import ROW
from siphonwatch.models.engine.config import ScorerConfig
from siphonwatch.models.engine.patterns import detectors
from siphonwatch.models.engine.scorer import Scorer
from siphonwatch.models.engine.vitals import (
    LEARNT_ENOUGH,
    Tally,
    cards_id,
    drift,
    held,
    mean_scores,
    release_e,
    spent,
)
from siphonwatch.models.evidence.budget import NUMBERED, bar, make_budget
from siphonwatch.models.evidence.calibration import POOLED, make_reference, teach

PATTERNS = tuple(d.pattern for d in detectors())


def test_requests_that_were_applied_before_are_not_tallied() -> None:
    tally = Tally(["extraction", "scraping"])
    tally.add(np.array([[0.5, 0.1], [0.9, 0.2]], np.float32), np.array([True, False]))
    taken = tally.take()
    assert [int(counts.sum()) for counts, _ in taken.values()] == [1, 1]
    assert taken["extraction"][1] == 0.5


def test_a_scorer_tallies_each_request_once_for_each_detector() -> None:
    scorer = Scorer(ScorerConfig())
    requests = np.concatenate(
        [chat("alice", START + np.arange(300) * 60.0), sweep("eve", START + np.arange(700) * 5.0)]
    )
    scorer.score(requests, np.arange(len(requests)))
    scorer.score(requests, np.arange(len(requests)))  # redelivered: nothing is applied again
    taken = scorer.tally.take()
    assert set(taken) == set(PATTERNS)
    assert {int(counts.sum()) for counts, _ in taken.values()} == {1000}
    assert taken["extraction"][1] > 0


def test_mean_scores_are_those_of_the_hours_of_each_cohort_to_the_width_of_a_bin() -> None:
    reference = make_reference([0.3, 0.3], [1.0, 1.0])
    assert mean_scores(reference, ["a", "b"]) == {}
    bins = [int(np.searchsorted(reference.edges[1], score, "right")) - 1 for score in (0.1, 0.5)]
    reference.counts[2, POOLED, 1, bins] += (3.0, 1.0)
    reference.total[2, POOLED, 1] += 4.0
    found = mean_scores(reference, ["a", "b"])
    assert list(found) == ["b"] and list(found["b"]) == ["rest"]
    mean, hours = found["b"]["rest"]
    assert hours == 4.0 and mean == pytest.approx(0.2, abs=0.02)


def test_the_budget_is_spent_by_accounts_and_never_whole() -> None:
    assert spent(0) == 0.0
    shares = [spent(n) for n in (1, 10, 1024, 5000, 10**6, 10**9)]
    assert shares == sorted(shares) and shares[-1] < 1.0
    assert spent(1024) == pytest.approx(0.5)


def test_the_newest_account_needs_what_the_budget_asks_but_at_least_one_over_alpha() -> None:
    budget = make_budget(0.1, [1.0, 1.0])
    budget.counts[NUMBERED] = 5000
    asked = release_e(budget, ["extraction", "scraping"], math.log(1000))
    assert asked["extraction"] == pytest.approx(math.exp(bar(budget, 4999, 0)))
    assert release_e(make_budget(1.0, [1.0]), ["extraction"], math.log(1e9)) == {"extraction": pytest.approx(1e9)}


def test_accounts_beyond_alpha_without_a_case_are_held_and_free_rows_are_none() -> None:
    rows = np.zeros(4, ROW)
    rows["hash"][:3] = 1, 2, 3
    rows["judged"]["evidence"]["log_e"][:, 1] = 9.0
    rows["judged"]["evidence"]["open"][1, 1] = 1
    seats = make_reference([0.3] * len(PATTERNS), [1.0] * len(PATTERNS)).seats
    used = np.flatnonzero(rows["hash"])
    assert held(used, rows["judged"], seats, PATTERNS, math.log(1000)) == dict.fromkeys(PATTERNS, 0) | {"scraping": 2}


def test_drift_is_one_where_benign_hours_keep_the_promise_and_more_where_they_do_not() -> None:
    rng = np.random.default_rng(4)
    kept, broken = (make_reference([0.3] * 2, [1.0] * 2) for _ in range(2))
    for _ in range(4000):
        depth = rng.exponential()
        score = min(depth / kept.shape[0, 1], 1.0)
        score = score if score < 0.3 else min(0.3 + (depth + math.log(0.05)) / kept.shape[0, 2], 1.0)
        teach(kept, 0, 0, 0, score, 1.0)
        teach(broken, 0, 0, 0, score if rng.random() < 0.8 else 0.6, 1.0)
    assert drift(kept, ["extraction", "scraping"])["extraction"] == pytest.approx(1.0, abs=0.25)
    assert drift(broken, ["extraction", "scraping"])["extraction"] > 3.0
    assert "scraping" not in drift(kept, ["extraction", "scraping"]), "nothing is said of what was hardly learnt"
    assert kept.total[0, POOLED, 0] > LEARNT_ENOUGH


def test_a_reference_built_in_another_way_has_another_id() -> None:
    one, same, other = bound(null=0.3), bound(null=0.3), bound(null=0.31)
    assert cards_id([one, other]) == cards_id([same, other]) != cards_id([one, same])
