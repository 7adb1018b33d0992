"""The first pass over a log: what an attacker could know of it and of whom the labels call honest. It holds times of
requests and a few profiles an account, never a whole log."""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from siphonwatch.streams.lab.redteam.records import Client, ModelCall, Record

T = TypeVar("T")

PROFILES = 8
"""Profiles kept of an account: enough to draw from, bounded whatever it sends."""
PROMPTS = 48
"""Prompts kept of a campaign: what recurs in a tenth of a campaign's prompts is in five of so many."""
PROMPT_CHARS = 4096
SAMPLES = 64
"""Whole records kept of the honest and of the attack, for tricks that send more of the kind."""


class Profile(NamedTuple):
    """How one request was sent, without what it asked for."""

    client: Client
    address: str
    key: str
    end_user: str = ""
    system: str = ""
    parameters: dict[str, Any] = {}  # noqa: RUF012 - of a tuple, and never changed

    @property
    def fingerprint(self) -> tuple[object, ...]:
        """What several accounts may share of it."""
        wanted = self.parameters
        return (
            self.client.agent, tuple(sorted(self.client.headers)), self.system, str(wanted.get("temperature")),
            str(wanted.get("max_tokens")),
        )  # fmt: skip

    def dress(self, record: Record) -> None:
        """Have a record look as if it was sent so, but for the key."""
        record.client, record.address = self.client, self.address
        if isinstance(record, ModelCall):
            record.end_user, record.system = self.end_user, self.system
            kept = {name: value for name, value in record.parameters.items() if name in ASKED}
            record.tree["model_parameters"] = {**self.parameters, **kept}


ASKED = frozenset(("n", "logprobs", "top_logprobs", "tools", "functions", "response_format"))
"""Parameters that are part of what is asked for: an attacker keeps them."""


class Survey:
    """What a log looks like; filled record by record.

    Attributes
    ----------
    honest
        Times of each account's honest requests, in order of the log.
    profiles
        Some of each account's honest requests, how they were sent.
    attacks
        How many attack requests each account sends, in order of its first.
    campaigns
        The campaign of each such account.
    prompts
        Some prompts of each campaign: the system prompt and the last user's words.
    honest_samples, attack_samples
        Some whole records.
    start, end
        Event time of the first and the last request.
    """

    def __init__(self, seed: int) -> None:
        self.honest: dict[str, array[float]] = {}
        self.profiles: dict[str, list[Profile]] = {}
        self.attacks: dict[str, int] = {}
        self.campaigns: dict[str, str] = {}
        self.prompts: dict[str, list[str]] = {}
        self.honest_samples: list[Record] = []
        self.attack_samples: list[Record] = []
        self.start = float("inf")
        self.end = float("-inf")
        self._seen: dict[int, int] = {}
        self._random = random.Random(f"survey|{seed}")  # noqa: S311 - reproducible, not secret

    def take_honest(self, record: Record) -> None:
        """Note a record that is no part of an attack, whoever sent it."""
        account, time = record.account, self._note_time(record)
        times = self.honest.setdefault(account, array("d"))
        times.append(time)
        kept = self.profiles.setdefault(account, [])
        if record.status < 400:
            self._keep(kept, PROFILES, lambda: profile(record))
            self._keep(self.honest_samples, SAMPLES, record.copy)

    def take_attack(self, record: Record, campaign: str) -> None:
        """Note an attack record."""
        account = record.account
        self._note_time(record)
        self.attacks[account] = self.attacks.get(account, 0) + 1
        self.campaigns[account] = campaign
        self._keep(self.attack_samples, SAMPLES, record.copy)
        if isinstance(record, ModelCall) and (words := last_user(record)):
            prompt = f"{record.system}\n{words}"[:PROMPT_CHARS]
            self._keep(self.prompts.setdefault(campaign, []), PROMPTS, lambda: prompt)

    def members(self, campaign: str) -> list[str]:
        """Return the accounts that send a campaign's attack requests."""
        return [account for account, of in self.campaigns.items() if of == campaign]

    def bystanders(self) -> list[str]:
        """Return the accounts that never attack, the busiest first."""
        others = [account for account in self.honest if account not in self.attacks]
        return sorted(others, key=lambda account: (-len(self.honest[account]), account))

    def _note_time(self, record: Record) -> float:
        time = record.time
        self.start, self.end = min(self.start, time), max(self.end, time)
        return time

    def _keep(self, kept: list[T], most: int, made: Callable[[], T]) -> None:
        """Keep at most so many, each that was there with equal chance (Vitter's reservoir)."""
        seen = self._seen[id(kept)] = self._seen.get(id(kept), 0) + 1  # the lists live as long as this
        if len(kept) < most:
            kept.append(made())
        elif (place := self._random.randrange(seen)) < most:
            kept[place] = made()


def profile(record: Record) -> Profile:
    """Return how a record was sent."""
    if isinstance(record, ModelCall):
        return Profile(
            record.client, record.address, record.key, record.end_user, record.system, dict(record.parameters)
        )
    return Profile(record.client, record.address, record.key)


def last_user(record: ModelCall) -> str:
    """Return the last user message, where it is plain text."""
    found = next((m.get("content") for m in reversed(record.messages) if m.get("role") == "user"), "")
    return found if isinstance(found, str) else ""
