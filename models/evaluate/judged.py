"""A card against another: recall at equal false alarms, honest kinds, calibration, and what few verdicts teach it.

Everything is of the cards' own scores, an account's highest; evidence, campaigns and other patterns come on top of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from siphonwatch.models.account.features import FEATURES
from siphonwatch.models.detect import Card, Detector
from siphonwatch.models.evaluate.bootstrap import Bootstrap, Estimate, Floats
from siphonwatch.models.evaluate.data import codes
from siphonwatch.models.evaluate.ranking import exceeds, threshold
from siphonwatch.models.learn.fit import fit_card
from siphonwatch.models.learn.sample import HOUR, Sample

FPRS = (0.001, 0.01)
TOP = 50


class Line(NamedTuple):
    """One group of accounts, by both cards."""

    by: str
    """`all`, `data set`, `family` of attacks, or `honest` kind."""
    name: str
    accounts: int
    before: tuple[float, ...]
    """Share above the threshold, at each of `FPRS`."""
    after: tuple[float, ...]


class Judged(NamedTuple):
    """What a sample says of a card and of the one it came from."""

    lines: list[Line]
    gained: list[Estimate]
    """Recall after less before, at each of `FPRS`, with the interval of a paired bootstrap over campaigns and honest
    accounts; none of pooled folds."""
    beyond: tuple[float, float]
    """Share of honest account-hours that reach the null level, before and after; the promise is 1/20."""
    highest: tuple[Floats, Floats]
    """`(n,)` each account's highest score, before and after."""


def judge_cards(before: Detector, after: Detector, sample: Sample, replicates: int = 200, seed: int = 1) -> Judged:
    """Hold two cards of one pattern against each other; the thresholds are those of each data set of the sample."""
    rows = [detector.score(sample.values) for detector in (before, after)]
    highest = sample.highest(rows[0]), sample.highest(rows[1])
    honest = ~sample.attack[sample.account]
    beyond = tuple(
        float((scores[honest] >= detector.null).mean()) for scores, detector in zip(rows, (before, after), strict=True)
    )
    attack, source, kind = sample.attack, np.array(sample.source, object), np.array(sample.kind, object)
    above = np.array([above_threshold(one, sample) for one in highest])
    groups = [("all", "all attacks", attack)]
    groups += [("data set", name, attack & (source == name)) for name in dict.fromkeys(sample.source)]
    groups += [("family", name, attack & (kind == name)) for name in sorted(set(kind[attack].tolist()) - {""})]
    groups += [("honest", name, ~attack & (kind == name)) for name in sorted(set(kind[~attack].tolist()) - {""})]
    lines = []
    for by, name, members in groups:
        shares = above[:, :, members].mean(axis=2)
        lines.append(Line(by, name, int(members.sum()), tuple(shares[0].tolist()), tuple(shares[1].tolist())))
    unit = codes(sample.source, sample.campaign, attack.tolist())
    first = np.unique(unit, return_index=True)[1]
    boot = Bootstrap(codes(source[first].tolist(), attack[first].tolist()), replicates, seed)

    def gained(drawn: Floats) -> Floats:
        weights = drawn[:, unit]
        total = np.zeros((len(weights), len(FPRS)))
        for name in sorted(set(sample.source)):
            positive, negative = attack & (source == name), ~attack & (source == name)
            if not positive.any():
                continue
            for f, fpr in enumerate(FPRS):
                found = [exceeds(h[positive], h[negative], weights[:, negative], fpr) for h in highest]
                apart = found[1].astype(np.float64) - found[0]
                total[:, f] += (apart * weights[:, positive]).sum(axis=1)
        shares: Floats = total / weights[:, attack].sum(axis=1)[:, None]
        return shares

    return Judged(lines, boot.estimates(gained), (beyond[0], beyond[1]), highest)


def above_threshold(highest: Floats, sample: Sample) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    """Return whose highest score, `(n,)`, is above the threshold of its data set, at each of `FPRS`, `(f, n)`."""
    source, above = np.array(sample.source, object), np.zeros((len(FPRS), len(highest)), np.bool_)
    for name in set(sample.source):
        here = source == name
        for f, fpr in enumerate(FPRS):
            above[f, here] = highest[here] > threshold(highest[here & ~sample.attack], fpr)
    return above


def folds(sample: Sample, count: int, seed: int = 0) -> list[np.ndarray[tuple[int], np.dtype[np.bool_]]]:
    """Return which accounts each fold holds out, `(n,)`: whole campaigns, drawn at random."""
    names = sorted(set(sample.campaign))
    of = dict(zip(names, np.random.default_rng(seed).permutation(len(names)) % count, strict=True))
    fold = np.array([of[name] for name in sample.campaign])
    return [fold == k for k in range(count)]


def split_time(sample: Sample, share: float = 0.7, embargo: float = 0.1) -> tuple[Sample, Sample, float]:
    """Return the account-hours before a moment, those after an embargo from it, and the embargo in hours.

    The moment has `share` of the event time before it; the embargo is that share of the event time, and at most the
    longest window of a feature, seven days.
    """
    first, last = float(sample.time.min()), float(sample.time.max())
    cut = first + share * (last - first)
    gap = min(embargo * (last - first), 7 * 24 * HOUR)
    everyone = np.ones(len(sample.name), np.bool_)
    return (
        sample.where(everyone, sample.time < cut),
        sample.where(everyone, sample.time >= cut + gap),
        gap / HOUR,
    )


def precision_at(highest: Floats, attack: np.ndarray[tuple[int], np.dtype[np.bool_]], top: int = TOP) -> float:
    """Return the share of attack accounts among the highest `top`; ties in the order of the accounts."""
    order = np.argsort(-highest, kind="stable")[:top]
    return float(attack[order].mean())


def learn_from_verdicts(
    card: Card, train: Sample, judged: Sequence[Sample], verdicts: int, *, wrong: float, seed: int
) -> list[float]:
    """Return the precision at the top of each judged sample after so many verdicts, of which a share is wrong.

    Analysts judge accounts drawn from the head of the unsupervised order, three times as many as they judge.
    """
    rng = np.random.default_rng(seed)
    highest = train.highest(Detector(card, FEATURES).score(train.values))
    head = np.argsort(-highest, kind="stable")[: 3 * verdicts]
    chosen = np.zeros(len(highest), np.bool_)
    chosen[rng.choice(head, min(verdicts, len(head)), replace=False)] = True
    given = train.where(chosen)
    flipped = rng.random(len(given.name)) < wrong
    given = given._replace(attack=given.attack ^ flipped)
    if given.attack.any() and not given.attack.all():
        card = fit_card(card, given).card
    detector = Detector(card, FEATURES)
    return [precision_at(one.highest(detector.score(one.values)), one.attack) for one in judged]
