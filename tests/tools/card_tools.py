"""Cards under test: detectors that note what they score, and cards that are made of others by changing a part."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import numpy as np

from siphonwatch.models.account.features import FEATURES, Features
from siphonwatch.models.detect import Card, Detector
from siphonwatch.models.engine.patterns import detector


class Watch(Detector):
    """The detector of a pattern, which keeps every request's score and features."""

    def __init__(self, pattern: str) -> None:
        inner = detector(pattern)
        super().__init__(inner.card, inner.features, inner.supports)
        self.kept: list[tuple[np.ndarray, np.ndarray]] = []
        self._explaining = False

    def score(self, values: np.ndarray) -> np.ndarray:
        scores = super().score(values)
        if not self._explaining:
            self.kept.append((scores.copy(), values.copy()))
        return scores

    def explain(self, here: np.ndarray, level: float) -> Any:
        self._explaining = True
        try:
            return super().explain(here, level)
        finally:
            self._explaining = False

    @property
    def scores(self) -> np.ndarray:
        return np.concatenate([scores for scores, _ in self.kept])

    @property
    def values(self) -> Features:
        return Features(np.concatenate([values for _, values in self.kept]))


def card(**parts: Any) -> Card:
    """A card that keeps all promises; `parts` are changed or added, as a TOML file would give them."""
    whole = {
        "pattern": "good", "title": "A card that keeps its promises", "about": "Many requests.",
        "atlas": ["AML.T0024"], "null": 0.25, "fitted": {"on": "nothing", "by": "hand"},
        "gates": [{"of": ["sweep_1h", "sweep_1d"], "low": 0.2, "high": 0.8}],
        "supports": [{"of": ["seen"], "low": 1.0, "high": 4.0}, {"of": ["gap_spread_1h"], "low": 0.8, "high": 0.2}],
    } | parts  # fmt: skip
    return msgspec.convert(whole, Card)


def bound(**parts: Any) -> Detector:
    """Such a card over the features of accounts."""
    return Detector(card(**parts), FEATURES)


def as_toml(parts: dict[str, Any]) -> str:
    """A card's parts as a TOML file."""
    return "".join(f"{name} = {_value(part)}\n" for name, part in parts.items())


def _value(part: Any) -> str:
    if isinstance(part, dict):
        return "{" + ", ".join(f"{name} = {_value(value)}" for name, value in part.items()) + "}"
    return "[" + ", ".join(map(_value, part)) + "]" if isinstance(part, list | tuple) else json.dumps(part)
