"""Follows the control topic into what workers apply of it; records that cannot be read become dead letters."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts.control import Allow, Deploy, Erase, NotAControl, decode
from siphonwatch.streams.worker.agents.control_letters import ControlLetters
from siphonwatch.streams.worker.agents.feed import RETRY_SECONDS, Feed
from siphonwatch.streams.worker.agents.judges import DeployList
from siphonwatch.streams.worker.entries import CAPACITY, Entries, Entry, EntryList
from siphonwatch.streams.worker.metrics import CONTROL, Metrics
from siphonwatch.streams.worker.orders import Order, OrderList, Orders


class ControlFeed(Feed):
    """Keeps a list of entries up to date; what it holds is given out only when the topic was read to its end.

    Parameters
    ----------
    settings
        Where the topic is.
    entries
        Given the entries that stand; the partitions of a worker share it.
    orders
        Given the orders to erase.
    letters
        Takes the records that cannot be read; one partition of the group sends them.
    metrics
        What is counted: no account, reason or name.
    retry_seconds
        Wait after the broker failed.
    clock
        Monotonic seconds.
    deploys
        Given what is deployed, likewise.
    """

    topic = CONTROL
    what = "control records"
    meanwhile = "workers keep the allow entries and versions known so far"

    def __init__(
        self,
        settings: Settings,
        entries: EntryList,
        orders: OrderList,
        letters: ControlLetters,
        metrics: Metrics,
        retry_seconds: float = RETRY_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        deploys: DeployList | None = None,
    ) -> None:
        super().__init__(settings, metrics, retry_seconds, clock)
        self._list = entries
        self._order_list = orders
        self._orders: dict[str, Order] = {}
        """Those that are news since the list was given out last."""
        self._letters = letters
        self._deployed = DeployList() if deploys is None else deploys
        self._deploys: dict[str, Deploy] = {}
        self._standing: dict[str, Entry] = {}
        self._places = 0
        self._changed = True
        self.read = asyncio.Event()
        """Set once the topic was read to its end."""

    def take_records(self, records: Sequence[Any]) -> None:
        """Take records of the topic; those that cannot be read are counted and kept for the dead-letter topic."""
        self._letters.incarnation = self._incarnation
        for record in records:
            try:
                if record.value is None:  # a tombstone: of the id that is its key nothing is left
                    self._drop((record.key or b"").decode("ascii", "replace"))
                    continue
                control = decode(record.value)
            except NotAControl as error:
                self._metrics.controls_unreadable.inc()
                self._letters.add(record, error)
                continue
            if isinstance(control, Deploy):
                self._deploys[control.id] = control
                continue
            self._drop(control.id)
            if isinstance(control, Erase):
                self._orders[control.id] = Order.of(control)
            elif isinstance(control, Allow):
                entry = Entry.of(control)
                self._standing[control.id] = entry
                self._places += entry.places
                self._changed = True
        while self._places > CAPACITY:
            self._drop(next(iter(self._standing)))
            self._list.dropped += 1

    def _drop(self, id: str) -> None:
        self._deploys.pop(id, None)
        if (entry := self._standing.pop(id, None)) is not None:
            self._places -= entry.places
            self._changed = True

    def clear(self) -> None:
        """Forget every entry; what was given out stands until the new topic was read, and orders stand for good."""
        self._standing, self._places, self._changed = {}, 0, True
        self._deploys = {}
        self._letters.clear()

    def reached_end(self) -> None:
        """Give out what stands."""
        known = self._order_list.known
        if known is None or self._orders:
            self._order_list.known = Orders([*(known or ()), *self._orders.values()])
            self._orders = {}
        if self._changed:
            self._list.known = Entries(self._standing.values())
            self._changed = False
        self._deployed.known = dict(self._deploys)
        self.read.set()
