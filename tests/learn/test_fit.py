"""A card is fitted to labelled accounts: monotone, sparse, cautious with few labels, and not led by wrong ones."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from siphonwatch.models.account.features import FEATURES, INDEX, WIDTH
from siphonwatch.models.detect import Card, Detector
from siphonwatch.models.detect.card import Fitted, Term
from siphonwatch.models.detect.checks import check_card
from siphonwatch.models.evaluate.judged import folds, judge_cards, learn_from_verdicts, precision_at, split_time
from siphonwatch.models.evidence.calibration import AT_NULL
from siphonwatch.models.learn.fit import _changes, fit_card, honest_null
from siphonwatch.models.learn.sample import HOUR, Hours, Sample, joined
from siphonwatch.models.learn.worth import FALSE, MOST_FALSE, Worth, credit, credit_of, highest_rows
from siphonwatch.streams.lab.train.run import Choices, train

CARD = Card(
    pattern="busy", title="Busy", about="Sweeps.", atlas=("AML.T0024",), null=0.4, fitted=Fitted("nothing", "hand"),
    supports=(
        Term(weight=2.0, of=("sweep_1h",), low=0.7, high=1.0),
        Term(weight=1.0, of=("novelty",), low=0.2, high=0.9),
        Term(weight=1.0, of=("streamed_1d",), low=1.0, high=0.0),
    ),
)  # fmt: skip


def sample(n: int, seed: int = 1, attackers: float = 0.2, hours: int = 6) -> Sample:
    """Attackers sweep a little more than the card expects of honest accounts; `streamed_1d` tells nothing."""
    rng = np.random.default_rng(seed)
    attack = np.arange(n) < attackers * n
    account = np.repeat(np.arange(n), hours)
    values = np.zeros((n * hours, WIDTH), np.float32)
    values[:, INDEX["sweep_1h"]] = np.where(attack[account], rng.uniform(0.55, 0.75, n * hours), 0.0)
    values[:, INDEX["sweep_1h"]] += np.where(attack[account], 0.0, rng.beta(2, 5, n * hours) * 0.7)
    values[:, INDEX["novelty"]] = rng.uniform(0.0, 0.8, n * hours)
    values[:, INDEX["streamed_1d"]] = rng.integers(0, 2, n)[account]
    return Sample(
        values, account, np.tile(np.arange(hours) * HOUR, n).astype(np.float64), [f"a{i}" for i in range(n)], attack,
        np.ones(n), [f"pool {i // 5}" if bad else f"a{i}" for i, bad in enumerate(attack.tolist())],
        ["pool" if bad else "chat" for bad in attack.tolist()], ["one"] * n,
    )  # fmt: skip


def better(card: Card, of: Sample) -> float:
    before, after = (credit(Detector(one, FEATURES), of) for one in (CARD, card))
    return after - before


def test_a_fit_finds_what_tells_attackers_and_keeps_every_promise_of_a_card() -> None:
    fit = fit_card(CARD, sample(400))
    assert fit.credit > fit.credit_before + 0.3 and better(fit.card, sample(400, seed=2)) > 0.3
    check_card(Detector(fit.card, FEATURES), n=60)
    rising = {ramp.of: ramp.low < ramp.high for ramp in CARD.ramps}
    assert fit.card.ramps
    assert all((ramp.low < ramp.high) == rising[ramp.of] for ramp in fit.card.ramps), "no ramp turns round"
    assert all(term.weight > 0 for term in fit.card.terms)
    assert fit.moved and all(before != after for _, before, after in fit.moved)


def test_a_term_that_tells_nothing_is_dropped() -> None:
    fit = fit_card(CARD, sample(1500))
    assert "streamed_1d" not in fit.card.needs and "sweep_1h" in fit.card.needs
    assert ("supports 3 streamed_1d: weight", 1.0, 0.0) in fit.moved


def test_of_a_term_that_was_dropped_its_weight_alone_is_told() -> None:
    theta = {("ramp", "supports", 2, 0, "low"): 0.5, ("weight", "supports", 2): -np.inf, ("weight", "supports", 0): 1.0,
             ("ramp", "supports", 1, 0, "low"): 1e-6}  # fmt: skip
    told = _changes(CARD, theta)
    assert told == [("supports 3 streamed_1d: weight", 1.0, 0.0), ("supports 1 sweep_1h: weight", 2.0, 4.0)]


def test_the_digest_of_a_sample_stands_for_its_features_and_labels() -> None:
    one = sample(20)
    other = one._replace(attack=~one.attack), one._replace(values=one.values + 1), one._replace(source=["two"] * 20)
    assert sample(20).digest() == one.digest()
    assert len({one.digest(), *(changed.digest() for changed in other)}) == 4


def test_few_labels_move_the_card_less_than_many() -> None:
    moved = []
    for n in (10, 100):
        fit = fit_card(CARD, sample(n, attackers=0.5))
        weights = [abs(np.log2(after / before)) for name, before, after in fit.moved if "weight" in name and after]
        lengths = {ramp.of[0]: abs(ramp.high - ramp.low) for ramp in CARD.ramps}
        ends = [abs(a - b) / lengths[name.split()[2][:-1]] for name, b, a in fit.moved if "weight" not in name]
        moved.append(sum(weights) + sum(ends))
    assert moved[0] < 0.5 * moved[1]
    assert not [name for name, _, after in fit_card(CARD, sample(4, attackers=0.5)).moved if after == 0.0]


def test_a_tenth_of_wrong_labels_takes_little_away() -> None:
    given, fresh = sample(500), sample(500, seed=3)
    given = given._replace(campaign=list(given.name))
    wrong = np.random.default_rng(0).random(500) < 0.1
    led = fit_card(CARD, given._replace(attack=given.attack ^ wrong))
    clean = fit_card(CARD, given)
    assert better(led.card, fresh) > 0.5 * better(clean.card, fresh) > 0.1


def test_both_sides_are_needed() -> None:
    one = sample(20)
    with pytest.raises(ValueError, match="one of both is missing"):
        fit_card(CARD, one._replace(attack=np.zeros(20, np.bool_)))


def test_the_null_level_is_where_honest_hours_keep_the_promise() -> None:
    scored = sample(3000, attackers=0.01)
    card = msgspec.structs.replace(CARD, supports=(Term(of=("sweep_1h",), low=0.0, high=1.0),))
    detector = Detector(card, FEATURES)
    null = honest_null(detector.score(scored.values), scored)
    scores = detector.score(scored.values)[~scored.attack[scored.account]]
    assert (scores >= null).mean() <= AT_NULL < (scores >= 0.5 * null).mean()
    beyond = null + 0.5 * (1.0 - null)
    assert (scores >= beyond).mean() < 1e-4, "and beyond it the tail falls as the promise does"


def test_accounts_that_are_narrowed_keep_their_highest_hours() -> None:
    whole, detector = sample(50), Detector(CARD, FEATURES)
    rows = highest_rows(whole, detector.score(whole.values), most=2)
    few = whole.where(np.ones(50, np.bool_), rows)
    assert np.bincount(few.account).tolist() == [2] * 50
    np.testing.assert_array_equal(few.highest(detector.score(few.values)), whole.highest(detector.score(whole.values)))


def test_folds_hold_whole_campaigns_out_and_time_is_split_with_an_embargo() -> None:
    whole = joined([sample(100), sample(100, seed=2)])
    held = folds(whole, 4)
    assert (np.sum(held, axis=0) == 1).all()
    for campaign in set(whole.campaign):
        members = np.array([name == campaign for name in whole.campaign])
        assert sum(bool((fold & members).any()) for fold in held) == 1
    early, late, gap = split_time(whole, 0.5, 0.2)
    assert late.time.min() - early.time.max() >= gap * HOUR > 0


def test_the_judgement_of_a_card_against_itself_is_a_draw() -> None:
    detector = Detector(CARD, FEATURES)
    judged = judge_cards(detector, detector, sample(200), replicates=20)
    assert all(line.before == line.after for line in judged.lines)
    assert [one.value for one in judged.gained] == [0.0, 0.0] and judged.beyond[0] == judged.beyond[1]
    assert {(line.by, line.name) for line in judged.lines} >= {("all", "all attacks"), ("honest", "chat")}


def test_accounts_of_one_campaign_are_drawn_together() -> None:
    one, before, after = sample(100, seed=4), Detector(CARD, FEATURES), fit_card(CARD, sample(400)).detector
    copies = joined([one._replace(campaign=list(one.name))] * 6)._replace(source=["one"] * 600)
    alone = copies._replace(campaign=[f"{i}" for i in range(600)])
    wide, narrow = (judge_cards(before, after, each).gained[0] for each in (copies, alone))
    assert wide.value == narrow.value > 0.1 and wide.high - wide.low > 1.5 * (narrow.high - narrow.low) > 0.0


def test_data_without_an_honest_account_are_fitted_on_and_not_judged_on() -> None:
    mixed, attacks = sample(60), sample(40, seed=2, attackers=1.0)._replace(source=["two"] * 40)
    made = train(CARD, [mixed, attacks], [sample(60, seed=3)], Choices(("campaign",), 2), command="train")
    judged = {part.name: {line.accounts for line in part.judged.lines if line.by == "all"} for part in made.parts}
    assert judged == {"Held out": {12}, "Data left out": {12}}
    for left_out, said in ((attacks, "two have no honest account"), (mixed.where(~mixed.attack), "no attack account")):
        with pytest.raises(ValueError, match=said):
            train(CARD, [mixed], [left_out], Choices(()), command="train")


def test_learning_from_verdicts_is_judged_on_other_accounts() -> None:
    left_out = sample(300, seed=9)
    unsupervised = precision_at(left_out.highest(Detector(CARD, FEATURES).score(left_out.values)), left_out.attack)
    learnt = [learn_from_verdicts(CARD, sample(800), [left_out], 200, wrong=0.1, seed=seed)[0] for seed in range(3)]
    assert np.median(learnt) > unsupervised


def test_an_hour_is_kept_at_its_highest_score_however_requests_are_cut() -> None:
    rng = np.random.default_rng(5)
    account, time = rng.integers(0, 4, 500), np.sort(rng.uniform(1.0, 5 * HOUR, 500))
    values, scores = rng.random((500, WIDTH)).astype(np.float32), rng.random(500)
    kept = []
    for size in (7, 500):
        hours = Hours()
        for start in range(0, 500, size):
            part = slice(start, start + size)
            hours.take(account[part], time[part], values[part], scores[part])
        kept.append(hours.rows())
    for one, other in zip(*kept, strict=True):
        np.testing.assert_array_equal(one, other)
    best = {(a, int(t // HOUR)): i for i, (a, t) in sorted(enumerate(zip(account, time, strict=True)),
                                                           key=lambda row: scores[row[0]])}  # fmt: skip
    assert len(kept[0][1]) == len(best)
    np.testing.assert_array_equal(np.sort(kept[0][2]), np.sort(time[list(best.values())]))


def test_what_a_card_is_worth_is_of_each_data_set_by_itself() -> None:
    one, other = sample(300), sample(300, seed=2)._replace(source=["two"] * 300)
    noise = other._replace(values=np.roll(other.values, 700, axis=0))
    apart = [Worth(CARD, each).of(CARD) for each in (one, noise)]
    assert apart[0] > apart[1]
    assert Worth(CARD, joined([one, noise])).of(CARD) == pytest.approx(0.75 * apart[1] + 0.25 * apart[0], abs=0.01)


def test_honest_accounts_with_the_evidence_of_a_case_cost_more_than_as_many_attackers_are_worth() -> None:
    card = msgspec.structs.replace(CARD, null=0.1, supports=(Term(of=("sweep_1h",), low=0.0, high=0.9),))
    quiet, loud = sample(400, attackers=0.5), sample(400, attackers=0.5)
    loud.values[loud.account >= 390, INDEX["sweep_1h"]] = 1.0
    assert Worth(card, loud).of(card) < Worth(card, quiet).of(card) - FALSE * 0.5 * MOST_FALSE


def test_members_of_a_large_campaign_count_less_than_a_single_attacker() -> None:
    given = sample(200, attackers=0.4)
    scores = Detector(CARD, FEATURES).score(given.values)
    only_last = np.where(given.attack & (np.arange(200) != 79), 0.0, 1.0)[given.account] * scores
    pool = ["pool" if bad else name for name, bad in zip(given.name, given.attack.tolist(), strict=True)]
    single = [name if i == 79 else campaign for i, (name, campaign) in enumerate(zip(given.name, pool, strict=True))]
    found = [credit_of(only_last.astype(np.float32), given._replace(campaign=of)) for of in (pool, single)]
    assert 0.0 < found[0] < 0.1 * found[1]
