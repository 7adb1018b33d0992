"""Fits an estimator of scikit-learn or River as a card's learned support. The command `train` alone imports it.

The estimator sees the account-hours at which the card's gates are open, and beside them *strangers*: hours of honest
customers that there are not, put together from features of unrelated ones. Without them whatever is unlike the honest
customers of the labels passes for an attack. In scikit-learn, and in the calibration of either library, an account
counts as much however many hours it has; River learns from each hour alike.

What it says of campaigns that it was not fitted on, and of some honest accounts whose whole kind it was not fitted on,
decides everything else: its calibration (Platt 1999), its weight, its ramp, the span and offset of a scorecard and the
null level.
"""

from __future__ import annotations

import copy
import importlib
import inspect
import itertools
import math
import os
import re
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.features import FEATURES
from siphonwatch.models.detect import Card, Detector
from siphonwatch.models.detect.card import Term
from siphonwatch.models.detect.support import Support, sigmoid
from siphonwatch.models.evaluate.judged import folds
from siphonwatch.models.learn.estimators import (
    EstimatorError,
    NothingLearnt,
    arrays_from,
    check_estimator,
    class_of,
    steps,
)
from siphonwatch.models.learn.fit import Fit
from siphonwatch.models.learn.sample import Bools, Floats, Sample
from siphonwatch.models.learn.worth import Worth, credit_of

FOLDS = 5
"""Of whole campaigns, by which the calibration is held out."""
FEWEST = 20
"""Attack hours, and honest ones, with open gates from which on only such hours are fitted on."""
WEIGHTS = (0.125, 0.25, 0.5, 1.0)
"""Of the learned support, beside all others of the card: at most as much as they."""
LOWS, HIGHS = (0.02, 0.1), (0.9, 0.99, 0.999)
OFFSETS = (0.0, 0.125)
"""Share of its weight that a scorecard's offset falls by. At 1 nothing would score higher than before; but what the
card is sure of by itself has to stay found where an estimator knows nothing like it."""
SPANS = (1.0, 1.5)
"""By how much a scorecard's span may grow: where many reach a score of 1, none of them ranks above another; but what
the card is sure of by itself counts less by it."""
STRANGERS = 0.3
"""What strangers weigh, of what all honest hours weigh. On six sets not fitted on, by which it was chosen, .34 of the
operators ranked above a hundredth of the honest accounts without them, .48 with them, where no kind of these accounts
was fitted on; .75 and .73 where all were."""
UNKNOWN = 0.1
"""Share of honest accounts that are scored, for what is decided, by a fit that did not see their kind."""
HIDDEN = ("seen", "age", "idle", "new_ip_1d", "new_key_1d", "rare_trees", "rare_forest")
"""Features that none looks at: an account is aged by waiting, addresses and keys are rotated or not as one likes, and
ranks move with what other accounts do."""
SEED = 1
"""Of an estimator that leaves its seed open: two trainings then give the same version."""
LEAST_NULL = 0.05
"""The promise's half of the evidence takes every score .05 lower (`MAX_RISE`): a lower level would be no level."""
QUIET = 0.002
"""Share of honest account-hours, held out, that may reach the null level: 25 times fewer than the promise, as customers
of kinds that nobody labelled come on top."""
BINS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)

NAMES = [feature.name for feature in FEATURES]
Library = Literal["sklearn", "river"]


class Maker(NamedTuple):
    """Gives an unfitted estimator as often as one is wanted."""

    name: str
    """Of the support."""
    spelt: str
    """`module:factory`."""
    library: Library
    make: Callable[[], Any]


def load_maker(path: str, library: Library) -> Maker:
    """Import a factory, a class or an estimator, and refuse what could not become a learned support.

    Parameters
    ----------
    path
        `module:name`; modules in the working directory are found too.
    library
        Whose estimators it makes.

    Raises
    ------
    EstimatorError
        Where there is none, or one that is not in the list of classes; before anything is fitted.
    """
    module, _, factory = path.partition(":")
    if not module or not factory:
        raise EstimatorError(f"{path!r} is no module:factory, such as sklearn.ensemble:HistGradientBoostingClassifier")
    if os.getcwd() not in sys.path:  # noqa: PTH109 - as python -m has it, so that a module beside the data is found
        sys.path.insert(0, os.getcwd())  # noqa: PTH109
    try:
        found = importlib.import_module(module)
        for part in factory.split("."):
            found = getattr(found, part)

        def make() -> Any:
            """Return a copy: one that a factory gives each time would know what is held out from it."""
            return copy.deepcopy(found() if callable(found) else found)

        check_estimator(make(), library)
    except EstimatorError as error:
        raise EstimatorError(f"{path}: {error}") from None
    except Exception as error:
        raise EstimatorError(
            f"{path}: {type(error).__name__}: {error}; name a factory without arguments that returns an estimator"
        ) from error
    name = re.sub("[^a-z0-9_-]+", "-", factory.lower()).strip("-_")[:32] or "learned"
    return Maker(name, path, library, make)


