"""Drift is found where a feature moved in a cohort, abruptly or slowly; neither chance nor one account makes one."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

from siphonwatch.models.learn.drift import DAY, Drift, DriftWatch, TooShort
from siphonwatch.models.learn.stability import FEWEST

FEATURES, PATTERNS = 12, 2
BEGIN = 20_000 * DAY
"""A Wednesday."""
Change = Callable[[int, np.ndarray, np.ndarray], None]
"""What happens on a day, to values `(n, F + P)` of requests in cohorts `(n,)`."""


def watched(seed: int, change: Change | None = None, *, accounts: int = 300, days: int = 14, each: int = 6) -> Drift:
    """Accounts whose own level each day scatters a little, more active by day, and other at night."""
    rng = np.random.default_rng(seed)
    watch = DriftWatch(FEATURES, PATTERNS, BEGIN, BEGIN + 7 * DAY)
    own = rng.random((accounts, FEATURES + PATTERNS))
    own[:, 0] = 0  # a share that is 0 of nearly all
    cohort = np.arange(accounts) % 2
    for day in range(days):
        hour = np.sort(rng.choice(24, accounts * each, p=_active()))
        time = np.sort(BEGIN + day * DAY + hour * 3600 + rng.uniform(0, 3600, accounts * each))
        who = rng.integers(0, accounts, len(time))
        values = own[who] + rng.normal(0, 0.05, (len(time), FEATURES + PATTERNS))
        values[:, 0] = (rng.random(len(time)) < 0.01) * 0.5
        values[:, 1] += np.where(time % DAY < DAY / 3, 0.5, 0.0)  # nights are other than days
        if change:
            change(day, values, cohort[who])
        part = values.astype(np.float32)
        watch.take(who, cohort[who], time, part[:, :FEATURES], np.clip(part[:, FEATURES:], 0, None))
    watch.take(np.array([0]), np.array([0]), np.array([BEGIN + days * DAY + 7200.0]),
               np.zeros((1, FEATURES), np.float32), np.zeros((1, PATTERNS), np.float32))  # fmt: skip
    return watch.result()


def _active() -> np.ndarray:
    weights = 1 + 4 * np.sin(np.arange(24) * np.pi / 24)
    return np.asarray(weights / weights.sum())


def test_an_abrupt_change_of_one_feature_in_one_cohort_is_found_with_its_day_and_direction() -> None:
    def change(day: int, values: np.ndarray, cohort: np.ndarray) -> None:
        if day >= 13:
            values[cohort == 1, 4] -= 0.5

    drift = watched(1, change)
    (moved,) = drift.moved
    assert (moved.column, moved.cohort, moved.direction, moved.days) == (4, "program", "down", 1)
    assert moved.since == BEGIN + 13 * DAY and moved.psi > max(moved.floor, 0.2)


def test_a_slow_change_is_found() -> None:
    def change(day: int, values: np.ndarray, cohort: np.ndarray) -> None:
        values[cohort == 0, 5] += 0.07 * max(day - 6, 0)

    (moved,) = watched(2, change).moved
    assert (moved.column, moved.cohort, moved.direction) == (5, "conversation", "up")
    assert BEGIN + 7 * DAY <= moved.since <= BEGIN + 12 * DAY


def test_a_share_that_is_zero_of_nearly_all_is_found_when_it_is_not_any_more() -> None:
    def change(day: int, values: np.ndarray, cohort: np.ndarray) -> None:
        if day >= 10:
            values[:, 0] += 0.3

    assert {one.column for one in watched(3, change).moved} == {0}


def test_a_column_that_spreads_about_the_same_middle_is_told_as_that() -> None:
    def change(day: int, values: np.ndarray, cohort: np.ndarray) -> None:
        if day >= 9:
            values[:, 6] = 0.5 + np.sign(values[:, 6] - 0.5) * 0.6

    assert {(one.column, one.direction) for one in watched(4, change).moved} == {(6, "spread")}


def test_a_reference_moves_with_the_scores() -> None:
    def change(day: int, values: np.ndarray, cohort: np.ndarray) -> None:
        if day >= 8:
            values[:, FEATURES + 1] += 0.5

    assert {one.column for one in watched(5, change).moved} == {FEATURES + 1}


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("accounts", [70, 300])
def test_stationary_traffic_with_nights_and_days_moves_nothing(seed: int, accounts: int) -> None:
    drift = watched(100 + seed, accounts=accounts)
    assert drift.moved == [] and drift.rates == [] and drift.too_few == ["rest"]


def test_weekends_that_are_other_than_working_days_are_no_change() -> None:
    def change(day: int, values: np.ndarray, cohort: np.ndarray) -> None:
        if (20_000 + day + 3) % 7 >= 5:
            values[:, 3] += 0.8

    for days in (11, 12, 13, 14):  # the last day is a Saturday, a Sunday, a Monday, a Tuesday
        assert watched(6, change, days=days).moved == []


def test_one_loud_account_moves_nothing_however_much_it_sends() -> None:
    watch = DriftWatch(FEATURES, PATTERNS, BEGIN, BEGIN + 7 * DAY)
    rng = np.random.default_rng(7)
    own = rng.random((100, FEATURES))
    for day in range(14):
        who = np.concatenate([np.arange(100), np.zeros(5000 * (day >= 7), np.int64)])
        features = (own[who] + rng.normal(0, 0.02, (len(who), FEATURES))).astype(np.float32)
        features[100:] = 50.0
        time = BEGIN + day * DAY + np.sort(rng.uniform(0, DAY, len(who)))
        watch.take(who, np.zeros(len(who), np.int64), time, features, np.zeros((len(who), PATTERNS), np.float32))
    drift = watch.result()
    assert drift.until == BEGIN + 14 * DAY and drift.moved == []


def cases(rate: Callable[[int, float], float], seed: int = 8) -> Drift:
    """Cases of pattern 1 in cohort 1: so many an hour, by day and share of the day."""
    watch, rng = DriftWatch(1, PATTERNS, BEGIN, BEGIN + 7 * DAY), np.random.default_rng(seed)
    number = 0
    for hour in range(21 * 24 + 2):
        time = BEGIN + hour * 3600.0
        for _ in range(rng.poisson(rate(hour // 24, hour % 24 / 24))):
            number += 1
            watch.take_case(number, 1, 1, time)
        watch.take(np.array([0]), np.array([1]), np.array([time]), np.zeros((1, 1), np.float32),
                   np.zeros((1, PATTERNS), np.float32))  # fmt: skip
    return watch.result()


def test_cases_that_come_four_times_as_often_are_found_with_about_their_day() -> None:
    (moved,) = cases(lambda day, share: 2.0 if day >= 12 else 0.5).rates
    assert (moved.pattern, moved.cohort) == (1, "program")
    assert moved.after > 3 * moved.before and abs(moved.since - BEGIN - 12 * DAY) <= 2 * DAY


def test_cases_that_cease_are_found() -> None:
    (moved,) = cases(lambda day, share: 0.0 if day >= 12 else 1.0).rates
    assert moved.after < 0.2 * moved.before


@pytest.mark.parametrize("seed", range(20))
def test_cases_that_come_by_day_and_not_by_night_are_no_change(seed: int) -> None:
    assert cases(lambda day, share: 1.5 * (share > 0.4), seed).rates == []


def test_an_account_has_one_case_a_day_and_pattern() -> None:
    watch = DriftWatch(1, PATTERNS, BEGIN, BEGIN + 7 * DAY)
    one = np.zeros((1, 1), np.float32)
    for hour in range(14 * 24 + 2):
        time = BEGIN + hour * 3600.0
        for _ in range(50 if hour > 200 else 0):
            watch.take_case(5, 0, 0, time)
        watch.take(np.array([5]), np.array([0]), np.array([time]), one, np.zeros((1, PATTERNS), np.float32))
    assert watch.result().rates == []


def test_few_accounts_are_not_compared_and_said_to_be_so() -> None:
    drift = watched(9, accounts=2 * FEWEST - 4)
    assert drift.moved == [] and drift.too_few == ["conversation", "program", "rest"]


def test_requests_of_a_day_that_is_closed_are_counted() -> None:
    watch = DriftWatch(1, 1, BEGIN, BEGIN + DAY)
    for time in (BEGIN, BEGIN + 2.5 * DAY, BEGIN + DAY):
        watch.take(np.array([0]), np.array([0]), np.array([float(time)]), np.zeros((1, 1), np.float32),
                   np.zeros((1, 1), np.float32))  # fmt: skip
    assert watch.result().late == 1


def test_a_gap_of_years_takes_no_memory_for_its_days() -> None:
    features, years = 90, 10
    watch = DriftWatch(features, PATTERNS, BEGIN, BEGIN + DAY)
    tracemalloc.start()
    try:
        for time in (BEGIN, BEGIN + years * 365 * DAY):
            watch.take(np.array([0]), np.array([0]), np.array([float(time)]), np.zeros((1, features), np.float32),
                       np.zeros((1, PATTERNS), np.float32))  # fmt: skip
        assert tracemalloc.get_traced_memory()[0] < 20e6, "16 KB a day and cohort would be 160 MB"
    finally:
        tracemalloc.stop()


def test_a_baseline_that_leaves_nothing_to_compare_is_refused_with_what_there_is() -> None:
    with pytest.raises(TooShort, match="5 whole days from where the baseline begins, and it takes 7"):
        watched(10, days=5)


def test_a_baseline_that_ends_before_its_first_day_is_refused() -> None:
    with pytest.raises(TooShort, match="ends before its first whole day"):
        DriftWatch(1, 1, BEGIN, BEGIN)
