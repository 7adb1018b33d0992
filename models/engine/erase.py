"""What is counted when accounts are erased, by the place that held them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from siphonwatch.models.evidence.cases import Finding

ROWS, CASES, FINGERPRINTS, CAMPAIGNS, SUSPECTS = PLACES = ("rows", "cases", "fingerprints", "campaigns", "suspects")
"""An account's row; open cases about it; rows of fingerprints that hold its hash; watched campaigns that remember it;
its suspicion as a campaign's member."""


@dataclass(frozen=True)
class Erased:
    """What was found of some accounts, and removed unless it was only looked for."""

    counts: dict[str, int]
    """Of `PLACES`; a place that has none may be missing."""
    ended: Sequence[Finding] = ()
    """What tells the ends of cases that were told, without the account."""

    def __add__(self, other: Erased) -> Erased:
        """Return both together."""
        places = self.counts.keys() | other.counts.keys()
        sums = {place: self.counts.get(place, 0) + other.counts.get(place, 0) for place in places}
        return Erased(sums, [*self.ended, *other.ended])
