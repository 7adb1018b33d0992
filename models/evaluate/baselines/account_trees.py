"""River's HalfSpaceTrees on what each account did in a day. Learns day after day and keeps nothing of requests."""

from __future__ import annotations

import numpy as np
from river import anomaly, compose, preprocessing

from siphonwatch.models.account.request import Array
from siphonwatch.models.evaluate.baselines.baseline import Accounts, Baseline, Scores, requests_by_account
from siphonwatch.models.evaluate.baselines.placeholder import MARKED

DAY_SECONDS = 86400.0
SHORT_SECONDS = 4 * 3600.0
"""A slot where the requests span two days or less."""
OPTIONAL = ("user", "session", "headers", "agent")
"""What an application may send along, and a script leaves out."""
TEMPERATURE = 0.7
"""Taken where a request names none."""
NO_GAP = 12.0
"""Logarithm of the gap, in seconds, of an account with one request that day."""


class DailyTrees(Baseline):
    """Greatest score of an account's daily aggregates, each day scored before it is learnt.

    A plain use of River: ten aggregates a day and account through `MinMaxScaler` and 25 `HalfSpaceTrees` of height 8.
    The first day has no score. All accounts teach, as River cannot know which to leave out.

    References
    ----------
    S. C. Tan, K. M. Ting, T. F. Liu, "Fast anomaly detection for streaming data", IJCAI 2011; river.anomaly.
    """

    name = "hst-daily"
    source = "Tan, Ting, Liu, IJCAI 2011 (River)"

    def score(self, requests: Array, accounts: Accounts, n_accounts: int) -> Scores:
        """Return the score of the rarest day, 0 for accounts seen on the first alone; see `Baseline.score`."""
        out = np.zeros(n_accounts)
        if not len(requests):
            return out
        since = requests["time"] - requests["time"][0]
        seconds = DAY_SECONDS if since[-1] > 2 * DAY_SECONDS else SHORT_SECONDS
        slots = (since // seconds).astype(np.int64)
        model = compose.Pipeline(
            preprocessing.MinMaxScaler(), anomaly.HalfSpaceTrees(n_trees=25, height=8, window_size=250, seed=7)
        )
        for slot in range(int(slots[-1]) + 1):
            places = np.flatnonzero(slots == slot)
            days = [
                (account, aggregates(requests[places[rows]])) for account, rows in requests_by_account(accounts[places])
            ]
            if slot:
                for account, day in days:
                    out[account] = max(out[account], model.score_one(day))
            for _, day in days:
                model.learn_one(day)
        return out


def aggregates(requests: Array) -> dict[str, float]:
    """Describe one account's requests of a day, by time.

    Returns
    -------
    Name to value; counts, tokens and seconds as logarithms, the rest as shares.
    """
    time = requests["time"]
    temperature = np.where(np.isnan(requests["temperature"]), TEMPERATURE, requests["temperature"])
    left_out = np.mean([(requests[name] == 0).mean() for name in OPTIONAL] + [(requests["guardrails"] == 0).mean()])
    return {
        "requests": float(np.log1p(len(requests))),
        "tokens_in": float(np.log1p(requests["tokens_in"].mean())),
        "tokens_out": float(np.log1p(requests["tokens_out"].mean())),
        "failed": float((requests["status"] >= 400).mean()),
        "streamed": float(requests["stream"].mean()),
        "temperature": float(temperature.mean()),
        "left_out": float(left_out),
        "masked": float((requests["masks"][:, :MARKED] > 0).any(axis=1).mean()),
        "gap": float(np.log1p(np.median(np.diff(time)))) if len(time) > 1 else NO_GAP,
        "hours": float(len(np.unique(time // 3600))),
    }
