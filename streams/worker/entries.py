"""Allow entries as workers apply them: for a time, alerts of a pattern and of some accounts or a case are not sent.

They change no score, evidence, budget or case. `siphonwatch.streams.worker.allow` is the list in the settings.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

import msgspec

from siphonwatch.models.detect.registry import covers
from siphonwatch.models.evidence.cases import Finding
from siphonwatch.streams.contracts.control import Allow

CAPACITY = 20_000
"""Accounts and cases of all entries, some 100 bytes each; beyond, the entries that stand longest are left out."""


class Entry(NamedTuple):
    """What of an entry decides: neither who made it nor why."""

    id: str
    pattern: str
    until: float
    """Event time from which it allows nothing any more, seconds since 1970."""
    accounts: tuple[str, ...]
    case: str

    @classmethod
    def of(cls, allow: Allow) -> Entry:
        """Return what of a control record decides."""
        return cls(allow.id, allow.pattern, allow.until, tuple(allow.accounts), allow.case)

    def covers(self, pattern: str, case: str, accounts: Collection[str]) -> bool:
        """Whether it is about a case, given the case's pattern, id and accounts."""
        return covers(self.pattern, pattern) and (case == self.case or set(self.accounts).issuperset(accounts))

    @property
    def places(self) -> int:
        """How much it counts towards `CAPACITY`."""
        return len(self.accounts) + bool(self.case)


class Entries:
    """Entries that stand together.

    Parameters
    ----------
    entries
        In any order.

    Examples
    --------
    >>> entries = Entries([Entry("0123456789ab", "shift", 2e9, ("acme",), "")])
    >>> entries == Entries.decode(entries.encode()), Entries() == entries, len(entries)
    (True, False, 1)
    """

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._entries = sorted(entries)
        self._of_account: dict[str, list[Entry]] = {}
        self._of_case: dict[str, list[Entry]] = {}
        for entry in self._entries:
            for account in entry.accounts:
                self._of_account.setdefault(account, []).append(entry)
            if entry.case:
                self._of_case.setdefault(entry.case, []).append(entry)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Entries) and self._entries == other._entries

    __hash__ = None  # type: ignore[assignment]

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    def covering(self, finding: Finding) -> Entry | None:
        """Return the entry that keeps a finding's alert from being sent: the one that lasts longest; None for none."""
        found = [
            entry
            for entry in (*self._of_case.get(finding.case, ()), *self._of_account.get(finding.accounts[0], ()))
            if finding.time < entry.until and entry.covers(finding.pattern, finding.case, finding.accounts)
        ]
        return max(found, key=lambda entry: (entry.until, entry.id), default=None)

    def expired(self, before: float, now: float) -> list[Entry]:
        """Return the entries that ended between two event times, `before` left out and `now` taken in."""
        return [entry for entry in self._entries if before < entry.until <= now]

    def encode(self) -> bytes:
        """Serialise all, for a checkpoint."""
        return msgspec.msgpack.encode(self._entries)

    @classmethod
    def decode(cls, data: bytes) -> Entries:
        """Return what was serialised.

        Raises
        ------
        ValueError
            Where it is no such thing.
        """
        return cls(msgspec.msgpack.decode(data, type=list[Entry]))


class EntryList:
    """What is known now, shared by the partitions of a worker: each takes it over at a checkpoint."""

    def __init__(self) -> None:
        self.known: Entries | None = None
        """None until the control topic was read once."""
        self.dropped = 0
        """Entries left out for `CAPACITY` since the start."""
        self._announced: set[str] = set()

    def announce(self, entry: Entry) -> bool:
        """Whether nobody was told yet that an entry has expired; from now on somebody was."""
        new = entry.id not in self._announced
        self._announced.add(entry.id)
        return new
