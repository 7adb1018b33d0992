"""Benign use of a REST API that resembles scraping in one respect: volume, new resources, order of ids, or 404s.

People request popular items or their own; programs request the same items again. Volumes are heavy-tailed.
"""

from __future__ import annotations

import random

from siphonwatch.streams.lab.scenario import calls, clients
from siphonwatch.streams.lab.scenario.calls import Account, Call, Channel, Stream
from siphonwatch.streams.lab.scenario.rest import ITEMS, _channel, _size
from siphonwatch.streams.lab.scenario.words import pick

APPS = ("ShopApp/5.2.1 (iPhone; iOS 17.5)", "ShopApp/5.1.0 (Android 14)", "ShopApp/4.9.3 (Android 13)")
_SCATTER = 2_654_435_761


def popular(r: random.Random, skew: float = 0.85) -> int:
    """Draw an item by popularity: Zipf-like, with the exponent measured at web proxies (Breslau et al. 1999). Items of
    similar popularity have unrelated ids."""
    rank = (1 + r.random() * (ITEMS ** (1 - skew) - 1)) ** (1 / (1 - skew))
    return int(rank) * _SCATTER % ITEMS + 1


def opaque(r: random.Random) -> str:
    """Return an opaque cursor."""
    return clients.hexid(r, 24)


def _listing(r: random.Random, style: str, name: str, page: int) -> str:
    if page == 1:
        return f"/v1/{name}?limit=100"
    if style == "cursor":
        return f"/v1/{name}?limit=100&cursor={opaque(r)}"
    return f"/v1/{name}?limit=100&" + (f"page={page}" if style == "page" else f"offset={100 * (page - 1)}")


def backend(account: Account, n: int, via: Channel | None = None) -> Stream:
    """An app's backend: thousands of users, each with few items, a feed of one to three pages and a search."""
    r = account.r
    via = via or _channel(r, "okhttp/4.12.0", cloud=True, addresses=4)
    skew, style = r.uniform(0.65, 0.99), pick(r, ("cursor", "page"))
    depth = 1

    def make(t: float) -> Call:
        nonlocal depth
        x = r.random()
        if depth > 1:
            depth -= 1
            extra = f"&cursor={opaque(r)}" if style == "cursor" else f"&page={4 - depth}"
            return Call(via, path=f"/v1/feed?user_id={int(r.random() ** 2 * 5000)}{extra}", size=8000)
        if x < 0.25:
            depth = 1 + int(r.random() * 3)
            return Call(via, path=f"/v1/feed?user_id={int(r.random() ** 2 * 5000)}", size=8000)
        if x < 0.75:
            return Call(
                via, path=f"/v1/items/{popular(r, skew)}", size=_size(r), status=200 if r.random() < 0.98 else 404
            )
        if x < 0.9:
            return Call(via, path=f"/v1/search?q=term{int(r.random() ** 3 * 8000)}", size=5000)
        return Call(via, path="/v1/basket", method=pick(r, ("GET", "POST")), size=400)

    return Stream(account, calls.rhythm(account, n, people=True), make)


def syncing(account: Account, n: int) -> Stream:
    """A synchronisation: all pages of its listings once, then only changes."""
    r = account.r
    via = _channel(r, "ErpConnector/3.4 (sync)", cloud=True)
    style = pick(r, ("page", "offset", "cursor"))
    walk = [
        _listing(r, style, name, page)
        for name in ("orders", "products", "customers")
        for page in range(1, 2 + min(80, int(r.lognormvariate(2.6, 1.0))))
    ]
    start = account.t0 + r.random() * 0.2 * (account.t1 - account.t0)
    times = [start + i * r.uniform(0.5, 2.0) for i in range(len(walk))]
    begin = max(times) + 60
    period = max(60.0, (account.t1 - begin) / max(1, n))
    times = sorted(times) + [
        begin + i * period + r.random() * 20 for i in range(int((account.t1 - begin - 30) / period))
    ]
    done = 0

    def make(t: float) -> Call:
        nonlocal done
        done += 1
        if done <= len(walk):
            return Call(via, path=walk[done - 1], size=60_000)
        name = pick(r, ("orders", "products", "customers"))
        extra = f"&cursor={opaque(r)}" if r.random() < 0.05 else ""
        return Call(via, path=f"/v1/{name}?limit=100&updated_since={int(t - period)}{extra}", size=2000)

    return Stream(account, [t for t in sorted(times) if t < account.t1], make)


def dashboard(account: Account, n: int) -> Stream:
    """A dashboard that polls the same resources all day."""
    r = account.r
    via = _channel(r, None, addresses=2)
    first = int(r.random() * 9000)
    widgets = [f"/v1/metrics/{first + i}" for i in range(8 + int(r.random() * 50))]
    done = 0

    def make(t: float) -> Call:
        nonlocal done
        done += 1
        return Call(via, path=f"{widgets[done % len(widgets)]}?ts={int(t)}", size=900)

    return Stream(account, calls.runs(account, n, parts=1, pause=(2.0, 40.0)), make)