def fit_learned(card: Card, sample: Sample, maker: Maker, tell: Callable[[str], None] = lambda text: None) -> Fit:
    """Fit an estimator and add it to a card as a learned support.

    Raises
    ------
    NothingLearnt
        Where there are too few campaigns or honest accounts to hold some out, or the estimator tells nothing of them.
    EstimatorError, SupportError
        Where the fitted estimator cannot become arrays, or has too many.
    """
    attack, weight = sample.attack[sample.account], _weights(sample)
    rows = opened(card, sample)
    if min((attack & rows).sum(), (~attack & rows).sum()) < FEWEST:
        rows[:] = True
    odds = _held_out(card, sample, rows, weight, maker)
    slope, offset = platt(odds[rows].astype(np.float64), attack[rows], weight[rows])
    if not slope > 0.0:
        raise NothingLearnt(f"{maker.spelt} tells nothing of campaigns it was not fitted on: try another estimator")
    arrays = _fitted(card, sample, rows, weight, maker)
    arrays["platt"] = np.array([slope, offset])
    arrays["median"] = np.median(sample.values[rows & ~attack], axis=0)[arrays["columns"]].astype(np.float32)
    support = Support(maker.name, arrays, FEATURES)
    hold_kinds_out(card, sample, rows, weight, maker, odds)
    held: npt.NDArray[np.float32] = np.clip(slope * odds + offset, -1e6, 1e6).astype(np.float32)
    before = credit_of(Detector(card, FEATURES).score(sample.values), sample)
    fitted = _weighed(card, sample, support, held)
    scores = Detector(fitted, FEATURES, {support.name: support}).score_given(sample.values, held[:, None])
    reached = credit_of(scores, sample)
    if reached <= before:
        raise NothingLearnt(f"{maker.spelt} adds nothing to the card on campaigns that it was not fitted on")
    tell(f"learned {support.name}: credit {before:.3f} -> {reached:.3f} on campaigns held out")
    lines = _lines(card, fitted, support, maker, sample, rows, sigmoid(held))
    return Fit(fitted, before, reached, [], {support.name: support}, scores, lines)


def _gates(card: Card) -> Detector | None:
    """What says at which hours a card's supports count at all; None where they always do."""
    return Detector(msgspec.structs.replace(card, supports=()), FEATURES) if card.gates or card.ways else None


def opened(card: Card, sample: Sample) -> Bools:
    """Return at which hours of a sample, `(m,)`, the supports of a card count at all."""
    gates = _gates(card)
    return np.ones(len(sample.account), np.bool_) if gates is None else gates.score(sample.values) > 0.0


def _weights(sample: Sample) -> Floats:
    """What each hour counts: an account as much as its label is sure, in all its hours; a campaign of k 1/sqrt(k)."""
    size = Counter(itertools.compress(sample.campaign, sample.attack.tolist()))
    of = [size[c] ** -1.5 if bad else 1.0 for c, bad in zip(sample.campaign, sample.attack, strict=True)]
    hours = np.bincount(sample.account, minlength=len(sample.name))
    each: Floats = (np.array(of) * sample.weight / np.maximum(hours, 1))[sample.account]
    each /= each.mean()
    return each


def _held_out(card: Card, sample: Sample, rows: Bools, weight: Floats, maker: Maker) -> npt.NDArray[np.float32]:
    """The log-odds of each row by an estimator that was fitted without its campaign, `(m,)`."""
    attack = sample.attack[sample.account]
    odds = np.full(len(attack), np.nan, np.float32)
    for outside in folds(sample, FOLDS):
        unseen = outside[sample.account]
        seen = rows & ~unseen
        if not unseen.any():
            continue
        if not (attack & seen).any() or not (~attack & seen).any():
            raise NothingLearnt("too few campaigns or honest accounts to hold some out: give more data")
        support = Support(maker.name, _fitted(card, sample, seen, weight, maker), FEATURES)
        odds[unseen] = support.log_odds(sample.values[unseen])
    return odds


