"""What scores and explains a card: the card bound to the table of features it reads, compiled to one loop.

There is one loop and one way to explain for all cards, of accounts and of campaigns. Nothing here keeps state.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import NamedTuple, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from siphonwatch.models.common.kernel import inlined, kernel
from siphonwatch.models.detect.card import Card, CardError, Ramp, Term
from siphonwatch.models.detect.support import Support, logit, sigmoid

STEPS = 65
"""Places between a ramp's ends at which an explanation tries its feature."""
ARITHMETIC = 1
"""Version of what the loop computes from a card; part of a card's id."""
NOTHING_HELPS = "no single feature at its baseline would undo it"

Scores = npt.NDArray[np.float32]
Values = npt.NDArray[np.float32]


class FeatureLike(Protocol):
    """What a detector has to know of a feature; its place in the table is its column."""

    @property
    def name(self) -> str: ...
    @property
    def unit(self) -> str: ...
    @property
    def meaning(self) -> str: ...


class Signal(NamedTuple):
    """One reason for a score."""

    name: str
    observed: float
    baseline: float
    """Value at which the feature says nothing."""
    direction: str
    """`above` or `below` the baseline."""
    unit: str
    meaning: str
    contribution: float
    """How much the score falls with this feature alone at its baseline (leave one out): they need not add up to it."""


LEARNED = "learned "
"""How the signal of a learned support begins; its name follows. It is told as the chance that the support gives."""


class Explanation(NamedTuple):
    """Why a request scored as it did."""

    signals: list[Signal]
    """Strongest first."""
    counterfactual: str
    """One change under which the score would be no evidence."""


class _Plan(NamedTuple):
    """A card as arrays: R ramps in T terms, the gates first, then the ways, then the supports."""

    columns: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    """`(R + 1,)` where each ramp's columns begin."""
    low: npt.NDArray[np.float32]
    slope: npt.NDArray[np.float32]
    bounds: npt.NDArray[np.int64]
    """`(T + 1,)` where each term's ramps begin."""
    either: npt.NDArray[np.bool_]
    """`(T,)` whether the greatest of its ramps counts, not their product."""
    weight: npt.NDArray[np.float32]
    """`(T,)`; of supports as a share of what all of them add up to, or of the span."""
    gates: int
    ways: int
    first: np.float32
    rest: np.float32
    share: np.float32
    """One over the weight of all ways."""
    offset: np.float32


@inlined
def _term(values: Values, i: int, plan: _Plan, t: int, scale: np.float32) -> np.float32:
    """The product of a term's ramps, or the greatest of them, times `scale`."""
    zero, one = np.float32(0.0), np.float32(1.0)
    product, greatest = scale, zero
    for r in range(plan.bounds[t], plan.bounds[t + 1]):
        furthest = zero
        for k in range(plan.starts[r], plan.starts[r + 1]):
            furthest = max(furthest, (values[i, plan.columns[k]] - plan.low[r]) * plan.slope[r])
        furthest = min(furthest, one)
        greatest = max(greatest, furthest)
        product *= furthest
        if product == zero and not plan.either[t]:
            break
    return scale * greatest if plan.either[t] else product


@kernel
def _score(values: Values, plan: _Plan, out: Scores) -> None:
    zero, one = np.float32(0.0), np.float32(1.0)
    supports = plan.gates + plan.ways
    terms = len(plan.weight)
    for i in range(len(values)):
        product, way, support = one, one, one
        for t in range(plan.gates):
            product *= _term(values, i, plan, t, one)
            if product == zero:
                break
        if product > zero and plan.ways > 0:
            best, total = zero, zero
            for t in range(plan.gates, supports):
                fits = _term(values, i, plan, t, plan.weight[t])
                best = max(best, fits)
                total += fits
            way = min(plan.first * best + plan.rest * (total * plan.share), one)
        if product > zero and way > zero and terms > supports:
            total = plan.offset
            for t in range(supports, terms):
                total += plan.weight[t] * _term(values, i, plan, t, one)
            support = min(max(total, zero), one)  # the weights may add up to a hair above 1
        out[i] = product * (way * support)


