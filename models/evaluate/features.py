"""Accounts' features over a run, and whether each separates attackers in the same direction everywhere."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.features import WIDTH
from siphonwatch.models.account.row import MAX_PATTERNS
from siphonwatch.models.common.kernel import kernel
from siphonwatch.models.evaluate.bootstrap import Bools, Floats, Ints
from siphonwatch.models.evaluate.ranking import auc_columns

HALF = 0.5


@kernel
def _gather(
    taken: npt.NDArray[np.bool_],
    values: npt.NDArray[np.float32],
    scores: npt.NDArray[np.float32],
    log_e: npt.NDArray[np.float32],
    account: Ints,
    highest: Floats,
    total: Floats,
    count: Ints,
    top: Floats,
    peak: Floats,
) -> None:
    for i in range(len(account)):
        if not taken[i]:
            continue
        a = account[i]
        for f in range(values.shape[1]):
            value = np.float64(values[i, f])
            if count[a] == 0 or value > highest[a, f]:
                highest[a, f] = value
            total[a, f] += value
        count[a] += 1
        for p in range(scores.shape[1]):
            top[a, p] = max(top[a, p], np.float64(scores[i, p]))
            peak[a, p] = max(peak[a, p], np.float64(log_e[i, p]))


class Gathered:
    """Each account's highest and mean value of every feature, and its highest scores and evidence, from traces.

    Attributes
    ----------
    highest, total : `(capacity, WIDTH) float64`
    count : `(capacity,) int64`
        Requests of the account.
    top, peak : `(capacity, MAX_PATTERNS) float64`
        Highest score, and highest log e-value, at least 0.
    """

    def __init__(self) -> None:
        self.highest = np.zeros((0, WIDTH))
        self.total = np.zeros((0, WIDTH))
        self.count = np.zeros(0, np.int64)
        self.top = np.zeros((0, MAX_PATTERNS))
        self.peak = np.zeros((0, MAX_PATTERNS))

    def take(
        self,
        account: Ints,
        taken: Bools,
        values: npt.NDArray[np.float32],
        scores: npt.NDArray[np.float32],
        log_e: npt.NDArray[np.float32],
    ) -> None:
        """Take requests: their accounts `(m,)`, numbers from 0, and what a trace says of them."""
        self._reserve(account)
        _gather(
            taken, values, scores, log_e, account, self.highest, self.total, self.count, self.top, self.peak,
        )  # fmt: skip

    def _reserve(self, account: Ints) -> None:
        short = int(account.max(initial=-1)) + 1 - len(self.count)
        if short > 0:
            room = max(short, len(self.count))
            self.highest = np.concatenate([self.highest, np.zeros((room, WIDTH))])
            self.total = np.concatenate([self.total, np.zeros((room, WIDTH))])
            self.count = np.concatenate([self.count, np.zeros(room, np.int64)])
            self.top = np.concatenate([self.top, np.zeros((room, MAX_PATTERNS))])
            self.peak = np.concatenate([self.peak, np.zeros((room, MAX_PATTERNS))])

    def mean(self, n: int) -> Floats:
        """Return the first `n` accounts' means, `(n, WIDTH)`; 0 for an account without requests."""
        mean: Floats = self.total[:n] / np.maximum(self.count[:n], 1)[:, None]
        return mean


def halves(strata: Ints, seed: int) -> Bools:
    """Return which accounts are in the first half, `(n,)`: half of every stratum, drawn at random."""
    rng = np.random.default_rng(seed)
    first = np.zeros(len(strata), np.bool_)
    for stratum in np.unique(strata):
        members = rng.permutation(np.flatnonzero(strata == stratum))
        first[members[: (len(members) + 1) // 2]] = True
    return first


def directions(values: Floats, attack: Bools, parts: Sequence[Bools]) -> Floats:
    """Return each feature's ROC area in each part of the accounts, `(F, parts)`; above 0.5 attackers have more of it.

    `values` is `(n, F)`; a part is `(n,)`.
    """
    return np.stack([auc_columns(values[part], attack[part]) for part in parts], axis=1)


def stable(areas: Floats, margin: float = 0.0) -> Bools:
    """Return which rows of `(F, parts)` are on one side of 0.5 everywhere, by more than `margin`, `(F,)`."""
    side = areas - HALF
    return np.asarray((side > margin).all(1) | (side < -margin).all(1))
