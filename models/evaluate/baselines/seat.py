"""SEAT: an account with too many pairs of queries that a similarity encoder takes for variants of one another.

Trains no encoder and keeps nothing of requests.
"""

from __future__ import annotations

import numpy as np

from siphonwatch.models.account.request import Array
from siphonwatch.models.evaluate.baselines.baseline import (
    Accounts,
    Baseline,
    Scores,
    Vectors,
    embedded,
    requests_by_account,
)

FLAGGED_PAIRS = 50
"""Similar pairs above which an account is flagged."""
ACCOUNT_SIZE = 1000
"""Queries of the account for which the threshold is set."""
TAIL_SCALE = 0.25
"""Of the pairs that would flag an account, how many an account of benign queries is left on average."""
SAMPLED_PAIRS = 1_000_000
"""Pairs of reference queries from which the threshold is read."""
REFERENCE_SECONDS = 86400.0
REMEMBERED = 2000
"""Latest queries of an account that the next one is compared with; without the limit the work is quadratic."""
EQUAL = 1.0 - 1e-5
"""Cosine of two equal projections, less rounding."""
BLOCK = 512


class Seat(Baseline):
    """Pairs of an account's queries that lie closer together than unrelated queries do.

    SEAT flags an account once it has more than 50 such pairs; an account ranks by its pairs. The threshold comes from
    queries drawn from the first day of all accounts, such that an account of 1,000 unrelated queries keeps well
    below 50 pairs, as in the adaptation to LLM queries by S. Liu, Q. Guo, Y. Dong 2026. Differences: SEAT trains its
    encoder, adversarially, on labelled images, which has no counterpart for a sketch of 32 bytes, so the cosine of two
    projections stands for the encoder's distance; each query is compared with the latest 2,000 of its account only,
    so that an account costs linear time; the first day is not known to be benign.

    References
    ----------
    Z. Zhang, Y. Chen, D. Wagner, "SEAT: Similarity Encoder by Adversarial Training for Detecting Model Extraction
    Attack Queries", AISec 2021; settings for text from S. Liu, Q. Guo, Y. Dong, arXiv 2606.05725 and its code.
    """

    name = "seat"
    source = "Zhang, Chen, Wagner, AISec 2021"

    def score(self, requests: Array, accounts: Accounts, n_accounts: int) -> Scores:
        """Count each account's similar pairs; see `Baseline.score`."""
        out = np.zeros(n_accounts)
        vectors, owners, places = embedded(requests, accounts)
        if len(vectors) < 2:
            return out
        time = requests["time"][places]
        least = self._threshold(vectors[time < time[0] + REFERENCE_SECONDS])
        for account, rows in requests_by_account(owners):
            out[account] = _similar_pairs(vectors[rows], least)
        return out

    def _threshold(self, reference: Vectors) -> float:
        """Return the cosine from which two queries count as similar."""
        if len(reference) < 2:
            return EQUAL
        rng = np.random.default_rng(0)
        first = rng.integers(0, len(reference), SAMPLED_PAIRS)
        second = rng.integers(0, len(reference) - 1, SAMPLED_PAIRS)
        second += second >= first
        cosines = np.einsum("ij,ij->i", reference[first], reference[second])
        tail = TAIL_SCALE * (FLAGGED_PAIRS + 1) / (ACCOUNT_SIZE * (ACCOUNT_SIZE - 1) / 2)
        return min(float(np.quantile(cosines, 1.0 - tail)), EQUAL)


def _similar_pairs(vectors: Vectors, least: float) -> int:
    """Count the pairs at most `REMEMBERED` apart whose cosine is at least `least`."""
    pairs = 0
    for start in range(0, len(vectors), BLOCK):
        block = vectors[start : start + BLOCK]
        oldest = max(0, start - REMEMBERED)
        similar = block @ vectors[oldest : start + len(block)].T >= least
        later = np.arange(start, start + len(block))[:, None] - np.arange(oldest, start + len(block))[None, :]
        pairs += int((similar & (later > 0) & (later <= REMEMBERED)).sum())
    return pairs
