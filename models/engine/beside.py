"""What a shadow keeps of accounts, or of fingerprints, beside their rows. It changes no row."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.request import Array
from siphonwatch.models.account.table import AccountTable
from siphonwatch.models.common.arrays import Parts, as_array


class Beside:
    """What a shadow keeps of the accounts that are in memory, beside their rows.

    An account that leaves memory is forgotten here: its evidence begins anew when it comes back.

    Parameters
    ----------
    table
        Has the rows: of accounts, or of whatever else.
    layout
        Of what is kept of one.
    """

    def __init__(self, table: AccountTable, layout: np.dtype[np.void]) -> None:
        self._table = table
        self._layout = np.dtype([("hash", "u8"), ("judged", layout)], align=True)
        self._kept: Array = np.zeros(0, self._layout)

    @property
    def size(self) -> int:
        """Bytes."""
        return int(self._kept.nbytes)

    def of(self, slots: npt.NDArray[np.int64]) -> Array:
        """Return what is kept, `(accounts,)` by slot, once that of the given slots is of who is there now."""
        hashes = self._table.rows["hash"]
        if len(hashes) > len(self._kept):
            grown = np.zeros(len(hashes), self._layout)
            grown[: len(self._kept)] = self._kept
            self._kept = grown
        others = slots[(slots >= 0) & (self._kept["hash"][slots] != hashes[slots])]
        self.forget(others)
        self._kept["hash"][others] = hashes[others]
        return self._kept["judged"]

    def forget(self, slots: npt.NDArray[np.int64]) -> None:
        """Begin anew with who is at these slots."""
        self._kept[slots[slots < len(self._kept)]] = np.zeros(1, self._layout)

    def held(self) -> tuple[npt.NDArray[np.int64], Array]:
        """Return the slots of the accounts in memory of which anything is kept, and what, by slot."""
        slots = self._table.used()
        slots = slots[slots < len(self._kept)]
        return slots[self._kept["hash"][slots] == self._table.rows["hash"][slots]], self._kept["judged"]

    def snapshot(self) -> dict[str, npt.NDArray[Any]]:
        """Copy what is kept, by account."""
        slots, judged = self.held()
        return {"hash": self._table.rows["hash"][slots], "judged": judged[slots]}

    def restore(self, parts: Parts) -> None:
        """Take over a snapshot, of the accounts that are in memory.

        Raises
        ------
        ValueError
            Where it is of another layout.
        """
        hashes, judged = as_array(parts, "hash"), as_array(parts, "judged")
        if judged.dtype != self._layout["judged"] or len(judged) != len(hashes):
            raise ValueError("what a shadow keeps is of another layout: it was written by another version")
        self._kept = np.zeros(len(self._table.rows), self._layout)
        slots = self._table.used()
        order = np.argsort(hashes)
        at = np.searchsorted(hashes, self._table.rows["hash"][slots], sorter=order)
        there = at < len(hashes)
        slots, at = slots[there], order[at[there]]
        same = hashes[at] == self._table.rows["hash"][slots]
        self._kept["hash"][slots[same]] = hashes[at[same]]
        self._kept["judged"][slots[same]] = judged[at[same]]
