"""All patterns that findings can have, those of single accounts and those of campaigns. Scores nothing."""

from __future__ import annotations

from typing import ClassVar, Protocol

from siphonwatch.models.campaign.detector import Relay
from siphonwatch.models.detect import detectors


class Pattern(Protocol):
    """What an alert says about its pattern."""

    pattern: ClassVar[str]
    title: ClassVar[str]
    atlas: ClassVar[tuple[str, ...]]
    owasp: ClassVar[tuple[str, ...]]


def patterns() -> tuple[Pattern, ...]:
    """Return one of each, the accounts' own first.

    Examples
    --------
    >>> [p.pattern for p in patterns()][-1]
    'relay'
    """
    return (*detectors(), Relay())
