"""Cases: how the evidence about one account and pattern is reported, from opening to closing. Never decides evidence.

Ids come from the content, so the same requests always give the same cases, findings and ids.
"""

from __future__ import annotations

import hashlib
import heapq
import math
from collections.abc import Callable, Collection
from typing import Any, Literal

import msgspec

from siphonwatch.models.account.carriers import Carrier
from siphonwatch.models.common.arrays import Parts, as_bytes
from siphonwatch.models.detect import Signal
from siphonwatch.models.detect.indicators import Present
from siphonwatch.models.detect.registry import current
from siphonwatch.models.evidence.process import SEVERITIES, severity, whole_second

MAX_OPEN = 50_000
"""Cases that may be open, some 3 KB each; beyond, those that have waited longest for evidence are closed early. An
account whose case was closed so opens another with its next evidence."""
MEMBERS = 100
"""Accounts of a case of which each is said why it is in, some 100 bytes each."""
SPARE = 1024
"""Places of the line that may be stale beyond twice the open cases, so that it is seldom made anew."""
ERASED = "erased"
"""Stands for an account that was erased."""
Kind = Literal["open", "update", "close"]


class Member(msgspec.Struct, frozen=True):
    """Why an account is in a case of several."""

    account: str
    requests: int
    """Of those looked at with what the case's accounts share."""
    share: float
    """Of all such requests of the case's accounts."""
    joined: float
    """Event time of its first one."""
    user: str = ""
    """Keyed hash of the end user of the account that it is about; "" where it is about the whole account."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to tell about a case."""

    kind: Kind
    case: str
    """Id of the case: 16 hexadecimal digits."""
    sequence: int
    """0 for the opening, then counting."""
    pattern: str
    card: str = ""
    """Id of the card that found it: the hash of what it computes."""
    accounts: list[str]
    time: float
    """Event time at which it became so, seconds since 1970."""
    opened: float
    first_seen: float
    """First request of the account."""
    log_e: float
    """Natural logarithm of the e-value."""
    alpha: float
    score: float
    level: float
    """Score of an account-hour from which it is evidence."""
    bar: float
    """Natural logarithm of the e-value that the case needed to open: 1/alpha or what the budget asked for, if more."""
    budget: float
    """Share of the partition's cases that may be false."""
    requests_seen: int
    severity: str
    signals: list[Signal]
    counterfactual: str
    samples: list[str]
    """Ids of requests that show it, newest first."""
    offset: int = -1
    """Of the newest request that is evidence, as it was given to be scored; -1 where the case is older than that."""
    carriers: list[Carrier] = []
    """Who inside the account sends it; none of several accounts."""
    indicators: list[Present] = []
    """Published indicators that its features show, scored by the card or only observed."""
    shared: list[str] = []
    """What the requests of several accounts have in common, in words."""
    members: list[Member] = []
    """Why each account is in it; the first ones of `accounts`, `MEMBERS` at most."""
    follows: list[str] = []
    """Those of the accounts whose place the others took: they fell silent, or were turned away, before."""

    @property
    def id(self) -> str:
        """Unique and reproducible: of the case and the place in its life."""
        return f"{self.case}-{self.sequence}"


class _Open(msgspec.Struct, omit_defaults=True):
    """A case that is open, with its latest finding."""

    last: Finding
    due: float
    told: bool = True
    """False where nobody heard of it, for its accounts are allowed."""


