"""Carries out, in one partition, the orders to erase accounts: at a checkpoint, so that no state ever holds half of it.

What an erased account sent before is not applied again, whether it comes late, from a topic that is read anew, or from
the dead letters.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from siphonwatch.models.account.table import named
from siphonwatch.models.engine.engine import Engine
from siphonwatch.models.engine.erase import Erased
from siphonwatch.models.evidence.cases import Finding
from siphonwatch.streams.contracts.receipt import Receipt
from siphonwatch.streams.worker.agents.read import Read
from siphonwatch.streams.worker.orders import Order, OrderList, Orders
from siphonwatch.streams.worker.state.tiers import Tiers


class Eraser:
    """Knows which orders one partition has carried out.

    Parameters
    ----------
    orders
        Those known now.
    scorer, tiers
        What holds the accounts: in memory, and on cold pages.
    stream, partition
        For receipts.
    """

    def __init__(self, orders: OrderList, scorer: Engine[Any, Any], tiers: Tiers, stream: str, partition: int) -> None:
        self._list = orders
        self._scorer = scorer
        self._tiers = tiers
        self._stream = stream
        self._partition = partition
        self._done = Orders()

    def __len__(self) -> int:
        return len(self._done)

    @property
    def due(self) -> list[Order]:
        """The orders that were not carried out yet."""
        known = self._list.known
        if known is None:
            return []
        done = {order.id for order in self._done}
        return [order for order in known if order.id not in done]

    def snapshot(self) -> bytes:
        """Serialise the orders carried out."""
        return self._done.encode()

    def restore(self, data: bytes) -> None:
        """Take over what was serialised.

        Raises
        ------
        ValueError
            Where it is no such thing.
        """
        self._done = Orders.decode(data)

    def gone(self) -> dict[int, int]:
        """Return the accounts that were erased, by hash, and the first cold page that may hold each one again."""
        return self._done.gone()

    def without(self, read: Read) -> tuple[Read, int]:
        """Return what was read without what erased accounts sent before that, and how many requests those are."""
        gone = self._done.erased(read.requests)
        if not gone.any():
            return read, 0
        keep = np.flatnonzero(~gone)
        return read._replace(requests=read.requests[keep], offsets=read.offsets[keep], rows=read.rows[keep]), int(
            gone.sum()
        )

    async def carry_out(self, offset: int, now: float) -> tuple[list[Receipt], list[Finding]]:
        """Carry out the orders that are due; return a receipt for each, and what tells the ends of cases.

        Raises
        ------
        StateError
            When cold pages cannot be read.
        """
        receipts: list[Receipt] = []
        ended: list[Finding] = []
        done: list[Order] = []
        for order in self.due:
            await self._tiers.recall(named([order.account]))
            erased: Erased = self._scorer.erase([order.account], remove=not order.dry_run)
            ended += erased.ended
            receipts.append(
                Receipt(
                    order=order.id, stream=self._stream, partition=self._partition, offset=offset,
                    counts=erased.counts, dry_run=order.dry_run, time=now,
                )
            )  # fmt: skip
            done.append(order._replace(page=self._tiers.cold.next))
        if done:
            self._done = Orders([*self._done, *done])
        return receipts, ended
