"""Orders to erase an account, as workers know and keep them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.request import Array
from siphonwatch.models.account.table import named
from siphonwatch.streams.contracts.control import Erase

CAPACITY = 10_000
"""Orders that are kept, some 100 bytes each; beyond, the oldest are forgotten: telemetry that old is gone."""


class Order(NamedTuple):
    """What of an order decides."""

    time: float
    """Requests up to this time, seconds since 1970, are the ones to erase."""
    id: str
    account: str
    dry_run: bool
    page: int = 0
    """Where it was carried out: the first cold page that may hold the account again, as it came back later."""

    @classmethod
    def of(cls, erase: Erase) -> Order:
        """Return what of a control record decides."""
        return cls(erase.time, erase.id, erase.account, erase.dry_run)


class Orders:
    """Orders that were carried out, or that are known.

    Parameters
    ----------
    orders
        In any order; of more than `CAPACITY` the newest.

    Examples
    --------
    >>> orders = Orders([Order(2e9, "0123456789ab", "acme", False)])
    >>> orders == Orders.decode(orders.encode()), Orders() == orders, len(orders)
    (True, False, 1)
    """

    def __init__(self, orders: Iterable[Order] = ()) -> None:
        self._orders = sorted(set(orders))[-CAPACITY:]
        wanted = [order for order in self._orders if not order.dry_run]
        hashes = named([order.account for order in wanted])["account_hash"]
        until: dict[int, float] = {}
        for hash_, order in zip(hashes.tolist(), wanted, strict=True):
            until[hash_] = max(until.get(hash_, 0.0), order.time)
        self._hashes = np.array(sorted(until), np.uint64)
        self._until = np.array([until[hash_] for hash_ in sorted(until)])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Orders) and self._orders == other._orders

    __hash__ = None  # type: ignore[assignment]

    def __len__(self) -> int:
        return len(self._orders)

    def __iter__(self) -> Iterator[Order]:
        return iter(self._orders)

    def erased(self, requests: Array) -> npt.NDArray[np.bool_]:
        """Say which requests, `(n,) REQUEST`, are of an account that was erased, from before that, `(n,)`."""
        if not len(self._hashes):
            return np.zeros(len(requests), np.bool_)
        at = np.minimum(np.searchsorted(self._hashes, requests["account_hash"]), len(self._hashes) - 1)
        gone: npt.NDArray[np.bool_] = (self._hashes[at] == requests["account_hash"]) & (
            requests["time"] <= self._until[at]
        )
        return gone

    def gone(self) -> dict[int, int]:
        """Return the hashes of the accounts, and the first cold page that may hold each one again."""
        pages = [order for order in self._orders if not order.dry_run]
        hashes = named([order.account for order in pages])["account_hash"].tolist()
        found: dict[int, int] = {}
        for hash_, order in zip(hashes, pages, strict=True):
            found[hash_] = max(found.get(hash_, 0), order.page)
        return found

    def encode(self) -> bytes:
        """Serialise all, for a checkpoint."""
        return msgspec.msgpack.encode(self._orders)

    @classmethod
    def decode(cls, data: bytes) -> Orders:
        """Return what was serialised.

        Raises
        ------
        ValueError
            Where it is no such thing.
        """
        return cls(msgspec.msgpack.decode(data, type=list[Order]))


class OrderList:
    """The orders that are known now, shared by the partitions of a worker: each carries them out at a checkpoint."""

    def __init__(self) -> None:
        self.known: Orders | None = None
        """None until the control topic was read once."""
