"""The accounts of one scorer in two tiers: a bounded number in memory, the others on cold pages of a state log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import structlog

from siphonwatch.models.account.request import Array
from siphonwatch.models.account.row import PAGE_ROWS
from siphonwatch.models.account.table import AccountTable
from siphonwatch.models.engine.vitals import Bound
from siphonwatch.streams.worker.state.codec import Page
from siphonwatch.streams.worker.state.cold_file import ColdFile
from siphonwatch.streams.worker.state.local import LocalStateLog
from siphonwatch.streams.worker.state.log import StateLog
from siphonwatch.streams.worker.state.pages import ColdPages, to_page
from siphonwatch.streams.worker.state.snapshot import SLICE as PAGES

SLICE = 8192
"""Requests scored at a time, a whole batch by default: so many accounts more than `hot_accounts` may be in memory."""

_log = structlog.get_logger(__name__)


COLD_ACCOUNTS, COLD_FILE_BYTES = 4_000_000, 2 * 1024**3
"""Defaults of the settings of these names."""


class Tiers:
    """Moves accounts out of memory and back; `admit` is to be called before each slice of requests is scored.

    Parameters
    ----------
    table
        The accounts in memory.
    log
        Where the others go; restored before the first `admit`.
    hot_accounts, cold_accounts, cold_file_bytes
        See `[state]` of the settings; None lets all accounts stay in memory.
    leaving
        Told of the rows that leave memory, `(n,) ROW`.
    """

    def __init__(
        self,
        table: AccountTable,
        log: StateLog | LocalStateLog,
        hot_accounts: int | None,
        cold_accounts: int = COLD_ACCOUNTS,
        cold_file_bytes: int = COLD_FILE_BYTES,
        leaving: Callable[[Array], None] | None = None,
    ) -> None:
        self.cold = ColdPages(cold_accounts, ColdFile(cold_file_bytes), leaving)
        self._table = table
        self._log = log
        self._hot = hot_accounts
        self._forgotten = 0
        if hot_accounts is not None:
            table.reserve(hot_accounts + 2 * SLICE)  # room for those of a slice, and for as many that may be new

    async def admit(self, requests: Array) -> None:
        """Bring the accounts of at most `SLICE` requests into memory, those that left it, and make room for new ones.

        Raises
        ------
        StateError
            When the state log fails.
        """
        if self._hot is not None and len(self._table) + len(requests) > self._hot + SLICE:
            await self.evict()
        await self._bring(self.cold.wanted(requests))

    async def recall(self, accounts: Array) -> None:
        """Bring accounts, `(n,) NAME`, into memory with all who are on their pages, so that these pages go.

        Raises
        ------
        StateError
            When the state log fails.
        """
        await self._bring(self.cold.beside(accounts))

    async def _bring(self, places: npt.NDArray[np.int64]) -> None:
        if not len(places):
            return
        absent = np.isin(places // PAGE_ROWS, self.cold.missing(places))
        if not absent.all():
            try:
                await asyncio.to_thread(self.cold.thaw, self._table, places[~absent])
            except OSError as error:
                _log.warning("cold accounts are read from Kafka alone, which is slow", error=str(error))
                self.cold.file.close()
                absent[:] = True
        if absent.any():
            places = places[absent]
            async for pages in self._log.fetch(np.unique(places // PAGE_ROWS).tolist()):
                self.cold.thaw_from(self._table, places, pages)

    async def evict(self) -> None:
        """Send the longest idle accounts away, where there are more than may stay."""
        if self._hot is not None:
            for pages in self.cold.evict(self._table, self._hot):
                await self._log.stage(pages)

    async def settle(self, before: float) -> dict[int, Page | None]:
        """Write what changed in memory, some pages at a time; return the pages that the checkpoint is to drop.

        Accounts that left memory and are idle since event time `before`, seconds, are forgotten.
        """
        await self.evict()
        dropped = self.forget(before)
        while changed := await asyncio.to_thread(self._changed):
            await self._log.stage({number: page for number, page in changed.items() if page is not None})
            dropped |= {number: None for number, page in changed.items() if page is None}
        return dropped

    def _changed(self) -> dict[int, Page | None]:
        """The next changed pages, None for those that are free. Beside the event loop: most of it is copying."""
        return {n: None if rows is None else to_page(rows) for n, rows in self._table.take_dirty(PAGES).items()}

    def forget(self, before: float) -> dict[int, Page | None]:
        """Forget those that left memory and are idle since event time `before`, seconds; return the pages to drop."""
        self._forgotten += self.cold.forget(before)
        return dict.fromkeys(self.cold.take_dropped())

    def bounds(self) -> list[Bound]:
        """Return what memory and disk are bounded by; nothing where all accounts stay."""
        if self._hot is None:
            return []
        return [
            Bound("hot_accounts", len(self._table), self._hot + SLICE),
            Bound("cold_accounts", len(self.cold), self.cold.most, self._forgotten),
            Bound("cold_file_bytes", self.cold.file.nbytes, self.cold.file.most),
        ]

    def close(self) -> None:
        """Give the disk back."""
        self.cold.file.close()
