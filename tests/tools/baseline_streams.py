"""Made-up accounts for the tests of baselines: requests with a projection, by time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.request import REQUEST, Array
from siphonwatch.models.common.vocabulary import PROJECTION


def stream(
    accounts: Sequence[npt.NDArray[np.float64]], days: float = 7.0, seed: int = 0
) -> tuple[Array, npt.NDArray[np.intp], int]:
    """Spread each account's vectors, `(n, 32)`, over the days, in their order."""
    rng = np.random.default_rng(seed)
    times = [np.sort(rng.uniform(0, days * 86400, len(vectors))) for vectors in accounts]
    owners = np.concatenate([np.full(len(vectors), i) for i, vectors in enumerate(accounts)]).astype(np.intp)
    requests = np.zeros(len(owners), REQUEST)
    requests["status"] = 200
    requests["temperature"] = np.nan
    requests["time"] = np.concatenate(times)
    vectors = np.concatenate(accounts)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    requests["projection"] = np.rint(127 * vectors / np.where(lengths > 0, lengths, 1.0))
    order = np.argsort(requests["time"], kind="stable")
    return requests[order], owners[order], len(accounts)


def texts(
    n: int, seed: int, around: npt.NDArray[np.float64] | None = None, spread: float = 1.0
) -> npt.NDArray[np.float64]:
    """Return vectors in all directions, or around one of them."""
    noise = np.random.default_rng(seed).normal(size=(n, PROJECTION))
    return noise if around is None else around + spread * noise
