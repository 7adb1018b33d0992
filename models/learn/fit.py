"""Fits a card to labelled accounts: weights, ends of ramps, null level. It reads no file and prints nothing.

The card is the prior. What is maximised is the mean credit of attack accounts less a price for leaving the prior:

- *Credit*: how far an account's highest score is above the thresholds that some shares of the honest accounts reach
  (`RATES`), each up to `MARGIN`: bounded, so that a wrong label can take no more than its own share, and about the low
  false-alarm rates where a detector is used. An account of a campaign of k counts 1/sqrt(k): a pool of a hundred is no
  hundred attackers.
- *Price*: `PRIOR / n` for the square of each parameter's move, in units of itself (a weight doubled, a ramp's end moved
  by the ramp's length), n labelled accounts. A term dropped is worth `SPARSE`. Honest account-hours beyond the null
  level cost `PROMISE` for each, of those that the card's promise does not cover and the prior did not have.

All of it is a coordinate search: ramps keep their direction and weights stay positive by construction, so a fitted card
is as monotone as the card it came from.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from itertools import chain
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.features import FEATURES
from siphonwatch.models.detect import Card, Detector, Scores
from siphonwatch.models.detect.card import Term
from siphonwatch.models.detect.support import Support
from siphonwatch.models.evidence.calibration import AT_NULL, DEPTH
from siphonwatch.models.learn.sample import Bools, Floats, Sample

RATES = (0.002, 0.005, 0.01, 0.02, 0.05)
"""Shares of honest accounts above a threshold; the upper ones still say something where some labels are wrong."""
MARGIN = 0.2
PRIOR = 20.0
"""What a whole move costs beside one label: as much held-out credit in three folds of campaigns as 5, which moves more,
had (dev2-1 and a scenario of seed 7; docs/lab.md)."""
PROMISE = 5.0
"""Credit that a share of 1 of honest account-hours costs, so that 1 % more of them cost what one attack account in 20
is worth: evidence grows with hours, so a broken promise is false alarms."""
SPARSE = 0.0005
STEPS = (0.5, 0.25, 0.1)
"""Of the search, in the units of the prior."""
SWEEPS = 6
FURTHEST = 1.5
"""Beyond so many units a parameter does not go, whatever the data say."""
NARROWEST = 0.25
"""Of a ramp, as a share of what it was: a step instead of a ramp learns one data set by heart."""
ROWS = 12
"""Account-hours of one account that a fit looks at, those that score highest by the prior."""
DIGITS = 3
LEAST_TAIL = 5
"""Honest account-hours beyond a score from which on their share is held against the promise."""


class Fit(NamedTuple):
    """A fitted card, and how it came about."""

    card: Card
    credit_before: float
    credit: float
    moved: list[tuple[str, float, float]]
    """What is another number now: name, before, after; a term that was dropped weighs 0."""
    supports: dict[str, Support] = {}  # noqa: RUF012 - never changed
    """Learned ones that the card names."""
    held: Scores | None = None
    """`(m,)` scores of the rows it was fitted on, where a learned support was fitted: by one that did not see them."""
    told: list[str] = []  # noqa: RUF012 - never changed
    """What is told of a learned support."""

    @property
    def detector(self) -> Detector:
        """The fitted card over the features of accounts."""
        return Detector(self.card, FEATURES, self.supports)


class _Ramp(NamedTuple):
    part: str
    term: int
    ramp: int
    end: str


def credit(detector: Detector, sample: Sample) -> float:
    """Return the mean credit of a sample's attack accounts, in [0, 1]."""
    return credit_of(detector.score(sample.values), sample)


def credit_of(scores: Scores, sample: Sample) -> float:
    """Return the same of the scores of a sample's rows, `(m,)`."""
    return _credit(sample.highest(scores), sample.attack, _weights(sample), sample.weight)


def _credit(highest: Floats, attack: Bools, weight: Floats, sure: Floats) -> float:
    honest = np.sort(highest[~attack])[::-1]
    cut = np.cumsum(sure[~attack][np.argsort(-highest[~attack], kind="stable")])
    total = 0.0
    for rate in RATES:
        threshold = honest[min(int(np.searchsorted(cut, rate * cut[-1], "right")), len(honest) - 1)]
        total += float(weight @ np.clip((highest[attack] - threshold) / MARGIN, 0.0, 1.0))
    return total / (len(RATES) * float(weight.sum()))


