"""Streaming quantiles: ranks within their error for any values, and forgetting."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siphonwatch.models.online.quantiles import (
    QuantileState,
    quantile_init,
    quantile_rank,
    quantile_update,
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
@given(st.lists(magnitudes, min_size=1, max_size=300), magnitudes)
def test_a_rank_lies_between_those_of_its_bins_ends(xs: list[float], x: float) -> None:
    gamma = (1 + ACCURACY) / (1 - ACCURACY) * (1 + SLACK)
    array = np.array(xs)
    rank = quantile_rank(sketch(xs), x)
    assert (array < x / gamma).mean() - SLACK <= rank <= (array <= x * gamma).mean() + SLACK


def test_half_the_weight_is_gone_after_a_half_life() -> None:
    state = sketch([1.0] * 5000 + [100.0] * 100, half_life=100.0)
    assert quantile_rank(state, 10.0) == pytest.approx(0.5, abs=0.01)


def test_forgetting_stays_exact_over_far_more_updates_than_a_float_has_exponents() -> None:
    rng = np.random.default_rng(0)
    state = sketch(rng.uniform(1, 2, 200_000).tolist(), half_life=50.0)
    assert quantile_rank(state, 1.5) == pytest.approx(0.5, abs=0.15)
    assert state.params[4] == pytest.approx(state.counts.sum(), rel=1e-9)
    np.testing.assert_allclose(state.blocks, state.counts.reshape(len(state.blocks), -1).sum(1))


def test_values_out_of_range_count_at_its_ends() -> None:
    state = quantile_init(0.01, least=0.1, greatest=10.0)
    for x in (-math.inf, -50.0, 0.01, math.inf, 1e300):
        quantile_update(state, x, 1.0)
    # Of the five, two lie beyond either end and one is too small to be told from 0.
    assert [quantile_rank(state, x) for x in (-1e9, 0.0, 1e9)] == pytest.approx([0.2, 0.5, 0.8])
    assert [quantile_rank(state, x) for x in (-1.0, 1.0)] == pytest.approx([0.4, 0.6])


def test_nan_is_left_out_and_ranks_nowhere() -> None:
    state = sketch([1.0, math.nan, 2.0])
    assert state.params[4] == 2.0
    assert quantile_rank(state, math.nan) == 0.5


def test_an_empty_sketch_knows_nothing() -> None:
    state = quantile_init()
    assert quantile_rank(state, 3.0) == 0.5


@pytest.mark.parametrize("setting", [{"accuracy": 0.0}, {"least": 0.0}, {"greatest": 1e-9}, {"half_life": -1.0}])
def test_settings_out_of_range_are_refused_by_name(setting: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(setting))):
        quantile_init(**setting)
