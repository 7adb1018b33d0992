"""Which idle accounts left memory, and where each one's row is: 32 to 64 bytes an account. Holds no rows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.row import PAGE_ROWS
from siphonwatch.models.common.kernel import allocating, kernel

EMPTY, GONE = -1, -2
MIN_SIZE = 1024


@kernel
def _put(
    hashes: npt.NDArray[np.uint64],
    places: npt.NDArray[np.int64],
    new: npt.NDArray[np.uint64],
    at_place: npt.NDArray[np.int64],
) -> None:
    mask = np.uint64(len(hashes) - 1)
    for i in range(len(new)):
        at = new[i] & mask
        while places[at] >= 0 and hashes[at] != new[i]:
            at = (at + np.uint64(1)) & mask
        hashes[at] = new[i]
        places[at] = at_place[i]


@allocating
def _get(
    hashes: npt.NDArray[np.uint64], places: npt.NDArray[np.int64], wanted: npt.NDArray[np.uint64], take: bool
) -> npt.NDArray[np.int64]:
    mask = np.uint64(len(hashes) - 1)
    out = np.full(len(wanted), EMPTY, np.int64)
    for i in range(len(wanted)):
        at = wanted[i] & mask
        while places[at] != EMPTY:
            if places[at] >= 0 and hashes[at] == wanted[i]:
                out[i] = places[at]
                if take:
                    places[at] = GONE
                break
            at = (at + np.uint64(1)) & mask
    return out


class ColdIndex:
    """Account hash to place: row k of cold page p is at place `p * PAGE_ROWS + k`.

    Examples
    --------
    >>> index = ColdIndex()
    >>> index.add(np.array([5, 9], np.uint64), np.array([32, 33]))
    >>> index.find(np.array([9, 1], np.uint64)).tolist()
    [33, -1]
    >>> index.take(np.array([9], np.uint64)).tolist(), len(index)
    ([33], 1)
    """

    def __init__(self) -> None:
        self._hashes = np.zeros(MIN_SIZE, np.uint64)
        self._places = np.full(MIN_SIZE, EMPTY, np.int64)
        self._count = 0
        self._filled = 0

    def __len__(self) -> int:
        return self._count

    def add(self, hashes: npt.NDArray[np.uint64], places: npt.NDArray[np.int64]) -> None:
        """Note where the accounts' rows, none of them known yet, are."""
        if (self._filled + len(hashes)) * 2 > len(self._hashes):
            self._rebuild(len(hashes))
        _put(self._hashes, self._places, hashes, places)
        self._count += len(hashes)
        self._filled += len(hashes)

    def find(self, hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """Return each account's place, `(n,) int64`; -1 for one that is not cold."""
        if not self._count:
            return np.full(len(hashes), EMPTY, np.int64)
        return _get(self._hashes, self._places, hashes, False)

    def take(self, hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """Return each account's place, as `find`, and forget the account."""
        places: npt.NDArray[np.int64] = _get(self._hashes, self._places, hashes, True)
        self._count -= int((places >= 0).sum())
        return places

    def on(self, pages: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the places of all accounts on the given pages, ascending; looks through the whole index."""
        there = (self._places >= 0) & np.isin(self._places // PAGE_ROWS, pages)
        return np.sort(self._places[there])

    def drop(self, pages: list[int]) -> None:
        """Forget all accounts on the given pages."""
        gone = np.isin(self._places // PAGE_ROWS, pages)
        self._places[gone] = GONE
        self._count -= int(gone.sum())

    def _rebuild(self, extra: int) -> None:
        kept = self._places >= 0
        size = MIN_SIZE
        while size < (self._count + extra) * 2:
            size *= 2
        hashes, places = self._hashes[kept], self._places[kept]
        self._hashes, self._places = np.zeros(size, np.uint64), np.full(size, EMPTY, np.int64)
        _put(self._hashes, self._places, hashes, places)
        self._filled = self._count
