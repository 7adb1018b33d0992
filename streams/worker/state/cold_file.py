"""Rows of accounts that left memory, in a file of this machine: a cache of the newest cold pages of the state topic.

Nothing is lost with it. It has no name, so that it is gone with the process, and its size is fixed: a page that comes
takes the room of the one that came longest ago. Kafka gives one page of many for the price of a request, 0.5 ms of
processor time; this gives one row for a few microseconds. An embedded store would add its own index, log and recovery:
a page's place is one number, and the file need not outlive the process.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import structlog

from siphonwatch.models.account.request import Array
from siphonwatch.models.account.row import PAGE_ROWS, ROW

PAGE_BYTES = PAGE_ROWS * ROW.itemsize
_log = structlog.get_logger(__name__)


class ColdFile:
    """Pages by number, row by row.

    Parameters
    ----------
    size
        Bytes of disk it may take, in the folder for temporary files; with less than a page's worth it holds nothing.
    """

    def __init__(self, size: int) -> None:
        self._slots = size // PAGE_BYTES
        self._fd = -1
        self._close: Callable[[], object] = int  # nothing is open
        self._slot_of: dict[int, int] = {}
        self._page_in = np.full(self._slots, -1, np.int64)
        self._next = 0

    def __len__(self) -> int:
        """How many pages it holds."""
        return len(self._slot_of)

    @property
    def most(self) -> int:
        """Bytes of disk it may take."""
        return self._slots * PAGE_BYTES

    @property
    def nbytes(self) -> int:
        """Bytes of disk that are taken by pages it holds."""
        return len(self._slot_of) * PAGE_BYTES

    def __contains__(self, page: int) -> bool:
        return page in self._slot_of

    def put(self, pages: Sequence[int], rows: Array) -> None:
        """Keep pages: their rows one page after the other, `(n,) ROW`, `PAGE_ROWS` in each but the last.

        Where the disk refuses, it holds nothing from then on.
        """
        done = 0
        while done < len(pages) and self._slots:
            count = min(len(pages) - done, self._slots - self._next)
            part = rows[done * PAGE_ROWS : (done + count) * PAGE_ROWS]
            if not self._write(self._next * PAGE_BYTES, part):
                return
            for slot, page in enumerate(pages[done : done + count], self._next):
                self.drop(int(self._page_in[slot]))
                self.drop(page)
                self._page_in[slot] = page
                self._slot_of[page] = slot
            done += count
            self._next = (self._next + count) % self._slots

    def drop(self, page: int) -> None:
        """Forget a page."""
        slot = self._slot_of.pop(page, None)
        if slot is not None:
            self._page_in[slot] = -1

    def read(self, pages: npt.NDArray[np.int64], places: npt.NDArray[np.int64], out: Array) -> None:
        """Read one row of each of `pages`, all held here, that at its place in the page, into `out`, `(n,) ROW`.

        Raises
        ------
        OSError
            When the disk does not give what was written.
        """
        slots = np.array([self._slot_of[page] for page in pages.tolist()], np.int64)
        at = slots * PAGE_ROWS + places
        order = np.argsort(at)
        ordered = np.empty(len(at), ROW)
        into = ordered.view(np.uint8).data
        starts = np.flatnonzero(np.diff(at[order], prepend=-2) != 1)  # of runs of rows that lie side by side
        for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(at)], strict=True):
            wanted = into[start * ROW.itemsize : end * ROW.itemsize]
            if os.preadv(self._fd, [wanted], int(at[order[start]]) * ROW.itemsize) != len(wanted):
                raise OSError("the file of cold accounts is shorter than what was written to it")
        out[order] = ordered

    def close(self) -> None:
        """Give the disk back."""
        self._slots = 0
        self._slot_of.clear()
        self._close()

    def _write(self, at: int, rows: Array) -> bool:
        data = np.ascontiguousarray(rows).view(np.uint8).data
        try:
            if self._fd < 0:
                with tempfile.TemporaryFile(prefix="siphonwatch-cold-") as file:
                    self._fd = os.dup(file.fileno())
                self._close = weakref.finalize(self, os.close, self._fd)
            while data:
                written = os.pwrite(self._fd, data, at)
                data, at = data[written:], at + written
        except OSError as error:
            _log.warning(
                "cold accounts are read from Kafka alone, which is slow: no room on disk for them",
                folder=tempfile.gettempdir(), error=str(error),
            )  # fmt: skip
            self.close()
            return False
        return True
