"""Cases are released within the false-discovery budget, under dependence between accounts; held ones may come later."""

from __future__ import annotations

import math

import numpy as np
import pytest
from evidence_population import Population, Scores, as_promised, scores_at

from siphonwatch.models.evidence.budget import FIRST, NUMBERED, RELEASED, bar, log_gamma, make_budget

BUDGET = 0.1


def together(rng: np.random.Generator, n: int, shared: float) -> Scores:
    """Benign scores of one hour that keep the promise each, moved by what all accounts share."""
    z = math.sqrt(shared) * rng.normal() + math.sqrt(1.0 - shared) * rng.normal(size=n)
    above = 0.5 * np.array([math.erfc(x / math.sqrt(2.0)) for x in z])
    return scores_at(-np.log(np.maximum(above, 1e-300)))


def released(seed: int, *, n: int, attackers: int, shared: float, days: int = 4) -> tuple[int, int]:
    """(false, all) releases among accounts some of which attack, in random places of the order of arrival."""
    rng = np.random.default_rng(seed)
    accounts = Population(n, alpha=0.5, budget=BUDGET)
    attacks = np.zeros(n, bool)
    attacks[rng.choice(n, attackers, replace=False)] = True
    for hour in range(24 * days):
        scores = together(rng, n, shared)
        scores[attacks] = np.minimum(as_promised(rng, attackers) + 0.35, 1.0)
        accounts.hour(scores, active=rng.random(n) < 0.3 if hour else None)
    opened = np.array(accounts.opened, int)
    assert len(set(opened.tolist())) == len(opened) == accounts.budget.counts[RELEASED]
    assert accounts.budget.counts[NUMBERED] == n
    return int((~attacks[opened]).sum()), len(opened)


@pytest.mark.parametrize("shared", [0.0, 0.6, 0.95])
def test_the_mean_false_discovery_proportion_stays_within_the_budget_and_attackers_are_found(shared: float) -> None:
    runs = [released(seed, n=400, attackers=20, shared=shared) for seed in range(12)]
    proportions = [false / max(of, 1) for false, of in runs]
    assert np.mean(proportions) <= BUDGET + 3.0 * np.std(proportions) / math.sqrt(len(runs))
    assert np.mean([of - false for false, of in runs]) >= 0.8 * 20


@pytest.mark.parametrize("shared", [0.0, 0.95])
def test_where_nobody_attacks_the_chance_of_any_release_is_within_the_budget(shared: float) -> None:
    runs = [released(100 + seed, n=200, attackers=0, shared=shared, days=3)[1] > 0 for seed in range(60)]
    assert np.mean(runs) <= BUDGET + 3.0 * math.sqrt(BUDGET * (1.0 - BUDGET) / len(runs))


def test_the_shares_of_all_accounts_that_may_ever_come_add_up_to_one() -> None:
    for blocks in (1, 2, 5, 9):
        n = FIRST * (2**blocks - 1)
        total = math.fsum(math.exp(log_gamma(k)) for k in range(n))
        assert total == pytest.approx(1.0 - 1.0 / (blocks + 1))


def test_a_later_account_never_has_a_greater_share() -> None:
    shares = [log_gamma(k) for k in range(5000)]
    assert shares == sorted(shares, reverse=True)


def test_patterns_divide_the_budget_by_trust_and_releases_lower_the_bar() -> None:
    budget = make_budget(0.2, [1.0, 3.0])
    assert np.exp(budget.log_share) == pytest.approx([0.05, 0.15])
    assert bar(budget, 0, 0) == pytest.approx(math.log(2 * FIRST / 0.05))
    budget.counts[RELEASED] = 9
    assert bar(budget, 0, 0) == pytest.approx(math.log(2 * FIRST / 0.05 / 10))


def test_patterns_that_are_asked_about_different_hypotheses_have_a_budget_each() -> None:
    budget = make_budget(0.2, [1.0, 3.0, 2.0], [False, False, True])
    assert np.exp(budget.log_share) == pytest.approx([0.05, 0.15, 0.2])
    alike = make_budget(0.2, [1.0, 3.0], [True, True])
    assert (alike.log_share == make_budget(0.2, [1.0, 3.0]).log_share).all(), "one kind divides it as ever"


@pytest.mark.parametrize(("share", "trust"), [(0.0, [1.0]), (1.5, [1.0]), (0.1, []), (0.1, [1.0, 0.0])])
def test_a_budget_out_of_range_is_refused_with_its_value(share: float, trust: list[float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        make_budget(share, trust)


def test_a_held_case_is_released_with_new_evidence_once_others_were() -> None:
    accounts = Population(3, alpha=1e-3, budget=1e-4)
    accounts.hour(np.array([0.9, 0.1, 0.1]))
    needed = bar(accounts.budget, 0, 0)
    assert accounts.threshold < accounts.log_e[0] < needed and not accounts.opened
    accounts.budget.counts[RELEASED] = 10_000
    accounts.request(np.array([0.01, 0.01, 0.01]))
    assert not accounts.opened, "a request that shows nothing does not open a case"
    accounts.request(np.array([0.9, 0.1, 0.1]))
    assert accounts.opened == [0] and accounts.budget.counts[RELEASED] == 10_001


def test_an_account_whose_case_has_closed_counts_as_a_new_arrival() -> None:
    accounts = Population(2)
    while 0 not in accounts.opened:
        accounts.hour(np.array([0.9, 0.1]))
    accounts.now += 31 * 86_400.0
    accounts.hour(np.array([0.1, 0.1]))
    assert accounts.rows["judged"]["number"].tolist() == [2, 1] and accounts.budget.counts[NUMBERED] == 3
    assert accounts.log_e[0] < 0.0