def _weights(sample: Sample) -> Floats:
    """What each attack account counts: `1/sqrt(k)` in a campaign of k, times how sure its label is."""
    of = [sample.campaign[i] for i in np.flatnonzero(sample.attack).tolist()]
    size = Counter(of)
    return np.array([1.0 / math.sqrt(size[name]) for name in of]) * sample.weight[sample.attack]


def fit_card(card: Card, sample: Sample, tell: Callable[[str], None] = lambda text: None) -> Fit:
    """Fit a card of accounts.

    Parameters
    ----------
    card
        The prior.
    sample
        With attack and honest accounts.
    tell
        Called with what goes on.

    Raises
    ------
    ValueError
        Where the sample has no attack account, or no honest one.
    """
    if not sample.attack.any() or sample.attack.all():
        raise ValueError("a card is fitted on attack accounts and honest ones: one of both is missing")
    few = narrowed(sample, Detector(card, FEATURES))
    weights, price = _weights(few), PRIOR / len(few.name)
    theta: dict[Any, float] = {}
    honest = ~few.attack[few.account]
    hours = max(int((~sample.attack[sample.account]).sum()), 1)

    def broken(scores: npt.NDArray[np.float32]) -> float:
        return float((scores[honest] >= card.null).sum()) / hours

    bearable = max(AT_NULL, broken(Detector(card, FEATURES).score(few.values)))

    def value(of: dict[Any, float]) -> float:
        scores = Detector(_moved(card, of), FEATURES).score(few.values)
        dropped = sum(1 for move in of.values() if move == -math.inf)
        cost = price * sum(min(move * move, FURTHEST**2) for move in of.values())
        cost += PROMISE * max(broken(scores) - bearable, 0.0)
        return _credit(few.highest(scores), few.attack, weights, few.weight) - cost + SPARSE * dropped

    before = credit(Detector(card, FEATURES), few)
    best = value(theta)
    for sweep in range(SWEEPS):
        start = best
        for parameter in _parameters(card):
            here = theta.get(parameter, 0.0)
            options = [here + sign * step for step in STEPS for sign in (1.0, -1.0)]
            options = [round(option, 6) for option in options if abs(option) <= FURTHEST]
            if parameter[0] == "weight" and parameter[1] == "supports":
                options.append(-math.inf)
            for option in options:
                tried = {**theta, parameter: option}
                if not _allowed(card, tried, parameter):
                    continue
                reached = value(tried)
                if reached > best + 1e-6:
                    best, theta = reached, tried
        tell(f"sweep {sweep + 1}: {best:.4f}")
        if best - start < 1e-4:
            break
    fitted = _moved(card, theta, rounded=True)
    return Fit(fitted, before, credit(Detector(fitted, FEATURES), few), _changes(card, theta))


def narrowed(sample: Sample, detector: Detector, most: int = ROWS) -> Sample:
    """Return the sample with no more than so many rows of each account, those that score highest."""
    scores = detector.score(sample.values)
    order = np.lexsort((-scores, sample.account))
    starts = np.searchsorted(sample.account, np.arange(len(sample.name)))
    kept = np.zeros(len(scores), np.bool_)
    kept[order[np.arange(len(order)) - starts[sample.account[order]] < most]] = True
    return sample.where(np.ones(len(sample.name), np.bool_), kept)


def share_beyond(scores: Scores, sample: Sample, null: float) -> float:
    """Return the share of a sample's honest account-hours, of scores `(m,)`, that reach a level."""
    return float((scores[~sample.attack[sample.account]] >= null).mean())


def honest_null(scored: Scores, sample: Sample, least: float = 0.02) -> float:
    """Return the lowest null level at which the honest account-hours of a sample keep the card's promise.

    The promise is that of `siphonwatch.models.evidence.calibration`: one hour in 20 reaches it, and beyond it the tail
    falls at least as fast, as far as `LEAST_TAIL` hours tell.
    """
    scores = np.sort(scored[~sample.attack[sample.account]].astype(np.float64))[::-1]
    share = np.arange(1, len(scores) + 1) / max(len(scores), 1)
    at_null = -math.log(AT_NULL)
    told = scores[LEAST_TAIL - 1 :], share[LEAST_TAIL - 1 :]
    for null in np.arange(least, 0.95, 0.01):
        second = max(at_null / null, (DEPTH - at_null) / (1.0 - null))
        beyond = told[0] >= null
        promise = np.exp(-(at_null + (told[0][beyond] - null) * second))
        if (np.mean(scores >= null) if len(scores) else 0.0) <= AT_NULL and (told[1][beyond] <= promise).all():
            return round(float(null), 2)
    return 0.95


