"""Detectors: one pattern of use a file. The list below is all that names them."""

from __future__ import annotations

from siphonwatch.models.detect.base import Detector, Explanation, Ramp, Signal
from siphonwatch.models.detect.cards.desensitisation import Desensitisation
from siphonwatch.models.detect.cards.extraction import Extraction
from siphonwatch.models.detect.cards.rarity import Rarity
from siphonwatch.models.detect.cards.scraping import Scraping
from siphonwatch.models.detect.cards.shift import Shift

__all__ = ["Detector", "Explanation", "Ramp", "Signal", "detectors"]


def detectors() -> tuple[Detector, ...]:
    """Return one of each detector, in the order of the evidence in an account's row."""
    return Extraction(), Scraping(), Desensitisation(), Shift(), Rarity()
