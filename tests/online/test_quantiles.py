"""Streaming quantiles: within their error for any values, mergeable, forgetting, and never a p-value too small."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siphonwatch.models.online.quantiles import (
    ForgettingQuantile,
    QuantileState,
    quantile_init,
    quantile_merge,
    quantile_rank,
    quantile_tail,
    quantile_update,
    quantile_value,
)

ACCURACY = 0.02
SLACK = 1e-9
magnitudes = st.floats(1e-6, 1e6)
values = st.lists(st.one_of(magnitudes, magnitudes.map(lambda x: -x), st.just(0.0)), min_size=1, max_size=300)


def sketch(xs: list[float], half_life: float = 0.0) -> QuantileState:
    state = quantile_init(ACCURACY, half_life=half_life)
    for x in xs:
        quantile_update(state, x, 1.0)
    return state


@settings(deadline=None)
@given(values, st.floats(0.0, 1.0))
def test_a_quantile_is_within_its_relative_error(xs: list[float], q: float) -> None:
    true = float(np.quantile(xs, max(0.0, q * (1 - 1e-11)), method="inverted_cdf"))
    assert abs(quantile_value(sketch(xs), q) - true) <= ACCURACY * abs(true) * (1 + SLACK) + SLACK * 1e-6


@settings(deadline=None)
@given(st.lists(magnitudes, min_size=1, max_size=300), magnitudes)
def test_a_rank_lies_between_those_of_its_bins_ends(xs: list[float], x: float) -> None:
    gamma = (1 + ACCURACY) / (1 - ACCURACY) * (1 + SLACK)
    array = np.array(xs)
    rank = quantile_rank(sketch(xs), x)
    assert (array < x / gamma).mean() - SLACK <= rank <= (array <= x * gamma).mean() + SLACK


@settings(deadline=None)
@given(values, st.floats(-1e6, 1e6))
def test_a_p_value_is_never_below_the_exact_conformal_one(xs: list[float], x: float) -> None:
    exact = (1 + sum(value >= x for value in xs)) / (1 + len(xs))
    assert quantile_tail(sketch(xs), x) >= exact - SLACK


@settings(deadline=None)
@given(values, values)
def test_merging_is_the_same_as_seeing_both(xs: list[float], ys: list[float]) -> None:
    merged = sketch(xs)
    quantile_merge(merged, sketch(ys))
    both = sketch(xs + ys)
    np.testing.assert_array_equal(merged.counts, both.counts)
    np.testing.assert_array_equal(merged.blocks, both.blocks)


def test_half_the_weight_is_gone_after_a_half_life() -> None:
    state = sketch([1.0] * 5000 + [100.0] * 100, half_life=100.0)
    assert quantile_rank(state, 10.0) == pytest.approx(0.5, abs=0.01)


def test_forgetting_stays_exact_over_far_more_updates_than_a_float_has_exponents() -> None:
    rng = np.random.default_rng(0)
    quantile = ForgettingQuantile(0.5, half_life=50.0)
    quantile.update_many(rng.uniform(1, 2, 200_000))
    median = quantile.get()
    assert median is not None
    assert median == pytest.approx(1.5, rel=0.15)
    assert quantile.state.params[4] == pytest.approx(quantile.state.counts.sum(), rel=1e-9)
    np.testing.assert_allclose(
        quantile.state.blocks, quantile.state.counts.reshape(len(quantile.state.blocks), -1).sum(1)
    )


def test_values_out_of_range_count_at_its_ends() -> None:
    state = quantile_init(0.01, least=0.1, greatest=10.0)
    for x in (-math.inf, -50.0, 0.01, math.inf, 1e300):
        quantile_update(state, x, 1.0)
    assert quantile_value(state, 0.1) == pytest.approx(-10.0, rel=0.05)
    assert quantile_value(state, 0.5) == 0.0
    assert quantile_value(state, 1.0) == pytest.approx(10.0, rel=0.05)


def test_nan_is_left_out_and_ranks_nowhere() -> None:
    state = sketch([1.0, math.nan, 2.0])
    assert state.params[4] == 2.0
    assert quantile_rank(state, math.nan) == 0.5
    assert quantile_tail(state, math.nan) == 1.0


def test_an_empty_sketch_knows_nothing() -> None:
    state = quantile_init()
    assert quantile_rank(state, 3.0) == 0.5
    assert quantile_tail(state, 3.0) == 1.0
    assert math.isnan(quantile_value(state, 0.5))
    assert ForgettingQuantile().get() is None


def test_batches_pickles_and_arrays_change_nothing() -> None:
    xs = np.random.default_rng(1).exponential(size=4000)
    whole, single = ForgettingQuantile(half_life=500.0), ForgettingQuantile(half_life=500.0)
    whole.update_many(xs)
    for x in xs[:1000]:
        single.update(float(x))
    resumed = pickle.loads(pickle.dumps(single))  # noqa: S301 - written on this line
    resumed.update_many(xs[1000:2500])
    fresh = ForgettingQuantile(half_life=500.0)
    fresh.from_arrays(resumed.to_arrays())
    fresh.update_many(xs[2500:])
    assert fresh.state.counts.tobytes() == whole.state.counts.tobytes()
    assert fresh.rank_many(xs[:50]).tobytes() == np.array([whole.rank(float(x)) for x in xs[:50]]).tobytes()


def test_sketches_of_other_settings_are_not_merged() -> None:
    with pytest.raises(ValueError, match="build both alike"):
        quantile_merge(quantile_init(0.01), quantile_init(0.02))


@pytest.mark.parametrize("setting", [{"accuracy": 0.0}, {"least": 0.0}, {"greatest": 1e-9}, {"half_life": -1.0}])
def test_settings_out_of_range_are_refused_by_name(setting: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(setting))):
        quantile_init(**setting)
