"""Windowed MMD: a kernel two-sample statistic between windows of an account's queries and the first day's.

Keeps nothing of requests, sets no threshold.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.request import Array
from siphonwatch.models.evaluate.baselines.baseline import (
    Accounts,
    Baseline,
    Scores,
    Vectors,
    embedded,
    requests_by_account,
)

BANDWIDTHS = (0.5, 1.0, 2.0, 4.0)
"""Of the Gaussian kernels that are averaged, in median distances between reference queries."""
REFERENCE = 2000
"""Reference queries drawn; the published detector draws windows of them and averages."""
REFERENCE_SECONDS = 86400.0
CHUNK = 2048


class WindowedMMD(Baseline):
    """Greatest unbiased MMD squared between a window of an account's queries and the first day's queries.

    Windows follow one another, and one more ends at the account's last query; an account with fewer queries than a
    window is never tested. The kernel is the mean of four Gaussian ones around the median distance. Differences
    from the published detector: a sketch's projection stands for the sentence embedding; the reference is what all
    accounts sent on the first day, at most a third of the time, which is not known to be benign; the same 2,000
    reference queries serve all windows, in place of 20 draws of a window's size; accounts are ranked by the
    statistic, so that no threshold is set.

    Parameters
    ----------
    size
        Queries a window.

    References
    ----------
    S. Liu, Q. Guo, Y. Dong, "An Embarrassingly Simple Detector for Model Extraction Attacks in Large Language Model
    API Traffic", arXiv 2606.05725, and its code; A. Gretton et al., "A Kernel Two-Sample Test", JMLR 2012.
    """

    source = "Liu, Guo, Dong, arXiv 2606.05725"

    def __init__(self, size: int) -> None:
        if size < 2:
            raise ValueError(f"a window of {size} queries has no pair; give at least 2")
        self.name = f"mmd-{size}"
        self._size = size

    def score(self, requests: Array, accounts: Accounts, n_accounts: int) -> Scores:
        """Return the greatest statistic, the least of all accounts' where none was taken; see `Baseline.score`."""
        vectors, owners, places = embedded(requests, accounts)
        out = np.full(n_accounts, np.nan)
        if len(vectors):
            time = requests["time"][places]
            first = vectors[time <= time[0] + min(REFERENCE_SECONDS, (time[-1] - time[0]) / 3)]
            if len(first) >= 2:
                self._fill(out, vectors, owners, first)
        lowest = 0.0 if np.isnan(out).all() else min(float(np.nanmin(out)), 0.0)
        out[np.isnan(out)] = lowest
        return out

    def _fill(self, out: Scores, vectors: Vectors, owners: Accounts, first: Vectors) -> None:
        rng = np.random.default_rng(0)
        reference = first[rng.choice(len(first), min(REFERENCE, len(first)), replace=False)]
        sigma = _median_distance(reference)
        among = _sum_of_pairs(reference, sigma) / (len(reference) * (len(reference) - 1))
        for account, rows in requests_by_account(owners):
            if len(rows) < self._size:
                continue
            own = vectors[rows]
            to_reference = _mean_kernel(own, reference, sigma)
            for start in _starts(len(own), self._size):
                window = own[start : start + self._size]
                within = _sum_of_pairs(window, sigma) / (self._size * (self._size - 1))
                between = to_reference[start : start + self._size].mean()
                out[account] = np.fmax(out[account], within + among - 2.0 * between)


def _starts(n: int, size: int) -> Iterator[int]:
    """Yield where windows start: one after the other, then the one that ends last."""
    yield from range(0, n - size + 1, size)
    if n % size:
        yield n - size


def _kernel(cosines: npt.NDArray[np.float32], sigma: float) -> npt.NDArray[np.float32]:
    """Return the mean of the Gaussian kernels for unit vectors with these cosines."""
    # Each is the one twice as wide to the fourth power: one exponential serves all.
    widest: npt.NDArray[np.float32] = np.exp((cosines - 1.0) / np.float32((BANDWIDTHS[-1] * sigma) ** 2))
    total = widest.copy()
    for _ in BANDWIDTHS[1:]:
        widest *= widest
        widest *= widest
        total += widest
    total /= np.float32(len(BANDWIDTHS))
    return total


def _median_distance(vectors: Vectors) -> float:
    distances = np.sqrt(np.maximum(2.0 - 2.0 * (vectors @ vectors.T)[np.triu_indices(len(vectors), 1)], 0.0))
    apart = distances[distances > 1e-3]
    return float(np.median(apart)) if len(apart) else 1.0


def _sum_of_pairs(vectors: Vectors, sigma: float) -> float:
    """Add up the kernel over all ordered pairs of two different vectors."""
    total = 0.0
    for start in range(0, len(vectors), CHUNK):
        total += float(_kernel(vectors[start : start + CHUNK] @ vectors.T, sigma).sum(dtype=np.float64))
    return total - float(_kernel(np.einsum("ij,ij->i", vectors, vectors), sigma).sum(dtype=np.float64))


def _mean_kernel(vectors: Vectors, reference: Vectors, sigma: float) -> npt.NDArray[np.float64]:
    """Return each vector's mean kernel over the reference."""
    out = np.empty(len(vectors))
    for start in range(0, len(vectors), CHUNK):
        cosines = vectors[start : start + CHUNK] @ reference.T
        out[start : start + CHUNK] = _kernel(cosines, sigma).mean(axis=1, dtype=np.float64)
    return out
