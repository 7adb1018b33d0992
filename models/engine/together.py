"""A scorer with its coordinator right behind it, in one process, as `replay` and `evaluate` run them.

Over one partition it finds what a worker finds through the sightings topic; only the order between the findings of the
two depends on how the requests are cut into batches.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.request import Array
from siphonwatch.models.account.table import AccountTable
from siphonwatch.models.engine.coordinator import Coordinator
from siphonwatch.models.engine.scorer import Scorer
from siphonwatch.models.evidence.cases import Finding


class Together:
    """Score requests account by account, then campaign by campaign.

    Parameters
    ----------
    scorer, coordinator
        Each with whatever state it has.

    Examples
    --------
    >>> from siphonwatch.models.account.request import blank
    >>> from siphonwatch.models.engine.config import ScorerConfig
    >>> both = Together(Scorer(ScorerConfig()), Coordinator(ScorerConfig()))
    >>> both.score(blank(), np.array([0])), len(both.table)
    ([], 1)
    """

    def __init__(self, scorer: Scorer, coordinator: Coordinator) -> None:
        self.scorer = scorer
        self.coordinator = coordinator

    @property
    def table(self) -> AccountTable:
        """The accounts."""
        return self.scorer.table

    @property
    def now(self) -> float:
        """Event time, seconds since 1970."""
        return self.scorer.now

    @property
    def late(self) -> int:
        """Requests that came later than the grace."""
        return self.scorer.late

    @property
    def ahead(self) -> int:
        """Requests further ahead of the clock than one may be."""
        return self.scorer.ahead

    def score(self, requests: Array, offsets: npt.NDArray[np.int64]) -> list[Finding]:
        """Take requests, `(n,) REQUEST`, with their increasing offsets, `(n,) int64`; return what came of them."""
        findings = self.scorer.score(requests, offsets)
        seen = self.scorer.sighted
        return findings + self.coordinator.score(requests[seen], offsets[seen])

    def suspicion(self) -> dict[str, float]:
        """Return the highest suspicion each account in memory has reached, on its own or as a campaign's member."""
        highest = self.scorer.suspicion()
        for account, suspicion in self.coordinator.suspicion().items():
            if suspicion > highest.get(account, 0.0):
                highest[account] = suspicion
        return highest
