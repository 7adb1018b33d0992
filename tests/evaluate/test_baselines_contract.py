"""Every baseline ranks accounts by one call, whatever comes, and none looks beyond what the account sent."""

from __future__ import annotations

import numpy as np
import pytest
from baseline_streams import stream, texts
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from siphonwatch.models.account.request import REQUEST
from siphonwatch.models.evaluate.baselines import Baseline, baselines

EACH = pytest.mark.parametrize("baseline", baselines(), ids=lambda b: b.name)


def test_names_are_words_for_tables_and_differ() -> None:
    names = [baseline.name for baseline in baselines()]
    assert len(set(names)) == len(names)
    assert all(baseline.source for baseline in baselines())


@EACH
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 260), min_size=1, max_size=4), st.integers(0, 99))
def test_every_account_has_one_finite_score(baseline: Baseline, sizes: list[int], seed: int) -> None:
    requests, owners, n = stream([texts(size, seed + i) for i, size in enumerate(sizes)])
    scores = baseline.score(requests, owners, n)
    assert scores.shape == (n,)
    assert scores.dtype == np.float64
    assert np.isfinite(scores).all()


@EACH
def test_no_request_gives_every_account_the_lowest_score(baseline: Baseline) -> None:
    scores = baseline.score(np.zeros(0, REQUEST), np.zeros(0, np.intp), 3)
    assert scores.tolist() == [0.0, 0.0, 0.0]


@EACH
def test_the_same_requests_give_the_same_scores(baseline: Baseline) -> None:
    requests, owners, n = stream([texts(300, 1), texts(150, 2)])
    first, second = (baseline.score(requests, owners, n) for _ in range(2))
    assert first.tobytes() == second.tobytes()


@EACH
def test_requests_without_text_are_scored_too(baseline: Baseline) -> None:
    requests, owners, n = stream([np.zeros((300, 32)), texts(300, 2)])
    assert np.isfinite(baseline.score(requests, owners, n)).all()


# Within a day, the trees learn accounts in the order of their numbers.
@pytest.mark.parametrize("baseline", [b for b in baselines() if b.name != "hst-daily"], ids=lambda b: b.name)
def test_the_numbers_of_accounts_are_names_only(baseline: Baseline) -> None:
    requests, owners, n = stream([texts(220, 1), texts(150, 2, texts(1, 9), 0.1), texts(400, 3)])
    renamed = np.array([2, 0, 1])
    assert np.allclose(baseline.score(requests, owners, n), baseline.score(requests, renamed[owners], n)[renamed])
