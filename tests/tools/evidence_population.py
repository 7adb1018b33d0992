"""Accounts whose scores are given hour by hour, weighed by the real loop; and benign scores to draw."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.request import blank
from siphonwatch.models.account.row import ROW
from siphonwatch.models.evidence.budget import make_budget
from siphonwatch.models.evidence.calibration import Reference, make_reference
from siphonwatch.models.evidence.process import EVENT, OPEN, weigh

MONDAY = 1_767_571_200.0
"""2026-01-05 00:00 UTC."""
NULL = 0.3
Scores = npt.NDArray[np.floating]


class Population:
    """Accounts under one detector of trust 1 and null level `NULL`; nothing but `hour` moves time on.

    Parameters
    ----------
    n
        Accounts.
    alpha, budget
        As the scorer's; a budget of 1 and few accounts leave alpha to decide.
    reference
        To go on from; a fresh one by default.
    """

    def __init__(self, n: int, alpha: float = 1e-3, budget: float = 1.0, reference: Reference | None = None) -> None:
        self.rows = np.zeros(n, ROW)
        self.reference = reference or make_reference([NULL], [1.0])
        self.budget = make_budget(budget, [1.0])
        self.threshold = -math.log(alpha)
        self.highest = np.full(n, -math.inf)
        """Highest log e-value at any request."""
        self.opened: list[int] = []
        """Accounts in the order in which their cases were released."""
        self.now = MONDAY
        self._requests = np.repeat(blank(), n)
        self._block = 0

    def request(self, scores: Scores, active: npt.NDArray[np.bool_] | None = None) -> None:
        """One request of every active account, in the present hour; `scores`, `(n,)`."""
        slots = np.arange(len(self.rows)) if active is None else np.flatnonzero(active)
        n = len(slots)
        hour = int(self.now // 3600)
        fresh = self.rows["last_hour"][slots] < hour
        self.rows["last_hour"][slots] = hour
        events = np.zeros(n, EVENT)
        written = weigh(
            self.rows["judged"], slots, self._requests[:n], scores[slots].astype(np.float32).reshape(n, 1),
            np.full(n, self.now), np.full(n, self.now), fresh, self.reference, self.budget, self._block, self.threshold,
            30 * 86_400.0, np.ones(1), np.empty((n, 1), np.float32), events,
        )  # fmt: skip
        self._block += 1
        self.opened += [int(e["slot"]) for e in events[:written] if e["kind"] == OPEN]
        self.highest[slots] = np.maximum(self.highest[slots], self.log_e[slots])

    def hour(self, *scores: Scores, active: npt.NDArray[np.bool_] | None = None) -> None:
        """An hour with one request for each of `scores`, then on to the next hour."""
        for of_all in scores:
            self.request(of_all, active)
        self.now += 3600.0

    @property
    def log_e(self) -> npt.NDArray[np.float32]:
        """Present log e-values, `(n,)`."""
        return self.rows["judged"]["evidence"]["log_e"][:, 0].copy()

    def crossed(self, alpha: float) -> float:
        """Share of accounts whose e-value ever reached 1/alpha."""
        return float((self.highest >= -math.log(alpha)).mean())


def as_promised(rng: np.random.Generator, n: int) -> Scores:
    """Scores whose tail is just what a detector promises: one in 20 at `NULL`, one in 1e9 at 1."""
    return scores_at(rng.exponential(1.0, n))


def scores_at(depths: Scores) -> Scores:
    """The scores that the promise puts at these depths, -log(share)."""
    null, first, second = make_reference([NULL], [1.0]).shape[0]
    at_null = null * first
    return np.minimum(np.where(depths <= at_null, depths / first, null + (depths - at_null) / second), 1.0)