class Detector:
    """A card that can be scored.

    Parameters
    ----------
    card
        The pattern.
    features
        The table of features it reads, F of them, in the order of the columns.
    supports
        The learned supports that the card names, among others, by name.

    Raises
    ------
    CardError
        Where the card reads a feature that the table does not have, or names a support that is not there.

    Examples
    --------
    >>> from siphonwatch.models.detect.card import Fitted, Term
    >>> card = Card(pattern="busy", title="Busy", about="Many requests.", atlas=("AML.T0024",), null=0.1,
    ...             gates=(Term(of=("rate",), low=1.0, high=3.0),), fitted=Fitted("nothing", "hand"))
    >>> detector = Detector(card, [Signal("rate", 0.0, 0.0, "", "requests/h", "requests an hour", 0.0)])
    >>> detector.score(np.array([[0.0], [2.0], [9.0]], np.float32)).tolist()
    [0.0, 0.5, 1.0]
    """

    def __init__(
        self, card: Card, features: Sequence[FeatureLike], supports: Mapping[str, Support] | None = None
    ) -> None:
        self.card = card
        self.pattern, self.title, self.atlas, self.owasp = card.pattern, card.title, card.atlas, card.owasp
        self.null, self.trust = card.null, card.trust
        self.features = tuple(features)
        if missing := [name for name in card.learned if name not in (supports or {})]:
            raise CardError(
                f"card {card.pattern} names the learned support {missing[0]}, which is not there: a version has its "
                "arrays beside its cards, as supports/NAME.safetensors"
            )
        self.supports = {name: (supports or {})[name] for name in card.learned}
        read = (name for support in self.supports.values() for name in support.reads)
        self.needs = tuple(dict.fromkeys((*card.needs, *read)))
        self._index = {feature.name: column for column, feature in enumerate(features)}
        unknown = sorted(set(card.needs) - set(self._index))
        if unknown:
            raise CardError(
                f"card {card.pattern} reads features that no {card.over} has: {', '.join(unknown)}; correct their names"
            )
        self._plan = _compile(card, self._index)
        self._open = _compile(msgspec.structs.replace(card, supports=()), self._index) if self._gated else None

    @property
    def _gated(self) -> bool:
        """Whether its learned supports need not be asked of every row."""
        return bool(self.supports and (self.card.gates or self.card.ways))

    @cached_property
    def id(self) -> str:
        """12 hexadecimal digits that stand for what it computes: ramps, weights, null level, trust and features."""
        card = self.card
        read = sorted(card.needs, key=self._index.__getitem__)
        computed = (
            ARITHMETIC, card.over, card.gates, card.ways, card.first, card.supports, card.offset, card.span,
            card.null, card.trust, read, *(support.digest for support in self.supports.values()),
        )  # fmt: skip
        return hashlib.blake2b(msgspec.json.encode(computed), digest_size=6).hexdigest()

    def score(self, values: Values) -> Scores:
        """Return the score of each row of features, `(n,) float32` in [0, 1]; higher is more suspicious.

        Parameters
        ----------
        values
            `(n, F) float32`.

        Raises
        ------
        ValueError
            Where they are not.
        """
        if values.ndim != 2 or values.shape[1] != len(self.features) or values.dtype != np.float32:
            wanted = f"(n, {len(self.features)}) float32"
            raise ValueError(f"features of {self.card.over}s are {wanted}, not {values.shape} {values.dtype}")
        out = np.empty(len(values), np.float32)
        if not self.supports:
            _score(values, self._plan, out)
            return out
        if self._open is None:
            return self._score_with(self._with_learned(values))
        _score(values, self._open, out)
        some = np.flatnonzero(out > 0.0)
        out[some] = self._score_with(self._with_learned(values[some]))
        return out

    def score_given(self, values: Values, odds: Values) -> Scores:
        """Return scores where the learned supports' log-odds, `(n, L) float32`, are given, as of a model held out."""
        return self._score_with(np.column_stack([values, odds]))

    def _with_learned(self, values: Values) -> Values:
        """Rows with a further column for each learned support: its log-odds."""
        return np.column_stack([values, *(support.log_odds(values) for support in self.supports.values())])

    def _score_with(self, rows: Values) -> Scores:
        out = np.empty(len(rows), np.float32)
        _score(rows, self._plan, out)
        return out

    def explain(self, here: Values, level: float) -> Explanation:
        """Return why one row of features, `(F,) float32`, scored above `level`; each claim is checked by scoring."""
        score = float(self.score(here[np.newaxis])[0])
        signals: dict[str, Signal] = {}
        changes = []
        ramps = self.card.ramps
        at_baseline = np.repeat(here[np.newaxis], len(ramps), axis=0)
        for i, ramp in enumerate(ramps):
            self._hold(at_baseline[i : i + 1], ramp, np.float32(ramp.low))
        for ramp, without in zip(ramps, self.score(at_baseline).tolist(), strict=True):
            if score <= without >= level:
                continue
            rising = ramp.low < ramp.high
            observed_of = {name: float(here[self._index[name]]) for name in ramp.of}
            name = (max if rising else min)(ramp.of, key=observed_of.__getitem__)
            feature, observed = self.features[self._index[name]], observed_of[name]
            if score > without:
                direction = "above" if rising else "below"
                signal = Signal(name, observed, ramp.low, direction, feature.unit, feature.meaning, score - without)
                if name not in signals or signal.contribution > signals[name].contribution:
                    signals[name] = signal
            if without < level:
                tried = np.linspace(ramp.low, ramp.high, STEPS, dtype=np.float32)
                changed = np.repeat(here[np.newaxis], STEPS, axis=0)
                self._hold(changed, ramp, tried)
                turning = float(tried[np.flatnonzero(self.score(changed) < level)[-1]])
                printed = toward(ramp.low, turning)
                if self.supports and not self._undone(here, ramp, np.float32(printed), level):
                    continue
                moved = abs(turning - observed) / abs(ramp.high - ramp.low)
                beyond = [n for n in ramp.of if (observed_of[n] > float(printed)) == rising]
                where = f"{'at or below' if rising else 'at or above'} {printed}"
                changes.append((moved, f"would be no evidence with {' and '.join(beyond)} {where}"))
        signals |= {signal.name: signal for signal in self._learned_signals(here, score)}
        strongest = sorted(signals.values(), key=lambda s: -s.contribution)
        return Explanation(strongest, min(changes)[1] if changes else NOTHING_HELPS)

    def _undone(self, here: Values, ramp: Ramp, value: np.float32, level: float) -> bool:
        """Whether a ramp's features held to a value are no evidence: a learned support may rise as a feature falls."""
        held = here[np.newaxis].copy()
        self._hold(held, ramp, value)
        return float(self.score(held)[0]) < level

    def _learned_signals(self, here: Values, score: float) -> list[Signal]:
        """What each learned support adds to the score of one row, in words that say which features move it."""
        found = []
        terms = {term.learned: term for term in self.card.supports if term.learned}
        for place, (name, support) in enumerate(self.supports.items()):
            rows = self._with_learned(here[np.newaxis])
            column = len(self.features) + place
            share = float(sigmoid(rows[0, column : column + 1])[0])
            rows[0, column] = np.float32(logit(terms[name].low))
            fall = score - float(self._score_with(rows)[0])
            if fall > 0.0:
                said = support.words(here)
                found.append(Signal(f"{LEARNED}{name}", share, terms[name].low, "above", "", said, fall))
        return found

    def _hold(self, rows: Values, ramp: Ramp, values: Values | np.float32) -> None:
        """Hold a ramp's features in `rows`, `(n, F)`, to what `values`, `(n,)` or one for all, allow."""
        for name in ramp.of:
            column = rows[:, self._index[name]]
            column[:] = np.minimum(column, values) if ramp.low < ramp.high else np.maximum(column, values)


