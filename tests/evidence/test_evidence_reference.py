"""The reference follows the hour of the week and slow drift, finds slow attackers meanwhile, and is not for sale."""

from __future__ import annotations

import math

import numpy as np
import pytest
from evidence_population import MONDAY, NULL, Population, as_promised
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from siphonwatch.models.evidence.calibration import (
    BANDS,
    BINS,
    COHORTS,
    POOLED,
    band_of,
    bin_of,
    calibrate,
    make_reference,
    restore,
    snapshot,
    teach,
)

DAYS = 14


def test_bands_are_weekdays_and_weekends_in_quarters_of_a_day() -> None:
    monday = int(MONDAY // 3600)
    assert [band_of(monday + 6 * k) for k in range(28)] == [0, 1, 2, 3] * 5 + [4, 5, 6, 7] * 2
    assert [band_of(monday + k) for k in range(7)] == [0] * 6 + [1]


def test_the_calibrator_s_integral_is_one_and_it_falls() -> None:
    edges = np.concatenate([[0.0], np.geomspace(1e-300, 1.0, 200_000)])
    values = np.array([calibrate(p) for p in edges[1:]])
    assert (np.diff(values) <= 0.0).all()
    lower, upper = (values * np.diff(edges)).sum(), (np.concatenate([values[:1], values[:-1]]) * np.diff(edges)).sum()
    assert lower <= 1.0
    assert lower == pytest.approx(1.0, abs=0.01) and upper == pytest.approx(1.0, abs=0.01)


@settings(deadline=None)
@given(st.floats(0.02, 0.95), st.floats(0.0, 1.0, width=32), st.floats(0.2, 3.0))
def test_a_score_is_in_the_bin_whose_edge_is_the_last_one_not_above_it(null: float, score: float, trust: float) -> None:
    reference = make_reference([null], [trust])
    place = bin_of(reference, 0, score)
    assert reference.edges[0, place] <= score
    assert place == BINS - 1 or score < reference.edges[0, place + 1]
    assert (np.diff(reference.e, axis=-1)[:, :, 0] >= 0.0).all(), "a higher score is no less evidence"


def test_before_anything_is_learnt_the_e_values_follow_the_promise() -> None:
    reference = make_reference([NULL, NULL], [1.0, 0.5])
    at_null, at_end = bin_of(reference, 0, NULL + 0.01), bin_of(reference, 0, 1.0)
    assert 1.0 < reference.e[1, 0, 0, at_null] < 10.0
    assert reference.e[1, 0, 0, at_end] > 1e5
    assert reference.e[1, 0, 1, at_end] < reference.e[1, 0, 0, at_end] / 100.0, (
        "half the trust, the root of the promise"
    )
    assert (reference.level[:, :, 0] <= NULL).all()


def test_the_mean_e_value_of_learnt_hours_is_at_most_one() -> None:
    """Over the very hours it learnt, of laws that keep the promise."""
    rng = np.random.default_rng(1)
    for law in (rng.beta(1.0, 12.0, 6400), 0.2 * rng.random(6400), np.zeros(6400)):
        reference = make_reference([NULL], [1.0])
        for score in law:
            teach(reference, 1, 0, 0, float(score), 1.0)
        e = np.array([reference.e[1, 0, 0, bin_of(reference, 0, float(s))] for s in law])
        assert e.mean() <= 1.02


def test_a_band_starts_from_its_cohort_and_learns_its_own() -> None:
    rng = np.random.default_rng(2)
    reference = make_reference([NULL], [1.0])
    fresh = reference.e.copy()
    for score in rng.beta(1.0, 30.0, 8192):
        teach(reference, 1, 0, 0, float(score), 1.0)
    quiet = bin_of(reference, 0, 0.25)
    assert reference.e[1, 7, 0, quiet] > 1.5 * fresh[1, 7, 0, quiet], "a band that nobody taught follows its cohort"
    assert (reference.e[0] == fresh[0]).all() and (reference.e[2] == fresh[2]).all(), "other cohorts do not"
    for _ in range(2048):
        teach(reference, 1, 7, 0, 0.25, 1.0)
    assert reference.e[1, 7, 0, quiet] < 1.0 < reference.e[1, 0, 0, quiet]


def test_what_was_learnt_is_taken_over_but_for_the_cards_that_changed() -> None:
    reference = make_reference([NULL], [1.0])
    for score in np.random.default_rng(3).random(500):
        teach(reference, 2, 3, 0, float(score), 0.5)
    again = restore(make_reference([NULL], [1.0]), snapshot(reference))
    assert all((a == b).all() for a, b in zip(reference[:-1], again[:-1], strict=True))
    assert restore(make_reference([0.2], [1.0]), snapshot(reference), [0]).total.sum() == 0.0
    assert reference.counts.shape == (len(COHORTS), BANDS + 1, reference.edges.shape[0], BINS)
    assert_allclose(reference.counts.sum(axis=-1), reference.total, rtol=1e-9)
    assert reference.taught[2, POOLED, 0] == 500


def diurnal(rng: np.random.Generator, hour: int, n: int) -> np.ndarray:
    """Benign scores that are higher at night, and creep up by 0.05 within a fortnight."""
    night = 0.08 if hour % 24 < 6 else 0.0
    return np.minimum(0.6 * as_promised(rng, n) + night + 0.05 * hour / (24 * DAYS), 1.0)


def test_under_diurnal_drift_the_reference_follows_and_a_slow_attacker_is_still_found() -> None:
    """The attackers work three hours a day, by day, at scores that are many times as common at night."""
    rng = np.random.default_rng(12)
    n, attackers = 600, 3
    accounts = Population(n)
    attacks = np.arange(n) < attackers
    for hour in range(24 * DAYS):
        scores = diurnal(rng, hour, n)
        at_work = hour >= 96 and hour % 24 in (9, 13, 16)
        scores[attacks] = 0.34 + 0.05 * rng.random(attackers)
        accounts.hour(scores, active=np.where(attacks, at_work, rng.random(n) < 0.3))
    benign = accounts.highest[~attacks]
    assert (accounts.highest[attacks] >= math.log(1e3)).all()
    for alpha in (0.05, 0.01):
        assert (benign >= -math.log(alpha)).mean() <= alpha + 3.0 * math.sqrt(alpha / n)
    night, day = accounts.reference.level[1, 0, 0], accounts.reference.level[1, 1, 0]
    assert night > day + 0.02, "what is ordinary at night is odd by day"


def ramp(poisoners: int, rng: np.random.Generator) -> Population:
    """A fortnight in which some of 300 accounts raise their scores a little every hour, from benign ones to 0.9."""
    accounts = Population(300)
    for hour in range(24 * DAYS):
        scores = as_promised(rng, 300)
        scores[:poisoners] = 0.1 + 0.8 * hour / (24 * DAYS)
        active = rng.random(300) < 0.3
        active[:poisoners] = True
        accounts.hour(scores, active=active)
    return accounts


@pytest.mark.parametrize("poisoners", [1, 6])
def test_a_poisoner_who_ramps_up_over_days_does_not_move_the_reference(poisoners: int) -> None:
    clean, poisoned = ramp(0, np.random.default_rng(13)), ramp(poisoners, np.random.default_rng(13))
    for score in (0.5, 0.7, 0.9):
        place = bin_of(clean.reference, 0, score)
        before, after = (np.log(a.reference.e[1, :, 0, place]) for a in (clean, poisoned))
        assert (after > 0.6 * before).all() and (after > 1.0).all()
    assert set(range(poisoners)) <= set(poisoned.opened), "and is found all the same"


def test_however_many_poison_it_the_promise_keeps_half_the_stake() -> None:
    reference = make_reference([NULL], [1.0])
    for _ in range(20_000):
        teach(reference, 1, 0, 0, 0.9, 1.0)
    assert reference.e[1, 0, 0, bin_of(reference, 0, 0.9)] > 1e4