class CaseBook:
    """The open cases of one partition.

    Parameters
    ----------
    alpha
        False-alarm level of an account and pattern: an e-value of 1/alpha is needed at least.
    close_after
        Event-time seconds without evidence after which a case closes.
    budget
        Share of the cases that may be false, as whoever records has made sure; 1 for alpha alone.
    """

    def __init__(self, alpha: float, close_after: float, budget: float = 1.0) -> None:
        self.alpha = alpha
        self.close_after = close_after
        self.budget = budget
        self._open: dict[tuple[str, str], _Open] = {}
        self._due: list[tuple[float, str, str]] = []
        self._early: list[Finding] = []
        self._withheld: set[str] = set()
        self.crowded_out = 0
        """Cases that were closed early since the start, for too many were open."""

    def __len__(self) -> int:
        return len(self._open)

    def standing(self) -> list[Finding]:
        """Return the latest finding of each open case."""
        return [case.last for case in self._open.values()]

    def record(self, account: str, pattern: str, time: float, **facts: Any) -> Finding:
        """Take evidence about an account; opens its case or updates it."""
        key = (account, pattern)
        known = self._open.get(key)
        grade = SEVERITIES[severity(facts["log_e"] + math.log(self.alpha))]
        if known is None:
            case = hashlib.blake2b(f"{account}|{pattern}|{time!r}".encode(), digest_size=8).hexdigest()
            kind: Kind = "open"
            sequence, opened = 0, time
        else:
            case, opened, sequence = known.last.case, known.last.opened, known.last.sequence + 1
            kind = "update"
            grade = max(grade, known.last.severity, key=SEVERITIES.index)
            facts["bar"] = known.last.bar
        facts.setdefault("bar", -math.log(self.alpha))
        finding = Finding(
            kind=kind, case=case, sequence=sequence, pattern=pattern, accounts=[account], time=time, opened=opened,
            alpha=self.alpha, budget=self.budget, severity=grade, **facts,
        )  # fmt: skip
        due = whole_second(time) + self.close_after
        self._open[key] = _Open(finding, due)
        heapq.heappush(self._due, (due, account, pattern))
        if len(self._due) > 2 * len(self._open) + SPARE:
            self._line_up()  # without the places of evidence that newer evidence replaced
        self._make_room(time)
        return finding

    def withhold(self, finding: Finding) -> None:
        """Note that no alert was sent for a finding."""
        if finding.kind == "close":
            self._withheld.discard(finding.case)
        else:
            self._withheld.add(finding.case)

    def announce(self, finding: Finding) -> Finding | None:
        """Return a finding as it is to be sent, given what was withheld of its case; None where nothing is to be sent.

        The first finding sent of a withheld case opens it, under that finding's own id; its end alone is not sent.
        """
        if finding.case not in self._withheld:
            return finding
        self._withheld.remove(finding.case)
        return None if finding.kind == "close" else msgspec.structs.replace(finding, kind="open")

    def end(self, wanted: Callable[[Finding], bool], now: float) -> list[Finding]:
        """Close at event time `now` announced open cases whose latest finding is wanted, in the order of their ids."""
        cases = [(case.last.case, key) for key, case in self._open.items()]
        told = sorted((case, key) for case, key in cases if case not in self._withheld and wanted(self._open[key].last))
        return [self._close(key, now) for _, key in told]

    def mute(self, wanted: Callable[[Finding], bool], now: float) -> list[Finding]:
        """Withhold from now on the announced open cases whose latest finding is wanted; return what tells their end.

        Unlike `end` it closes none: evidence goes on into the same case, which opens again once it is announced. The
        end takes the next number of the case's life.
        """
        told = []
        for key, case in sorted(self._open.items(), key=lambda item: item[1].last.case):
            if case.last.case not in self._withheld and wanted(case.last):
                last = msgspec.structs.replace(case.last, sequence=case.last.sequence + 1)
                self._open[key] = msgspec.structs.replace(case, last=last)
                self._withheld.add(last.case)
                told.append(msgspec.structs.replace(last, kind="close", time=now))
        return told

    def drop(self, patterns: Collection[str], now: float) -> list[Finding]:
        """Close at event time `now` all open cases of some patterns; return the ends of those that were announced."""
        ended = self.end(lambda finding: finding.pattern in patterns, now)
        for key in [key for key in self._open if key[1] in patterns]:
            self._withheld.discard(self._open.pop(key).last.case)
        return ended

    def adopt(self, other: CaseBook, patterns: Collection[str]) -> None:
        """Take over open cases of some patterns from another book, where this one has none about their account.

        Nobody heard of them yet: the next finding of each opens it.
        """
        for key, case in other._open.items():
            if key[1] in patterns and key not in self._open:
                self._open[key] = msgspec.structs.replace(case)
                self._withheld.add(case.last.case)
        self._line_up()

    def erase(self, accounts: Collection[str], now: float, *, remove: bool = True) -> tuple[int, list[Finding]]:
        """Take the open cases of some accounts out; return how many there are, and the ends of those that were told.

        An end keeps the case's id, pattern and evidence, and says nothing of whom it was about. Without `remove` they
        are counted only.
        """
        keys = sorted(key for key in self._open if key[0] in accounts)
        if not remove:
            return len(keys), []
        ended = []
        for key in keys:
            closing = self._close(key, now)
            if closing.case in self._withheld:
                self._withheld.discard(closing.case)
                continue
            ended.append(msgspec.structs.replace(closing, accounts=[ERASED], samples=[], carriers=[]))
        self._line_up()
        return len(keys), ended

    def close_until(self, now: float) -> list[Finding]:
        """Close what had no evidence for long enough by event time `now`, in the order of the closing times.

        What was closed early, for too many were open, comes first.
        """
        closed, self._early = self._early, []
        while self._due and self._due[0][0] < now:
            due, account, pattern = heapq.heappop(self._due)
            known = self._open.get((account, pattern))
            if known is None or known.due != due:
                continue
            closed.append(self._close((account, pattern), due))
        return closed

    def _close(self, key: tuple[str, str], time: float) -> Finding:
        last = self._open.pop(key).last
        return msgspec.structs.replace(last, kind="close", sequence=last.sequence + 1, time=time)

    def _make_room(self, time: float) -> None:
        """Close those that have waited longest, where more are open than may be."""
        while len(self._open) > MAX_OPEN:
            due, account, pattern = heapq.heappop(self._due)
            known = self._open.get((account, pattern))
            if known is not None and known.due == due:
                self._early.append(self._close((account, pattern), time))
                self.crowded_out += 1

    def snapshot(self) -> dict[str, bytes]:
        """Serialise the open cases."""
        cases = [case for _, case in sorted(self._open.items())]
        told = [msgspec.structs.replace(case, told=case.last.case not in self._withheld) for case in cases]
        return {"open": msgspec.msgpack.encode(told)}

    def restore(self, parts: Parts) -> None:
        """Take over the cases of a snapshot; those of a pattern that was renamed go on under its name of now.

        Raises
        ------
        ValueError
            Where it holds none, or of another version.
        """
        cases = msgspec.msgpack.decode(as_bytes(parts, "open"), type=list[_Open])
        for case in cases:
            case.last = msgspec.structs.replace(case.last, pattern=current(case.last.pattern))
        self._open = {(case.last.accounts[0], case.last.pattern): case for case in cases}
        self._withheld = {case.last.case for case in cases if not case.told}
        self._line_up()

    def _line_up(self) -> None:
        """Order the open cases by when they are due to close."""
        self._due = [(case.due, *key) for key, case in self._open.items()]
        heapq.heapify(self._due)