def _ramps(term: Term) -> tuple[Ramp, ...]:
    """A term's ramps; that of a learned one is over log-odds, in a column behind the features."""
    return (Ramp((f"{LEARNED}{term.learned}",), logit(term.low), logit(term.high)),) if term.learned else term.ramps


def _compile(card: Card, columns: dict[str, int]) -> _Plan:
    terms = card.terms
    ramps = [ramp for term in terms for ramp in _ramps(term)]
    index = columns | {f"{LEARNED}{name}": len(columns) + place for place, name in enumerate(card.learned)}
    weights = np.array([term.weight for term in terms], np.float32)
    supports = len(card.gates) + len(card.ways)
    unit = np.float32(card.span if card.offset else sum(term.weight for term in card.supports) or 1.0)
    weights[supports:] /= unit
    return _Plan(
        np.array([index[name] for ramp in ramps for name in ramp.of], np.int64),
        np.cumsum([0, *(len(ramp.of) for ramp in ramps)]),
        np.array([ramp.low for ramp in ramps], np.float32),
        np.array([1.0 / (ramp.high - ramp.low) for ramp in ramps], np.float32),
        np.cumsum([0, *(len(_ramps(term)) for term in terms)]),
        np.array([bool(term.any) for term in terms], np.bool_),
        weights,
        len(card.gates),
        len(card.ways),
        np.float32(card.first),
        np.float32(1.0) - np.float32(card.first),
        np.float32(1.0 / (sum(term.weight for term in card.ways) or 1.0)),
        np.float32(card.offset / float(card.span)) if card.offset else np.float32(0.0),
    )


def toward(end: float, value: float) -> str:
    """Return `value` as text of few digits, rounded towards `end`, so that what it was chosen for still holds."""
    if value < end:
        rounded = min(math.ceil(value * 1000.0) / 1000.0, end)
    else:
        rounded = max(math.floor(value * 1000.0) / 1000.0, end)
    return f"{rounded:.12g}"
