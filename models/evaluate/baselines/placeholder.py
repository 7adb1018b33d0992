"""How often an account's prompts hold masked spans: what a regular expression for placeholders sees.

Never looks at when the masking began; a privacy proxy scores as high as whitewashing.
"""

from __future__ import annotations

import numpy as np

from siphonwatch.models.account.request import Array
from siphonwatch.models.evaluate.baselines.baseline import Accounts, Baseline, Scores

MARKED = 8
"""Syntax families, the first ones, that leave a marker in the text; an invented name leaves none."""


class PlaceholderShare(Baseline):
    """Share of an account's requests with a masked span of any syntax.

    The expressions ran where the sketch was made: only the counts of spans are here, those of the last user message.
    """

    name = "placeholder"
    source = "regular expressions for placeholders"

    def score(self, requests: Array, accounts: Accounts, n_accounts: int) -> Scores:
        """Return each account's share of requests with a placeholder; see `Baseline.score`."""
        masked = (requests["masks"][:, :MARKED] > 0).any(axis=1)
        sent = np.bincount(accounts, minlength=n_accounts)
        return np.bincount(accounts, masked, n_accounts) / np.maximum(sent, 1)
