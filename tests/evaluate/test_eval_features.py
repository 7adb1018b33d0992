"""Features of a run: gathered as they were scored, without changing a score, and pointed the same way or not."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from siphonwatch.models.account.features import WIDTH
from siphonwatch.models.evaluate.ablation import combined, subsets
from siphonwatch.models.evaluate.calibration import crossed
from siphonwatch.models.evaluate.features import Gathered, directions, halves, stable


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 40), max_size=9), min_size=1, max_size=5), st.integers(0, 99))
def test_highest_and_mean_are_those_of_the_requests_that_were_taken(batches: list[list[int]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    gathered, rows, accounts, scored, evidence = Gathered(), [], [], [], []
    for batch in batches:
        m = len(batch)
        values, scores = rng.normal(0, 2, (m, WIDTH)).astype(np.float32), rng.random((m, 3)).astype(np.float32)
        log_e, taken = rng.normal(0, 5, (m, 3)).astype(np.float32), rng.random(m) < 0.8
        log_e[rng.random((m, 3)) < 0.2] = np.nan
        gathered.take(np.array(batch, np.int64), taken, values, scores, log_e)
        rows += list(values[taken])
        scored += list(scores[taken])
        evidence += list(log_e[taken])
        accounts += [account for account, was in zip(batch, taken.tolist(), strict=True) if was]
    n = max(accounts, default=-1) + 1
    assert gathered.count.sum() == len(accounts)
    for account in set(accounts):
        mine = [i for i, a in enumerate(accounts) if a == account]
        own = np.array([rows[i] for i in mine], np.float64)
        assert (gathered.highest[account] == own.max(0)).all()
        assert np.allclose(gathered.mean(n)[account], own.mean(0))
        assert gathered.count[account] == len(own)
        assert gathered.top[account, :3].tolist() == np.max([scored[i] for i in mine], 0).tolist()
        peak = np.nanmax([np.zeros(3), *(evidence[i] for i in mine)], axis=0)
        assert gathered.peak[account, :3].tolist() == peak.tolist()
    unseen = sorted(set(range(n)) - set(accounts))
    assert not gathered.mean(n)[unseen].any()


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(0, 9))
def test_halves_split_every_stratum_evenly(strata: list[int], seed: int) -> None:
    groups = np.array(strata)
    first = halves(groups, seed)
    for group in set(strata):
        size = strata.count(group)
        assert first[groups == group].sum() == (size + 1) // 2
    assert (halves(groups, seed) == first).all()


def test_a_feature_is_stable_where_it_is_on_one_side_in_every_part() -> None:
    attack = np.array([True, False] * 4)
    part = np.array([True] * 4 + [False] * 4)
    values = np.zeros((8, 4))
    values[:, 0] = attack
    values[:, 1] = -1.0 * attack
    values[:, 2] = attack * np.where(part, 1, -1)
    areas = directions(values, attack, [part, ~part])
    assert areas.tolist() == [[1.0, 1.0], [0.0, 0.0], [1.0, 0.0], [0.5, 0.5]]
    assert stable(areas).tolist() == [True, True, False, False]
    assert stable(np.array([[0.51, 0.9]]), 0.02).tolist() == [False]


def test_patterns_are_left_out_one_by_one_and_stand_alone() -> None:
    names = [subset.name for subset in subsets(("a", "b"))]
    assert names == ["all", "without a", "without b", "only a", "only b"]
    peak, top, weight = np.array([[25.0, 2.0], [-3.0, 1.0]]), np.array([[0.5, 0.1], [0.9, 0.2]]), np.array([1.0, 3.0])
    ranks = {s.name: combined(peak, top, weight, s.keep).tolist() for s in subsets(("a", "b"))}
    assert ranks["only a"] == ranks["without b"] == [20.5, 0.9]
    assert ranks["only b"] == ranks["without a"] == [6.1, 3.2]
    assert ranks["all"] == [20.5, 3.2]
    assert combined(peak, top, weight, np.zeros(2, bool)).tolist() == [0.0, 0.0]


def test_evidence_crosses_at_one_over_alpha() -> None:
    peak = np.log(np.array([99.0, 100.0, 101.0])).astype(np.float32)
    assert crossed(peak, 0.01).tolist() == [False, True, True]
