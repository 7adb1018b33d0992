"""Scraping of a REST API: by ids, by guessing, by listings or by facets; distributed over addresses, keys and days, or
mixed with benign use."""

from __future__ import annotations

from collections.abc import Callable

from siphonwatch.streams.lab.scenario import calls, clients
from siphonwatch.streams.lab.scenario.calls import Account, Call, Channel, Stream
from siphonwatch.streams.lab.scenario.rest import ITEMS, _size
from siphonwatch.streams.lab.scenario.rest_clients import opaque
from siphonwatch.streams.lab.scenario.words import pick

Paths = Callable[[], tuple[str, float]]
"""Returns the next path, and the share of such requests that do not get a 404."""


def _items(account: Account, kind: str) -> Paths:
    r = account.r
    route = pick(r, ("/v1/items/{}", "/v1/users/{}", "/catalog/p{}.json", "/v1/listing?id={}"))
    at = int(r.random() * ITEMS / 2)
    found = r.uniform(0.85, 1.0)
    stride = pick(r, (1, 1, 1, 2, 10, -1))
    block: list[int] = []

    def ordered() -> tuple[str, float]:
        nonlocal at
        at += stride * (1 if r.random() < 0.9 else 1 + int(r.random() * 4))
        return route.format(abs(at)), found

    def shuffled() -> tuple[str, float]:
        nonlocal at
        if not block:
            block.extend(range(at, at + 60))
            r.shuffle(block)
            at += 60
        return route.format(block.pop()), found

    def random() -> tuple[str, float]:
        return route.format(int(r.random() * ITEMS * 5)), 1.0

    def guessed() -> tuple[str, float]:
        return route.format(int(r.random() * 90_000_000) + 10_000_000), 0.3

    return {"ordered": ordered, "shuffled": shuffled, "random": random, "guessed": guessed}[kind]


def _listing(account: Account, style: str) -> Paths:
    r = account.r
    page, category = 0, int(r.random() * 4000)
    last = int(r.uniform(40, 400))
    size = pick(r, (20, 50, 100))

    def path() -> tuple[str, float]:
        nonlocal page, category
        page += 1
        if page > last:
            page, category = 1, category + 1
        place = {"page": f"&page={page}", "offset": f"&offset={page * size}", "cursor": f"&cursor={opaque(r)}"}[style]
        return f"/v1/items?category={category}{place if page > 1 else ''}", 1.0

    return path


def _facets(account: Account) -> Paths:
    r = account.r
    brand, colour, page = int(r.random() * 5000), 0, 0
    depth = 3 + int(r.random() * 10)

    def path() -> tuple[str, float]:
        nonlocal brand, colour, page
        page += 1
        if page > depth:
            page, colour = 1, colour + 1
        if colour >= 12:
            colour, brand = 0, brand + 1
        return f"/v1/items?brand={brand}&colour={colour}&page={page}", 1.0

    return path


def _details(account: Account) -> Paths:
    """Return paths of a page of a listing, then of all items on it."""
    r = account.r
    todo: list[str] = []
    pages = _listing(account, "page")

    def path() -> tuple[str, float]:
        if not todo:
            todo.extend(f"/v1/items/{int(r.random() * ITEMS * 5)}" for _ in range(20))
            return pages()
        return todo.pop(), 1.0

    return path


WAYS: dict[str, Callable[[Account], Paths]] = {
    "ids": lambda account: _items(account, "ordered"),
    "ids-shuffled": lambda account: _items(account, "shuffled"),
    "ids-random": lambda account: _items(account, "random"),
    "ids-guessed": lambda account: _items(account, "guessed"),
    "pages": lambda account: _listing(account, "page"),
    "offsets": lambda account: _listing(account, "offset"),
    "cursors": lambda account: _listing(account, "cursor"),
    "facets": _facets,
    "details": _details,
}


def scraper(account: Account, way: str, times: list[float], via: Channel | None = None) -> Stream:
    """Return one scraper's stream. The scenario repeats throttled requests, as for all accounts.

    Parameters
    ----------
    way
        One of `WAYS`.
    via
        Its channel; by default a script on a few cloud addresses.
    """
    r = account.r
    via = via or channel(account)
    paths = WAYS[way](account)

    def make(t: float) -> Call:
        path, share = paths()
        found = r.random() < share
        return Call(via, path=path, size=_size(r) if found else 90, status=200 if found else 404)

    return Stream(account, times, make, "scraping")


def channel(account: Account, addresses: int = 3) -> Channel:
    """Return a script's channel with `addresses` IP addresses."""
    r = account.r
    software = clients.bare(r) if r.random() < 0.6 else clients.browser(r)
    ips = [clients.address(r, cloud=r.random() < 0.6) for _ in range(addresses)]
    return Channel(clients.hexid(r, 64), [software], ips, calls.MODELS[0])
