"""Detectors: a card says what a pattern is, a detector scores and explains it. Nothing here keeps state."""

from __future__ import annotations

from siphonwatch.models.detect.card import ATLAS, Card, CardError, Ramp, Term
from siphonwatch.models.detect.detector import Detector, Explanation, Scores, Signal

__all__ = ["ATLAS", "Card", "CardError", "Detector", "Explanation", "Ramp", "Scores", "Signal", "Term"]
