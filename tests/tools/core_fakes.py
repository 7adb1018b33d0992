"""Request columns made by hand: benign accounts that chat, one that sweeps, one that walks a REST API."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from siphonwatch.models.account import request as rq
from siphonwatch.models.account.request import Array
from siphonwatch.models.common.arrays import Parts, pack, unpack
from siphonwatch.models.engine.coordinator import Coordinator
from siphonwatch.models.engine.scorer import Scorer
from siphonwatch.models.evidence.cases import CaseBook, Finding
from siphonwatch.streams.worker.state.pages import to_page

START = 1_767_571_200.0
"""Monday 2026-01-05 00:00 UTC."""


class Kept(Protocol):
    """What can be snapshot and restored."""

    def snapshot(self) -> Parts: ...
    def restore(self, parts: Parts) -> None: ...


def dump_of(kept: Kept) -> bytes:
    """What a checkpoint keeps of a scorer or the like."""
    return pack(kept.snapshot())


def placeless(findings: Iterable[Finding]) -> list[Finding]:
    """Findings without the place in the topic at which they were made: the same ones found in another log are equal."""
    return [msgspec.structs.replace(finding, offset=-1) for finding in findings]


def made_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have cases remember no place in the topic, so that states made from one log packed otherwise are equal."""
    record = CaseBook.record
    monkeypatch.setattr(CaseBook, "record", lambda self, *args, **facts: record(self, *args, **facts | {"offset": -1}))


def load_into(kept: Kept, data: bytes) -> None:
    """Restore what a checkpoint kept."""
    kept.restore(unpack(data))


def name_account(q: Array, name: str) -> None:
    """Give requests an account."""
    raw = np.frombuffer(name.encode(), np.uint8)
    q["account"] = rq.name_words(name.encode())
    q["account_hash"] = rq.mix(np.uint64(rq.fnv1a(raw, 0, len(raw))))


def requests(account: str, times: Sequence[float] | npt.NDArray[np.float64]) -> Array:
    """Requests of one account, each with an id of its own, otherwise blank."""
    q = np.repeat(rq.blank(), len(times))
    q["time"] = times
    name_account(q, account)
    for i in range(len(q)):
        q["id"][i] = rq.name_words(f"{account}-{i}".encode())
    return q


def hashes(rng: np.random.Generator, n: int) -> npt.NDArray[np.uint64]:
    """Hashes of unlike things."""
    return rng.integers(1, 2**64, n, np.uint64)


def sweep(account: str, times: npt.NDArray[np.float64], seed: int = 0) -> Array:
    """Extraction: training examples by one template over new content, outside conversations, at machine pace."""
    rng = np.random.default_rng(seed)
    q = requests(account, times)
    n = len(q)
    q["template"], q["prefix"] = hashes(rng, 1), hashes(rng, 1)
    q["content"] = hashes(rng, n)
    q["projection"] = rng.normal(0, 127 / np.sqrt(32), (n, 32)).clip(-127, 127)
    q["turns"], q["chars"], q["tokens_in"], q["tokens_out"] = 1, rng.integers(300, 900, n), 200, 900
    q["intents"], q["temperature"], q["n"], q["logprobs"], q["duration"] = 9, 1.0, 4, 5, 0.5
    return q


def chat(account: str, times: npt.NDArray[np.float64], seed: int = 0) -> Array:
    """A conversation: sessions, users, turns, a system prompt, content that stays near one subject."""
    rng = np.random.default_rng(seed)
    q = requests(account, times)
    n = len(q)
    for field in ("key", "user", "ip", "agent", "headers", "system"):
        q[field] = hashes(rng, 1)
    q["session"] = hashes(rng, 4)[rng.integers(0, 4, n)]
    q["template"], q["content"] = hashes(rng, n), hashes(rng, 8)[rng.integers(0, 8, n)]
    subject = rng.normal(0, 1, 32)
    q["projection"] = ((subject + rng.normal(0, 0.5, (n, 32))) * 20).clip(-127, 127)
    q["turns"], q["chars"], q["tokens_in"] = rng.integers(1, 9, n), rng.lognormal(4, 1, n), 300
    q["tokens_out"], q["n_headers"], q["stream"], q["duration"] = rng.integers(10, 300, n), 8, 1, 3.0
    return q


def walk(account: str, times: npt.NDArray[np.float64], seed: int = 0) -> Array:
    """Scraping: one REST resource after the other by its identifier."""
    rng = np.random.default_rng(seed)
    q = requests(account, times)
    q["rest"], q["route"], q["resource"] = 1, hashes(rng, 1), hashes(rng, len(q))
    q["item"] = 10_000 + np.arange(len(q))
    q["duration"] = 0.1
    return q


def traffic(seed: int = 1, accounts: int = 30, each: int = 25, attack: int = 160, days: float = 1.0) -> Array:
    """All of it, by event time: attacks begin after a third of the span, and take four sittings."""
    rng = np.random.default_rng(seed)
    span = days * 86_400.0
    parts = [
        chat(f"chat-{i}", START + np.sort(rng.uniform(0, span, rng.integers(2, 2 * each))), seed * 1000 + i)
        for i in range(accounts)
    ]
    onset, sitting = START + span / 3, span / 20
    for name, begin, make, n in (
        ("sweeper", onset, sweep, attack), ("walker", onset, walk, 3 * attack),
        ("late-sweeper", onset + 0.4 * span, sweep, attack),
    ):  # fmt: skip
        seed += 1
        parts.append(make(name, begin + sitting * (np.arange(n) * 4 // n) + np.cumsum(rng.uniform(0.6, 2.4, n)), seed))
    q = np.concatenate(parts)
    return q[np.argsort(q["time"], kind="stable")]


def cuts(n: int, points: Sequence[int]) -> Iterator[slice]:
    """Slices of `range(n)` between the points."""
    edges = [0, *sorted(p for p in points if 0 < p < n), n]
    yield from (slice(a, b) for a, b in itertools.pairwise(edges))


def run(scorer: Scorer | Coordinator, q: Array, points: Sequence[int] = (), first: int = 0) -> list[Finding]:
    """Score requests, cut into batches at the points."""
    offsets = np.arange(first, first + len(q))
    return [finding for part in cuts(len(q), points) for finding in scorer.score(q[part], offsets[part])]


def state(scorer: Scorer | Coordinator) -> tuple[bytes, dict[int, bytes | None]]:
    """Everything a scorer remembers, as a checkpoint holds it; leaves it unchanged."""
    table = scorer.table
    pages = {}
    for page in range(len(table.rows) // 16):
        rows = table.rows[page * 16 : page * 16 + 16]
        if rows["hash"].any():
            pages[page] = to_page(rows).data
    return dump_of(scorer), pages
