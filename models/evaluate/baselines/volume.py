"""How much an account sent: what a rate limit sees. Reads no content."""

from __future__ import annotations

import numpy as np

from siphonwatch.models.account.request import Array
from siphonwatch.models.evaluate.baselines.baseline import Accounts, Baseline, Scores


class Volume(Baseline):
    """Requests an account sent in all.

    Examples
    --------
    >>> from siphonwatch.models.account.request import REQUEST
    >>> Volume().score(np.zeros(3, REQUEST), np.array([0, 1, 1]), 3).tolist()
    [1.0, 2.0, 0.0]
    """

    name = "volume"
    source = "a count"

    def score(self, requests: Array, accounts: Accounts, n_accounts: int) -> Scores:
        """Count each account's requests; see `Baseline.score`."""
        return np.bincount(accounts, minlength=n_accounts).astype(np.float64)
