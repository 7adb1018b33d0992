"""The accounts of one partition: rows in pages, an index from account to row, and which pages have changed.

Rows and pages are plain arrays; where pages are kept is the caller's business.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.request import (
    NAME_BYTES,
    NAME_WORDS,
    Array,
    Record,
    account_hash,
    copy_name,
    name_words,
    same_name,
)
from siphonwatch.models.account.row import PAGE_ROWS, ROW
from siphonwatch.models.common.declare import raw
from siphonwatch.models.common.kernel import kernel

MIN_INDEX = 1024
EMPTY = -1
NAME = np.dtype([("account_hash", "u8"), ("account", "u8", (NAME_WORDS,))], align=True)
"""What a table needs to know of a request to find its row."""


def named(accounts: Collection[str]) -> Array:
    """Return accounts by name, `(n,) NAME`, as a table looks them up."""
    out = np.zeros(len(accounts), NAME)
    for i, account in enumerate(accounts):
        text = account.encode("ascii", "replace")[:NAME_BYTES]
        out["account"][i] = name_words(text)
        out["account_hash"][i] = account_hash(np.frombuffer(text, np.uint8))
    return out


@kernel
def _find(index: npt.NDArray[np.int32], rows: Array, request: Record) -> np.int64:
    """Slot of the request's account, or `-1 - place` where it would be entered in the index."""
    mask = np.uint64(len(index) - 1)
    at = request.account_hash & mask
    while index[at] != EMPTY:
        row = rows[index[at]]
        if row.hash == request.account_hash and same_name(row.account, request.account):
            return np.int64(index[at])
        at = (at + np.uint64(1)) & mask
    return -1 - np.int64(at)


@kernel
def _place(index: npt.NDArray[np.int32], h: np.uint64, slot: int) -> None:
    mask = np.uint64(len(index) - 1)
    at = h & mask
    while index[at] != EMPTY:
        at = (at + np.uint64(1)) & mask
    index[at] = slot


@kernel
def _locate(
    index: npt.NDArray[np.int32],
    rows: Array,
    free: npt.NDArray[np.int32],
    requests: Array,
    opens: npt.NDArray[np.bool_],
    slots: npt.NDArray[np.int64],
) -> int:
    """Write each request's slot, entering unknown accounts where it `opens` a row, else -1; return how many entered."""
    used = 0
    for i in range(len(requests)):
        q = requests[i]
        found = _find(index, rows, q)
        if found < 0 and not opens[i]:
            slots[i] = -1
            continue
        if found < 0:
            slot = free[len(free) - 1 - used]
            used += 1
            index[-1 - found] = slot
            row = rows[slot]
            row.hash = q.account_hash
            copy_name(row.account, q.account)
            row.last_offset = -1
            found = np.int64(slot)
        slots[i] = found
    return used


@kernel
def _remove(index: npt.NDArray[np.int32], rows: Array, slots: npt.NDArray[np.int64]) -> None:
    """Take slots, still filled, out of the index; what ran past them moves back (Knuth 6.4, algorithm R)."""
    mask = np.uint64(len(index) - 1)
    one = np.uint64(1)
    for slot in slots:
        hole = rows[slot].hash & mask
        while index[hole] != slot:
            hole = (hole + one) & mask
        at = (hole + one) & mask
        while index[at] != EMPTY:
            home = rows[index[at]].hash & mask
            if ((at - home) & mask) >= ((at - hole) & mask):
                index[hole] = index[at]
                hole = at
            at = (at + one) & mask
        index[hole] = EMPTY


@kernel
def _reindex(index: npt.NDArray[np.int32], rows: Array, slots: npt.NDArray[np.int64]) -> None:
    for slot in slots:
        _place(index, rows[slot].hash, slot)


