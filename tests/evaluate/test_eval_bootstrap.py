"""Intervals: strata keep their size, every figure sees the same draw, and coverage is what it says."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import siphonwatch.models.evaluate.bootstrap as module
from siphonwatch.models.evaluate.bootstrap import Bootstrap, Estimate, counted, ratio


@settings(deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.integers(1, 30), st.integers(0, 5))
def test_every_replicate_draws_as_many_of_each_stratum_as_there_are(
    strata: list[int], replicates: int, seed: int
) -> None:
    groups = np.array(strata)
    weights = np.concatenate(list(Bootstrap(groups, replicates, seed).weights()))
    assert weights.shape == (replicates, len(strata))
    for group in set(strata):
        assert (weights[:, groups == group].sum(1) == strata.count(group)).all()


def test_the_same_seed_draws_the_same_and_another_does_not() -> None:
    strata = np.zeros(30, np.int64)
    one, again, other = (np.concatenate(list(Bootstrap(strata, 20, seed).weights())) for seed in (1, 1, 2))
    assert (one == again).all()
    assert (one != other).any()


def test_weights_that_are_not_kept_are_drawn_again_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    strata = np.arange(40) % 3
    kept = Bootstrap(strata, 50, 7)
    expected = np.concatenate(list(kept.weights()))
    monkeypatch.setattr(module, "KEPT", 10)
    drawn = Bootstrap(strata, 50, 7)
    for _ in range(2):
        assert (np.concatenate(list(drawn.weights())) == expected).all()


def test_a_mean_is_estimated_with_the_spread_that_theory_gives() -> None:
    n = 400
    values = np.random.default_rng(5).normal(0, 1, n)
    [mean] = Bootstrap(np.zeros(n, np.int64), 2000, 1).estimates(lambda w: ratio(w @ values, w.sum(1))[:, None])
    assert mean.value == pytest.approx(values.mean())
    width = 2 * 1.96 * values.std() / math.sqrt(n)
    assert mean.high - mean.low == pytest.approx(width, rel=0.1)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(3)
    covered = 0
    for seed in range(200):
        hit = rng.uniform(0, 1, 120) < 0.3
        [e] = Bootstrap(np.zeros(120, np.int64), 300, seed).shares(hit, [np.ones(120, bool)])
        covered += e.low <= 0.3 <= e.high
    assert 0.90 <= covered / 200 <= 0.99


def test_a_share_tells_its_counts_and_where_none_was_hit_how_many_could_have_been() -> None:
    hit = np.array([False] * 20 + [True] * 5)
    groups = [np.arange(25) < 20, np.arange(25) >= 20, np.ones(25, bool)]
    none, every, some = Bootstrap(np.zeros(25, np.int64), 500, 1).shares(hit, groups)
    assert (none.value, none.low, none.hits, none.of) == (0.0, 0.0, 0, 20)
    # Clopper and Pearson: (1 - p)^n = 2.5 %
    assert (1 - none.high) ** 20 == pytest.approx(0.025)
    assert (every.value, every.high, every.hits, every.of) == (1.0, 1.0, 5, 5)
    assert every.low**5 == pytest.approx(0.025)
    assert (some.hits, some.of) == (5, 25) and some.low < 0.2 < some.high


def test_a_share_of_strata_that_cannot_vary_has_the_exact_interval_of_its_counts() -> None:
    strata = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    [e] = Bootstrap(strata, 200, 1).shares(strata == 1, [np.ones(8, bool)])
    assert (e.value, e.hits, e.of) == (0.5, 4, 8)
    # Clopper and Pearson's table for 4 of 8.
    assert (e.low, e.high) == (pytest.approx(0.157, abs=0.001), pytest.approx(0.843, abs=0.001))


def test_a_figure_that_no_replicate_changes_has_no_interval() -> None:
    [e] = Bootstrap(np.zeros(9, np.int64), 50, 1).estimates(lambda w: np.full((len(w), 1), 0.7))
    assert e.value == 0.7 and math.isnan(e.low) and math.isnan(e.high)


def test_an_undefined_share_stays_undefined() -> None:
    e = counted(Estimate(math.nan, math.nan, math.nan), 0, 0)
    assert math.isnan(e.value) and math.isnan(e.high)
    assert Bootstrap(np.zeros(4, np.int64), 10, 1).shares(np.ones(4, bool), []) == []


def test_without_replicates_there_are_figures_and_no_intervals() -> None:
    [e] = Bootstrap(np.zeros(4, np.int64), 0, 1).estimates(lambda w: w[:, :1])
    assert e.value == 1.0 and math.isnan(e.low) and math.isnan(e.high)
