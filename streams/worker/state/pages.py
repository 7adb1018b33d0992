"""Account rows as pages of the state log, and the accounts that are on cold ones. It asks no broker."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.cold import ColdIndex
from siphonwatch.models.account.request import Array
from siphonwatch.models.account.row import PAGE_ROWS, ROW
from siphonwatch.models.account.table import AccountTable
from siphonwatch.streams.worker.state.codec import Page
from siphonwatch.streams.worker.state.cold_file import ColdFile
from siphonwatch.streams.worker.state.snapshot import SLICE

FIRST_COLD = 2**31
"""Pages from this number on are cold; a table never has so many."""

WORD = np.dtype(np.uint32)
"""What of rows lies side by side in a page: of bytes, words of 4 and 8 bytes and whole rows these compress best."""


def to_page(rows: Array, *, cold: bool = False) -> Page:
    """Return rows, `(n,)` of any layout, as a page.

    The rows are turned round, like words of all rows side by side, so that compression finds them alike. A cold page's
    index holds its accounts' hashes and the time of the last request among them.
    """
    data = np.ascontiguousarray(rows.view(WORD).reshape(len(rows), -1).T).tobytes()
    index = np.append(rows["hash"], rows["last_time"].max().view(np.uint64)).tobytes() if cold else b""
    return Page(data, index, cold)


def from_page(data: bytes, layout: np.dtype[np.void] = ROW) -> Array:
    """Return the rows of a page, `(n,)` of `layout`.

    Raises
    ------
    ValueError
        When the page was written with another layout of rows.
    """
    if len(data) % layout.itemsize:
        raise ValueError(f"a page of {len(data)} bytes holds no rows of {layout.itemsize}: written by another version")
    words = np.frombuffer(data, WORD).reshape(layout.itemsize // WORD.itemsize, -1)
    return np.ascontiguousarray(words.T).view(layout)[:, 0]


class ColdPages:
    """The accounts of a partition that are not in memory.

    Parameters
    ----------
    most
        Accounts it may know of; beyond, the pages that left longest ago are forgotten.
    file
        Keeps rows within reach; none by default.
    leaving
        Told of the rows that leave memory, `(n,) ROW`.
    """

    def __init__(
        self,
        most: int = sys.maxsize,
        file: ColdFile | None = None,
        leaving: Callable[[Array], None] | None = None,
    ) -> None:
        self.most = most
        self.file = ColdFile(0) if file is None else file
        self._leaving = leaving
        self._index = ColdIndex()
        self._left: dict[int, int] = {}
        self._newest: dict[int, float] = {}
        self._next = FIRST_COLD
        self._dropped: set[int] = set()

    def __len__(self) -> int:
        return len(self._index)

    @property
    def next(self) -> int:
        """The number that the next page will have."""
        return self._next

    def load(self, cold: dict[int, bytes], table: AccountTable, gone: Mapping[int, int] | None = None) -> None:
        """Take over the indexes of restored cold pages.

        An account that came back since a page was written is in `table` or on a later page; that one counts. `gone`
        are accounts, by hash, that were erased, and the first page that may hold such a one again.
        """
        if not cold:
            return
        numbers = np.array(sorted(cold))
        words = [np.frombuffer(cold[page], np.uint64) for page in numbers.tolist()]
        counts = np.array([len(part) - 1 for part in words])
        hashes = np.concatenate([part[:-1] for part in words])
        starts = np.cumsum(counts) - counts
        places = np.repeat(numbers * PAGE_ROWS - starts, counts) + np.arange(len(hashes))
        _, at = np.unique(hashes[::-1], return_index=True)
        last = np.sort(len(hashes) - 1 - at)
        last = last[~np.isin(hashes[last], table.rows["hash"][table.used()])]
        for account, first in (gone or {}).items():
            last = last[(hashes[last] != np.uint64(account)) | (places[last] // PAGE_ROWS >= first)]
        self._index.add(hashes[last], places[last])
        left = np.bincount(np.searchsorted(numbers, places[last] // PAGE_ROWS), minlength=len(numbers))
        newest = np.array([part[-1] for part in words]).view(np.float64)
        self._left = dict(zip(numbers.tolist(), left.tolist(), strict=True))
        self._newest = dict(zip(numbers.tolist(), newest.tolist(), strict=True))
        self._next = max(self._next, int(numbers[-1]) + 1)
        for page in numbers[left == 0].tolist():
            self._drop(page)

    def evict(self, table: AccountTable, keep: int) -> Iterator[dict[int, Page]]:
        """Free rows of the longest idle accounts until a tenth below `keep` are left, if there are more than `keep`.

        Yields the pages they go to, `SLICE` at a time: those of a slice have left `table` when it is yielded.
        """
        if len(table) > keep:
            used = table.used()
            surplus = len(used) - keep * 9 // 10
            last = table.rows["last_time"][used]
            idle = np.argpartition(last, surplus - 1)[:surplus] if surplus < len(used) else np.arange(len(used))
            idle = used[idle[np.argsort(last[idle], kind="stable")]]
            for start in range(0, len(idle), SLICE * PAGE_ROWS):
                yield self._freeze(table.evict(idle[start : start + SLICE * PAGE_ROWS]))
        table.shrink()

    def _freeze(self, rows: Array) -> dict[int, Page]:
        """Put rows that left on new pages."""
        if self._leaving is not None:
            self._leaving(rows)
        pages: dict[int, Page] = {}
        first = self._next
        for start in range(0, len(rows), PAGE_ROWS):
            part = rows[start : start + PAGE_ROWS]
            pages[self._next] = to_page(part, cold=True)
            self._left[self._next] = len(part)
            self._newest[self._next] = float(part["last_time"].max())
            self._next += 1
        self._index.add(rows["hash"], first * PAGE_ROWS + np.arange(len(rows)))
        self.file.put(list(pages), rows)
        return pages

    def wanted(self, requests: Array) -> npt.NDArray[np.int64]:
        """Return the places of the requests' accounts that are not in memory, `(m,)` ascending."""
        if not len(self._index):
            return np.zeros(0, np.int64)
        places = self._index.find(requests["account_hash"])
        return np.unique(places[places >= 0])

    def beside(self, accounts: Array) -> npt.NDArray[np.int64]:
        """Return the places of these accounts, and of all that are on the same pages, `(m,)` ascending."""
        places = self.wanted(accounts)
        return self._index.on(np.unique(places // PAGE_ROWS)) if len(places) else places

    def missing(self, places: npt.NDArray[np.int64]) -> list[int]:
        """Return the pages of these places that the state topic has to give."""
        return [page for page in np.unique(places // PAGE_ROWS).tolist() if page not in self.file]

    def thaw(self, table: AccountTable, places: npt.NDArray[np.int64]) -> None:
        """Bring the accounts at these places back from the file, which holds them.

        Raises
        ------
        OSError
            When the disk does not give what was written.
        """
        rows = np.empty(len(places), ROW)
        self.file.read(places // PAGE_ROWS, places % PAGE_ROWS, rows)
        self._return(table, places, rows)

    def thaw_from(self, table: AccountTable, places: npt.NDArray[np.int64], pages: Mapping[int, bytes]) -> None:
        """Bring the accounts at these places back, each from its page's data; keep the pages within reach.

        Raises
        ------
        ValueError
            When a page was written with another layout of rows.
        """
        here = places // PAGE_ROWS
        came = {page: from_page(data) for page, data in pages.items() if page in self._left}
        chosen = np.isin(here, list(came))
        if chosen.any():
            parts = [came[place // PAGE_ROWS][place % PAGE_ROWS] for place in places[chosen].tolist()]
            self._return(table, places[chosen], np.array(parts, ROW))
        for page, rows in came.items():
            if page in self._left:
                self.file.put([page], rows)

    def _return(self, table: AccountTable, places: npt.NDArray[np.int64], rows: Array) -> None:
        table.insert(rows)
        self._index.take(rows["hash"])
        for page, count in zip(*np.unique(places // PAGE_ROWS, return_counts=True), strict=True):
            self._leave(int(page), int(count))

    def _leave(self, page: int, n: int) -> None:
        self._left[page] -= n
        if not self._left[page]:
            self._drop(page)

    def _drop(self, page: int) -> None:
        del self._left[page], self._newest[page]
        self.file.drop(page)
        self._dropped.add(page)

    def forget(self, before: float) -> int:
        """Drop the pages on which no account had a request since event time `before`, seconds, and those above `most`.

        Returns how many accounts went because there were too many.
        """
        self._drop_all([page for page, newest in self._newest.items() if newest < before])
        held = len(self)
        surplus, first = held - self.most, []
        for page, left in self._left.items():  # in the order in which they left
            if surplus <= 0:
                break
            first.append(page)
            surplus -= left
        self._drop_all(first)
        return held - len(self)

    def _drop_all(self, pages: list[int]) -> None:
        if pages:
            self._index.drop(pages)
        for page in pages:
            self._drop(page)

    def take_dropped(self) -> set[int]:
        """Return the pages that hold no account any more, once."""
        dropped, self._dropped = self._dropped, set()
        return dropped
