"""`siphonwatch train --sklearn` and `--river`: a support is fitted, weighed on held-out campaigns, and written."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from river import linear_model, preprocessing
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import QuantileTransformer, StandardScaler

from siphonwatch.models.account.features import FEATURES, INDEX, WIDTH
from siphonwatch.models.detect import Card, Detector
from siphonwatch.models.detect.card import Fitted, Term
from siphonwatch.models.detect.support import sigmoid
from siphonwatch.models.evidence.calibration import AT_NULL
from siphonwatch.models.learn.estimators import EstimatorError, NothingLearnt
from siphonwatch.models.learn.fit import share_beyond
from siphonwatch.models.learn.sample import HOUR, Sample
from siphonwatch.models.learn.version import read_version, shipped
from siphonwatch.streams.cli import cli
from siphonwatch.streams.lab.registry.store import read_files
from siphonwatch.streams.lab.scenario import Scenario, write
from siphonwatch.streams.lab.train.learned import (
    HIDDEN,
    UNKNOWN,
    directions,
    fit_learned,
    hold_kinds_out,
    load_maker,
    opened,
    platt,
    strangers,
)
from siphonwatch.streams.lab.train.report import metrics, tell
from siphonwatch.streams.lab.train.run import Choices, train

CARD = Card(
    pattern="busy", title="Busy", about="Sweeps.", atlas=("AML.T0024",), null=0.5, fitted=Fitted("nothing", "hand"),
    gates=(Term(of=("seen",), low=0.5, high=1.0),),
    supports=(
        Term(weight=2.0, of=("sweep_1h",), low=0.0, high=1.0),
        Term(weight=1.0, of=("streamed_1d",), low=1.0, high=0.0),
    ),
)  # fmt: skip


def sample(n: int = 400, seed: int = 1, hours: int = 6) -> Sample:
    """What tells attacks is novelty, which the card does not read; half of an account's hours have shut gates."""
    rng = np.random.default_rng(seed)
    attack = np.arange(n) < 0.25 * n
    account = np.repeat(np.arange(n), hours)
    values = rng.uniform(0.0, 1.0, (n * hours, WIDTH)).astype(np.float32)
    values[:, INDEX["seen"]] = np.tile(np.arange(hours) % 2, n) * 2.0
    values[:, INDEX["novelty"]] = np.where(attack[account], rng.beta(6, 2, n * hours), rng.beta(2, 6, n * hours))
    return Sample(
        values, account, np.tile(np.arange(1, hours + 1) * HOUR, n).astype(np.float64), [f"a{i}" for i in range(n)],
        attack, np.ones(n), [f"pool {i // 4}" if bad else f"a{i}" for i, bad in enumerate(attack.tolist())],
        ["pool" if bad else "chat" for bad in attack.tolist()], ["one"] * n,
    )  # fmt: skip


def boosted() -> Any:
    return HistGradientBoostingClassifier(max_iter=20, max_bins=16)


def logistic() -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression())


def by_quantile() -> Any:
    return make_pipeline(QuantileTransformer(n_quantiles=20, subsample=50), LogisticRegression())


pipeline = preprocessing.StandardScaler() | linear_model.LogisticRegression()


def same_each_time() -> Any:
    return pipeline


@pytest.fixture(autouse=True)
def module(monkeypatch: pytest.MonkeyPatch) -> None:
    """This file, by a name that a factory can be imported by."""
    monkeypatch.setitem(sys.modules, "estimators_of_mine", sys.modules[__name__])


@pytest.mark.parametrize(
    ("factory", "library"), [("boosted", "sklearn"), ("logistic", "sklearn"), ("pipeline", "river")]
)
def test_a_support_is_fitted_that_finds_what_the_card_does_not_read(factory: str, library: Any) -> None:
    one = sample()
    alone = one._replace(campaign=list(one.name))
    fit = fit_learned(CARD, alone, load_maker(f"estimators_of_mine:{factory}", library))
    (term,) = [term for term in fit.card.supports if term.learned]
    assert term.learned == factory and fit.card.learned == (factory,) and set(fit.supports) == {factory}
    assert fit.card.gates == CARD.gates and fit.card.supports[:-1] == CARD.supports
    assert fit.credit > fit.credit_before + 0.1
    fresh = sample(seed=2)
    before, after = (d.score(fresh.values) for d in (Detector(CARD, FEATURES), fit.detector))
    attack = fresh.attack[fresh.account]
    assert after[attack].mean() - after[~attack].mean() > before[attack].mean() - before[~attack].mean() + 0.1
    assert not after[fresh.values[:, INDEX["seen"]] == 0.0].any(), "the card's gates hold"
    assert "novelty" in fit.supports[factory].words(fresh.values[attack][1])
    found = sigmoid(fit.supports[factory].log_odds(fresh.values))
    likely = found > 0.9
    assert abs(attack[likely].mean() - found[likely].mean()) < 0.07, "chances are what is found"


