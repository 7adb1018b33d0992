"""Relay: one campaign over many accounts, scored fingerprint by fingerprint."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from siphonwatch.models.campaign.features import FEATURES, INDEX, WIDTH
from siphonwatch.models.common.kernel import kernel
from siphonwatch.models.detect.base import Explanation, Ramp, Scores, Signal, toward

STEPS = 65
"""Places between a ramp's ends at which an explanation tries its feature."""


class _Ramps(NamedTuple):
    """Gates, then each way, then supports, as arrays for the compiled loop."""

    columns: npt.NDArray[np.int64]
    low: npt.NDArray[np.float32]
    slope: npt.NDArray[np.float32]
    weight: npt.NDArray[np.float32]
    starts: npt.NDArray[np.int64]
    """Where each of these parts begins, and the end of the last."""


def _as_arrays(parts: Sequence[Sequence[Ramp]]) -> _Ramps:
    ramps = list(itertools.chain(*parts))
    weights = np.array([ramp.weight for ramp in ramps], np.float32)
    return _Ramps(
        np.array([INDEX[ramp.features[0]] for ramp in ramps]),
        np.array([ramp.low for ramp in ramps], np.float32),
        np.array([1.0 / (ramp.high - ramp.low) for ramp in ramps], np.float32),
        weights / np.float32(sum(ramp.weight for ramp in parts[-1])),
        np.cumsum([0, *(len(part) for part in parts)]),
    )


@kernel
def _rise(row: npt.NDArray[np.float32], ramps: _Ramps, r: int) -> np.float32:
    """How far a ramp's feature has risen, in [0, 1]."""
    part = (row[ramps.columns[r]] - ramps.low[r]) * ramps.slope[r]
    return min(max(part, np.float32(0.0)), np.float32(1.0))


@kernel
def _score(values: npt.NDArray[np.float32], ramps: _Ramps, out: Scores) -> None:
    """Gates multiply, the best way multiplies, supports add up by their weights."""
    zero, one = np.float32(0.0), np.float32(1.0)
    last = len(ramps.starts) - 2
    for i in range(len(values)):
        row = values[i]
        product = one
        for r in range(ramps.starts[1]):
            product *= _rise(row, ramps, r)
            if product == zero:
                break
        if product > zero:
            best = zero
            for way in range(1, last):
                fits = one
                for r in range(ramps.starts[way], ramps.starts[way + 1]):
                    fits *= _rise(row, ramps, r)
                best = max(best, fits)
            total = zero
            for r in range(ramps.starts[last], ramps.starts[last + 1]):
                total += ramps.weight[r] * _rise(row, ramps, r)
            product *= best * min(total, one)
        out[i] = product


class Relay:
    """Score how much the accounts behind one fingerprint look like one operator's.

    Customers who share a client, a system prompt or an address take unequal shares, come in sittings of their own,
    repeat each other and hold conversations. A relay hands one list round: many accounts with near-equal loads, nothing
    sent twice, nothing followed up, the next request from the next account, and what one account is refused another
    sends within seconds.

    Source: campaigns over tens of thousands of accounts at some 26 requests a day each, behind one relay (DESIGN.md).

    Examples
    --------
    >>> x = np.zeros((1, WIDTH), np.float32)
    >>> seen = {"accounts": 40, "per_account": 3, "disparity": 1.1, "new_content": 0.9, "breadth": 0.9, "passing": 0.9,
    ...         "places": 0.9, "seen": 120}
    >>> for name, value in seen.items():
    ...     x[0, INDEX[name]] = value
    >>> bool(Relay().score(x)[0] > 0.5)
    True
    """

    pattern: ClassVar[str] = "relay"
    title: ClassVar[str] = "One campaign over many accounts behind a relay"
    atlas: ClassVar[tuple[str, ...]] = ("AML.T0024", "AML.T0024.002", "AML.T0008.005")
    owasp: ClassVar[tuple[str, ...]] = ("LLM10:2025", "API4:2023", "API6:2023")
    null = 0.45
    """Score that honest fingerprints stay below: those measured reached 0.33."""
    gates = (
        Ramp(("accounts",), 8.0, 14.0),
        Ramp(("disparity",), 2.2, 1.6),
        Ramp(("per_account",), 1.1, 1.5),
        Ramp(("new_content",), 0.15, 0.45),
        Ramp(("conversation",), 0.5, 0.2),
        Ramp(("breadth",), 0.1, 0.3),
    )
    ways = (
        (Ramp(("sittings",), 0.5, 0.38),),
        (Ramp(("disparity",), 1.2, 1.1), Ramp(("per_account",), 4.0, 7.0), Ramp(("breadth",), 0.5, 0.7)),
    )
    """How a relay hands its list round: by even steps, or in blocks of one size. One of them must hold."""
    supports = (
        Ramp(("passing",), 0.1, 0.6, 2.0),
        Ramp(("batons",), 0.3, 3.0, 2.0),
        Ramp(("places",), 0.05, 0.3, 1.0),
        Ramp(("accounts",), 14.0, 30.0, 1.0),
        Ramp(("disparity",), 1.5, 1.1, 1.0),
        Ramp(("breadth",), 0.3, 0.7, 1.0),
        Ramp(("seen",), 30.0, 120.0, 1.0),
        Ramp(("session",), 0.5, 0.1, 0.5),
    )

    def __init__(self) -> None:
        self._ramps = _as_arrays([self.gates, *self.ways, self.supports])

    def score(self, values: npt.NDArray[np.float32]) -> Scores:
        """Return the score of each sighting, `(n,) float32` in [0, 1], from its features, `(n, WIDTH) float32`."""
        if values.ndim != 2 or values.shape[1] != WIDTH:
            raise ValueError(f"a fingerprint's features are (n, {WIDTH}), not {values.shape}")
        out = np.empty(len(values), np.float32)
        _score(values, self._ramps, out)
        return out

    def explain(self, values: npt.NDArray[np.float32], level: float) -> Explanation:
        """Return why one sighting, `(WIDTH,)`, scored above `level`, each claim checked by scoring without it."""
        here = values[np.newaxis]
        score = float(self.score(here)[0])
        signals: dict[str, Signal] = {}
        changes = []
        for ramp in (*self.gates, *itertools.chain(*self.ways), *self.supports):
            column, rising = INDEX[ramp.features[0]], ramp.low < ramp.high
            feature, observed = FEATURES[column], float(values[column])
            tried = np.linspace(ramp.low, ramp.high, STEPS, dtype=np.float32)
            changed = np.repeat(here, STEPS, axis=0)
            changed[:, column] = (np.minimum if rising else np.maximum)(changed[:, column], tried)
            scores = self.score(changed)
            gain = score - float(scores[0])
            if gain > 0.0 and (feature.name not in signals or gain > signals[feature.name].contribution):
                signals[feature.name] = Signal(
                    feature.name,
                    observed,
                    ramp.low,
                    "above" if rising else "below",
                    feature.unit,
                    feature.meaning,
                    gain,
                )
            if scores[0] < level:
                turning = float(tried[np.flatnonzero(scores < level)[-1]])
                moved = abs(turning - observed) / abs(ramp.high - ramp.low)
                where = "at or below" if rising else "at or above"
                changes.append((moved, f"would be no evidence with {feature.name} {where} {toward(ramp.low, turning)}"))
        strongest = sorted(signals.values(), key=lambda s: -s.contribution)
        return Explanation(strongest, min(changes)[1] if changes else "no single feature at its baseline would undo it")
