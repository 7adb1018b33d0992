"""The whole report on columns made by hand: groups, pooling of data sets, and figures that agree with one another."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from eval_fakes import observed

from siphonwatch.models.evaluate.data import Observed, nearest_share, pool
from siphonwatch.models.evaluate.measure import evaluate
from siphonwatch.models.evaluate.report import FPRS, Report


def report(*sets: Observed, replicates: int = 50, left_out: tuple[str, ...] = ()) -> Report:
    return evaluate(
        sets, pool(sets), alpha=0.001, budget=0.1, replicates=replicates, seed=1, left_out=left_out,
        unlabelled=[0] * len(sets),
    )  # fmt: skip


def test_attack_accounts_are_grouped_by_all_that_the_labels_say() -> None:
    made = report(observed(1), left_out=("C-1",))
    sizes = {(g.by, g.name): g.accounts for g in made.groups}
    assert sizes["all", "all attacks"] == 20
    assert sizes["type", "attack 0"] + sizes["type", "attack 1"] == 20
    assert sum(n for (by, _), n in sizes.items() if by == "share") == 20
    assert sum(n for (by, _), n in sizes.items() if by == "type and share") == 20
    assert sum(n for (by, _), n in sizes.items() if by == "family") == 20
    assert sizes["left out", "left out of every fit"] + sizes["left out", "the others"] == 20
    assert {b.archetype for b in made.false_alarms} == {"all benign", *(f"honest {i}" for i in range(4))}
    assert sum(b.accounts for b in made.false_alarms[1:]) == made.false_alarms[0].accounts == 40


def test_the_report_agrees_with_counting_by_hand() -> None:
    data = observed(2)
    made = report(data)
    truth, named = data.truth, data.alerts
    found = set()
    for account, time in zip(named.account.tolist(), named.time.tolist(), strict=True):
        if not truth.attack[account] or time >= 100:
            found.add(account)
    attackers = [i for i in range(60) if truth.attack[i]]
    every = made.groups[0]
    assert (every.alert_recall.hits, every.alert_recall.of) == (len(found & set(attackers)), 20)
    assert made.false_alarms[0].alerted.hits == len(found - set(attackers))
    assert every.delay_attack_requests is not None
    assert every.delay_attack_requests.never == 20 - len(found & set(attackers))
    spent = []
    for account in sorted(found & set(attackers)):
        first = min(t for a, t in zip(named.account, named.time, strict=True) if a == account and t >= 100)
        rows = zip(data.requests.account, data.requests.time, data.requests.attack, strict=True)
        spent.append(sum(bool(bad) for a, t, bad in rows if a == account and t <= first))
    assert every.delay_attack_requests.values == sorted(spent)
    assert every.delay_attack_requests.median.value == pytest.approx(np.median(spent))
    campaigns = {truth.campaign[i] for i in attackers}
    assert every.delay_campaign is not None
    sent = []
    for campaign in campaigns:
        mine = {i for i in attackers if truth.campaign[i] == campaign}
        times = [t for a, t in zip(named.account, named.time, strict=True) if a in mine and t >= 100]
        if times:
            rows = zip(data.requests.account, data.requests.time, data.requests.attack, strict=True)
            sent.append(sum(bool(bad) for a, t, bad in rows if a in mine and t <= min(times)))
    assert every.delay_campaign.values == sorted(sent)
    assert (every.campaigns, every.campaigns_found) == (len(campaigns), len(sent))
    honest = [i for i in range(60) if not truth.attack[i]]
    pairs = [
        (data.score[i] > data.score[j]) + 0.5 * (data.score[i] == data.score[j]) for i in attackers for j in honest
    ]
    assert every.auc.value == pytest.approx(np.mean(pairs))
    false = sum(not truth.attack[a] or t < 100 for a, t in zip(named.account, named.time, strict=True))
    assert (made.discoveries[0].false, made.discoveries[0].cases) == (false, 60)
    assert made.discoveries[0].proportion.value == pytest.approx(false / 60)
    assert sum(d.cases for d in made.discoveries if d.by == "severity") == 60
    assert made.load.cases_per_1000_accounts_day == pytest.approx(60 / 60 / 7 * 1000)
    for c in made.calibration[1:]:
        p = data.patterns.index(c.pattern)
        for alpha, e in zip(c.alphas, c.exceeded, strict=True):
            assert e.hits == sum(data.peak[i, p] >= math.log(1 / alpha) for i in honest)


def test_intervals_hold_their_figures_and_two_evaluations_are_equal() -> None:
    one, two = report(observed(3)), report(observed(3))
    assert msgspec.json.encode(one) == msgspec.json.encode(two)
    for g in one.groups:
        assert g.alert_recall.low <= g.alert_recall.value <= g.alert_recall.high
        assert len(g.recall_at_fpr) == len(FPRS)


def test_data_sets_are_pooled_account_by_account() -> None:
    first, second = observed(4, name="x"), observed(5, name="y", patterns=("two", "three"))
    made = report(first, second)
    assert [d.name for d in made.datasets] == ["x", "y"]
    assert made.groups[0].accounts == 40
    assert made.direction_parts == ["x", "y"]
    assert made.discoveries[0].cases == 120
    assert made.load.cases_per_1000_accounts_day == pytest.approx(1000 / 7)
    names = [a.patterns for a in made.ablation]
    assert names[1:4] == ["without one", "without two", "without three"]
    pooled = pool([first, second])
    assert (pooled.peak[:60, 2] == 0).all() and (pooled.peak[60:, 1:] == second.peak).all()
    counts = {d.name: d.cases for d in made.discoveries if d.by == "pattern"}
    assert counts["two"] == (first.alerts.pattern == 1).sum() + (second.alerts.pattern == 0).sum()
    alone = report(second)
    assert made.datasets[1] == alone.datasets[0]
    delays = [report(s).groups[0].delay_requests.values for s in (first, second)]
    assert made.groups[0].delay_requests.values == sorted(delays[0] + delays[1])


def test_data_sets_of_other_baselines_are_not_pooled() -> None:
    ranked = observed(1)._replace(baselines={"volume": np.zeros(60)})
    with pytest.raises(ValueError, match="other baselines"):
        pool([observed(1), ranked])


def test_baselines_are_ranked_beside_siphonwatch() -> None:
    data = observed(6)
    made = report(data._replace(baselines={"oracle": data.truth.attack * 1.0, "blind": np.zeros(60)}))
    ours, oracle, blind = made.rivals
    assert ours.auc[0] == made.groups[0].auc and ours.recall_at_fpr[0] == made.groups[0].recall_at_fpr
    assert [e.value for e in oracle.auc] == [1.0] * 3 and oracle.recall_at_fpr[0][0].value == 1.0
    assert [e.value for e in blind.auc] == [0.5] * 3 and blind.recall_at_fpr[0][0].value == 0.0


def test_one_data_set_is_split_in_halves_for_the_features() -> None:
    made = report(observed(7))
    assert made.direction_parts == ["half 1", "half 2"]
    # The highest values were made one higher for attackers, the means alike.
    assert np.mean([a > 0.5 for d in made.directions for a in d.highest]) > 0.9
    assert 0.3 < np.mean([a > 0.5 for d in made.directions for a in d.mean]) < 0.7
    assert all(set(d.by_type) == {"attack 0", "attack 1"} for d in made.directions)


def test_what_the_labels_do_not_say_is_not_reported() -> None:
    data = observed(8)
    n = len(data.score)
    bare = data.truth._replace(
        archetype=[""] * n, campaign=[""] * n, family=[""] * n, share=np.full(n, np.nan), onset=np.full(n, np.nan),
        desensitised=np.full(n, -1),
    )  # fmt: skip
    made = report(data._replace(truth=bare, knows_requests=False))
    assert [g.name for g in made.groups] == ["all attacks"]
    assert made.groups[0].delay_attack_requests is None
    assert made.groups[0].campaigns == 20, "without a campaign each account is one"
    assert [b.archetype for b in made.false_alarms] == ["all benign"]


def test_no_alert_and_no_replicate_is_a_report_too() -> None:
    data = observed(9)
    quiet = data._replace(alerts=data.alerts.where(np.zeros(60, bool)), opened=0, told=0, severity=[])
    made = report(quiet, replicates=0)
    assert made.groups[0].alert_recall.value == 0.0
    assert math.isnan(made.groups[0].delay_requests.median.value)
    assert made.groups[0].delay_requests.median_of_all.value == math.inf
    assert (made.discoveries[0].cases, len(made.discoveries)) == (0, 1)
    assert math.isnan(made.discoveries[0].proportion.value)


def test_shares_go_to_the_nearest_in_ratio() -> None:
    assert nearest_share(np.array([0.0, 0.06, 0.08, 0.2, 0.4, 0.8, 1.0])).tolist() == [0.05, 0.05, 0.1, 0.25, 0.5, 1, 1]
    assert np.isnan(nearest_share(np.array([np.nan]))).all()
