"""On benign streams the chance of ever reaching 1/alpha stays below alpha, wherever one stops; by simulation."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from evidence_population import Population, Scores, as_promised, scores_at

from siphonwatch.models.evidence.calibration import MAX_RISE, calibrate
from siphonwatch.models.evidence.process import STAKE

Draw = Callable[[np.random.Generator, int], Scores]
N, HOURS = 4000, 14 * 24
ALPHAS = (0.2, 0.05, 0.01)
BENIGN: dict[str, Draw] = {
    "as promised": as_promised,
    "lighter": lambda rng, n: rng.beta(1.0, 12.0, n),
    "mostly nothing": lambda rng, n: (rng.random(n) < 0.05) * as_promised(rng, n),
}


def slack(alpha: float, n: int) -> float:
    """Three standard errors of a share."""
    return 3.0 * math.sqrt(alpha * (1.0 - alpha) / n)


@pytest.mark.parametrize("draw", BENIGN.values(), ids=BENIGN)
def test_exchangeable_benign_accounts_cross_no_more_often_than_alpha_from_the_first_hour_on(draw: Draw) -> None:
    rng = np.random.default_rng(7)
    accounts = Population(N)
    for _ in range(HOURS // 2):
        accounts.hour(draw(rng, N), active=rng.random(N) < 0.3)
    for alpha in ALPHAS:
        assert accounts.crossed(alpha) <= alpha + slack(alpha, N)


def test_a_promise_broken_by_as_much_as_may_be_learnt_is_made_good() -> None:
    """Benign hours score `MAX_RISE` higher than promised; two weeks of 400 accounts teach it, then others come."""
    rng = np.random.default_rng(8)
    taught = Population(400, alpha=1e-300)
    for _ in range(14 * 24):
        taught.hour(np.minimum(as_promised(rng, 400) + MAX_RISE, 1.0), active=rng.random(400) < 0.3)
    accounts = Population(N, reference=taught.reference)
    for _ in range(7 * 24):
        accounts.hour(np.minimum(as_promised(rng, N) + MAX_RISE, 1.0), active=rng.random(N) < 0.3)
    for alpha in ALPHAS:
        assert accounts.crossed(alpha) <= alpha + slack(alpha, N)


def test_the_simulation_would_notice_hours_that_are_not_benign() -> None:
    rng = np.random.default_rng(7)
    accounts = Population(500)
    for _ in range(48):
        accounts.hour(np.minimum(as_promised(rng, 500) + 0.5, 1.0))
    assert accounts.crossed(0.01) > 0.9


@pytest.mark.parametrize("within", [0.0, 0.5, 0.97])
def test_dependence_within_the_hour_costs_nothing_and_stopping_inside_it_is_safe(within: float) -> None:
    """Six requests an hour share `within` of what moves them; the crossing may be at any of them.

    Their maximum is brought to the benign law of an hour's highest score by its own distribution function.
    """
    rng = np.random.default_rng(9)
    n = 3000
    many = np.sqrt(within) * rng.normal(size=(20_000, 1)) + np.sqrt(1.0 - within) * rng.normal(size=(20_000, 6))
    law = np.sort(many.max(axis=1))
    accounts = Population(n)
    for _ in range(4 * 24):
        z = np.sqrt(within) * rng.normal(size=(n, 1)) + np.sqrt(1.0 - within) * rng.normal(size=(n, 6))
        above = 1.0 - np.searchsorted(law, z) / (len(law) + 1.0)
        accounts.hour(*scores_at(-np.log(above)).T)
    for alpha in ALPHAS:
        assert accounts.crossed(alpha) <= alpha + slack(alpha, n)


def test_within_an_hour_the_evidence_only_grows_and_its_order_does_not_matter() -> None:
    rng = np.random.default_rng(10)
    scores = rng.uniform(0.0, 1.0, (12, 40))
    accounts, shuffled = Population(40, alpha=1e-300), Population(40, alpha=1e-300)
    last = np.full(40, -math.inf)
    for row in scores:
        accounts.request(row)
        assert (accounts.log_e >= last).all()
        last = accounts.log_e
    for row in rng.permuted(scores, axis=0):
        shuffled.request(row)
    assert (shuffled.log_e == last).all()


def test_the_mean_e_value_of_benign_accounts_is_at_most_one() -> None:
    rng = np.random.default_rng(3)
    accounts = Population(20_000, alpha=1e-300)
    for _ in range(20):
        accounts.hour(as_promised(rng, 20_000))
        e = np.exp(accounts.log_e)
        assert e.mean() <= 1.0 + 5.0 * e.std() / math.sqrt(len(e))


def test_a_job_that_looks_the_same_odd_way_every_night_does_not_pile_up_evidence() -> None:
    """Each night of one account is as odd as one account-hour in 30; a product would pass 1/alpha within weeks."""
    rng = np.random.default_rng(11)
    accounts = Population(300)
    nightly = np.arange(300) == 0
    odd = float(scores_at(np.array([math.log(30.0)]))[0])
    for hour in range(60 * 24):
        scores = as_promised(rng, 300)
        scores[0] = odd
        accounts.hour(scores, active=nightly if hour % 24 == 2 else ~nightly & (rng.random(300) < 0.3))
    nights = 60.0
    e = calibrate(1.0 / 30.0)
    assert nights * math.log1p(STAKE * (e - 1.0)) > 2.0 * math.log(1e3), "a product of as many nights would cross"
    assert 0.0 < accounts.highest[0] < math.log(1e3)
