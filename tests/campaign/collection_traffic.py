"""Reads of a REST API, made of numbers alone: by pools that copy a collection, and by those who resemble them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from relay_traffic import DAY, START, by_name

from siphonwatch.models.account.request import Array, blank, label, mix, name_words
from siphonwatch.models.account.walks import FURTHER

ITEMS, ORDERS, LISTING = 101, 102, 103
"""Routes."""
Numbers = Sequence[int] | npt.NDArray[np.int64]


def spread(numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """Hashes of numbers."""
    return np.array([mix(number) for number in numbers.astype(np.uint64) + np.uint64(1)], np.uint64)


class Reads:
    """Collects reads and gives them in order of time; the same seed gives the same ones."""

    def __init__(self, seed: int = 1) -> None:
        self.rng = np.random.default_rng(seed)
        self._parts: list[Array] = []
        self._count = 0

    def send(self, account: str, times: npt.NDArray[np.float64], what: Numbers, **fields: object) -> None:
        """Add reads of one account: the identifiers `what` on a route, or pages of a listing."""
        n = len(times)
        if not n:
            return
        part = np.repeat(blank(), n)
        more = {"route": ITEMS, "agent": 8} | fields
        part["time"], part["account_hash"], part["account"] = times, by_name(account), name_words(account.encode())
        part["rest"], part["op"], part["net"], part["key"] = 1, label("get"), by_name(account), by_name(account)
        for i in range(n):
            part["id"][i] = name_words(f"r{self._count + i}".encode())
        self._count += n
        numbers, cursors = np.asarray(what, np.int64), more.pop("cursors", False)
        part["page" if more["route"] == LISTING else "item"] = numbers
        part["resource"] = spread(numbers + (int(more["route"]) << 40))  # type: ignore[call-overload]
        for name, value in more.items():
            part[name] = value
        if cursors:
            part["page"] = FURTHER
        self._parts.append(part)

    def requests(self) -> Array:
        """All of them by time."""
        whole = np.concatenate(self._parts)
        return whole[np.argsort(whole["time"], kind="stable")]

    def pool(
        self, accounts: int, what: Numbers, *, deal: str = "chance", pause: tuple[float, float] = (1.0, 6.0),
        name: str = "pool", rotate: bool = False, status: Numbers | int = 200, **fields: object,
    ) -> list[str]:  # fmt: skip
        """One list dealt out over accounts, each thing once: by `chance`, in turn (`round`) or by a `hash` of it."""
        numbers = np.asarray(what, np.int64)
        n = len(numbers)
        times = START + 7200 + np.cumsum(self.rng.uniform(*pause, n))
        if deal == "chance":
            who = self.rng.integers(0, accounts, n)
        elif deal == "round":
            who = np.arange(n) % accounts
        else:
            who = (spread(numbers) % np.uint64(accounts)).astype(np.int64)
        answers = np.broadcast_to(np.asarray(status), n)
        members = [f"{name}-{i}" for i in range(accounts)]
        for i, member in enumerate(members):
            mine = np.flatnonzero(who == i)
            agent = {"agent": self.rng.integers(1, 2**40, len(mine))} if rotate else {}
            self.send(member, times[mine], numbers[mine], **({"status": answers[mine]} | fields | agent))
        return members

    def day(self, n: int, days: float = 2.0) -> npt.NDArray[np.float64]:
        """Times at which nobody sees to it."""
        return START + np.sort(self.rng.uniform(0, days * DAY, n))

    def load(self, mean: float, sigma: float) -> int:
        """How much one customer has, log-normal."""
        return int(self.rng.poisson(mean * self.rng.lognormal(-sigma * sigma / 2, sigma)))


def merchants(reads: Reads, n: int = 120) -> None:
    """Connectors that poll the items of their own shop, over and over: lists of like sizes, anywhere."""
    for i in range(n):
        own = int(reads.rng.integers(0, 400_000)) + reads.rng.integers(1, 20_000, int(reads.rng.integers(30, 200)))
        k = reads.load(500, 0.8)
        reads.send(f"merchant-{i}", reads.day(k), own[np.arange(k) % len(own)])


def connectors(reads: Reads, n: int = 120) -> None:
    """Connectors that walk all pages of their listing once and poll for changes then."""
    for i in range(n):
        k, polls = min(80, int(reads.rng.lognormal(2.6, 1.0))), reads.load(300, 0.8)
        begin = START + reads.rng.uniform(0, 0.4 * DAY)
        reads.send(f"connector-{i}", begin + np.arange(k) * 1.5, np.arange(1, k + 1), route=LISTING,
                   resource=reads.rng.integers(1, 2**60, k))  # fmt: skip
        reads.send(f"connector-{i}", reads.day(polls), np.full(polls, 7), route=ORDERS, item=-1)


def backups(reads: Reads, n: int = 40) -> None:
    """Nightly backups of each account's own records, in order; the first night all of it is new."""
    for i in range(n):
        own = int(reads.rng.integers(0, 200_000)) + np.arange(int(reads.rng.integers(60, 300)))
        begin = START + reads.rng.uniform(0, 0.3 * DAY)
        for night in range(3):
            times = begin + night * DAY + np.arange(len(own)) * 1.5 + reads.rng.uniform(0, 1, len(own))
            reads.send(f"backup-{i}", times, own)


