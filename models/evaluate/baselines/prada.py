"""PRADA: are the distances of an account's queries to their nearest earlier one normally distributed?

Keeps nothing of requests and sets no threshold.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import stats

from siphonwatch.models.account.request import Array
from siphonwatch.models.common.kernel import kernel
from siphonwatch.models.evaluate.baselines.baseline import (
    Accounts,
    Baseline,
    Scores,
    Vectors,
    embedded,
    requests_by_account,
)

MIN_DISTANCES = 100
"""Distances, outliers removed, above which the authors' code tests."""
INTERVAL = 10
"""Queries between tests in the authors' code."""
OUTLIER = 3.0
"""Standard deviations from the mean beyond which a distance is dropped before the test."""
SPACING = 0.01
"""Of the distances so far, the least between two tests: beyond 1,000 distances, 10 queries would be quadratic work."""
TESTED = 5000
"""Latest distances that are tested; the most that the approximation behind the test is made for (Royston 1995)."""
SAME = 1e-5
"""Squared distance that is rounding alone: two projections differ by a 127th of their length at least."""
LARGEST_SET = 2000
"""Queries in a growing set; the authors' has no limit, and takes quadratic time."""


@kernel
def _nearest(vectors: Vectors, members: npt.NDArray[np.int64], distances: npt.NDArray[np.float64]) -> int:
    """Fill in the distance of each query but the first to the nearest in the growing set; return the set's size.

    A query joins where it is further than the threshold, which is the greatest so far of the mean less the standard
    deviation of the joining distances; the first query joins at distance 0.
    """
    members[0], size, threshold = 0, 1, 0.0
    total = squares = 0.0
    for i in range(1, len(vectors)):
        # Unit vectors: the nearest is the one of greatest product.
        best = np.float32(-1.0)
        for j in range(size):
            product = np.float32(0.0)
            member = members[j]
            for k in range(vectors.shape[1]):
                product += vectors[i, k] * vectors[member, k]
            best = max(best, product)
        square = 2.0 - 2.0 * np.float64(best)
        distance = np.sqrt(square) if square > SAME else 0.0
        distances[i - 1] = distance
        if distance > threshold and size < len(members):
            members[size] = i
            size += 1
            total += distance
            squares += distance * distance
            mean = total / size
            threshold = max(threshold, mean - np.sqrt(max(squares / size - mean * mean, 0.0)))
    return size


def _normality(distances: npt.NDArray[np.float64]) -> float:
    """Return Shapiro and Wilk's W without outliers, 1 where there is too little to test."""
    mean, deviation = distances.mean(), distances.std()
    kept = distances[np.abs(distances - mean) < OUTLIER * deviation]
    if len(kept) <= MIN_DISTANCES or np.ptp(kept) < 1e-9:
        return 1.0
    return float(stats.shapiro(kept).statistic)


class Prada(Baseline):
    """One less the least Shapiro-Wilk W over an account's distances to its growing set.

    PRADA alarms when W falls below delta; an account ranks by the largest delta that would have alarmed at any time.
    Follows the authors' code: the set's rule for joining, tests from more than 100 distances on, outliers beyond
    three standard deviations dropped. Differences: a sketch's projection stands for the query, in place of an image's
    pixels; a request has no predicted class, so an account has one growing set (as in the adaptation to LLM queries
    by S. Liu, Q. Guo, Y. Dong 2026); sets, tests and their spacing are bounded, see this module's constants, so that
    an account costs linear time. Prompts that are all equal have no distribution to test and score 0.

    References
    ----------
    M. Juuti, S. Szyller, S. Marchal, N. Asokan, "PRADA: Protecting Against DNN Model Stealing Attacks",
    EuroS&P 2019, and its authors' code, SSGAalto/prada-protecting-against-dnn-model-stealing-attacks.
    """

    name = "prada"
    source = "Juuti et al., EuroS&P 2019"

    def score(self, requests: Array, accounts: Accounts, n_accounts: int) -> Scores:
        """Return 1 - W at its least, 0 for accounts with too few queries; see `Baseline.score`."""
        vectors, owners, _ = embedded(requests, accounts)
        out = np.zeros(n_accounts)
        for account, rows in requests_by_account(owners):
            if len(rows) > MIN_DISTANCES + 1:
                out[account] = self._deviation(vectors[rows])
        return out

    def _deviation(self, vectors: Vectors) -> float:
        distances = np.empty(len(vectors) - 1)
        _nearest(vectors, np.zeros(min(LARGEST_SET, len(vectors)), np.int64), distances)
        least, end = 1.0, MIN_DISTANCES + 1
        while end <= len(distances):
            least = min(least, _normality(distances[max(0, end - TESTED) : end]))
            end += max(INTERVAL, int(SPACING * end))
        return 1.0 - least
