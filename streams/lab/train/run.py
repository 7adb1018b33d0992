"""From samples to a version: fits a card, judges it on what was held out, and puts both into a version's files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.features import FEATURES
from siphonwatch.models.detect import Card, Detector
from siphonwatch.models.detect.card import Fitted
from siphonwatch.models.evaluate.judged import (
    Judged,
    Line,
    above_threshold,
    folds,
    judge_cards,
    learn_from_verdicts,
    precision_at,
    split_time,
)
from siphonwatch.models.evidence.calibration import AT_NULL
from siphonwatch.models.learn.estimators import NothingLearnt
from siphonwatch.models.learn.fit import Fit, fit_card, honest_null, share_beyond
from siphonwatch.models.learn.sample import Bools, Sample, joined
from siphonwatch.models.learn.version import Info, Version, make_version
from siphonwatch.models.learn.worth import credit, groups
from siphonwatch.streams.common.release import packages_digest, release
from siphonwatch.streams.lab.train.card_file import write_card
from siphonwatch.streams.lab.train.learned import opened
from siphonwatch.streams.lab.train.report import (
    LEFT_OUT,
    PLOT,
    Family,
    Learnt,
    Part,
    Trained,
    metrics,
    model_card,
    plot,
)

LEAST_HOURS = 1000
"""Honest account-hours from which on a null level is learnt from them; fewer say nothing of a tail of one in 20."""

LEAST_FAMILY = 5
"""Attack accounts of a family that is left out once; what fewer say is chance."""


class Choices(NamedTuple):
    """What a training is asked for."""

    split: tuple[str, ...] = ("time", "campaign")
    folds: int = 3
    families: bool = True
    """Whether each family of attacks is left out once."""
    verdicts: tuple[int, ...] = ()
    wrong: float = 0.1
    seeds: int = 5
    fit: Callable[[Card, Sample, Callable[[str], None]], Fit] = fit_card
    """What is fitted: the card's own numbers, or a learned support."""


def train(
    card: Card,
    fitted_on: Sequence[Sample],
    left_out: Sequence[Sample],
    choices: Choices,
    *,
    command: str,
    tell: Callable[[str], None] = lambda text: None,
) -> Trained:
    """Fit a card and judge it on what it was not fitted on.

    Parameters
    ----------
    card
        The prior.
    fitted_on, left_out
        Data sets; the latter take part in no fit.
    command
        What made it, for the card.

    Raises
    ------
    ValueError
        Where the data have no attack account, or no honest one; where a data set that is left out has no honest one, as
        a threshold is a data set's own, or all of them have no attack account.
    """
    for one in left_out:
        if one.attack.all():
            raise ValueError(f"left-out data {one.source[0]} have no honest account: no threshold can be set on them")
    if left_out and not any(one.attack.any() for one in left_out):
        raise ValueError("left-out data have no attack account: give some that have")
    whole = joined(list(fitted_on))
    tell(f"fitting on {len(whole.name):,} accounts, {int(whole.attack.sum()):,} of them attacking")
    prior = Detector(card, FEATURES)
    fit = _with_null(card, choices.fit(card, whole, tell), whole)
    names = ", ".join(one.source[0] for one in fitted_on)
    fit = fit._replace(card=msgspec.structs.replace(fit.card, fitted=Fitted(names, command), measured=()))
    parts: list[Part] = []
    families: list[Family] = []
    if choices.split:
        parts.append(_held_out(card, whole, choices, tell))
    if choices.families:
        found, families = _families(card, whole, fit, choices, tell)
        parts += found
    if left_out:
        rest = joined(list(left_out))
        parts.append(Part(LEFT_OUT, len(rest.name), judge_cards(prior, fit.detector, rest)))
    learnt = []
    for count in choices.verdicts:
        precisions = [
            learn_from_verdicts(card, whole, left_out, count, wrong=choices.wrong, seed=seed)
            for seed in range(choices.seeds)
        ]
        for i, one in enumerate(left_out):
            highest = one.highest(prior.score(one.values))
            unsupervised = precision_at(highest, one.attack)
            median = float(np.median([precision[i] for precision in precisions]))
            learnt.append(Learnt(one.source[0], count, unsupervised, median))
            tell(f"{count} verdicts: {one.source[0]} {unsupervised:.2f} -> {median:.2f}")
    data = [
        f"{one.source[0]}: {len(one.name):,} accounts, {int(one.attack.sum()):,} of them attacking in "
        f"{len({c for c, bad in zip(one.campaign, one.attack.tolist(), strict=True) if bad}):,} campaigns, "
        f"{len(one.time):,} account-hours"
        for one in fitted_on
    ]
    return Trained(card, fit, data, whole.digest(), parts, learnt, command, families)