def test_the_scores_that_set_the_null_level_are_of_models_that_did_not_see_the_campaign() -> None:
    """Where little explains the labels, a model that learns by heart says more of what it was fitted on."""
    one = sample(200)
    rng = np.random.default_rng(0)
    one.values[:, INDEX["novelty"]] = rng.random(len(one.account)) + 0.25 * one.attack[one.account]
    fit, again = (fit_learned(CARD, one, load_maker("estimators_of_mine:boosted", "sklearn")) for _ in range(2))
    assert again.detector.id == fit.detector.id, "the same data give the same arrays"
    assert fit.held is not None and fit.held.shape == (len(one.account),)
    seen = fit.detector.score(one.values)
    attack, opened = one.attack[one.account], one.values[:, INDEX["seen"]] > 0
    told = [scores[attack & opened].mean() - scores[~attack & opened].mean() for scores in (seen, fit.held)]
    assert told[0] > told[1] + 0.02


def test_a_scaler_that_draws_its_rows_draws_the_same_again() -> None:
    one = sample(200)
    fits = [fit_learned(CARD, one, load_maker("estimators_of_mine:by_quantile", "sklearn")) for _ in range(2)]
    assert fits[0].detector.id == fits[1].detector.id


def test_a_factory_that_gives_one_estimator_each_time_does_not_carry_over_what_was_learnt() -> None:
    maker = load_maker("estimators_of_mine:same_each_time", "river")
    maker.make().learn_one({"novelty": 1.0}, True)
    assert not maker.make()["LogisticRegression"].weights and not pipeline["LogisticRegression"].weights


def test_where_a_part_of_the_data_teaches_nothing_the_card_stands_for_it_and_the_rest_is_told() -> None:
    """Though the estimator that is fitted on all of them is the one that is written."""
    said: list[str] = []
    maker = load_maker("estimators_of_mine:logistic", "sklearn")

    def fit(card: Card, of: Sample, tell: Any) -> Any:
        if len(of.name) < 400:
            raise NothingLearnt("it adds nothing")
        return fit_learned(card, of, maker, tell)

    made = train(CARD, [sample()], [], Choices(("campaign",), 2, False, fit=fit), command="train", tell=said.append)
    assert made.fit.supports and [line for line in said if "fold 1: it adds nothing; judged by the card" in line]
    (part,) = made.parts
    (line,) = [line for line in part.judged.lines if line.by == "all"]
    assert line.before == line.after


def test_a_card_that_was_trained_keeps_its_promise_on_held_out_scores() -> None:
    made = train(
        CARD, [sample(600)], [sample(seed=3)], Choices(("campaign",), 2, False, fit=lambda card, of, tell: fit_learned(
            card, of, load_maker("estimators_of_mine:logistic", "sklearn"), tell)), command="train",
    )  # fmt: skip
    assert share_beyond(made.fit.held, sample(600), made.fit.card.null) <= AT_NULL + 1e-9  # type: ignore[arg-type]
    judged = {part.name: part.judged for part in made.parts}
    (line,) = [line for line in judged["Data left out"].lines if line.by == "all"]
    assert line.after[1] > line.before[1] + 0.1
    assert {"Held out", "Data left out"} <= set(judged)


