"""All patterns that findings can have: the installed cards, each bound to the table of features it reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Literal

from siphonwatch.models.account.features import FEATURES as ACCOUNT
from siphonwatch.models.campaign.features import FEATURES as CAMPAIGN
from siphonwatch.models.common.tensors import TensorsError, read_tensors
from siphonwatch.models.detect import Card, CardError, Detector
from siphonwatch.models.detect.detector import FeatureLike
from siphonwatch.models.detect.registry import cards, installed_supports
from siphonwatch.models.detect.support import Support, SupportError


@cache
def patterns() -> tuple[Detector, ...]:
    """Return a detector for each card, those of single accounts first.

    Raises
    ------
    CardError
        Where a card cannot be used.

    Examples
    --------
    >>> [p.pattern for p in patterns() if p.card.over == "account"]
    ['extraction', 'scraping', 'desensitisation', 'elicitation', 'replay', 'shift', 'rarity']
    """
    return bound(cards(), installed_supports())


def bound(chosen: Sequence[Card], learned: Mapping[str, bytes] | None = None) -> tuple[Detector, ...]:
    """Return a detector for each of some cards, those of single accounts first.

    Parameters
    ----------
    learned
        Their learned supports as safetensors, by name.

    Raises
    ------
    CardError
        Where a card, or a learned support, cannot be used.
    """
    tables: dict[str, Sequence[FeatureLike]] = {"account": ACCOUNT, "campaign": CAMPAIGN}
    try:
        found = {name: Support(name, read_tensors(data), ACCOUNT) for name, data in (learned or {}).items()}
    except (TensorsError, SupportError) as error:
        raise CardError(f"a learned support beside the cards cannot be used: {error}") from None
    return tuple(Detector(card, table, found) for over, table in tables.items() for card in chosen if card.over == over)


def detectors(over: Literal["account", "campaign"] = "account") -> tuple[Detector, ...]:
    """Return the detectors of accounts, or those of campaigns; in the order of the columns of scores."""
    return tuple(detector for detector in patterns() if detector.card.over == over)


def detector(pattern: str) -> Detector:
    """Return the detector of one pattern.

    Raises
    ------
    KeyError
        Where no card is of this pattern.
    """
    return {found.pattern: found for found in patterns()}[pattern]