def _with_null(card: Card, fit: Fit, sample: Sample) -> Fit:
    """A fit whose null level no more honest hours of any data set reach than the promise allows, or than the prior's.

    It is no lower than the prior's, or than what a learned support was fitted for; where hours are few it stays so.
    """
    scores = fit.detector.score(sample.values) if fit.held is None else fit.held
    before = Detector(card, FEATURES).score(sample.values)
    group, null = groups(sample), fit.card.null if fit.card.learned else card.null
    for g in range(int(group.max()) + 1):
        rows = (group == g)[sample.account]
        one = sample.where(group == g)
        if int((~one.attack[one.account]).sum()) < LEAST_HOURS:
            continue
        bearable = max(AT_NULL, share_beyond(before[rows], one, card.null))
        kept = honest_null(scores[rows], one)
        while null < kept and share_beyond(scores[rows], one, null) > bearable:
            null = round(null + 0.01, 2)
    return fit._replace(card=msgspec.structs.replace(fit.card, null=null))


def _fitted(card: Card, seen: Sample, choices: Choices, named: str, tell: Callable[[str], None]) -> Fit:
    """What a training on some of the data gives: where they teach an estimator nothing, the card as it is."""
    try:
        return _with_null(card, choices.fit(card, seen, lambda text: None), seen)
    except NothingLearnt as error:
        tell(f"{named}: {error}; judged by the card as it is")
        reached = credit(Detector(card, FEATURES), seen)
        return Fit(card, reached, reached, [])


def _held_out(card: Card, whole: Sample, choices: Choices, tell: Callable[[str], None]) -> Part:
    """Each fold judged by a card that has seen none of its campaigns, nor its time where that is split too."""
    before, after = [], []
    early, late, gap = split_time(whole) if "time" in choices.split else (whole, whole, 0.0)
    split_by = [f"time (embargo {gap:.0f} h)"] * ("time" in choices.split)
    split_by += [f"campaign, {choices.folds} folds"] * ("campaign" in choices.split)
    tell(f"held out by {' and '.join(split_by)}")
    count = choices.folds if "campaign" in choices.split else 1
    of = dict(zip(_keys(whole), np.argmax(folds(whole, count), axis=0).tolist(), strict=True))
    for k in range(count):
        inside = np.array([of[key] != k or count == 1 for key in _keys(early)])
        outside = np.array([of[key] == k or count == 1 for key in _keys(late)])
        seen, unseen = early.where(inside), late.where(_with_threshold(late, outside))
        if not (_has_both(seen) and _has_both(unseen)):
            continue
        fitted = _fitted(card, seen, choices, f"fold {k + 1}", tell)
        before.append(unseen)
        after.append(fitted.detector)
        tell(f"fold {k + 1}: credit {fitted.credit_before:.3f} -> {fitted.credit:.3f} where it was fitted")
    if not before:
        raise ValueError("no fold has attack accounts and honest ones on both sides: give more data, or --split none")
    return _pooled("Held out", card, after, before)


def _families(
    card: Card, whole: Sample, fit: Fit, choices: Choices, tell: Callable[[str], None]
) -> tuple[list[Part], list[Family]]:
    """Each family judged by a card that was fitted without it; honest accounts are halved between fit and judgement.

    Of a learned support also what it makes of each family when it has seen it, on campaigns that were held out.
    """
    sizes = Counter(kind for kind, bad in zip(whole.kind, whole.attack.tolist(), strict=True) if bad)
    kinds = sorted(kind for kind, size in sizes.items() if size >= LEAST_FAMILY)
    if len(kinds) < 2:
        return [], []
    half = folds(whole, 2)[0]
    samples, after, families = [], [], []
    for kind in kinds:
        members = np.array([one == kind for one in whole.kind]) & whole.attack
        seen = whole.where((whole.attack & ~members) | (~whole.attack & half))
        judged = _with_threshold(whole, members | (~whole.attack & ~half))
        unseen = whole.where(judged)
        if not (_has_both(seen) and _has_both(unseen)):
            continue
        without = _fitted(card, seen, choices, f"family {kind}", tell)
        samples.append(unseen)
        after.append(without.detector)
        if fit.supports and fit.held is not None:
            families.append(_family(kind, card, without, unseen, fit.held[judged[whole.account]]))
        tell(f"family {kind}: left out")
    if not samples:
        return [], []
    return [_pooled("Families left out one at a time", card, after, samples)], families


