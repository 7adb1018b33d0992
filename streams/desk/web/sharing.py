"""Tells the other desks of one database who did what here and which sessions were ended, and learns the same of them.
Nothing waits for it: what cannot be told is told later.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import msgspec
import structlog

from siphonwatch.streams.desk.index.store import IndexAway
from siphonwatch.streams.desk.web.audit import KEPT, Audit, Entry
from siphonwatch.streams.desk.web.session import Sessions

SECONDS = 1.0
"""Between two exchanges: a log-out holds at all desks within two of them."""
_log = structlog.get_logger(__name__)


class Tables(Protocol):
    """What desks share; `siphonwatch.streams.desk.people_tables.PeopleTables` is that."""

    def share(self, entries: Collection[bytes], ended: Mapping[str, float], now: float) -> dict[str, float]:
        """Tell the other desks what was done here, and return which sessions were ended at any."""

    def entries(self) -> list[bytes]:
        """Return the newest entries of the audit, the newest first."""


class Sharing:
    """Exchanges.

    Parameters
    ----------
    tables
        Of all desks.
    audit, sessions
        Of this one.
    clock
        Seconds since 1970.
    """

    def __init__(self, tables: Tables, audit: Audit, sessions: Sessions, clock: Callable[[], float]) -> None:
        self._tables = tables
        self._audit = audit
        self._sessions = sessions
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="desk-sharing")
        self._task: asyncio.Task[None] | None = None
        self._ends = asyncio.Event()
        self._away = False
        audit.shares = sessions.shares = True

    def start(self) -> None:
        """Exchange from now on."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Exchange once more, and end."""
        if self._task is not None:
            self._ends.set()
            await self._task  # not cut off, or what it has told may be told again
        await self.exchange()
        self._thread.shutdown(wait=False)

    async def exchange(self) -> None:
        """Tell what was not told, and learn which sessions were ended."""
        entries, ended, now = self._audit.untold(), self._sessions.untold(), self._clock()
        raw = [msgspec.json.encode(entry) for entry in entries]
        try:
            known = await asyncio.get_running_loop().run_in_executor(self._thread, self._tables.share, raw, ended, now)
        except IndexAway as error:
            if not self._away:
                _log.warning("what was done here is told to the other desks later", error=str(error))
            self._away = True
            return
        self._away = False
        self._audit.told(len(entries))
        self._sessions.learn(known, told=ended)

    def newest(self) -> list[Entry]:
        """Return the newest entries of all desks, the newest first."""
        untold = self._audit.untold()
        known = [msgspec.json.decode(raw, type=Entry) for raw in self._tables.entries()]
        return [*reversed(untold), *known][:KEPT]

    async def _run(self) -> None:
        while not self._ends.is_set():
            try:
                await self.exchange()
            except Exception:  # noqa: BLE001 - the exchange goes on; the log has the reason
                _log.exception("desks could not tell each other what was done")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ends.wait(), SECONDS)
