"""Ranking figures: each agrees with counting by hand on accounts repeated as often as they weigh."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siphonwatch.models.evaluate.ranking import (
    auc_columns,
    average_precision,
    curve,
    exceeds,
    placements,
    threshold,
)

scores = st.lists(st.integers(-3, 3), min_size=1, max_size=12).map(lambda values: np.array(values, np.float64) / 2)


@st.composite
def weighted(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    positive, negative = draw(scores), draw(scores)

    def times(n: int) -> np.ndarray:
        return np.array([draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))], np.float64)

    own, others = times(len(positive)), times(len(negative))
    own[0, 0] += 1
    others[0, 0] += 1
    return positive, negative, own, others


def repeated(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return np.repeat(values, weights[0].astype(int))


def area(positive: np.ndarray, negative: np.ndarray) -> float:
    return float(np.mean([(p > q) + 0.5 * (p == q) for p in positive for q in negative]))


@settings(deadline=None)
@given(weighted())
def test_mean_placement_is_the_probability_that_an_attacker_ranks_above_an_honest_account(case) -> None:
    positive, negative, own, others = case
    mean = (placements(positive, negative, others) * own).sum() / own.sum()
    assert mean == pytest.approx(area(repeated(positive, own), repeated(negative, others)))


@settings(deadline=None)
@given(weighted(), st.sampled_from([0.0, 0.001, 0.01, 0.1, 0.34, 0.5, 1.0]))
def test_recall_is_counted_above_the_lowest_threshold_within_the_false_positive_rate(case, fpr: float) -> None:
    positive, negative, own, others = case
    honest, attackers = repeated(negative, others), repeated(positive, own)
    found = (exceeds(positive, negative, others, fpr) * own).sum() / own.sum()
    limit = np.sort(honest)[::-1][min(int(fpr * len(honest)), len(honest) - 1)]
    assert found == pytest.approx((attackers > limit).mean())
    assert (honest > limit).mean() <= fpr
    assert all(
        (honest > lower).mean() > fpr for lower in honest if lower < limit and int(fpr * len(honest)) < len(honest)
    )


def test_the_threshold_is_the_one_that_recall_compares_with() -> None:
    negative = np.array([0.1, 0.9, 0.5, 0.7])
    assert threshold(negative, 0.25) == 0.7
    assert threshold(negative, 0.0) == 0.9
    assert exceeds(np.array([0.7, 0.71]), negative, np.ones((1, 4)), 0.25).tolist() == [[False, True]]


@settings(deadline=None)
@given(weighted())
def test_average_precision_adds_up_precision_at_every_step_of_recall(case) -> None:
    positive, negative, own, others = case
    attackers, honest = repeated(positive, own), repeated(negative, others)
    expected, before = 0.0, 0.0
    for limit in sorted(set(attackers.tolist() + honest.tolist()), reverse=True):
        true, false = (attackers >= limit).sum(), (honest >= limit).sum()
        expected += (true / len(attackers) - before) * true / (true + false)
        before = true / len(attackers)
    assert average_precision(positive, negative, own, others)[0] == pytest.approx(expected)


@settings(deadline=None)
@given(weighted())
def test_rows_of_weights_do_not_mix(case) -> None:
    positive, negative, own, others = case
    two = np.concatenate([np.ones_like(others), others])
    assert placements(positive, negative, two)[1].tolist() == placements(positive, negative, others)[0].tolist()
    assert exceeds(positive, negative, two, 0.2)[1].tolist() == exceeds(positive, negative, others, 0.2)[0].tolist()
    both = average_precision(positive, negative, np.concatenate([np.ones_like(own), own]), two)
    assert both[1] == average_precision(positive, negative, own, others)[0]


def test_a_perfect_and_a_blind_ranking_have_areas_1_and_a_half() -> None:
    low, high = np.zeros(7), np.ones(3)
    one = np.ones((1, 7))
    assert placements(high, low, one).mean() == 1.0
    assert placements(low[:3], low, one).mean() == 0.5
    assert average_precision(high, low, np.ones((1, 3)), one)[0] == 1.0
    assert average_precision(low[:3], low, np.ones((1, 3)), one)[0] == pytest.approx(0.3)


def test_figures_without_accounts_are_undefined_and_not_zero() -> None:
    none = np.zeros((1, 2))
    assert np.isnan(placements(np.ones(1), np.zeros(2), none)).all()
    assert np.isnan(average_precision(np.ones(2), np.zeros(2), none, np.ones((1, 2)))).all()


@settings(deadline=None)
@given(weighted())
def test_the_curve_passes_through_what_each_threshold_gives(case) -> None:
    positive, negative, _, _ = case
    drawn = curve(positive, negative)
    limits = sorted(set(positive.tolist() + negative.tolist()), reverse=True)
    assert drawn.recall.tolist() == [(positive >= limit).mean() for limit in limits]
    assert drawn.fpr.tolist() == [(negative >= limit).mean() for limit in limits]
    x, y = np.concatenate([[0], drawn.fpr]), np.concatenate([[0], drawn.recall])
    assert np.trapezoid(y, x) == pytest.approx(area(positive, negative))


def test_columns_are_ranked_each_for_itself() -> None:
    attack = np.array([True, False, False])
    values = np.array([[3.0, 0.0, 1.0], [1.0, 2.0, 1.0], [2.0, 1.0, 1.0]])
    assert auc_columns(values, attack).tolist() == [1.0, 0.0, 0.5]