def _family(kind: str, card: Card, without: Fit, unseen: Sample, held: npt.NDArray[np.float32]) -> Family:
    """One family by the card, by a learned support that knows it, and by one that does not, with the card and alone."""
    by = (Detector(card, FEATURES).score(unseen.values), held, without.detector.score(unseen.values))
    before, known, unknown = (_recalls(scores, unseen) for scores in by)
    alone: tuple[float, ...] = ()
    for support in without.supports.values():
        odds, counted = np.full(len(held), -np.inf, np.float32), opened(card, unseen)
        odds[counted] = support.log_odds(unseen.values[counted])
        alone = _recalls(odds, unseen)
    return Family(kind, int(unseen.attack.sum()), before, known, unknown, alone)


def _recalls(scores: npt.NDArray[np.float32], sample: Sample) -> tuple[float, ...]:
    """The share of attack accounts above the thresholds."""
    return tuple(above_threshold(sample.highest(scores), sample)[:, sample.attack].mean(axis=1).tolist())


def _with_threshold(sample: Sample, accounts: Bools) -> Bools:
    """Those of some accounts, `(n,)`, whose data set has an honest one among them, which sets the threshold."""
    chosen = zip(sample.source, (accounts & ~sample.attack).tolist(), strict=True)
    found = {source for source, honest in chosen if honest}
    return accounts & np.array([source in found for source in sample.source], np.bool_)


def _has_both(sample: Sample) -> bool:
    return bool(sample.attack.any()) and not bool(sample.attack.all())


def _keys(sample: Sample) -> list[tuple[str, str]]:
    return list(zip(sample.source, sample.name, strict=True))


def _pooled(name: str, card: Card, detectors: Sequence[Detector], samples: Sequence[Sample]) -> Part:
    """Several judgements as one, each sample judged by its own card; without intervals, as the samples overlap."""
    before = Detector(card, FEATURES)
    told = [judge_cards(before, after, sample, replicates=0) for after, sample in zip(detectors, samples, strict=True)]
    lines: dict[tuple[str, str], list[Line]] = {}
    for one in told:
        for line in one.lines:
            if line.by != "data set":
                lines.setdefault((line.by, line.name), []).append(line)
    pooled = []
    for (by, group), found in lines.items():
        counts = [line.accounts for line in found]
        shares = [
            tuple(np.average(np.array(each), axis=0, weights=counts).tolist())
            for each in ([line.before for line in found], [line.after for line in found])
        ]
        pooled.append(Line(by, group, sum(counts), shares[0], shares[1]))
    hours = [int((~sample.attack[sample.account]).sum()) for sample in samples]
    beyond = [float(np.average([one.beyond[c] for one in told], weights=hours)) for c in range(2)]
    judged = Judged(pooled, [], (beyond[0], beyond[1]), (np.zeros(0), np.zeros(0)))
    return Part(name, sum(len(sample.name) for sample in samples), judged)


def version_of(trained: Trained, parent: Version, name: str, created: float, left_out: Sequence[Sample]) -> Version:
    """Return the parent's cards with the trained one in its place, its report and its plots, as a version."""
    others = {name for card in parent.cards if card.pattern != trained.before.pattern for name in card.learned}
    supports = {name: arrays for name, arrays in parent.supports.items() if name in others}
    supports |= {name: support.arrays for name, support in trained.fit.supports.items()}
    texts = {**parent.texts, trained.before.pattern: write_card(trained.fit.card).encode()}
    extra = {"MODEL_CARD.md": model_card(trained, name)}
    for name_of, support in trained.fit.supports.items():
        about = {"features": support.reads, "bytes": support.size, "sha256": support.digest, "told": trained.fit.told}
        extra[f"supports/{name_of}.json"] = msgspec.json.format(msgspec.json.encode(about), indent=2) + b"\n"
    for part in trained.parts:
        if part.name == LEFT_OUT:
            extra[PLOT] = plot(part, joined(list(left_out)))
    info = Info(
        name=name, parent=parent.id, made_by=trained.command, created=created, data=trained.digest, release=release(),
        lock=packages_digest(), metrics=metrics(trained),
    )  # fmt: skip
    return make_version(info, texts, supports, extra)
