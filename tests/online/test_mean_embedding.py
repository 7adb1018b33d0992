"""Mean embedding: calibrated under the null, and the stronger the further and longer the shift."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from siphonwatch.models.online.mean_embedding import (
    WARM,
    MeanEmbeddingShift,
    Reference,
    embed_distance,
    embed_update,
    reference_init,
    reference_learn,
)

D = 32
FADE = np.exp(-1.0 / np.array([40.0, 400.0]))
ONE = np.ones(2)


class Account:
    def __init__(self) -> None:
        self.sums = np.zeros((2, D), np.float32)
        self.weight = np.zeros(2, np.float32)
        self.weight_sq = np.zeros(3, np.float32)

    @property
    def state(self) -> tuple[npt.NDArray[np.float32], ...]:
        return self.sums, self.weight, self.weight_sq

    def see(self, rows: npt.NDArray[np.float32], decay: npt.NDArray[np.float64] = FADE) -> None:
        for x in rows:
            embed_update(*self.state, x, decay, ONE)


def draw(rng: np.random.Generator, n: int, shift: float = 0.0) -> npt.NDArray[np.float32]:
    """Correlated, skewed vectors, of the length and coarseness of the sketch's projections."""
    z = rng.normal(size=(n, D)) * np.linspace(3.0, 20.0, D)
    z[:, 1:] += 0.5 * z[:, :-1]
    z += rng.exponential(4.0, size=(n, D))
    z[:, 0] += shift
    return np.clip(np.round(z), -127, 127).astype(np.float32)


@pytest.fixture(scope="module")
def reference() -> Reference:
    rng = np.random.default_rng(0)
    learnt = reference_init(D)
    for _ in range(60):
        account = Account()
        for x in draw(rng, 150):
            reference_learn(learnt, *account.state, x)
            embed_update(*account.state, x, FADE, ONE)
    return learnt


def test_under_the_null_both_scores_are_centred_with_variance_one(reference: Reference) -> None:
    rng = np.random.default_rng(1)
    scores = []
    for n in (2, 5, 20, 100, 400) * 120:
        account = Account()
        account.see(draw(rng, n))
        scores.append(embed_distance(reference, *account.state))
    population, own = np.array(scores).T
    for values in (population, own):
        assert abs(values.mean()) < 0.2
        assert 0.6 < values.std() < 1.4


def test_an_account_of_one_request_is_not_tested_against_itself(reference: Reference) -> None:
    account = Account()
    account.see(draw(np.random.default_rng(2), 1))
    assert embed_distance(reference, *account.state)[1] == 0.0


def test_an_account_without_requests_scores_nothing(reference: Reference) -> None:
    assert embed_distance(reference, *Account().state) == (0.0, 0.0)


def test_a_further_shift_scores_higher_and_so_do_more_requests_of_it(reference: Reference) -> None:
    def mean_score(shift: float, n: int) -> float:
        rng = np.random.default_rng(3)
        values = []
        for _ in range(40):
            account = Account()
            account.see(draw(rng, n, shift))
            values.append(embed_distance(reference, *account.state)[0])
        return float(np.mean(values))

    assert mean_score(0.0, 60) < mean_score(15.0, 60) < mean_score(30.0, 60)
    assert mean_score(30.0, 5) < mean_score(30.0, 20) < mean_score(30.0, 60)
    assert mean_score(30.0, 60) > 8.0


def test_an_account_that_turns_away_from_its_past_is_told_from_one_that_was_always_different(
    reference: Reference,
) -> None:
    rng = np.random.default_rng(4)
    always, turned = Account(), Account()
    always.see(draw(rng, 460, 30.0))
    turned.see(draw(rng, 400))
    turned.see(draw(rng, 60, 30.0))
    (far, steady), (_, moved) = embed_distance(reference, *always.state), embed_distance(reference, *turned.state)
    assert far > 5.0
    assert abs(steady) < 3.0
    assert moved > 5.0


def test_a_cold_reference_tests_nothing() -> None:
    rng = np.random.default_rng(5)
    cold, account = reference_init(D), Account()
    for x in draw(rng, int(WARM) - 1):
        reference_learn(cold, *account.state, x)
        embed_update(*account.state, x, FADE, ONE)
    assert embed_distance(cold, *account.state) == (0.0, 0.0)


def test_requests_within_the_grace_may_come_in_either_order() -> None:
    rng = np.random.default_rng(6)
    early, late = draw(rng, 2)
    ordered, swapped = Account(), Account()
    gap = np.exp(-30.0 / np.array([3600.0, 604_800.0]))
    embed_update(*ordered.state, early, ONE, ONE)
    embed_update(*ordered.state, late, gap, ONE)
    embed_update(*swapped.state, late, ONE, ONE)
    embed_update(*swapped.state, early, ONE, gap)
    for one, other in zip(ordered.state, swapped.state, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_the_estimators_preview_is_what_the_kernels_give_after_learning() -> None:
    rng = np.random.default_rng(7)
    model = MeanEmbeddingShift(fast=30.0, slow=300.0)
    model.learn_many(draw(rng, 200))
    for x in draw(rng, 20):
        preview = float(model.score_many(x[None])[0])
        state = model.state
        reference = Reference(*(part.copy() for part in (state.mean, state.last, state.moments, state.seen)))
        model.learn_many(x[None])
        after = embed_distance(reference, state.sums, state.weight, state.weight_sq)[1]
        assert preview == pytest.approx(after, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("setting", [{"fast": 0.0}, {"fast": 10.0, "slow": 10.0}])
def test_scales_that_do_not_differ_are_refused(setting: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="below slow"):
        MeanEmbeddingShift(**setting).learn_one({"a": 1.0})