def test_what_a_family_loses_that_the_support_has_not_seen_is_told_of_each() -> None:
    one, rng = sample(), np.random.default_rng(5)
    odd = one.attack & (np.arange(400) // 4 % 2 == 0)  # every second campaign: novelty as honest accounts have it
    rows = odd[one.account]
    one.values[rows, INDEX["novelty"]] = rng.beta(2, 6, rows.sum())
    one.values[:, INDEX["job_days"]] = np.where(rows, rng.beta(9, 2, len(rows)), rng.beta(2, 9, len(rows)))
    kind = ["odd" if o else "pool" if bad else "chat" for o, bad in zip(odd.tolist(), one.attack.tolist(), strict=True)]
    maker = load_maker("estimators_of_mine:logistic", "sklearn")
    made = train(
        CARD, [one._replace(kind=kind)], [], Choices((), 2, True, fit=lambda *of: fit_learned(of[0], of[1], maker)),
        command="train",
    )  # fmt: skip
    found = {family.name: family for family in made.families}
    assert set(found) == {"odd", "pool"} and found["odd"].accounts == 52
    assert found["odd"].known[1] > found["odd"].unknown[1] + 0.3, "the others say nothing of it"
    assert found["odd"].alone[1] < found["odd"].known[1]
    text = "\n".join(tell(made))
    assert "| odd | 52 | " in text and "Unknown, and worse than the card: " in text
    assert metrics(made)["family_odd_known_recall_at_1_percent"] == round(found["odd"].known[1], 4)


def test_a_model_follows_the_directions_of_the_card_s_ramps() -> None:
    given = directions(CARD)
    assert given[INDEX["sweep_1h"]] == 1 and given[INDEX["streamed_1d"]] == -1 and given[INDEX["novelty"]] == 0
    one = sample()
    one.values[:, INDEX["sweep_1h"]] *= 1.0 - 0.5 * one.attack[one.account]
    support = fit_learned(CARD, one, load_maker("estimators_of_mine:boosted", "sklearn")).supports["boosted"]
    rows = np.repeat(one.values[7:8], 50, axis=0)
    rows[:, INDEX["sweep_1h"]] = np.linspace(0.0, 1.0, 50)
    assert (np.diff(support.log_odds(rows)) >= 0.0).all(), "though in these data attacks sweep less"


def test_what_any_attacker_chooses_is_not_looked_at() -> None:
    one = sample()
    for name in HIDDEN:
        if name != "seen":  # which opens the card's gates
            one.values[:, INDEX[name]] = one.attack[one.account] + np.random.default_rng(4).random(len(one.account))
    for factory in ("boosted", "logistic"):
        support = fit_learned(CARD, one, load_maker(f"estimators_of_mine:{factory}", "sklearn")).supports[factory]
        assert "novelty" in support.reads and not set(HIDDEN) & set(support.reads)


def test_strangers_have_features_of_honest_hours_and_are_none_of_them() -> None:
    one = sample()
    honest = one.values[opened(CARD, one) & ~one.attack[one.account]]
    made = strangers(CARD, honest, np.ones(len(honest)))
    assert 0 < len(made) <= len(honest) and (Detector(CARD, FEATURES).score(made) > 0.0).any()
    assert (made[:, INDEX["seen"]] > 1.0).all(), "the card's gates are open"
    assert all(np.isin(made[:, column], honest[:, column]).all() for column in range(WIDTH))
    assert not {row.tobytes() for row in made} & {row.tobytes() for row in honest}


def test_a_part_of_the_honest_accounts_is_scored_by_fits_that_did_not_see_their_kind() -> None:
    """Half of them look like attacks, but for a habit by which who knows them tells them."""
    one, rng = sample(), np.random.default_rng(6)
    odd = ~one.attack & (np.arange(400) % 2 == 0)
    rows = odd[one.account]
    one.values[rows, INDEX["novelty"]] = rng.beta(6, 2, rows.sum())
    one.values[:, INDEX["job_days"]] = np.where(rows, 5.0, 0.0) + rng.random(len(rows))
    named = [
        "odd" if o else "pool" if bad else "chat" for o, bad in zip(odd.tolist(), one.attack.tolist(), strict=True)
    ]
    odds = np.full(len(rows), np.nan, np.float32)
    every, maker = np.ones(len(rows), np.bool_), load_maker("estimators_of_mine:boosted", "sklearn")
    hold_kinds_out(CARD, one._replace(kind=named), every, np.ones(len(rows)), maker, odds)
    written = np.isfinite(odds)
    share = [len(np.unique(one.account[written & of[one.account]])) / of.sum() for of in (odd, ~odd & ~one.attack)]
    assert all(0.3 * UNKNOWN < each < 3.0 * UNKNOWN for each in share) and not written[one.attack[one.account]].any()
    assert np.median(odds[written & rows]) > 0.0, "who does not know the habit takes them for attacks"
    odds[:] = np.nan
    hold_kinds_out(CARD, one._replace(kind=[""] * 400), every, np.ones(len(rows)), maker, odds)
    assert np.isnan(odds).all(), "there are no kinds to hold out"


def test_platt_finds_the_log_odds_that_were_there() -> None:
    rng = np.random.default_rng(1)
    odds = rng.normal(size=20_000) * 3.0
    attack = rng.random(20_000) < sigmoid(0.5 * odds - 1.0)
    slope, offset = platt(odds, attack, np.ones(20_000))
    assert slope == pytest.approx(0.5, abs=0.03) and offset == pytest.approx(-1.0, abs=0.06)
    slope, _ = platt(np.where(attack, 5.0, -5.0), attack, np.ones(20_000))
    assert 0.0 < slope < 10.0, "finite where both are told apart"


@pytest.mark.parametrize(
    ("path", "library", "said"),
    [
        ("nothing", "sklearn", "'nothing' is no module:factory"),
        ("no_such_module:x", "sklearn", "no_such_module:x: ModuleNotFoundError"),
        ("estimators_of_mine:absent", "sklearn", "AttributeError"),
        (
            "estimators_of_mine:boosted",
            "river",
            "HistGradientBoostingClassifier cannot become a learned support; these",
        ),
        ("sklearn.naive_bayes:GaussianNB", "sklearn", "sklearn.naive_bayes.GaussianNB cannot become"),
        ("estimators_of_mine:sample", "sklearn", "siphonwatch.models.learn.sample.Sample cannot become"),
    ],
)
def test_what_cannot_be_one_is_refused_by_name(path: str, library: Any, said: str) -> None:
    with pytest.raises(EstimatorError, match=said):
        load_maker(path, library)


def test_an_estimator_that_tells_nothing_of_other_campaigns_is_refused() -> None:
    one = sample(200)
    labels = np.random.default_rng(3).permutation(one.attack)
    with pytest.raises(NothingLearnt, match=r"tells nothing|adds nothing"):
        fit_learned(CARD, one._replace(attack=labels), load_maker("estimators_of_mine:logistic", "sklearn"))
    few = one.where(np.arange(200) < 52)._replace(campaign=["p"] * 50 + ["a", "b"])
    with pytest.raises(NothingLearnt, match="too few campaigns"):
        fit_learned(CARD, few, load_maker("estimators_of_mine:logistic", "sklearn"))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["train", "extraction", *arguments])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    out = tmp_path_factory.mktemp("world")
    write(out, Scenario(3, 150, 2.0, kind="llm"))
    return ["--data", str(out / "litellm.ndjson"), "--labels", str(out / "labels.csv")]


