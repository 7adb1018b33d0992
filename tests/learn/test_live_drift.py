"""Workers tell of a feature that moved and of cases that come more often, and of neither in stationary weeks."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from siphonwatch.models.account.features import INDEX, WIDTH
from siphonwatch.models.account.request import blank
from siphonwatch.models.engine.case_hours import DAY, WARM_UP, CaseHours
from siphonwatch.models.engine.config import ScorerConfig
from siphonwatch.models.engine.fingerprints import FingerprintStage
from siphonwatch.models.engine.population import WINDOW, Population
from siphonwatch.models.learn.live_drift import Standing, standing
from siphonwatch.models.learn.stability import FEWEST, chance_of, excess, grouped, smoothed

FIRST = 20_000
WEEKS = WARM_UP + 2 * WINDOW
READS = {"extraction": frozenset({"sweep_1d", "novelty"}), "rarity": frozenset({"job_requests", "sweep_1d"})}
Change = Callable[[int, np.ndarray], None]


def lived(
    seed: int,
    days: int = WEEKS,
    change: Change | None = None,
    *,
    accounts: int = 300,
    cases: float = 0.0,
    later: float = 0.0,
) -> Population:
    """Accounts that come on two days of three, with levels of their own; cases a day, and from the last week on."""
    rng = np.random.default_rng(seed)
    population = Population()
    own = rng.random((accounts, WIDTH), np.float32)
    names = rng.integers(0, 2**63, accounts).astype(np.uint64)
    for day in range(days + 1):
        who = np.flatnonzero(rng.random(accounts) < 2 / 3)
        values = own[who] + rng.normal(0, 0.05, (len(who), WIDTH)).astype(np.float32)
        if change:
            change(day, values)
        made = np.repeat(blank(), len(who))
        made["account_hash"] = names[who]
        time = np.sort((FIRST + day) * float(DAY) + rng.uniform(0, DAY, len(who)))
        population.take(made, np.ones(len(who), np.bool_), time, values)
        for _ in range(rng.poisson(later if day >= days - 5 else cases)):
            population.opened("extraction", 1, (FIRST + day) * float(DAY) + rng.uniform(0, DAY))
    return population


def by_name(found: Standing) -> dict[str, float]:
    return {column.feature: column.psi for column in found.columns}


@pytest.mark.parametrize("seed", range(6))
def test_stationary_weeks_move_nothing(seed: int) -> None:
    found = standing([lived(seed, WEEKS + 3, cases=4, later=4)], READS)
    assert not found.moved and not [column for column in found.columns if column.apart]
    assert found.accounts == {"conversation": 0, "program": pytest.approx(275, abs=25), "rest": 0}
    (rate,) = found.rates
    assert (rate.pattern, rate.cohort, rate.moved) == ("extraction", "program", False)


def test_a_feature_that_moved_is_told_with_the_patterns_that_read_it() -> None:
    def change(day: int, values: np.ndarray) -> None:
        if day >= WEEKS - 4:
            values[:, INDEX["sweep_1d"]] = values[:, INDEX["sweep_1d"]] / 4

    found = standing([lived(1, change=change)], READS)
    assert [column.feature for column in found.columns if column.apart] == ["sweep_1d"]
    assert found.moved == {("extraction", "program"): 1, ("rarity", "program"): 1}
    assert by_name(found)["sweep_1d"] > 0.2 > by_name(found)["novelty"]


def test_it_takes_many_accounts_to_move_a_feature() -> None:
    def loud(day: int, values: np.ndarray) -> None:
        if day >= WEEKS - WINDOW:
            values[:3, INDEX["sweep_1d"]] = 1  # three a day, whoever they are: some 20 a week of 300

    found = standing([lived(2, change=loud)], READS)
    assert not found.moved and by_name(found)["sweep_1d"] < 0.2


def test_partitions_are_taken_together_and_those_that_are_not_ready_are_left_out() -> None:
    def change(day: int, values: np.ndarray) -> None:
        if day >= WEEKS - 5:
            values[:, INDEX["sweep_1d"]] = 0.9

    parts = [lived(seed, change=change, accounts=16) for seed in range(5)]
    assert not standing(parts[:1], READS).columns, f"fewer than {FEWEST} accounts"
    together = standing([*parts, lived(9, WARM_UP)], READS)
    assert together.moved["extraction", "program"] == 1 and together.accounts["program"] == pytest.approx(80, abs=8)


def test_before_two_weeks_nothing_is_told() -> None:
    found = standing([lived(3, WEEKS - 1)], READS)
    assert set(found.accounts.values()) == {0} and not found.columns and not found.rates
    assert standing([], READS).columns == []


def test_cases_that_come_more_often_are_told() -> None:
    (rate,) = standing([lived(4, WEEKS + 8, cases=3, later=40)], READS).rates
    assert rate.moved and rate.before < 6 and rate.now > 20
    (rate,) = standing([lived(4, WEEKS + 8, cases=12, later=0)], READS).rates
    assert rate.moved and rate.now < rate.before


def campaigns(seed: int, days: int, cases: float, later: float) -> CaseHours:
    """A partition of sightings: campaigns' cases a day, and from the last week on."""
    rng, kept = np.random.default_rng(seed), CaseHours()
    for day in range(days + 1):
        kept.turn(FIRST + day)
        for _ in range(rng.poisson(later if day >= days - 5 else cases)):
            kept.opened("relay", 1, (FIRST + day) * float(DAY) + rng.uniform(0, DAY))
    return kept