def _parameters(card: Card) -> list[Any]:
    """Names of what can move: weights of ways and supports, the offset, both ends of every ramp."""
    found: list[Any] = [("weight", part, t) for part in ("ways", "supports") for t in range(len(getattr(card, part)))]
    if card.offset:
        found.append(("offset",))
    for part in ("gates", "ways", "supports"):
        for t, term in enumerate(getattr(card, part)):
            found += [("ramp", part, t, r, end) for r in range(len(term.ramps)) for end in ("low", "high")]
    return found


def _allowed(card: Card, theta: dict[Any, float], parameter: Any) -> bool:
    """Whether a ramp stays a ramp, and something is left to score."""
    if parameter[0] == "ramp":
        ends = {end: theta.get((*parameter[:4], end), 0.0) for end in ("low", "high")}
        return 1.0 + ends["high"] - ends["low"] >= NARROWEST
    kept = [t for t in range(len(card.supports)) if theta.get(("weight", "supports", t)) != -math.inf]
    return bool(kept) or not card.supports


def _moved(card: Card, theta: dict[Any, float], rounded: bool = False) -> Card:
    """The card with its parameters moved."""

    def number(value: float) -> float:
        return round(value, DIGITS) if rounded else value

    parts: dict[str, Any] = {}
    for part in ("gates", "ways", "supports"):
        terms = []
        for t, term in enumerate(getattr(card, part)):
            move = theta.get(("weight", part, t), 0.0)
            if move == -math.inf:
                continue
            ramps = []
            for r, ramp in enumerate(term.ramps):
                length = ramp.high - ramp.low
                low, high = (theta.get(("ramp", part, t, r, end), 0.0) for end in ("low", "high"))
                ramps.append((number(ramp.low + low * length), number(ramp.high + high * length)))
            terms.append(_term(term, number(term.weight * 2.0**move), ramps))
        parts[part] = tuple(terms)
    offset = number(card.offset + theta.get(("offset",), 0.0) * 0.2 * card.span) if card.offset else 0.0
    return msgspec.structs.replace(card, offset=min(offset, 0.0), **parts)


def _term(term: Term, weight: float, ends: list[tuple[float, float]]) -> Term:
    if term.of:
        return msgspec.structs.replace(term, weight=weight, low=ends[0][0], high=ends[0][1])
    ramps = tuple(
        msgspec.structs.replace(ramp, low=low, high=high) for ramp, (low, high) in zip(term.ramps, ends, strict=True)
    )
    return msgspec.structs.replace(term, weight=weight, **{"all" if term.all else "any": ramps})


def _changes(card: Card, theta: dict[Any, float]) -> list[tuple[str, float, float]]:
    """Whatever is another number in the card that is written; of a term that was dropped its weight alone."""
    after = _moved(card, {k: v for k, v in theta.items() if v != -math.inf}, rounded=True)
    dropped = {parameter[1:] for parameter, move in theta.items() if move == -math.inf}
    found = []
    for parameter, move in theta.items():
        if not move or (parameter[0] == "ramp" and parameter[1:3] in dropped):
            continue
        if parameter[0] == "offset":
            found.append(("offset", card.offset, after.offset))
            continue
        one, other = (getattr(of, parameter[1])[parameter[2]] for of in (card, after))
        name = f"{parameter[1]} {parameter[2] + 1} {'/'.join(dict.fromkeys(chain(*(r.of for r in one.ramps))))}"
        if parameter[0] == "weight":
            found.append((f"{name}: weight", one.weight, 0.0 if move == -math.inf else other.weight))
        else:
            r, end = parameter[3:]
            name = f"{parameter[1]} {parameter[2] + 1} {'/'.join(one.ramps[r].of)}: {end}"
            found.append((name, getattr(one.ramps[r], end), getattr(other.ramps[r], end)))
    return [change for change in found if change[1] != change[2]]
