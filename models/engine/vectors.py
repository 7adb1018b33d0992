"""Features as they were when scored: of requests that are evidence, of one an account-hour, and of fingerprints."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.request import Array, names


class Vectors(NamedTuple):
    """What was seen and said of `k` requests, in the order in which they were scored."""

    offsets: npt.NDArray[np.int64]
    accounts: list[str]
    times: npt.NDArray[np.float64]
    """`(k,)` event time, seconds since 1970."""
    hourly: npt.NDArray[np.bool_]
    """`(k,)` whether an hour of the account had closed: it is its first request in another one."""
    features: npt.NDArray[np.float32]
    """`(k, F)` in the order of the table of features."""
    scores: npt.NDArray[np.float32]
    """`(k, P)` in the order of the judge's patterns."""
    log_e: npt.NDArray[np.float32]
    """`(k, P)` natural logarithm of the e-value after the request; NaN where there is none."""


class Shared(NamedTuple):
    """What was seen and said of a fingerprint at the request that raised a finding on it."""

    finding: str
    """Its id."""
    offset: int
    account: str
    """Whose request it was."""
    time: float
    """Event time, seconds since 1970."""
    fingerprint: int
    features: npt.NDArray[np.float32]
    """`(C,)` in the order of the table of fingerprints."""
    scores: npt.NDArray[np.float32]
    """`(Q,)` in the order of the judge's patterns."""
    log_e: npt.NDArray[np.float32]
    """`(Q,)` natural logarithm of the e-value after the request; NaN where there is none."""


class VectorLog:
    """Keeps copies of what a judge sees, until somebody takes them.

    Parameters
    ----------
    hourly
        Keep one request of each account-hour that has closed, too.
    """

    def __init__(self, *, hourly: bool = False) -> None:
        self.hourly = hourly
        self._kept: list[Vectors] = []
        self._shared: list[Shared] = []

    def take(
        self,
        requests: Array,
        offsets: npt.NDArray[np.int64],
        now: npt.NDArray[np.float64],
        closed: npt.NDArray[np.bool_],
        features: npt.NDArray[np.float32],
        scores: npt.NDArray[np.float32],
        log_e: npt.NDArray[np.float32],
        evidence: npt.NDArray[np.int64],
    ) -> None:
        """Keep of a block of requests those at the places `evidence`, and those where an hour has `closed`."""
        if self.hourly:
            wanted = closed.copy()
            wanted[evidence] = True
            rows = np.flatnonzero(wanted)
        else:
            rows = np.unique(evidence)
        if len(rows):
            self._kept.append(
                Vectors(
                    offsets[rows], names(requests["account"][rows]), now[rows], closed[rows], features[rows],
                    scores[rows], log_e[rows],
                )
            )  # fmt: skip

    def drain(self) -> list[Vectors]:
        """Return what was kept since."""
        kept, self._kept = self._kept, []
        return kept

    def share(self, shared: Shared) -> None:
        """Keep what was seen of a fingerprint."""
        self._shared.append(shared)

    def drain_shared(self) -> list[Shared]:
        """Return what was kept of fingerprints since."""
        shared, self._shared = self._shared, []
        return shared
