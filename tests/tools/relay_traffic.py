"""Requests of campaigns and of those who resemble them, made of numbers alone: who, when, with what, how alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.request import Array, blank, fnv1a, mix, name_words

DAY = 86_400.0
START = 1_767_571_200.0
Times = Sequence[float] | npt.NDArray[np.float64]


def by_name(account: str) -> np.uint64:
    raw = np.frombuffer(account.encode(), np.uint8)
    return np.uint64(mix(np.uint64(fnv1a(raw, 0, len(raw)))))


class Traffic:
    """Collects requests and gives them in order of time; the same seed gives the same ones."""

    def __init__(self, seed: int = 1) -> None:
        self.rng = np.random.default_rng(seed)
        self._parts: list[Array] = []
        self._count = 0

    def hashes(self, n: int) -> npt.NDArray[np.uint64]:
        return self.rng.integers(1, 2**63, n, dtype=np.uint64)

    def send(self, account: str, times: Times, *, spread: float = 0.9, subject: int = 0, **fields: object) -> None:
        """Add requests of one account; `spread` is how unlike their texts are, 0..1, about a `subject`."""
        n = len(times)
        if not n:
            return
        part = np.repeat(blank(), n)
        part["time"], part["account_hash"], part["account"] = times, by_name(account), name_words(account.encode())
        for i in range(n):
            part["id"][i] = name_words(f"r{self._count + i}".encode())
        self._count += n
        centre = np.random.default_rng(subject).normal(size=32)
        texts = np.sqrt(1 - spread) * centre / np.linalg.norm(centre) + np.sqrt(spread) * self.rng.normal(
            0, 32**-0.5, (n, 32)
        )
        part["projection"] = np.clip(texts / np.linalg.norm(texts, axis=1, keepdims=True) * 127, -127, 127)
        part["content"], part["template"], part["turns"] = self.hashes(n), self.hashes(n), 1
        part["prefix"], part["net"], part["chars"] = part["template"], by_name(account), 200
        for name, value in fields.items():
            part[name] = value
        self._parts.append(part)

    def requests(self) -> Array:
        """All of them by time."""
        whole = np.concatenate(self._parts)
        return whole[np.argsort(whole["time"], kind="stable")]

    # ------------------------------------------------------------- campaigns
    def hydra(
        self,
        accounts: int = 40,
        per_day: float = 26.0,
        days: float = 3.0,
        *,
        hand: str = "round",
        start: float = START,
        name: str = "hydra",
        batons: float = 0.0,
        rotate: bool = False,
        **fields: object,
    ) -> list[str]:
        """One list handed round: `round` robin, at `random`, in `sittings` that overlap, or by `turns`, one at a time.

        `batons` is the share of requests that are refused first and sent by the next account.
        """
        members = [f"{name}-{i}" for i in range(accounts)]
        shared = {"headers": 7, "agent": 8, "system": 9, "temperature": 1.0, "max_tokens": 2048, "model": 5} | fields
        total = int(accounts * per_day * days)
        times = start + np.sort(self.rng.uniform(0, days * DAY, total))
        if hand == "round":
            who = np.arange(total) % accounts
        elif hand == "random":
            who = self.rng.integers(0, accounts, total)
        elif hand == "turns":
            who = np.arange(total) // max(int(per_day), 1) % accounts
        else:
            who = np.arange(total) % accounts
            day = np.arange(total) // accounts // max(int(per_day), 1)
            sitting = self.rng.uniform(0, DAY - 3600, (accounts, int(days) + 2))
            times = start + day * DAY + sitting[who, day] + self.rng.uniform(0, 3600, total)
        contents = self.hashes(total)
        refused = self.rng.random(total) < batons
        for i, member in enumerate(members):
            mine = np.flatnonzero(who == i)
            agent = {"agent": self.rng.integers(1, 30, len(mine)), "headers": 0} if rotate else {}
            self.send(member, times[mine], **(shared | {"content": contents[mine]} | agent))
            before = np.flatnonzero(refused & ((who + 1) % accounts == i))
            self.send(member, times[before] - 3.0, **(shared | {"content": contents[before], "status": 429}))
        return members

    # ----------------------------------------------------------- look-alikes
    def people(
        self,
        accounts: int,
        per_day: float,
        days: float = 3.0,
        *,
        sigma: float = 1.2,
        conversation: float = 0.0,
        repeats: float = 0.2,
        spread: float = 0.8,
        name: str = "people",
        **fields: object,
    ) -> None:
        """Customers of their own: unequal volumes, sittings, subjects of their own, some repeats and conversations."""
        for i in range(accounts):
            n = self.rng.poisson(per_day * days * self.rng.lognormal(-sigma * sigma / 2, sigma))
            sizes = self.rng.geometric(1 / 5, n)
            sittings = np.repeat(START + self.rng.uniform(0, days * DAY, n), sizes)[:n]
            times = sittings + self.rng.uniform(0, 1200, n)
            contents = self.hashes(n)
            again = self.rng.random(n) < repeats
            contents[again] = self.rng.choice(contents, int(again.sum())) if n else contents[again]
            more = {"content": contents, "turns": np.where(self.rng.random(n) < conversation, 3, 1)}
            self.send(f"{name}-{i}", times, spread=spread, subject=i + 1, **(more | fields))