def test_a_version_comes_out_whose_arrays_judge(world: list[str], tmp_path: Path) -> None:
    out = tmp_path / "boosted"
    options = ("--sklearn", "estimators_of_mine:boosted", "--split", "none", "--no-families", "--out", str(out))
    result = run(*world, *options)
    assert result.exit_code == 0, result.output
    for said in ("## Learned support boosted", "HistGradientBoostingClassifier, fitted on", "| chance said |"):
        assert said in result.stdout
    files = read_files(str(out))
    version = read_version(files)
    assert set(version.supports) == {"boosted"} and version.id != shipped().id
    names = [line.partition(",")[0] for line in Path(world[3]).read_text().splitlines()[1:]]
    assert names and not [name for name in names if any(name.encode() in held for held in files.values())], "no account"
    assert b'"job_' in files["supports/boosted.json"] and b"## Learned support" in files["MODEL_CARD.md"]
    assert "--sklearn estimators_of_mine:boosted" in version.info.made_by
    card = {card.pattern: card for card in version.cards}["extraction"]
    assert card.learned == ("boosted",) and not card.measured


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--sklearn", "a:b", "--river", "c:d"), 2, "give one of --sklearn and --river"),
        (("--and-weights",), 2, "--and-weights goes with either"),
        (("--sklearn", "sklearn.svm:SVC"), 1, "sklearn.svm._classes.SVC cannot become a learned support; these can:"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_read(
    world: list[str], arguments: tuple[str, ...], code: int, said: str
) -> None:
    result = run(*world, *arguments)
    assert result.exit_code == code and said in result.stderr and "requests" not in result.stderr
