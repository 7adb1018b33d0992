"""Fits a card to labelled accounts: weights, ends of ramps, null level. It reads no file and prints nothing.

The card is the prior. What is maximised is what the card is worth (`siphonwatch.models.learn.worth`) less a price for
leaving the prior: `PRIOR / n` for the square of each parameter's move, in units of itself (a weight doubled, a ramp's
end moved by the ramp's length), n labelled accounts. A term dropped is worth `SPARSE`.

All of it is a coordinate search: ramps keep their direction and weights stay positive by construction, so a fitted card
is as monotone as the card it came from.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import chain
from typing import Any, NamedTuple

import msgspec
import numpy as np

from siphonwatch.models.account.features import FEATURES
from siphonwatch.models.detect import Card, Detector, Scores
from siphonwatch.models.detect.card import Term
from siphonwatch.models.detect.support import Support
from siphonwatch.models.evidence.calibration import AT_NULL, DEPTH
from siphonwatch.models.learn.sample import Sample
from siphonwatch.models.learn.worth import Worth, credit

PRIOR = 20.0
"""What a whole move costs beside one label: as much held-out credit in three folds of campaigns as 5, which moves more,
had, by credit alone (dev2-1 and a scenario of seed 7)."""
SPARSE = 0.0005
STEPS = (0.5, 0.25, 0.1)
"""Of the search, in the units of the prior."""
SWEEPS = 6
FURTHEST = 1.5
"""Beyond so many units a parameter does not go, whatever the data say."""
NARROWEST = 0.25
"""Of a ramp, as a share of what it was: a step instead of a ramp learns one data set by heart."""
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
    worth = Worth(card, sample)
    few, price = worth.sample, PRIOR / len(worth.sample.name)
    theta: dict[Any, float] = {}

    def value(of: dict[Any, float]) -> float:
        dropped = sum(move == -math.inf for move in of.values())
        cost = price * sum(min(move * move, FURTHEST**2) for move in of.values())
        return worth.of(_moved(card, of)) - cost + SPARSE * dropped

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