def test_cases_of_campaigns_that_come_more_often_are_told_and_go_on_after_a_restart() -> None:
    kept = campaigns(4, WEEKS + 8, 3, 40)
    again = CaseHours()
    again.restore(kept.snapshot())
    again.restore({})
    assert again.day == -1 and not again.cases(), "state of an earlier release has none"
    again.restore(kept.snapshot())
    steady = campaigns(5, WEEKS + 8, 1, 1)
    (rate,) = standing([], READS, [again, steady]).rates
    assert (rate.pattern, rate.cohort, rate.moved) == ("relay", "program", True) and rate.before < 8 and rate.now > 20
    (rate,) = standing([], READS, [campaigns(6, WEEKS + 8, 4, 4)]).rates
    assert not rate.moved
    both = standing([lived(4, WEEKS + 8, cases=3, later=40)], READS, [kept])
    assert {one.pattern: one.moved for one in both.rates} == {"extraction": True, "relay": True}
    assert not standing([], READS, [campaigns(7, WEEKS - 1, 4, 4)]).rates


def test_a_stage_of_fingerprints_counts_the_cases_that_open_on_days_that_accounts_agree_on() -> None:
    stage = FingerprintStage(ScorerConfig())
    requests = np.repeat(blank(), 2)
    requests["session"] = (0, 5)
    for day in range(WEEKS + 1):
        sure = np.full(2, (FIRST + day) * float(DAY) + 7200.0)
        block: Any = SimpleNamespace(sure=sure, offsets=np.array([7, 9]), which=np.arange(2), requests=requests)
        found: Any = [
            SimpleNamespace(kind=kind, offset=offset, pattern="relay") for kind, offset in (("open", 9), ("update", 7))
        ]
        stage.judged(block, found)
        stage.judged(SimpleNamespace(**(vars(block) | {"sure": np.zeros(2)})), found)  # applied before
    (cases,) = stage.hours.cases().values()
    assert cases.shape == (2 * WINDOW, 3, 24) and (cases[:, 0, 2] == 1).all() and cases.sum() == 2 * WINDOW
    again = FingerprintStage(ScorerConfig())
    again.restore(stage.snapshot())
    assert (again.hours.cases()["relay"] == cases).all()


def test_the_index_of_samples_of_one_population_is_about_zero_beyond_noise() -> None:
    rng = np.random.default_rng(5)
    found = []
    for _ in range(200):
        old, new = (np.bincount(rng.integers(0, 64, n), minlength=64) / n for n in (400, 100))
        p, q = grouped(old, new)
        found.append(excess(smoothed(p, 400), smoothed(q, 100), 400, 100))
        assert len(p) == 10 and chance_of(old, new, 400, 100) > 1e-4
    assert abs(np.mean(found)) < 0.01
    same, other = np.eye(2)
    assert chance_of(same, same, 100, 100) == 1 and chance_of(same, other, 100, 100) < 1e-6
