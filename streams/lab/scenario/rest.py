"""Use and scraping of a REST API: a catalogue of numbered items, paginated listings, user profiles."""

from __future__ import annotations

import random

from siphonwatch.streams.lab.scenario import calls, clients
from siphonwatch.streams.lab.scenario.calls import Account, Call, Channel, Stream
from siphonwatch.streams.lab.scenario.words import pick

ITEMS = 400_000
"""Number of items of the API, ids 1 to ITEMS."""
_MOBILE = ("ShopApp/5.2.1 (iPhone; iOS 17.5)", "ShopApp/5.1.0 (Android 14)", "ShopApp/4.9.3 (Android 13)")
_CRAWLER = "PartnerIndexBot/2.1 (+https://partner.example/bot)"
_SYNC = "ErpConnector/3.4 (sync)"


def _channel(r: random.Random, agent: str | None, *, cloud: bool = False, addresses: int = 1) -> Channel:
    software = clients.Software(agent, {}) if agent else clients.bare(r)
    ips = [clients.address(r, cloud=cloud) for _ in range(addresses)]
    return Channel(clients.hexid(r, 64), [software], ips, calls.MODELS[0])


def _size(r: random.Random) -> int:
    return 600 + int(r.random() * 4000)


def mobile(account: Account, n: int) -> Stream:
    """A person with the app: the same few items repeatedly, a few searches, a basket."""
    r = account.r
    via = _channel(r, pick(r, _MOBILE), addresses=2)
    favourites = [int(r.random() * ITEMS) + 1 for _ in range(6)]
    times, _ = calls.sessions(account, n)

    def make(t: float) -> Call:
        x = r.random()
        if x < 0.5:
            if r.random() < 0.25:
                favourites[int(r.random() * 6)] = int(r.random() * ITEMS) + 1
            return Call(via, path=f"/v1/items/{pick(r, favourites)}", size=_size(r))
        if x < 0.7:
            return Call(
                via, path=f"/v1/items?category={int(r.random() * 40)}&page={1 + int(r.random() ** 3 * 4)}", size=9000
            )
        if x < 0.85:
            return Call(via, path="/v1/basket", method=pick(r, ("GET", "POST")), size=400)
        return Call(via, path=f"/v1/search?q=term{int(r.random() * 300)}", size=5000)

    return Stream(account, times, make)


def sync(account: Account, n: int) -> Stream:
    """A merchant's back office that polls its own few hundred items around the clock: heavy and regular."""
    r = account.r
    via = _channel(r, _SYNC, cloud=True)
    first = int(r.random() * ITEMS)
    own = [first + int(r.random() * 20_000) + 1 for _ in range(max(30, min(200, n // 10)))]
    done = 0

    def make(t: float) -> Call:
        nonlocal done
        done += 1
        if done % 25 == 0:
            return Call(via, path=f"/v1/orders?since={int(t - 900)}", size=2500)
        return Call(
            via, path=f"/v1/items/{own[done % len(own)]}", size=_size(r), status=200 if r.random() < 0.3 else 304
        )

    return Stream(account, calls.rhythm(account, n, people=False), make)


def crawler(account: Account, n: int) -> Stream:
    """A partner's declared crawler: the allowed pages at a regular rate, the same ones in every round."""
    r = account.r
    via = _channel(r, _CRAWLER, cloud=True, addresses=3)
    allowed = [f"/v1/items/{int(r.random() * ITEMS) + 1}" for _ in range(max(30, n // 8))]
    done = 0

    def make(t: float) -> Call:
        nonlocal done
        done += 1
        path = "/robots.txt" if done % 200 == 1 else allowed[done % len(allowed)]
        return Call(via, path=path, size=_size(r), status=200 if r.random() < 0.6 else 304)

    return Stream(account, calls.runs(account, n, parts=1, pause=(1.0, 60.0)), make)


def monitor(account: Account, n: int) -> Stream:
    """An uptime check: one path, all the time."""
    r = account.r
    via = _channel(r, "UptimeProbe/1.0", cloud=True)
    return Stream(
        account, calls.runs(account, n, parts=1, pause=(55.0, 65.0)), lambda t: Call(via, path="/v1/health", size=15)
    )


def sequential(account: Account, times: list[float]) -> Stream:
    """Scraping by consecutive item ids, with small gaps."""
    r = account.r
    via = _channel(r, None, cloud=True, addresses=3)
    item = int(r.random() * ITEMS / 2)

    def make(t: float) -> Call:
        nonlocal item
        item += 1 if r.random() < 0.9 else 1 + int(r.random() * 4)
        found = r.random() < 0.95
        return Call(via, path=f"/v1/items/{item}", size=_size(r) if found else 90, status=200 if found else 404)

    return Stream(account, times, make, "scraping")


def pages(account: Account, times: list[float]) -> Stream:
    """Scraping of listings: all pages of a category, then the next category."""
    r = account.r
    via = _channel(r, None, cloud=True, addresses=2)
    page, category = 0, int(r.random() * 40)

    def make(t: float) -> Call:
        nonlocal page, category
        page += 1
        if page > 300:
            page, category = 1, (category + 1) % 40
        return Call(via, path=f"/v1/items?category={category}&page={page}&per_page=100", size=60_000)

    return Stream(account, times, make, "scraping")


def guessing(account: Account, times: list[float]) -> Stream:
    """Scraping by guessing: random profile ids, most of which do not exist."""
    r = account.r
    via = _channel(r, None, cloud=True, addresses=4)

    def make(t: float) -> Call:
        found = r.random() < 0.3
        return Call(
            via,
            path=f"/v1/users/{int(r.random() * 90_000_000) + 10_000_000}",
            size=800 if found else 90,
            status=200 if found else 404,
        )

    return Stream(account, times, make, "scraping")
