"""What a detector is: a pattern, the features it reads, a score for each request and an explanation of it."""

from __future__ import annotations

import math
from typing import ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.features import FEATURES, INDEX, Features
from siphonwatch.models.common.kernel import kernel

STEPS = 65
"""Places between a ramp's ends at which an explanation tries its feature."""

ATLAS = {
    "AML.T0008.005": "AI Service Proxies",
    "AML.T0024": "Exfiltration via AI Inference API",
    "AML.T0024.002": "Extract AI Model",
}
"""Names of the MITRE ATLAS techniques (release 5.5, 2026-03) that patterns may name."""

Scores = npt.NDArray[np.float32]


class _Ramps(NamedTuple):
    """Gates, then supports, then the groups that count together, as arrays for the compiled loop."""

    columns: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    low: npt.NDArray[np.float32]
    slope: npt.NDArray[np.float32]
    weight: npt.NDArray[np.float32]
    gates: int
    supports: int
    ends: npt.NDArray[np.int64]
    """Place after the last ramp of each group."""
    joint: npt.NDArray[np.float32]
    """What each group weighs."""
    offset: np.float32


@kernel
def _score_ramps(values: npt.NDArray[np.float32], ramps: _Ramps, out: Scores) -> None:
    zero, one = np.float32(0.0), np.float32(1.0)
    n = len(ramps.low)
    for i in range(len(values)):
        product, total = one, ramps.offset if n > ramps.gates else one
        together, group = one, 0
        for r in range(n):
            furthest = zero
            for k in range(ramps.starts[r], ramps.starts[r + 1]):
                furthest = max(furthest, (values[i, ramps.columns[k]] - ramps.low[r]) * ramps.slope[r])
            furthest = min(furthest, one)
            if r < ramps.gates:
                product *= furthest
                if product == zero:
                    break
            elif r < ramps.gates + ramps.supports:
                total += ramps.weight[r] * furthest
            else:
                together *= furthest
                if r + 1 == ramps.ends[group]:
                    total += ramps.joint[group] * together
                    together = one
                    group += 1
        out[i] = product * min(max(total, zero), one)  # the weights may add up to a hair above 1


class Ramp(NamedTuple):
    """How far a feature has moved from where benign accounts are (`low`) to where it says all it can (`high`).

    Below `low` it counts 0, above `high` 1, linear between; `low > high` turns the direction round. With several
    features (the scales of one quantity, say) the one that moved furthest counts.
    """

    features: tuple[str, ...]
    low: float
    high: float
    weight: float = 1.0


class Joint(NamedTuple):
    """Ramps that say something only when all have moved: their product counts, with one weight."""

    ramps: tuple[Ramp, ...]
    weight: float


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


class Explanation(NamedTuple):
    """Why a request scored as it did."""

    signals: list[Signal]
    """Strongest first."""
    counterfactual: str
    """One change under which the score would be no evidence."""


def _hold(rows: npt.NDArray[np.float32], ramp: Ramp, values: npt.NDArray[np.float32] | np.float32) -> None:
    """Hold a ramp's features in `rows`, `(n, WIDTH)`, to what `values`, `(n,)` or one for all, allow."""
    for name in ramp.features:
        column = rows[:, INDEX[name]]
        column[:] = np.minimum(column, values) if ramp.low < ramp.high else np.maximum(column, values)


def toward(low: float, value: float) -> str:
    """Return `value` as text of few digits, rounded towards `low`, so that it still holds what it was chosen for."""
    if value < low:
        rounded = min(math.ceil(value * 1000.0) / 1000.0, low)
    else:
        rounded = max(math.floor(value * 1000.0) / 1000.0, low)
    return f"{rounded:.12g}"


