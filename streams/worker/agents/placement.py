"""Counts requests that are not in their account's partition. It moves none: each is scored in the partition it is in.

An account whose requests are in several partitions is several accounts to the scorers.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection
from typing import Any

import numpy as np
import numpy.typing as npt
from aiokafka.errors import KafkaError

from siphonwatch.models.account.murmur import count_elsewhere
from siphonwatch.models.account.request import Array


class Placement:
    """Counts the requests of one partition that belong to another one.

    What was written before the topic was given more partitions stood right by their number of then, and is not counted.

    Parameters
    ----------
    number
        Of the partition.
    partitions
        Returns the partitions that the topic has, from memory mostly.
    now
        Seconds since 1970.
    """

    def __init__(
        self, number: int, partitions: Callable[[], Awaitable[Collection[int]]], now: Callable[[], float] = time.time
    ) -> None:
        self._number = number
        self._partitions = partitions
        self._now = now
        self._count = self._before = 0
        self._grown = 0.0  # when `_before` became `_count`, milliseconds since 1970

    async def misplaced(self, requests: Array, stamps: npt.NDArray[np.int64]) -> int:
        """Return how many requests are in the wrong partition; 0 while the number of partitions is not known.

        Parameters
        ----------
        requests
            `(n,) REQUEST`.
        stamps
            When they were written, `(n,)`, milliseconds since 1970.
        """
        try:
            count = len(await self._partitions())
        except (KafkaError, OSError):
            return 0
        if not count:
            return 0
        if count != self._count:
            if self._count:
                self._before, self._grown = self._count, self._now() * 1000.0
            self._count = count
        elsewhere = count_elsewhere(requests["account"], self._number, count, count)
        if elsewhere and self._before and (old := stamps < self._grown).any():
            elsewhere = count_elsewhere(requests[~old]["account"], self._number, count, count)
            elsewhere += count_elsewhere(requests[old]["account"], self._number, count, self._before)
        return elsewhere

    def snapshot(self) -> list[Any]:
        """Return what to keep over restarts."""
        return [self._count, self._before, self._grown]

    def restore(self, kept: list[Any]) -> None:
        """Take over what `snapshot` returned."""
        self._count, self._before, self._grown = int(kept[0]), int(kept[1]), float(kept[2])
