"""Whoever is turned away opens no row; an account that has one is turned away in full view."""

from __future__ import annotations

import numpy as np
import pytest
from core_fakes import START, dump_of, load_into, name_account, placeless, requests, run, state, traffic

from siphonwatch.models.account.request import Array
from siphonwatch.models.engine.config import ScorerConfig
from siphonwatch.models.engine.scorer import Scorer
from siphonwatch.models.engine.stage import REFUSED


def flood(n: int, status: int) -> Array:
    """Requests with made-up keys, another in each."""
    q = requests("flood", [START + i for i in range(n)])
    for i in range(n):
        name_account(q[i : i + 1], f"made-up-{i}")
    q["status"] = status
    return q


def test_made_up_keys_that_are_turned_away_cost_no_row() -> None:
    scorer = Scorer(ScorerConfig())
    for status in REFUSED:
        run(scorer, flood(300, status))
    assert len(scorer.table) == 0 and scorer.refused == 300 * len(REFUSED)
    assert not scorer.table.take_dirty()
    assert scorer.now == 0.0 and scorer.stage.count.requests == 0


@pytest.mark.parametrize("status", [200, 206, 304, 404, 408, 429, 499, 500, 503, 529])
def test_whoever_may_have_got_something_has_a_row(status: int) -> None:
    scorer = Scorer(ScorerConfig())
    run(scorer, flood(30, status))
    assert len(scorer.table) == 30 and scorer.refused == 0


def test_an_account_that_was_let_in_is_turned_away_in_full_view() -> None:
    q = requests("known", [START + i for i in range(5)])
    q["status"] = [401, 200, 403, 401, 407]
    scorer = Scorer(ScorerConfig())
    run(scorer, q)
    rows = scorer.table.rows[scorer.table.used()]
    assert rows["requests"].tolist() == [4] and scorer.refused == 1
    assert scorer.sighted.max(initial=-1) < 5


def test_a_flood_among_others_changes_nothing_of_them() -> None:
    alone, beside = Scorer(ScorerConfig(budget=1.0)), Scorer(ScorerConfig(budget=1.0))
    honest = traffic(seed=1)
    noise = flood(len(honest), 401)
    noise["time"] = honest["time"]
    mixed = np.concatenate([honest, noise])[np.argsort(np.tile(np.arange(len(honest)), 2), kind="stable")]
    found = run(alone, honest)
    assert found and placeless(run(beside, mixed)) == placeless(found)
    assert beside.refused == len(honest) and len(beside.table) == len(alone.table)
    assert beside.stage.count.requests == alone.stage.count.requests
    pages, other = state(alone)[1], state(beside)[1]
    assert pages.keys() == other.keys()


def test_how_many_were_turned_away_is_kept() -> None:
    scorer, again = Scorer(ScorerConfig()), Scorer(ScorerConfig())
    run(scorer, flood(7, 403))
    load_into(again, dump_of(scorer))
    assert again.refused == 7