class AccountTable:
    """Rows of one partition, in memory: of accounts, or of whatever else is looked up by a name.

    Parameters
    ----------
    layout
        Of a row, which has the fields of `siphonwatch.models.account.row.HEAD`.

    Attributes
    ----------
    rows : `(size,)` of `layout`
        `hash` 0 where free.
    """

    def __init__(self, layout: np.dtype[np.void] = ROW) -> None:
        self.layout = layout
        self._room: Array = np.zeros(0, layout)
        self.rows: Array = self._room
        self._capacity = 0
        self._index = np.full(MIN_INDEX, EMPTY, np.int32)
        self._free: npt.NDArray[np.int32] = np.zeros(0, np.int32)
        self._count = 0
        self._dirty = np.zeros(0, np.bool_)

    def __len__(self) -> int:
        return self._count

    @property
    def nbytes(self) -> int:
        """Bytes of memory, all arrays together."""
        return self.rows.nbytes + self._index.nbytes + self._free.nbytes + self._dirty.nbytes

    def reserve(self, capacity: int) -> None:
        """Expect at most so many accounts: up to there growing copies nothing, and beyond it nothing stays allocated.

        The memory is the system's until a row in it is used.
        """
        self._capacity = capacity + -capacity % PAGE_ROWS
        self._move(max(self._capacity, len(self.rows)))

    def locate(self, requests: Array, opens: npt.NDArray[np.bool_] | None = None) -> npt.NDArray[np.int64]:
        """Return each request's slot, `(n,) int64`. Slots hold until the next change.

        `opens`, `(n,)`, says which requests enter an account that is not here; all by default. The others' slot is -1.
        """
        if opens is None:
            opens = np.ones(len(requests), np.bool_)
        self._make_room(len(requests))
        slots = np.empty(len(requests), np.int64)
        used = _locate(self._index, self.rows, self._free, requests, opens, slots)
        self._count += used
        self._free = self._free[: len(self._free) - used]
        self._dirty[slots[slots >= 0] // PAGE_ROWS] = True
        return slots

    def _make_room(self, n: int) -> None:
        """Make room for `n` more accounts."""
        short = n - len(self._free)
        if short > 0:
            old = len(self.rows)
            size = max(old + short, int(old * 1.25), 4 * PAGE_ROWS)
            if old + short <= self._capacity:
                size = min(size, self._capacity)
            size += -size % PAGE_ROWS
            self._resize(size)
            self._free = np.concatenate([np.arange(size - 1, old - 1, -1, dtype=np.int32), self._free])
        if (self._count + n) * 2 > len(self._index):
            self._rebuild(n)

    def _resize(self, size: int) -> None:
        """Have so many rows, at least as many as now."""
        if size > len(self._room):
            self._move(size)
        self.rows = self._room[:size]
        fresh = size // PAGE_ROWS - len(self._dirty)
        if fresh > 0:
            self._dirty = np.concatenate([self._dirty, np.zeros(fresh, np.bool_)])

    def _move(self, room: int) -> None:
        """Move the rows to an array with room for so many."""
        moved = np.zeros(room, self.layout)
        raw(moved)[: len(self.rows)] = raw(self.rows)
        self._room, self.rows = moved, moved[: len(self.rows)]

    def _rebuild(self, extra: int = 0) -> None:
        size = MIN_INDEX
        while size < (self._count + extra) * 2:
            size *= 2
        self._index = np.full(size, EMPTY, np.int32)
        _reindex(self._index, self.rows, self.used())

    def used(self) -> npt.NDArray[np.int64]:
        """Return the slots in use, ascending."""
        return np.flatnonzero(self.rows["hash"])

    def take_dirty(self, most: int | None = None) -> dict[int, Array | None]:
        """Return pages changed since last asked, `most` of them or all, lowest first.

        Each is a number to `(PAGE_ROWS,)` rows, copied; None where all of its rows are free.
        """
        numbers = np.flatnonzero(self._dirty)[:most]
        self._dirty[numbers] = False
        there = numbers[numbers < len(self.rows) // PAGE_ROWS]  # those beyond went when the table shrank
        rows = raw(self.rows).reshape(-1, PAGE_ROWS)[there].view(self.layout)
        held: npt.NDArray[np.bool_] = (rows["hash"] != 0).any(axis=1)
        changed: dict[int, Array | None] = dict.fromkeys(numbers.tolist())
        return changed | {page: rows[i] for i, page in enumerate(there.tolist()) if held[i]}

    def place(self, pages: dict[int, Array]) -> None:
        """Put restored pages, `(PAGE_ROWS,)` rows each, where they were; call `settle` after the last ones."""
        size = (max(pages, default=-1) + 1) * PAGE_ROWS
        if size > len(self.rows):
            if size > len(self._room):
                self._move(max(size, len(self.rows) * 3 // 2 // PAGE_ROWS * PAGE_ROWS))
            self._resize(size)
        for page, rows in pages.items():
            raw(self.rows)[page * PAGE_ROWS : (page + 1) * PAGE_ROWS] = raw(rows)

    def settle(self) -> None:
        """Work out the index, the free rows and what is dirty (nothing) from the rows as they are."""
        used = self.used()
        self._count = len(used)
        self._dirty = np.zeros(len(self.rows) // PAGE_ROWS, np.bool_)
        self._free = np.flatnonzero(self.rows["hash"] == 0)[::-1].astype(np.int32)
        self._rebuild()

    def insert(self, rows: Array) -> None:
        """Enter the rows of returning accounts, `(n,)`; one that is here already stays as it is."""
        named = np.empty(len(rows), NAME)
        named["account_hash"], named["account"] = rows["hash"], rows["account"]
        slots = self.locate(named)
        entered = self.rows["last_offset"][slots] == -1
        raw(self.rows)[slots[entered]] = raw(rows)[entered]

    def evict(self, slots: npt.NDArray[np.int64]) -> Array:
        """Free the given slots and return their rows, `(n,)`."""
        gone: Array = raw(self.rows)[slots].view(self.layout)
        self.free(slots)
        return gone

    def free(self, slots: npt.NDArray[np.int64]) -> None:
        """Forget the accounts in the given slots."""
        _remove(self._index, self.rows, slots)
        raw(self.rows)[slots] = raw(np.zeros(1, self.layout))
        self._dirty[slots // PAGE_ROWS] = True
        self._free = np.concatenate([self._free, slots.astype(np.int32)])
        self._count -= len(slots)

    def touch(self, slots: npt.NDArray[np.int64]) -> None:
        """Note that the rows at `slots` were changed elsewhere."""
        self._dirty[slots // PAGE_ROWS] = True

    def shrink(self) -> None:
        """Give back what was allocated beyond the capacity, where the accounts fit into it."""
        if not self._count <= self._capacity < len(self._room):
            return
        used = self.used()
        high = used[used >= self._capacity]
        low = np.flatnonzero(self.rows["hash"][: self._capacity] == 0)[: len(high)]
        raw(self.rows)[low] = raw(self.rows)[high]
        self._dirty[np.concatenate([low, high]) // PAGE_ROWS] = True  # pages beyond the last row are dropped ones
        self.rows = self.rows[: self._capacity]
        self._move(self._capacity)
        self._free = np.flatnonzero(self.rows["hash"] == 0)[::-1].astype(np.int32)
        self._rebuild()
