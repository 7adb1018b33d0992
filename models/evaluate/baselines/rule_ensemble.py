"""A weighted sum of five rules, as open tools ship it: fixed weights, fixed limits, nothing learnt. Each account by
itself, but for the headers that many accounts share."""

from __future__ import annotations

import numpy as np

from siphonwatch.models.account.request import Array, label
from siphonwatch.models.common.vocabulary import REASONING
from siphonwatch.models.evaluate.baselines.baseline import Accounts, Baseline, Scores, requests_by_account

HOUR = 3600.0
WEIGHTS = {"headers": 0.30, "burst": 0.23, "reasoning": 0.23, "template": 0.14, "addresses": 0.10}
"""As Glasswally adds up fingerprint, velocity, chain of thought, hydra and pivot (fusion.rs, commit 19f02543); its
graph and pivot need TLS fingerprints and topics, so the share of one template and many addresses stand in for them."""
SHARING = 10
"""Accounts with one tuple of headers from which on Glasswally calls it a cluster."""
BURST = 200
"""Requests an hour that Glasswally calls extreme; AegisGate begins at 100."""
REASONING_SHARE = 0.6
ADDRESSES = 5
"""Limits of AegisGate's distillation detector."""
SURE = 20
"""Requests from which on a rule counts in full; one request counts .43 of it (Glasswally: .4 and .6 by n / 20)."""
SDKS = tuple(int(label(name)) for name in ("openai", "openai-python", "openai-js", "anthropic-python", "anthropic-js"))


class RuleEnsemble(Baseline):
    """Header order, burst, reasoning share, template share and many addresses, weighted and summed.

    Limits are ramps here instead of steps, which is kinder: sums of steps tie, and no threshold parts ties. Telemetry
    holds which headers a client sent, not in which order: scored are a tuple that many accounts share, and a client
    that calls itself an SDK and sends none of an SDK's headers.

    References
    ----------
    Glasswally (github.com/m0rs3c0d3/Glasswally), AegisGate (github.com/aegisgatesecurity/aegisgate-platform).
    """

    name = "rules"
    source = "Glasswally, AegisGate"

    def score(self, requests: Array, accounts: Accounts, n_accounts: int) -> Scores:
        """Return each account's weighted sum, 0 ... 1; see `Baseline.score`."""
        out = np.zeros(n_accounts)
        shared = _accounts_of_headers(requests, accounts)
        for account, rows in requests_by_account(accounts):
            rules = self.rules(requests[rows], shared)
            sure = 0.4 + 0.6 * min(len(rows) / SURE, 1.0)
            out[account] = sure * sum(WEIGHTS[name] * value for name, value in rules.items())
        return out

    def rules(self, requests: Array, shared: dict[int, int]) -> dict[str, float]:
        """Return what each rule says of one account's requests, 0 ... 1 by name.

        `shared` tells how many accounts send each tuple of headers.
        """
        headers = requests["headers"]
        known = headers[headers != 0]
        most = max((shared.get(int(one), 0) for one in np.unique(known)), default=0)
        bare = np.isin(requests["client"], SDKS) & (requests["n_headers"] == 0)
        asked = requests["template"][requests["template"] != 0]
        hours = np.unique(requests["time"] // HOUR, return_counts=True)[1]
        return {
            "headers": max(min((most - 1) / SHARING, 1.0) if most else 0.0, float(bare.mean())),
            "burst": min(float(hours.max()) / BURST, 1.0),
            "reasoning": min(float(((requests["intents"] & REASONING) > 0).mean()) / REASONING_SHARE, 1.0),
            "template": float(np.unique(asked, return_counts=True)[1].max()) / len(requests) if len(asked) else 0.0,
            "addresses": min((len(np.unique(requests["ip"])) - 1) / ADDRESSES, 1.0),
        }


def _accounts_of_headers(requests: Array, accounts: Accounts) -> dict[int, int]:
    """How many accounts send each tuple of headers."""
    pairs = np.unique(np.stack([requests["headers"], accounts.astype(np.uint64)], axis=1), axis=0)
    tuples, counts = np.unique(pairs[:, 0], return_counts=True)
    return dict(zip(tuples.tolist(), counts.tolist(), strict=True))
