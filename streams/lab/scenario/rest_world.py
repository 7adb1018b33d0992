"""The users of a scenario's REST API: benign clients of many kinds, and campaigns with every way of scraping."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable

from siphonwatch.streams.lab.scenario import calls, rest, rest_clients, rest_scrapers
from siphonwatch.streams.lab.scenario.calls import Account, Stream
from siphonwatch.streams.lab.scenario.words import pick

Client = Callable[[Account, int], Stream]

HONEST: tuple[tuple[str, Client, float, tuple[int, int]], ...] = (
    ("mobile", rest.mobile, 0.26, (10, 300)),
    ("browsing", rest_clients.browsing, 0.12, (15, 600)),
    ("backend", rest_clients.backend, 0.08, (60, 3000)),
    ("syncing", rest_clients.syncing, 0.08, (60, 1200)),
    ("merchant", rest.sync, 0.06, (60, 1500)),
    ("dashboard", rest_clients.dashboard, 0.06, (100, 2500)),
    ("monitor", rest.monitor, 0.03, (100, 2000)),
    ("export", rest_clients.export, 0.04, (60, 300)),
    ("reporting", rest_clients.reporting, 0.06, (40, 1500)),
    ("following", rest_clients.following, 0.05, (40, 1500)),
    ("comparing", rest_clients.comparing, 0.04, (100, 3000)),
    ("broken", rest_clients.broken, 0.03, (20, 800)),
    ("retrying", rest_clients.retrying, 0.03, (20, 800)),
    ("testing", rest_clients.testing, 0.01, (20, 300)),
)
"""Kind, behaviour, share of the benign accounts, and their usual numbers of requests per scenario."""
ALLOWED = ("crawler-allowed", "export-allowed")
"""Crawlers and large exports that the operator allows; `Scenario.allowed` returns their names."""

COVERS = (rest_clients.backend, rest_clients.comparing, rest_clients.browsing, rest_clients.reporting)
PACES = ("fast", "fast", "slow", "minute", "addresses", "keys")
SHARES = (1.0, 0.5, 0.25)


def heavy(r: random.Random, low: int, high: int) -> int:
    """Draw a number of requests: mostly near `low`, with a tail beyond `high`."""
    n: float = low * (high / low) ** (r.random() ** 2.5)
    return round(n * (r.uniform(2.0, 4.0) if r.random() < 0.02 else 1.0))


def honest(account: Account, kind: str, *, burst: bool) -> Stream:
    """Return one benign account's stream; with `burst` it is one of the heaviest of its kind."""
    _, behave, _, (low, high) = next(row for row in HONEST if row[0] == kind)
    return behave(account, round(2.5 * high) if burst else heavy(account.r, low, high))


def allowed(account: Account) -> Stream:
    """Return the stream of an allowed account: a crawler that scrapes with permission, or a large export."""
    r = account.r
    n = heavy(r, 300, 3000)
    if account.kind == "export-allowed":
        return rest_clients.export(account, 3 * n)
    way = pick(r, tuple(rest_scrapers.WAYS))
    times = calls.runs(account, n, parts=3, pause=(0.5, 30.0))
    return dataclasses.replace(rest_scrapers.scraper(account, way, times), attack="")


def campaigns(n: int) -> list[tuple[str, str, float]]:
    """Return `n` campaigns as (way, pace, share): each way with each share before any repeats, paces in turn."""
    ways = list(rest_scrapers.WAYS)
    made = []
    for i in range(n):
        way, turn, again = i % len(ways), i // len(ways) % 3, i // (3 * len(ways))
        made.append((ways[way], PACES[(way + turn + again) % len(PACES)], SHARES[(way + turn) % 3]))
    return made


def scraping(account: Account, way: str, pace: str, share: float, span: tuple[float, float]) -> list[Stream]:
    """Return a campaign's streams, with the benign traffic of its account.

    Parameters
    ----------
    pace
        `fast` in two runs, `slow` with minutes between requests, `minute` for one per minute, or fast over many
        `addresses` or several `keys`, each with a part of the work.
    share
        The attack's share of the account's requests.
    span
        Event times between which it happens.
    """
    r = account.r
    size = round(400 * 10 ** (r.random() ** 1.5))
    start = span[0] + (0.05 + 0.35 * r.random()) * (span[1] - span[0])
    spread = {"slow": (60.0, 400.0), "minute": (50.0, 70.0)}.get(pace, (0.3, 6.0))
    workers = 2 + int(r.random() * 5) if pace == "keys" else 1
    streams = []
    for _ in range(workers):
        via = rest_scrapers.channel(account, 60 if pace == "addresses" else 3)
        parts = 1 if pace in ("slow", "minute") else 2
        times = calls.runs(account, size // workers, parts=parts, pause=spread, t0=start)
        streams.append(rest_scrapers.scraper(account, way, times, via))
    if share < 1:
        shared = via if r.random() < 0.5 else None
        streams.append(pick(r, COVERS)(account, round(size * (1 - share) / share), shared))
    return streams