class Detector:
    """A pattern of use, scored request by request.

    The score is the product of the gates (all must hold) times the weighted mean of the supports. With an `offset`
    the weights are those of a scorecard instead: the offset and what the supports and joint groups add up to, over
    `span`, all in log-odds. Subclasses say which; one that needs another form overrides `score` and gets the same
    explanations by re-scoring.
    """

    pattern: ClassVar[str]
    title: ClassVar[str]
    atlas: ClassVar[tuple[str, ...]] = ()
    """MITRE ATLAS techniques, of `ATLAS`."""
    owasp: ClassVar[tuple[str, ...]] = ()
    trust: ClassVar[float] = 1.0
    """How much its evidence counts in the ranking of accounts: more where honest accounts hardly ever look like it."""
    null: ClassVar[float] = 0.25
    """Mean score that benign accounts stay below until the reference has learnt better."""
    gates: ClassVar[tuple[Ramp, ...]] = ()
    supports: ClassVar[tuple[Ramp, ...]] = ()
    joint: ClassVar[tuple[Joint, ...]] = ()
    offset: ClassVar[float] = 0.0
    """Log-odds, from the score of 0, with nothing moved; negative in a scorecard, 0 for a weighted mean."""
    span: ClassVar[float] = 1.0
    """Log-odds between the scores of 0 and 1 of a scorecard."""

    @property
    def ramps(self) -> tuple[Ramp, ...]:
        """Gates, supports and the members of the joint groups."""
        return self.gates + self.supports + tuple(ramp for joint in self.joint for ramp in joint.ramps)

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the features it reads."""
        return tuple(dict.fromkeys(name for ramp in self.ramps for name in ramp.features))

    def score(self, features: Features) -> Scores:
        """Return each request's score, `(n,) float32` in [0, 1]; higher is more suspicious."""
        out = np.empty(len(features), np.float32)
        _score_ramps(features.values, self._compiled(), out)
        return out

    def _compiled(self) -> _Ramps:
        ramps = self.ramps
        if getattr(self, "_ramps", None) is None:
            weights = [0.0] * len(ramps)
            weights[len(self.gates) : len(self.gates) + len(self.supports)] = [ramp.weight for ramp in self.supports]
            unit = self.span if self.offset else sum(weights) or 1.0
            members = np.array([len(joint.ramps) for joint in self.joint], np.int64)
            self._ramps = _Ramps(
                np.array([INDEX[name] for ramp in ramps for name in ramp.features]),
                np.cumsum([0] + [len(ramp.features) for ramp in ramps]),
                np.array([ramp.low for ramp in ramps], np.float32),
                np.array([1.0 / (ramp.high - ramp.low) for ramp in ramps], np.float32),
                np.array(weights, np.float32) / np.float32(unit),
                len(self.gates),
                len(self.supports),
                len(self.gates) + len(self.supports) + np.cumsum(members),
                np.array([joint.weight for joint in self.joint], np.float32) / np.float32(unit),
                np.float32(self.offset / unit),
            )
        return self._ramps

    def explain(self, features: Features, row: int, level: float) -> Explanation:
        """Return why request `row` scored above `level`, each claim checked by scoring again without it."""
        here = features.row(row)
        score = float(self.score(here)[0])
        signals: dict[str, Signal] = {}
        changes = []
        at_baseline = np.repeat(here.values, len(self.ramps), axis=0)
        for i, ramp in enumerate(self.ramps):
            _hold(at_baseline[i : i + 1], ramp, np.float32(ramp.low))
        for ramp, without in zip(self.ramps, self.score(Features(at_baseline)).tolist(), strict=True):
            if score <= without >= level:
                continue
            rising = ramp.low < ramp.high
            name = max(ramp.features, key=lambda n: float(here[n][0]) * (1 if ramp.low < ramp.high else -1))
            feature, observed = FEATURES[INDEX[name]], float(here[name][0])
            if score > without:
                direction = "above" if rising else "below"
                signal = Signal(name, observed, ramp.low, direction, feature.unit, feature.meaning, score - without)
                if name not in signals or signal.contribution > signals[name].contribution:
                    signals[name] = signal
            if without < level:
                values = np.linspace(ramp.low, ramp.high, STEPS, dtype=np.float32)
                changed = np.repeat(here.values, STEPS, axis=0)
                _hold(changed, ramp, values)
                scores = self.score(Features(changed))
                turning = float(values[np.flatnonzero(scores < level)[-1]])
                printed = toward(ramp.low, turning)
                moved = abs(turning - observed) / abs(ramp.high - ramp.low)
                beyond = [n for n in ramp.features if (float(here[n][0]) > float(printed)) == rising]
                where = f"{'at or below' if rising else 'at or above'} {printed}"
                changes.append((moved, f"would be no evidence with {' and '.join(beyond)} {where}"))
        strongest = sorted(signals.values(), key=lambda s: -s.contribution)
        return Explanation(strongest, min(changes)[1] if changes else "no single feature at its baseline would undo it")