def export(account: Account, n: int) -> Stream:
    """A nightly backup of all records of the account, in the same order, from the first day on."""
    r = account.r
    via = _channel(r, "BackupAgent/2.0", cloud=True)
    nights = max(1, int((account.t1 - account.t0) / calls.DAY))
    each = max(20, n // nights)
    first, stride = int(r.random() * ITEMS / 2), pick(r, (1, 1, 7, 90))
    own = [first + i * stride + int(r.random() * stride) for i in range(each)]
    at = r.random() * calls.DAY * 0.3
    times = [account.t0 + night * calls.DAY + at + i * 1.5 + r.random() for night in range(nights) for i in range(each)]
    done = 0

    def make(t: float) -> Call:
        nonlocal done
        done += 1
        return Call(via, path=f"/v1/records/{own[(done - 1) % each]}", size=_size(r))

    return Stream(account, sorted(t for t in times if t < account.t1), make)


def broken(account: Account, n: int) -> Stream:
    """A client with a stale list or a wrong path: many 404s, always for the same resources."""
    r = account.r
    via = _channel(r, "axios/1.7.7", cloud=True)
    prefix = pick(r, ("/v1/items", "/v2/items", "/api/v1/users"))
    stale = [popular(r, 0.1) for _ in range(5 + int(r.random() * 120))]

    def make(t: float) -> Call:
        gone = r.random() < 0.85
        path = f"{prefix}/{pick(r, stale)}" if gone else f"/v1/items/{popular(r)}"
        return Call(via, path=path, size=90 if gone else _size(r), status=404 if gone else 200)

    return Stream(account, calls.rhythm(account, n, people=False), make)


def retrying(account: Account, n: int) -> Stream:
    """An unreliable connection: each resource is requested with back-off until it is received."""
    r = account.r
    via = _channel(r, pick(r, APPS), addresses=3)
    path, left = "", 0

    def make(t: float) -> Call:
        nonlocal path, left
        if not left:
            path, left = f"/v1/items/{popular(r)}", 2 + int(r.expovariate(0.5))
        left -= 1
        return Call(via, path=path, size=_size(r), status=pick(r, (200, 503, 500, 429)) if left else 200)

    return Stream(account, calls.runs(account, n, parts=4, pause=(1.0, 30.0)), make)


def reporting(account: Account, n: int, via: Channel | None = None) -> Stream:
    """An accountant: sometimes a burst over hundreds of records of the own company, otherwise a few lists."""
    r = account.r
    via = via or _channel(r, None)
    own = [int(r.random() * ITEMS * 20) for _ in range(max(40, n // 3))]
    times = calls.runs(account, n // 2, parts=3, pause=(1.0, 12.0)) + calls.rhythm(account, n - n // 2, people=True)

    def make(t: float) -> Call:
        if r.random() < 0.8:
            return Call(via, path=f"/v1/invoices/{own[int(r.random() ** 1.5 * len(own))]}", size=_size(r))
        return Call(via, path=f"/v1/invoices?month=2025-{1 + int(r.random() * 12):02}&page={1 + int(r.random() * 3)}")

    return Stream(account, sorted(times), make)


def following(account: Account, n: int) -> Stream:
    """A subscriber to events: each new order of its shop once; ids ascend, with gaps for the orders of other shops."""
    r = account.r
    via = _channel(r, "Go-http-client/2.0", cloud=True)
    order = int(r.random() * 10**7)
    spread = r.uniform(4.5, 7.0)
    again = False

    def make(t: float) -> Call:
        nonlocal order, again
        again = not again and r.random() < 0.4
        if not again:
            order += 1 + int(r.lognormvariate(spread, 1.2))
        path = f"/v1/orders/{order}" + ("/lines" if again else "")
        return Call(via, path=path, size=_size(r))

    return Stream(account, calls.rhythm(account, n, people=True), make)


def comparing(account: Account, n: int, via: Channel | None = None) -> Stream:
    """A partner that serves its visitors' searches live: many resources, high volume, by popularity."""
    r = account.r
    via = via or _channel(r, "Java-http-client/17.0.9", cloud=True, addresses=5)
    skew = r.uniform(0.65, 0.99)

    def make(t: float) -> Call:
        if r.random() < 0.4:
            return Call(via, path=f"/v1/search?q=term{int(r.random() ** 3 * 20_000)}&page=1", size=5000)
        return Call(via, path=f"/v1/items/{popular(r, skew)}", size=_size(r))

    return Stream(account, calls.rhythm(account, n, people=True), make)


def browsing(account: Account, n: int, via: Channel | None = None) -> Stream:
    """A shopper who filters by facets, reads a few pages and opens some items."""
    r = account.r
    via = via or Channel(clients.hexid(r, 64), [clients.browser(r)], [clients.address(r)], calls.MODELS[0])
    facet, page = "", 1

    def make(t: float) -> Call:
        nonlocal facet, page
        x = r.random()
        if x < 0.25 or not facet:
            facet, page = f"brand={int(r.random() ** 2 * 60)}&colour={int(r.random() * 9)}", 1
        elif x < 0.5:
            page += 1
        elif x < 0.85:
            return Call(via, path=f"/v1/items/{popular(r, 0.9)}", size=_size(r))
        return Call(via, path=f"/v1/items?{facet}&page={page}", size=9000)

    return Stream(account, calls.sessions(account, n)[0], make)


def testing(account: Account, n: int) -> Stream:
    """A continuous-integration job: creates records, reads them and deletes them; their ids are consecutive."""
    r = account.r
    via = _channel(r, "python-requests/2.32.3", cloud=True)
    number, stage = int(r.random() * 10**6), 0

    def make(t: float) -> Call:
        nonlocal number, stage
        stage += 1
        if stage % 4 == 1:
            number += 1 + int(r.expovariate(1 / 15))
            return Call(via, path="/v1/items", method="POST", size=300, status=201)
        method = ("GET", "DELETE", "GET")[stage % 4 - 2]
        return Call(via, path=f"/v1/items/{number}", method=method, size=300, status=200 if stage % 4 else 404)

    return Stream(account, calls.runs(account, n, parts=5, pause=(0.2, 1.0)), make)
