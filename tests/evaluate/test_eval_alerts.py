"""What alerts were worth: found from the onset on, delays counted in requests, false cases counted once."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siphonwatch.models.evaluate.alerts import Alerts, discoveries, first_alerts, quantiles, requests_until


def alerts(*rows: tuple[int, float, int, int]) -> Alerts:
    account, time, pattern, case = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Alerts(np.array(account, int), np.array(time, float), np.array(pattern, int), np.array(case, int))


ATTACK = np.array([True, True, False, False])
ONSET = np.array([100.0, math.nan, math.nan, math.nan])


def test_an_alert_before_the_onset_is_early_and_finds_nothing() -> None:
    first = first_alerts(alerts((0, 99.0, 0, 0), (0, 150.0, 0, 1), (0, 120.0, 0, 1)), ATTACK, ONSET)
    assert first.time.tolist() == [120.0, math.inf, math.inf, math.inf]
    assert first.early.tolist() == [True, False, False, False]
    only_early = first_alerts(alerts((0, 99.0, 0, 0)), ATTACK, ONSET)
    assert not only_early.found.any()


def test_an_alert_at_the_onset_or_with_an_unknown_onset_finds_the_account() -> None:
    first = first_alerts(alerts((0, 100.0, 0, 0), (1, 5.0, 0, 1), (3, 7.0, 0, 2)), ATTACK, ONSET)
    assert first.found.tolist() == [True, True, False, True]
    assert not first.early.any()


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(-1, 3), st.integers(0, 9)), max_size=40),
    st.lists(st.integers(0, 9), min_size=8, max_size=8),
)
def test_requests_are_counted_from_start_to_end_both_included(requests: list[tuple[int, int]], ends: list[int]) -> None:
    account, time = np.array([a for a, _ in requests], int), np.array([t for _, t in requests], float)
    start, end = np.array(ends[:4], float), np.array(ends[4:], float)
    end[0] = math.inf
    expected = [sum(a == i and start[i] <= t <= end[i] for a, t in requests) for i in range(4)]
    assert requests_until(account, time, start, end).tolist() == expected


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 4)), min_size=1, max_size=15), st.floats(0, 1))
def test_weighted_quantiles_are_those_of_values_repeated(rows: list[tuple[int, int]], share: float) -> None:
    values, weights = np.array([v for v, _ in rows], float), np.array([[w for _, w in rows]], float)
    [[found]] = quantiles(values, weights, (share,))
    whole = np.repeat(values, weights[0].astype(int))
    assert math.isnan(found) if not len(whole) else found == pytest.approx(np.quantile(whole, share))


def test_quantiles_beside_the_never_found_are_infinite() -> None:
    values, one = np.array([5.0, math.inf, 7.0, math.inf]), np.ones((1, 4))
    assert quantiles(values, one, (0.0, 1 / 3, 0.5, 1.0))[0].tolist() == [5.0, 7.0, math.inf, math.inf]
    assert np.isnan(quantiles(np.zeros(0), np.zeros((1, 0)), (0.5,))).all()


def test_a_case_is_false_unless_it_names_an_account_that_is_attacking() -> None:
    named = alerts(
        (0, 120.0, 0, 0), (0, 130.0, 0, 0),  # one case told twice
        (2, 1.0, 0, 1),                      # honest
        (0, 50.0, 0, 2),                     # before the onset
        (1, 9.0, 0, 3), (3, 9.0, 0, 3),      # one case over an attacker and a bystander
    )  # fmt: skip
    found = discoveries(named, ATTACK, ONSET)
    assert (found.false_cases, found.cases) == (2, 4)
    assert found.all.sum() == pytest.approx(4) and found.false.sum() == pytest.approx(2)
    assert found.proportion(np.ones((1, 4)))[0] == pytest.approx(0.5)
    assert found.proportion(np.array([[0.0, 1.0, 0.0, 1.0]]))[0] == 0.0
    assert found.proportion(np.array([[0.0, 0.0, 3.0, 0.0]]))[0] == 1.0


def test_an_early_case_that_goes_on_into_the_attack_is_no_false_one() -> None:
    found = discoveries(alerts((0, 50.0, 0, 0), (0, 150.0, 0, 0)), ATTACK, ONSET)
    assert found.false_cases == 0


def test_without_cases_there_is_no_proportion() -> None:
    found = discoveries(alerts(), ATTACK, ONSET)
    assert found.cases == 0 and np.isnan(found.proportion(np.ones((1, 4)))).all()