def hold_kinds_out(
    card: Card, sample: Sample, rows: Bools, weight: Floats, maker: Maker, odds: npt.NDArray[np.float32]
) -> None:
    """Write into `odds`, `(m,)`, those of some honest accounts that have a kind, by fits that did not see the kind."""
    kind = np.array([not bad and name for bad, name in zip(sample.attack, sample.kind, strict=True)], object)
    names = sorted({name for name in kind if name})
    rng = np.random.default_rng(SEED)
    group = dict(zip(names, rng.permutation(len(names)) % FOLDS, strict=True))
    of = np.array([group.get(name, -1) for name in kind])
    chosen = rng.random(len(kind)) < UNKNOWN
    for fold in range(min(FOLDS, len(names)) if len(names) > 1 else 0):
        seen, unseen = rows & (of != fold)[sample.account], ((of == fold) & chosen)[sample.account]
        if unseen.any() and (~sample.attack[sample.account] & seen).any():
            support = Support(maker.name, _fitted(card, sample, seen, weight, maker), FEATURES)
            odds[unseen] = support.log_odds(sample.values[unseen])


def strangers(card: Card, values: npt.NDArray[np.float32], weight: Floats) -> npt.NDArray[np.float32]:
    """Return hours with open gates of honest customers that there are not: each feature is another honest hour's.

    Parameters
    ----------
    card
        With the gates.
    values
        `(m, F)` honest hours.
    weight
        `(m,)` how often each is drawn from.
    """
    rng = np.random.default_rng(SEED)
    share = np.cumsum(weight) / weight.sum()
    made = np.empty((len(values) // 2, values.shape[1]), np.float32)
    for column in range(values.shape[1]):
        made[:, column] = values[np.minimum(np.searchsorted(share, rng.random(len(made))), len(values) - 1), column]
    gates = _gates(card)
    return made if gates is None else made[gates.score(made) > 0.0]


def _fitted(card: Card, sample: Sample, rows: Bools, weight: Floats, maker: Maker) -> dict[str, npt.NDArray[Any]]:
    """The arrays of an estimator that was fitted on some rows, and on strangers."""
    model = maker.make()
    check_estimator(model, maker.library)
    attack = sample.attack[sample.account[rows]]
    weights, honest = weight[rows], weight[rows][~attack]
    strange = strangers(card, sample.values[rows][~attack], honest)
    values = np.concatenate([sample.values[rows], strange]).astype(np.float64)
    values[:, [NAMES.index(name) for name in HIDDEN]] = 0.0
    attack = np.concatenate([attack, np.zeros(len(strange), np.bool_)])
    weights = np.concatenate([weights, np.full(len(strange), STRANGERS * honest.sum() / max(len(strange), 1))])
    if maker.library == "river":
        times = np.concatenate([sample.time[rows], np.resize(sample.time[rows][~attack[: rows.sum()]], len(strange))])
        for i in np.argsort(times, kind="stable").tolist():
            model.learn_one(dict(zip(NAMES, values[i].tolist(), strict=True)), bool(attack[i]))
    else:
        last, given = steps(model)[-1], {}
        for part in steps(model):
            if getattr(part, "random_state", 0) is None:
                part.set_params(random_state=SEED)
        if getattr(last, "monotonic_cst", 0) is None:
            last.set_params(monotonic_cst=directions(card))
        if "sample_weight" in inspect.signature(last.fit).parameters:
            given[f"{model.steps[-1][0]}__sample_weight" if last is not model else "sample_weight"] = weights
        model.fit(values, attack, **given)
    return arrays_from(model, NAMES)


def directions(card: Card) -> list[int]:
    """Return for each feature 1 where the card's ramps rise with it, -1 where they fall, 0 where both or none do."""
    found: dict[str, set[int]] = {}
    for ramp in card.ramps:
        for name in ramp.of:
            found.setdefault(name, set()).add(1 if ramp.low < ramp.high else -1)
    return [next(iter(found[name])) if len(found.get(name, ())) == 1 else 0 for name in NAMES]


def platt(odds: Floats, attack: Bools, weight: Floats) -> tuple[float, float]:
    """Return slope and offset by which log-odds become those of the shares found, by a weighted logistic regression.

    Source: Platt, Probabilistic Outputs for Support Vector Machines (1999), with his targets, which keep it finite.
    """
    bad, good = float(weight[attack].sum()), float(weight[~attack].sum())
    target = np.where(attack, (bad + 1.0) / (bad + 2.0), 1.0 / (good + 2.0))
    x = np.column_stack([np.clip(odds, -50.0, 50.0), np.ones(len(odds))])
    found = np.array([1.0, 0.0])
    for _ in range(50):
        share = sigmoid(x @ found)
        curve = weight * share * (1.0 - share) + 1e-9
        step = np.linalg.solve(x.T @ (x * curve[:, None]) + 1e-9 * np.eye(2), x.T @ (weight * (target - share)))
        found = found + np.clip(step, -2.0, 2.0)
        if np.abs(step).max() < 1e-8:
            break
    return float(found[0]), float(found[1])


def _weighed(card: Card, sample: Sample, support: Support, held: npt.NDArray[np.float32]) -> Card:
    """The card with the support in the place, and with the null level, by which what was held out is worth most.

    In log-odds the null level is no higher than before.
    """
    whole = sum(term.weight for term in card.supports) or 1.0
    inside = opened(card, sample)
    worth = Worth(card, sample, Detector(card, FEATURES).score(sample.values) + inside * sigmoid(held))
    counted = np.flatnonzero(inside[worth.rows])
    values, odds = worth.sample.values[counted], held[worth.rows][counted, None]
    honest = ~worth.sample.attack[worth.sample.account]
    hours = int((~sample.attack[sample.account]).sum())
    scores = np.zeros(len(honest), np.float32)  # 0 where gates are shut
    best: tuple[float, Card] | None = None
    for factor, low, high in itertools.product(WEIGHTS, LOWS, HIGHS):
        for share, wider in itertools.product(OFFSETS, SPANS) if card.offset else [(0.0, 1.0)]:
            term = Term(weight=round(factor * whole, 3), learned=support.name, low=low, high=high)
            tried = msgspec.structs.replace(
                card, supports=(*card.supports, term), offset=round(card.offset - share * term.weight, 3),
                span=round(card.span * wider, 3),
            )  # fmt: skip
            scores[counted] = Detector(tried, FEATURES, {support.name: support}).score_given(values, odds)
            tried = msgspec.structs.replace(tried, null=_quiet_null(card.null / wider, scores[honest], hours))
            value = worth.of_scores(tried, scores)
            if best is None or value > best[0] + 1e-9:
                best = value, tried
    assert best is not None  # noqa: S101 - there are weights
    return best[1]


def _quiet_null(highest: float, honest: npt.NDArray[np.float32], hours: int) -> float:
    """The lowest null level, no higher than one given, that so few of some hours, of these scores, reach."""
    level = float(np.partition(honest, -int(QUIET * hours) - 1)[-int(QUIET * hours) - 1]) if len(honest) else 0.0
    return round(min(max(math.ceil(level * 100.0 + 1e-6) / 100.0, LEAST_NULL), highest), 2)


def _lines(
    card: Card, fitted: Card, support: Support, maker: Maker, sample: Sample, rows: Bools, share: Floats
) -> list[str]:
    """What is told of it: what it is, its term, and shares said and found in campaigns that were held out."""
    model, term = maker.make(), fitted.supports[-1]
    named = " | ".join(class_of(part).rpartition(".")[2] for part in steps(model))
    grown = f", span {card.span:g} -> {fitted.span:g}" if fitted.span != card.span else ""
    lines = [
        f"`{maker.spelt}`: {named}, fitted on {int(rows.sum()):,} hours with open gates, looks at "
        f"{len(support.reads)} of {len(NAMES)} features, {support.size:,} bytes.",
        f"Weighs {term.weight:g} beside {sum(t.weight for t in card.supports):g}; counts from a chance of {term.low:g} "
        f"to {term.high:g}" + (f"; offset {card.offset:g} -> {fitted.offset:g}{grown}." if card.offset else "."),
        "", "| chance said | hours | attack hours found (campaigns held out) |", "|---|---:|---:|",
    ]  # fmt: skip
    attack = sample.attack[sample.account]
    for low, high in itertools.pairwise(BINS):
        inside = rows & (share >= low) & ((share < high) | (high == 1.0))
        if inside.any():
            lines.append(f"| {low:g} to {high:g} | {int(inside.sum()):,} | {attack[inside].mean():.0%} |")
    return lines