def apps(reads: Reads, n: int = 300) -> None:
    """A mobile app: popular items, and a few of one's own again and again, in sittings."""
    for i in range(n):
        k = reads.load(40, 1.0)
        mine = reads.rng.integers(0, 400_000, 6)
        popular = (reads.rng.pareto(0.6, k) * 3).astype(np.int64) % 400_000 * 2_654_435 % 400_000
        sittings = np.repeat(reads.day(k // 8 + 1), 8)[:k]
        what = np.where(reads.rng.random(k) < 0.5, mine[reads.rng.integers(0, 6, k)], popular)
        reads.send(f"app-{i}", np.sort(sittings + reads.rng.uniform(0, 900, k)), what)


def readers(reads: Reads, n: int = 200) -> None:
    """Readers of a feed: the newest things, whose identifiers lie side by side, and which others read as well."""
    for i in range(n):
        times = reads.day(reads.load(40, 1.0))
        newest = ((times - START) / 60.0).astype(np.int64)
        reads.send(f"reader-{i}", times, np.maximum(newest - reads.rng.geometric(0.1, len(times)), 0))


def subscribers(reads: Reads, n: int = 60) -> None:
    """Shops that fetch each new order of theirs once; orders of all shops are numbered by one counter."""
    shares = reads.rng.lognormal(0, 1.0, n)
    total = 6000
    times, who = reads.day(total), reads.rng.choice(n, total, p=shares / shares.sum())
    for i in range(n):
        mine = np.flatnonzero(who == i)
        reads.send(f"shop-{i}", times[mine] + reads.rng.exponential(20.0, len(mine)), mine, route=ORDERS)


def crawlers(reads: Reads, n: int = 6) -> None:
    """Search engines, each with a crawler of its own: every page once a round, the same as the others'."""
    pages = reads.rng.integers(0, 400_000, 400)
    for i in range(n):
        pause = reads.rng.uniform(20, 60)
        times = START + reads.rng.uniform(0, DAY) + np.cumsum(reads.rng.uniform(0.5 * pause, 1.5 * pause, 800))
        reads.send(f"crawler-{i}", times, np.tile(reads.rng.permutation(pages), 2), agent=20 + i)


def partners(reads: Reads, n: int = 30) -> None:
    """Backends with one library that look up what their visitors ask for: any item, by day, many of them once."""
    for i in range(n):
        k = reads.load(400, 1.0)
        reads.send(f"partner-{i}", reads.day(k), reads.rng.integers(0, 400_000, k))


def stale(reads: Reads, n: int = 20) -> None:
    """Clients with lists of things that are gone, which they ask for again and again."""
    for i in range(n):
        gone = reads.rng.integers(0, 400_000, int(reads.rng.integers(5, 125)))
        k = reads.load(200, 0.8)
        reads.send(f"stale-{i}", reads.day(k), reads.rng.choice(gone, k), status=404)


LOOKALIKES = {
    make.__name__: make
    for make in (merchants, connectors, backups, apps, readers, subscribers, crawlers, partners, stale)
}
