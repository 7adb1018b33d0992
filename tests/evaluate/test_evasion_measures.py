"""What is left of an attack after a trick, and its cost: counts by account and campaign, ratios, costs by answer."""

from __future__ import annotations

import numpy as np
import pytest
from eval_fakes import observed

from siphonwatch.models.evaluate.alerts import first_alerts
from siphonwatch.models.evaluate.evasion import FPR, Effort, cost, kept, outcome, pooled
from siphonwatch.models.evaluate.ranking import exceeds
from siphonwatch.models.evaluate.report import Found, Outcome


def found(accounts: int = 10, alerted: int = 8, above: int = 6, campaigns: int = 4, hit: int = 2) -> Found:
    return Found(accounts, campaigns, alerted, hit, hit, above, hit, hit)


def outcome_of(one: Found) -> Outcome:
    return Outcome(one, {}, {}, 100, 0)


def test_accounts_are_counted_as_the_evaluation_itself_counts_them() -> None:
    data = observed(3)
    attack = data.truth.attack
    alerted = first_alerts(data.alerts, attack, data.truth.onset).found
    high = exceeds(data.score[attack], data.score[~attack], np.ones((1, int((~attack).sum()))), FPR)
    made = outcome(data)
    assert (made.all.accounts, made.all.alerted) == (attack.sum(), (alerted & attack).sum())
    assert made.all.above == high.sum()
    assert (made.honest, made.honest_alerted) == ((~attack).sum(), (alerted & ~attack).sum())
    assert sum(one.accounts for one in made.by_type.values()) == made.all.accounts
    assert sum(one.alerted for one in made.by_share.values()) == made.all.alerted


def test_a_campaign_is_found_by_any_of_its_accounts_and_half_found_by_half_of_them() -> None:
    data = observed(3)
    members = np.flatnonzero(data.truth.attack)[:4]
    campaign = [f"C-{i}" if bad else "" for i, bad in enumerate(data.truth.attack.tolist())]
    for i in members.tolist():
        campaign[i] = "C-four"
    truth = data.truth._replace(campaign=campaign, onset=np.full(len(campaign), np.nan))
    for named, expected in ((0, (0, 0)), (1, (1, 0)), (2, (1, 1)), (4, (1, 1))):
        hits = members[:named]
        alerts = data.alerts._replace(
            account=hits, time=np.ones(named), pattern=np.zeros(named, np.int64), case=np.arange(named)
        )
        made = outcome(data._replace(truth=truth, alerts=alerts)).all
        assert (made.alerted_campaigns, made.alerted_halves) == expected
        assert made.alerted == named
        assert made.campaigns == int(truth.attack.sum()) - 3


def test_counts_of_several_data_sets_add_up() -> None:
    first, second = outcome(observed(3)), outcome(observed(4))
    both = pooled([first, second])
    assert both.all.accounts == first.all.accounts + second.all.accounts
    assert both.by_type["attack 0"].alerted == first.by_type["attack 0"].alerted + second.by_type["attack 0"].alerted
    assert sum(one.accounts for one in both.by_share.values()) == both.all.accounts
    assert both.honest_alerted == first.honest_alerted + second.honest_alerted


def test_what_is_kept_is_the_least_that_is_left_of_any_recall() -> None:
    before = outcome_of(found())
    assert kept(before, before) == 1.0
    assert kept(before, outcome_of(found(alerted=4))) == pytest.approx(0.5)
    assert kept(before, outcome_of(found(above=3))) == pytest.approx(0.5)
    assert kept(before, outcome_of(found(accounts=20, alerted=16, above=12))) == 1.0
    assert kept(before, outcome_of(found(hit=1))) == pytest.approx(0.5)
    assert kept(outcome_of(found(alerted=0, above=0, hit=0)), before) == 1.0


def test_costs_are_by_answer_and_infinite_where_nothing_is_answered_any_more() -> None:
    plain = Effort(answers=10, requests=10, tokens_in=100, tokens_out=200, accounts=2, days=5.0)
    same = cost(plain, plain)
    assert set(same.__struct_fields__) == {"requests", "tokens_in", "tokens_out", "accounts", "days"}
    assert all(getattr(same, name) == 1.0 for name in same.__struct_fields__)
    half = cost(plain, Effort(answers=5, requests=10, tokens_in=100, tokens_out=100, accounts=2, days=5.0))
    assert (half.requests, half.tokens_in, half.tokens_out, half.accounts, half.days) == (2.0, 2.0, 1.0, 1.0, 2.0)
    none = cost(plain, Effort(answers=0, requests=10, tokens_in=100, tokens_out=0, accounts=2, days=5.0))
    assert none.requests == float("inf")
    free = Effort(answers=10, requests=10, accounts=2, days=5.0)
    assert cost(free, free).tokens_in == 1.0, "a REST API has no tokens"
