"""The scenario's data types: account, stream of calls, call. Independent of log formats."""

from __future__ import annotations

import bisect
import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from siphonwatch.streams.lab.scenario import clients, words

DAY = 86_400.0
HOUR = 3600.0

_DAYTIME = (1, 1, 1, 1, 1, 2, 4, 7, 11, 13, 14, 13, 11, 12, 13, 12, 10, 8, 7, 6, 5, 4, 3, 2)
_STEADY = (8, 8, 8, 8, 8, 8, 9, 10, 11, 12, 12, 12, 12, 12, 12, 12, 11, 11, 10, 10, 9, 9, 8, 8)


class Model(NamedTuple):
    """A model behind the gateway."""

    name: str
    provider: str
    first_token: float
    """Seconds."""
    tokens_per_second: float


MODELS = (
    Model("gpt-4o-mini", "openai", 0.4, 95.0),
    Model("gpt-4o", "openai", 0.5, 75.0),
    Model("gpt-4.1", "openai", 0.6, 80.0),
    Model("claude-sonnet-4-5", "anthropic", 0.9, 62.0),
    Model("claude-haiku-4-5", "anthropic", 0.5, 110.0),
    Model("gemini-2.5-flash", "gemini", 0.4, 150.0),
)


@dataclass
class Channel:
    """One way an account reaches the API: key, software, addresses, model."""

    key: str
    software: Sequence[clients.Software]
    ips: Sequence[str]
    model: Model
    user_id: str | None = None
    guardrails: tuple[str, ...] = ()


@dataclass(slots=True)
class Call:
    """One request and its response, before it is written in a log format."""

    channel: Channel
    messages: list[dict[str, str]] = field(default_factory=list)
    reply: str = ""
    tokens: int = 0
    """Tokens of the response; 0 to derive them from the reply."""
    params: dict[str, Any] = field(default_factory=dict)
    stream: bool = False
    session: str | None = None
    end_user: str | None = None
    finish: str = "stop"
    method: str = "GET"
    path: str = ""
    """Set for REST calls only."""
    status: int = 200
    size: int = 0
    """Bytes of a REST response."""


@dataclass
class Account:
    """An account. It has its own random generator, so that a change to one account does not change others."""

    name: str
    kind: str
    """Benign archetype, or family of the attack."""
    r: random.Random
    t0: float
    """Event time of its first possible request."""
    t1: float
    shift: float
    """Time zone offset of its day, seconds."""
    pattern: str = ""
    campaign: str = ""
    format: Literal["litellm", "nginx"] = "litellm"


@dataclass
class Stream:
    """One behaviour of one account: when it calls and what it sends."""

    account: Account
    times: list[float]
    """Event times, ascending."""
    make: Callable[[float], Call]
    """Makes the call of one time; called once for each time, in order, as it keeps the behaviour's state."""
    attack: str = ""
    """Attack pattern that the calls are part of; empty for benign ones."""


def channel(r: random.Random, use: Literal["person", "backend", "script", "agent"]) -> Channel:
    """Draw a channel for a kind of use; attacks draw from the same distributions."""
    cloud = use == "backend" or (use == "script" and r.random() < 0.5)
    if use == "person":
        software = clients.browser(r) if r.random() < 0.45 else clients.sdk(r) if r.random() < 0.7 else clients.bare(r)
    elif use == "agent":
        software = clients.coding(r)
    else:
        software = clients.sdk(r) if r.random() < 0.72 else clients.bare(r)
    ip = clients.address(r, cloud=cloud)
    ips = [ip, *clients.neighbours(r, ip, r.randrange(4) if use == "backend" else r.randrange(2))]
    return Channel(
        key=clients.hexid(r, 64),
        software=(software,),
        ips=ips,
        model=words.pick(r, MODELS),
        user_id=clients.hexid(r, 16) if r.random() < 0.7 else None,
    )


def rhythm(account: Account, n: int, *, people: bool, t0: float | None = None, t1: float | None = None) -> list[float]:
    """Return `n` ascending event times that follow the account's day; with `people` few of them are at night."""
    t0 = account.t0 if t0 is None else t0
    t1 = account.t1 if t1 is None else t1
    weights = _DAYTIME if people else _STEADY
    r = account.r
    hours = max(1, int((t1 - t0) / HOUR))
    width = (t1 - t0) / hours
    first = int((t0 + account.shift) / HOUR)
    cumulative = list(itertools.accumulate(weights[(first + h) % 24] for h in range(hours)))
    total = cumulative[-1]
    return sorted(
        t0 + (bisect.bisect_right(cumulative, r.random() * total, 0, hours - 1) + r.random()) * width for _ in range(n)
    )


def runs(
    account: Account,
    n: int,
    *,
    parts: int,
    pause: tuple[float, float],
    t0: float | None = None,
    t1: float | None = None,
) -> list[float]:
    """Return `n` ascending times in `parts` automated runs, calls `pause` seconds apart."""
    t0 = account.t0 if t0 is None else t0
    t1 = account.t1 if t1 is None else t1
    r = account.r
    size = -(-n // parts)
    times: list[float] = []
    for part in range(parts):
        count = min(size, n - part * size)
        room = (t1 - t0) / parts
        mean = min((pause[0] + pause[1]) / 2, room * 0.8 / max(1, count))
        t = t0 + part * room + r.random() * max(0.0, room - count * mean * 1.2)
        spread = (pause[1] - pause[0]) / (pause[1] + pause[0])
        for _ in range(count):
            times.append(t)
            t += mean * (1 + spread * (2 * r.random() - 1))
    return sorted(min(t, t1 - 1e-3) for t in times)


def sessions(account: Account, n: int) -> tuple[list[float], set[float]]:
    """Return `n` times of a person in conversations of a few turns, and the times that start a conversation."""
    r = account.r
    count = max(1, n // 4)
    starts = rhythm(account, count, people=True)
    times: list[float] = []
    opening: set[float] = set()
    left = n
    for start in starts:
        turns = min(left, 1 + int(r.expovariate(1 / 3.2)))
        t = start
        for turn in range(turns):
            if t < account.t1:
                times.append(t)
                if not turn:
                    opening.add(t)
            t += 8 + r.lognormvariate(3.3, 0.8)
        left -= turns
        if left <= 0:
            break
    return sorted(times), opening
