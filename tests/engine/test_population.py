"""An account counts once a week however much it sends; days become a week, and a week what was before."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from siphonwatch.models.account.features import INDEX, WIDTH
from siphonwatch.models.account.request import Array, blank
from siphonwatch.models.common.arrays import pack, unpack
from siphonwatch.models.engine.case_hours import DAY, KEPT, WARM_UP
from siphonwatch.models.engine.config import ScorerConfig
from siphonwatch.models.engine.population import CELLS, WATCHED, WINDOW, Population
from siphonwatch.models.engine.stage import AccountStage

FIRST = 20_000
"""A day since 1970."""
SWEEP = WATCHED.index("sweep_1d")


def requests(accounts: npt.NDArray[np.int64], cohort: str = "program") -> Array:
    """A request of each account; their numbers are their hashes, so that each is in the cell of its number."""
    made = np.repeat(blank(), len(accounts))
    made["account_hash"] = accounts
    made["rest"], made["session"] = cohort == "rest", cohort == "conversation"
    return made


def take(
    population: Population, day: int, accounts: npt.NDArray[np.int64], sweep: float = 0.5, cohort: str = "program"
) -> None:
    """A day on which each of the accounts closes an hour."""
    values = np.zeros((len(accounts), WIDTH), np.float32)
    values[:, INDEX["sweep_1d"]] = sweep
    time = np.full(len(accounts), (FIRST + day) * float(DAY) + 3600)
    population.take(requests(accounts, cohort), np.ones(len(accounts), np.bool_), time, values)


def days(population: Population, first: int, last: int, accounts: npt.NDArray[np.int64], sweep: float = 0.5) -> None:
    for day in range(first, last):
        take(population, day, accounts, sweep)


def counted(population: Population) -> int:
    """Accounts of the last whole week."""
    return int(population.week[:, SWEEP].sum())


def test_each_account_counts_once_in_any_seven_days_however_often_it_comes() -> None:
    population, accounts = Population(), np.arange(100)
    days(population, 0, WARM_UP + WINDOW + 1, np.repeat(accounts, 5))
    for day in range(WARM_UP + WINDOW + 1, WARM_UP + 4 * WINDOW):
        take(population, day, np.repeat(accounts, 5))
        assert counted(population) == 100


def test_one_account_with_half_of_the_requests_moves_one_count() -> None:
    population = Population()
    for day in range(WARM_UP + WINDOW + 1):
        for hour in range(24):
            take(population, day, np.array([5]), sweep=1.0)
            take(population, day, np.arange(10 + 24 * 10)[hour::24], sweep=0.1)
    week = population.week[1, SWEEP]
    assert week.sum() == 250 and week[-1] == 1, "the loud one is one of 250"


def test_the_first_days_are_left_out_and_two_weeks_make_it_ready() -> None:
    population = Population()
    for day in range(WARM_UP + 2 * WINDOW):
        take(population, day, np.arange(50))
        assert not population.ready
    take(population, WARM_UP + 2 * WINDOW, np.arange(50))
    assert population.ready and counted(population) == 50
    assert population.before[1, SWEEP].sum() == pytest.approx(50, rel=0.3) and 6 < population.days_before < 7


def test_what_was_before_fades_and_forgets() -> None:
    population = Population()
    days(population, 0, WARM_UP + 2 * WINDOW + 1, np.arange(50), sweep=0.1)
    days(population, WARM_UP + 2 * WINDOW + 1, WARM_UP + 13 * WINDOW, np.arange(50), sweep=0.9)
    shares = population.before[1, SWEEP] / population.before[1, SWEEP].sum()
    assert shares[int(0.9 * 64)] > 0.9 and population.days_before < 21


def test_cohorts_are_counted_by_themselves() -> None:
    population = Population()
    for day in range(WARM_UP + WINDOW + 1):
        for c, cohort in enumerate(("conversation", "program", "rest")):
            take(population, day, np.arange(10) + 100 * c, cohort=cohort)
    assert population.week[:, SWEEP].sum(axis=1).tolist() == [10, 10, 10]


def test_accounts_beyond_the_cells_take_no_room() -> None:
    population, many = Population(), np.arange(3 * CELLS)
    size = len(pack(population.snapshot()))
    days(population, 0, WARM_UP + 1, np.arange(1))
    days(population, WARM_UP + 1, WARM_UP + WINDOW + 1, many)
    assert counted(population) <= CELLS and len(pack(population.snapshot())) == pytest.approx(size, abs=100)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_a_value_that_is_no_number_counts_somewhere_and_ends_nothing(value: float) -> None:
    population = Population()
    days(population, 0, WARM_UP + WINDOW + 1, np.arange(20), sweep=value)
    assert counted(population) == 20


def test_days_without_requests_leave_the_week_emptier() -> None:
    population = Population()
    days(population, 0, WARM_UP + 2 * WINDOW + 1, np.arange(70))
    take(population, WARM_UP + 2 * WINDOW + 4, np.arange(70))
    assert population.ready and counted(population) == 40


@pytest.mark.parametrize("leap", [KEPT + 1, -2])
def test_a_clock_that_leaps_begins_anew(leap: int) -> None:
    population = Population()
    days(population, 0, WARM_UP + 2 * WINDOW + 1, np.arange(50))
    take(population, WARM_UP + 2 * WINDOW + leap, np.arange(50))
    assert not population.ready and population.begin == population.day + WARM_UP and not counted(population)


def test_a_clock_that_goes_back_over_midnight_does_not() -> None:
    population = Population()
    days(population, 0, WARM_UP + 2 * WINDOW + 1, np.arange(50))
    day = population.day
    take(population, WARM_UP + 2 * WINDOW - 1, np.arange(50))
    assert population.ready and population.day == day


def test_a_block_over_several_days_counts_on_each() -> None:
    one, other, accounts = Population(), Population(), np.arange(40)
    days(one, 0, 40, accounts)
    values = np.zeros((40 * 40, WIDTH), np.float32)
    values[:, INDEX["sweep_1d"]] = 0.5
    time = np.repeat((FIRST + np.arange(40)) * float(DAY) + 3600, 40)
    other.take(requests(np.tile(accounts, 40)), np.ones(1600, np.bool_), time, values)
    assert pack(one.snapshot()) == pack(other.snapshot())


def test_cases_are_kept_by_hour_and_leave_after_the_days_that_are_kept() -> None:
    population = Population()
    for day in range(WARM_UP + 2 * KEPT):
        take(population, day, np.arange(5))
        population.opened("extraction", 1, (FIRST + day) * float(DAY) + 5 * 3600.0)
    cases = population.cases()["extraction"]
    assert cases.shape == (KEPT - 1, 3, 24)
    assert (cases[:, 1, 5] == 1).all() and cases.sum() == KEPT - 1
    for number in range(50):
        population.opened(f"made up {number}", 1, population.day * float(DAY))
    assert len(population.cases()) == 16, "patterns are bounded"


def test_state_comes_back_to_the_last_bit_and_goes_on_alike() -> None:
    one, other = Population(), Population()
    for day in range(WARM_UP + 2 * WINDOW + 3):
        take(one, day, np.arange(60) + day, sweep=day / 40)
        one.opened("shift", 0, (FIRST + day) * float(DAY))
    other.restore(unpack(pack(one.snapshot())))
    for population in (one, other):
        take(population, WARM_UP + 2 * WINDOW + 5, np.arange(60))
    assert pack(one.snapshot()) == pack(other.snapshot())


def test_state_of_before_this_release_or_of_other_features_begins_anew() -> None:
    population = Population()
    days(population, 0, WARM_UP + 2 * WINDOW + 1, np.arange(50))
    kept = population.snapshot()
    for parts in ({}, kept | {"of": b"another table"}):
        restored = Population()
        restored.restore(parts)
        assert restored.day == -1 and not restored.ready
    with pytest.raises(ValueError, match="days"):
        Population().restore(kept | {"days": np.zeros(3)})


def test_a_stage_keeps_it_in_its_state_and_reads_state_without_it() -> None:
    stage, other = AccountStage(ScorerConfig()), AccountStage(ScorerConfig())
    days(stage.population, 0, WARM_UP + 3, np.arange(50))
    parts = stage.snapshot()
    other.restore(parts)
    assert other.population.day == FIRST + WARM_UP + 2
    other.restore({name: part for name, part in parts.items() if not name.startswith("population.")})
    assert other.population.day == -1
