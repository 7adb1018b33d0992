"""What a partition reads of a batch, before anything is scored."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.request import Array
from siphonwatch.streams.contracts.telemetry import Malformed


class Read(NamedTuple):
    """What a batch holds that was not applied before."""

    requests: Array
    """In their order, `(n,) REQUEST`."""
    offsets: npt.NDArray[np.int64]
    """What the scorer knows each one by, increasing, `(n,)`."""
    rows: npt.NDArray[np.int64]
    """Which of the batch's records each one came from, `(n,)`."""
    rejected: list[tuple[int, Malformed]]
    """Records that cannot be read: place in the batch and reason."""
    skipped: int
    """Requests that were applied before."""
    forged: int
    """Records that claim an origin without the seal that goes with it."""
    unopened: int = 0
    """Requests with sealed parts that no key of this worker opens."""
