"""What every trick is: attack records in, the records that the attacker sends instead out. A trick sees no label, no
score and no clock, and draws only from generators seeded by its name, the run's seed and the campaign or account."""

from __future__ import annotations

import hashlib
import random
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

from siphonwatch.models.account.request import NAME_BYTES
from siphonwatch.streams.lab.redteam.records import Record
from siphonwatch.streams.lab.redteam.survey import Survey

Role = Literal["answer", "waste", "cover"]
"""`answer` brings the attacker what the original request did; `waste` is an attack request that brings nothing; `cover`
is no part of the attack to look at, though the attacker sends and pays for it."""


class Origin(NamedTuple):
    """Where an attack record comes from."""

    account: str
    campaign: str
    number: int
    """Of the account's attack requests, in order of the log, from 0."""


class Sent(NamedTuple):
    """One record that the attacker sends."""

    record: Record
    origin: Origin
    role: Role = "answer"
    arrival: float | None = None
    """Event time at which it reaches the gateway; None in place of the record that it was made of."""
    labelled: bool = True
    """False for an account that takes no part in any figure, though it costs: one that only teaches the detector."""


class Trick(ABC):
    """Rewrites the attack of a log.

    A trick is one module in `siphonwatch.streams.lab.evasions` with one subclass; its docstring says what the attacker
    does and what that costs. Honest records never reach it.

    Parameters
    ----------
    survey
        What is known of the log: who sends how much, when, by which clients.
    seed
        Of everything drawn; the same seed gives the same records.
    """

    variants: ClassVar[Mapping[str, Mapping[str, Any]]]
    """Name of the trick to further arguments of the class; several where one idea has a strength to choose."""
    formats: ClassVar[frozenset[str]] = frozenset(("litellm",))
    """Whose records it rewrites; others stay as they are."""

    def __init__(self, survey: Survey, seed: int) -> None:
        self.survey = survey
        self.seed = seed

    @abstractmethod
    def rewrite(self, record: Any, origin: Origin) -> Iterator[Sent]:
        """Yield what is sent instead of an attack record; called with each, in order of the log. May change it."""

    def prelude(self) -> Iterator[Sent]:
        """Yield what is sent beside the attack; asked for once, after the last attack record."""
        return iter(())

    def random(self, *of: object) -> random.Random:
        """Return a generator of this trick's own for a campaign, an account or a request."""
        parts = (type(self).__module__.rpartition(".")[2], self.seed, *of)
        return random.Random("|".join(map(str, parts)))  # noqa: S311 - reproducible, not secret


class Combined(Trick):
    """Several tricks played together: what the first sends as an answer the next one rewrites, and so on.

    Parameters
    ----------
    survey, seed
        As for every trick; each of the tricks has its own.
    tricks
        In their order. One that does not rewrite a record's format passes it on.
    """

    variants: ClassVar = {}

    def __init__(self, survey: Survey, seed: int, tricks: Sequence[Trick]) -> None:
        super().__init__(survey, seed)
        self._tricks = tricks

    def rewrite(self, record: Any, origin: Origin) -> Iterator[Sent]:
        """Send the record through all of them; see `Trick.rewrite`."""
        sent = iter((Sent(record, origin),))
        for trick in self._tricks:
            sent = _through(sent, trick)
        yield from sent

    def prelude(self) -> Iterator[Sent]:
        """Yield what each of them sends beside the attack; see `Trick.prelude`."""
        for trick in self._tricks:
            yield from trick.prelude()


def _through(sent: Iterator[Sent], trick: Trick) -> Iterator[Sent]:
    for one in sent:
        if one.role != "answer" or one.record.format not in trick.formats:
            yield one
            continue
        for after in trick.rewrite(one.record, one.origin):
            yield after if after.arrival is not None else after._replace(arrival=one.arrival)


def sibling(account: str, number: int | str) -> str:
    """Return the name of another account of the same attacker, no longer than names are kept.

    Examples
    --------
    >>> sibling("org-1", 3), len(sibling("x" * 80, 3))
    ('org-1~3', 64)
    """
    mark = f"~{number}"
    if len(account) + len(mark) <= NAME_BYTES:
        return account + mark
    tail = f"~{digest(account, 16)}{mark}"
    return account[: NAME_BYTES - len(tail)] + tail


def digest(words: str, digits: int) -> str:
    """Return a hexadecimal identifier made of some words: a key's hash, an id of a further request."""
    return hashlib.sha256(words.encode()).hexdigest()[:digits]
