"""Why a row of features is no evidence by a card: which gates are shut, and what would open it. It decides nothing."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from siphonwatch.models.detect.card import Ramp, Term
from siphonwatch.models.detect.detector import STEPS, Detector, Values, toward

NOTHING_OPENS = "no single feature would make it evidence"


class Shut(NamedTuple):
    """A gate that lets nothing through."""

    name: str
    """The feature that is nearest to opening it."""
    observed: float
    opens: float
    """Value beyond which the gate opens."""
    direction: str
    """`above` or `below` that value."""
    unit: str


class Hold(NamedTuple):
    """What keeps a row of features from being evidence."""

    score: float
    shut: list[Shut]
    """Gates that are shut, in the card's order."""
    opening: str
    """The least change of one feature that would make it evidence; empty where it is."""


def hold(detector: Detector, values: Values, level: float) -> Hold:
    """Return what keeps features, `(F,) float32`, from scoring `level` or more; the opening is checked by scoring."""
    score = float(detector.score(values[np.newaxis])[0])
    at = {feature.name: k for k, feature in enumerate(detector.features)}
    shut = [_shut(detector, values, at, term) for term in detector.card.gates if _is_shut(term, values, at)]
    return Hold(score, shut, "" if score >= level else _opening(detector, values, at, level))


def _way(ramp: Ramp, values: Values, at: dict[str, int]) -> tuple[float, str]:
    """How far the ramp's furthest feature has gone, 0 at its low end, and which it is."""
    low, slope = np.float32(ramp.low), np.float32(1.0 / (ramp.high - ramp.low))  # as the card's loop has them
    return max((float((values[at[name]] - low) * slope), name) for name in ramp.of)


def _is_shut(term: Term, values: Values, at: dict[str, int]) -> bool:
    ways = [_way(ramp, values, at)[0] <= 0.0 for ramp in term.ramps]
    return all(ways) if term.any else any(ways)


def _shut(detector: Detector, values: Values, at: dict[str, int], term: Term) -> Shut:
    """The ramp that keeps a gate shut: of several that must all open the one furthest away, else the nearest."""
    ways = [(*_way(ramp, values, at), ramp) for ramp in term.ramps]
    _, name, ramp = (max if term.any else min)(ways, key=lambda found: found[0])
    direction = "above" if ramp.low < ramp.high else "below"
    return Shut(name, float(values[at[name]]), ramp.low, direction, detector.features[at[name]].unit)


def _opening(detector: Detector, values: Values, at: dict[str, int], level: float) -> str:
    found: list[tuple[float, str]] = []
    for ramp in detector.card.ramps:
        rising = ramp.low < ramp.high
        tried = np.linspace(ramp.low, ramp.high, STEPS, dtype=np.float32)
        for name in ramp.of:
            changed = np.repeat(values[np.newaxis], STEPS, axis=0)
            column = changed[:, at[name]]
            column[:] = np.maximum(column, tried) if rising else np.minimum(column, tried)
            enough = np.flatnonzero(detector.score(changed) >= level)
            if len(enough):
                value, observed = float(changed[enough[0], at[name]]), float(values[at[name]])
                moved = abs(value - observed) / abs(ramp.high - ramp.low)
                printed = toward(ramp.high, value)
                if detector.supports and not _opens(detector, values, at[name], np.float32(printed), level):
                    continue  # a learned support may fall as a feature rises
                found.append((moved, f"would be evidence with {name} at {printed} instead of {observed:.4g}"))
    return min(found)[1] if found else NOTHING_OPENS


def _opens(detector: Detector, values: Values, column: int, value: np.float32, level: float) -> bool:
    changed = values[np.newaxis].copy()
    changed[0, column] = value
    return float(detector.score(changed)[0]) >= level
