"""The ranker is a sound River classifier, and its posterior is the one that River computes."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import river.checks
from hypothesis import given
from hypothesis import strategies as st
from river import linear_model

from siphonwatch.models.learn.ranker import BASE, MAX_FEATURES, Ranker
from siphonwatch.models.learn.ranker_features import PRIOR


class Phishing:
    """A stream shaped like River's phishing set: nine features of three values, two classes."""

    def __init__(self, n: int) -> None:
        rng = np.random.default_rng(1)
        rows = rng.integers(0, 3, (n, 9)) / 2.0
        self._y = (rows[:, 0] + rows[:, 3] - rows[:, 5] + rng.normal(0, 0.3, n) > 0.5).tolist()
        self._x = [{f"f{i}": float(v) for i, v in enumerate(row)} for row in rows]

    def __iter__(self) -> Iterator[tuple[dict[str, float], bool]]:
        return iter(zip(self._x, self._y, strict=True))


def river_checks() -> Iterator[Any]:
    patch = pytest.MonkeyPatch()
    patch.setattr(river.checks, "_yield_datasets", lambda model, scale=1: [Phishing(300 * scale)])
    try:
        for check in river.checks.yield_checks(Ranker()):
            yield pytest.param(check, id=check.__name__)
    finally:
        patch.undo()


@pytest.mark.parametrize("check", list(river_checks()))
def test_the_ranker_passes_rivers_own_check(check: Callable[[Any], None]) -> None:
    check(Ranker())


def stream(n: int, seed: int = 3) -> list[tuple[dict[str, float], bool]]:
    rng = np.random.default_rng(seed)
    return [
        ({f"f{i}": float(v) for i, v in enumerate(rng.normal(size=12)) if v > -0.5}, bool(rng.random() < 0.4))
        for _ in range(n)
    ]


@pytest.mark.parametrize("precision", [0.3, 1.0, 4.0])
def test_the_posterior_is_that_of_rivers_bayesian_linear_regression(precision: float) -> None:
    ranker, peer = Ranker(precision), linear_model.BayesianLinearRegression(beta=precision)
    for x, y in stream(200):
        ranker.learn_one(x, y)
        peer.learn_one({BASE: 1.0, **x}, 1.0 if y else -1.0)
    for x, _ in stream(50, seed=4):
        mean = peer.predict_one({BASE: 1.0, **x})
        assert abs(mean) < 0.9, "where means are probabilities as they stand"
        assert ranker.predict_proba_one(x)[True] == pytest.approx(0.5 + 0.5 * mean, abs=1e-9)


def test_a_weight_counts_a_verdict_so_often() -> None:
    once, often = Ranker(), Ranker()
    for x, y in stream(20):
        once.learn_one(x, y, 3.0)
        for _ in range(3):
            often.learn_one(x, y)
    for x, _ in stream(20, seed=5):
        assert once.predict_proba_one(x)[True] == pytest.approx(often.predict_proba_one(x)[True], abs=1e-12)


def test_before_any_verdict_the_chance_is_the_prior_s() -> None:
    for logit in (-2.0, -0.3, 0.0, 0.4, 2.5):
        chance = Ranker().predict_proba_one({PRIOR: logit, "anything": 3.0})
        assert chance[True] == pytest.approx(1.0 / (1.0 + math.exp(-logit)), abs=1e-12)
        assert chance[True] + chance[False] == 1.0


def test_effects_add_up_to_the_chance() -> None:
    ranker = Ranker()
    for x, y in stream(40):
        ranker.learn_one({**x, PRIOR: 0.5}, y)
    x = {"f1": 0.2, "f7": -0.1, PRIOR: 0.5, "never seen": 2.0}
    effects = ranker.effects(x)
    base = ranker.predict_proba_one({})[True]
    assert sum(effects.values()) + base == pytest.approx(ranker.predict_proba_one(x)[True], abs=1e-9)
    assert list(effects.values()) == sorted(effects.values(), key=abs, reverse=True)
    assert "never seen" not in effects and BASE not in effects


def test_memory_is_bounded_whatever_names_come() -> None:
    ranker, sizes = Ranker(), []
    for i in range(3 * MAX_FEATURES):
        ranker.learn_one({f"name {i}": 1.0, "known": float(i % 2)}, bool(i % 2))
        if i % MAX_FEATURES == MAX_FEATURES - 1:
            sizes.append(len(pickle.dumps(ranker)))
    assert sizes[0] == pytest.approx(sizes[1], rel=0.01) and sizes[1] == sizes[2] < 600_000
    assert ranker.predict_one({"known": 1.0}) is True and ranker.predict_one({"known": 0.0}) is False


def test_a_copy_by_pickle_goes_on_alike() -> None:
    ranker = Ranker()
    for x, y in stream(30):
        ranker.learn_one(x, y)
    other = pickle.loads(pickle.dumps(ranker))  # noqa: S301 - our own
    third = copy.deepcopy(ranker)
    for x, y in stream(30, seed=9):
        assert ranker.predict_proba_one(x) == other.predict_proba_one(x) == third.predict_proba_one(x)
        for one in (ranker, other, third):
            one.learn_one(x, y)


@given(
    st.lists(
        st.tuples(st.dictionaries(st.sampled_from(["a", "b", PRIOR]), st.floats(-1e3, 1e3)), st.booleans()), max_size=8
    ),
    st.dictionaries(st.sampled_from(["a", "b", "c", PRIOR]), st.floats(-1e3, 1e3)),
)
def test_a_chance_is_within_0_and_1_whatever_was_learnt(
    learnt: list[tuple[dict[str, float], bool]], x: dict[str, float]
) -> None:
    ranker = Ranker()
    for features, y in learnt:
        ranker.learn_one(features, y)
    assert 0.0 < ranker.predict_proba_one(x)[True] < 1.0
