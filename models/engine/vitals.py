"""What a scorer says of its own health: scores by detector, the budget, what it has learnt and how far that drifted.

It reads state and changes none; who shows it, and to whom, is the caller's business.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.request import Array
from siphonwatch.models.common.kernel import kernel
from siphonwatch.models.detect import Detector
from siphonwatch.models.evidence.budget import FIRST, NUMBERED, Budget, bar, log_gamma
from siphonwatch.models.evidence.calibration import BINS, COHORTS, POOLED, Reference
from siphonwatch.models.evidence.places import Seats

STEPS = 20
"""Bins of equal width that scores, in [0, 1], are counted in."""
LEARNT_ENOUGH = 200.0
"""Account-hours below which a share of the tail says nothing of drift: 1 in 20 of them is 10."""
LOG_MAX = 700.0


class Bound(NamedTuple):
    """One thing that memory or disk is bounded by."""

    name: str
    used: int
    limit: int
    dropped: int = 0
    """How many had to go because there were too many, since the start."""


class Vitals(msgspec.Struct, frozen=True):
    """The state of a partition's detection; by pattern where there is a pattern."""

    budget_spent: float
    """Share of the false-discovery budget that the accounts seen so far have, in [0, 1)."""
    release_e: dict[str, float]
    """E-value that the newest account needs for a case to be told."""
    held: dict[str, int] = {}
    """Accounts whose evidence is beyond 1/alpha and which the budget holds back."""
    reference_hours: dict[str, float] = {}
    """Weight of the benign account-hours learnt."""
    drift: dict[str, float] = {}
    """Share of those in the tail from the detector's null on, over what it promised: 1 as promised."""


class Tally:
    """Counts scores of several detectors into `STEPS` bins.

    Parameters
    ----------
    patterns
        Names of the detectors, in the order of the columns.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        self._patterns = tuple(patterns)
        self._counts = np.zeros((len(patterns), STEPS + 1), np.int64)
        self._sums = np.zeros(len(patterns))

    def add(self, scores: npt.NDArray[np.float32], taken: npt.NDArray[np.bool_]) -> None:
        """Count scores, `(n, P) float32` in [0, 1], of the requests that were taken, `(n,) bool`."""
        _count(scores, taken, self._counts, self._sums)

    def take(self) -> dict[str, tuple[npt.NDArray[np.int64], float]]:
        """Return, and begin anew, each pattern's counts and sum of scores.

        Counts are `(STEPS + 1,) int64`: place k holds scores above `(k - 1) / STEPS` and at most `k / STEPS`.
        """
        taken = {p: (self._counts[i].copy(), float(self._sums[i])) for i, p in enumerate(self._patterns)}
        self._counts[:] = 0
        self._sums[:] = 0.0
        return taken


@kernel
def _count(
    scores: npt.NDArray[np.float32],
    taken: npt.NDArray[np.bool_],
    counts: npt.NDArray[np.int64],
    sums: npt.NDArray[np.float64],
) -> None:
    for i in range(scores.shape[0]):
        if taken[i]:
            for p in range(scores.shape[1]):
                place = math.ceil(float(scores[i, p]) * STEPS)
                counts[p, min(max(place, 0), STEPS)] += 1
                sums[p] += scores[i, p]


def spent(number: int) -> float:
    """Return the share of a budget that the first `number` accounts have, in [0, 1).

    Examples
    --------
    >>> [round(spent(n), 2) for n in (0, 512, 1024, 1_000_000)]
    [0.0, 0.25, 0.5, 0.91]
    """
    share, first, size = 0.0, 0, FIRST
    while number > first:
        share += min(number - first, size) * math.exp(log_gamma(first))
        first, size = first + size, size * 2
    return share


def release_e(budget: Budget, patterns: Sequence[str], threshold: float) -> dict[str, float]:
    """Return the e-value that the newest account needs, by pattern; `threshold` is log(1/alpha)."""
    newest = max(int(budget.counts[NUMBERED]) - 1, 0)
    return {p: math.exp(min(max(threshold, bar(budget, newest, i)), LOG_MAX)) for i, p in enumerate(patterns)}


def held(
    slots: npt.NDArray[np.int64], judged: Array, seats: Seats, patterns: Sequence[str], threshold: float
) -> dict[str, int]:
    """Return how many accounts, those at `slots` of `judged (accounts,) JUDGED`, have evidence beyond `threshold`,
    log(1/alpha), and no open case."""
    log_e, shut, era = (judged["evidence"][name][slots][:, seats.place] for name in ("log_e", "open", "era"))
    beyond = ((log_e >= threshold) & (shut == 0) & (era == seats.era)).sum(axis=0)
    return {p: int(beyond[i]) for i, p in enumerate(patterns)}


def reference_hours(reference: Reference, patterns: Sequence[str]) -> dict[str, float]:
    """Return the weight of the benign account-hours learnt, by pattern, all cohorts together."""
    places = reference.seats.place.tolist()
    return {p: float(reference.total[:, POOLED, at].sum()) for at, p in zip(places, patterns, strict=True)}


def mean_scores(reference: Reference, patterns: Sequence[str]) -> dict[str, dict[str, tuple[float, float]]]:
    """Return the mean score of the benign account-hours learnt, and their weight, by pattern and cohort.

    A score counts as the middle of its bin; cohorts of which nothing was learnt are left out.
    """
    found: dict[str, dict[str, tuple[float, float]]] = {}
    for i, pattern in zip(reference.seats.place.tolist(), patterns, strict=True):
        edges = reference.edges[i]
        middles = (edges + np.append(edges[1:], 1.0)) / 2.0
        for c, cohort in enumerate(COHORTS):
            total = float(reference.total[c, POOLED, i])
            if total > 0.0:
                mean = float(reference.counts[c, POOLED, i] @ middles) / total
                found.setdefault(pattern, {})[cohort] = mean, total
    return found


def drift(reference: Reference, patterns: Sequence[str]) -> dict[str, float]:
    """Return, by pattern, the share of benign account-hours from the null on over the promised one.

    The promise is that of the first bin whose scores are all at the null or above. Patterns with fewer than
    `LEARNT_ENOUGH` account-hours are left out.
    """
    found = {}
    for i, pattern in zip(reference.seats.place.tolist(), patterns, strict=True):
        total = float(reference.total[:, POOLED, i].sum())
        if total < LEARNT_ENOUGH:
            continue
        first = int(np.searchsorted(reference.edges[i], reference.shape[i, 0]))
        tail = float(reference.counts[:, POOLED, i, min(first, BINS - 1) :].sum())
        found[pattern] = tail / total / float(reference.promise[i, min(first, BINS - 1)])
    return found


def cards_id(detectors: Sequence[Detector]) -> str:
    """Return 8 hexadecimal digits that stand for all the cards' ids."""
    return hashlib.blake2b(" ".join(detector.id for detector in detectors).encode(), digest_size=4).hexdigest()
