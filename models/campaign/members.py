"""The accounts behind a watched fingerprint, and which of them an alert names. Keeps a bounded list."""

from __future__ import annotations

import math

import msgspec

from siphonwatch.models.campaign.evidence import FLOOR

KEPT = 4096
"""Accounts remembered of one campaign."""
NAMED = 1000
"""Accounts named in an alert; the number of all is among its signals."""
ENOUGH = 3
"""Requests from which an account may be named, once its campaign has gone on for so long."""
BAND = 5.0
"""Times the campaign's median above or below which an account is a bystander with the same client."""
IDLE = 3600.0
"""Seconds of silence that count like evidence lower by one, a natural logarithm: a campaign goes on day and night, and
conclusive evidence (some 7) keeps its place over a quiet night."""
PRESENT = 3 * 86_400.0
"""Seconds of silence after which an account is no longer counted among those at work."""


class Member(msgspec.Struct, array_like=True):
    """One account's part in a campaign."""

    seen: int
    last: float


class Campaign(msgspec.Struct):
    """A watched fingerprint: the accounts it was seen with since it first scored, and what was told of it."""

    group: int
    last: float
    members: dict[str, Member] = {}
    named: dict[str, None] = {}
    """Accounts named so far, in the order of their naming."""
    told: float = -1.0
    """Event time of the last finding; -1 before the first, or once its case has closed."""
    asked: float = -1.0
    """Event time at which it was last looked at for something to tell."""
    told_log_e: float = 0.0
    log_e: float = FLOOR
    """Evidence when it was last seen."""

    def strength(self, now: float) -> float:
        """Return what keeps it watched at event time `now` where others want its place: evidence that is not idle."""
        return math.inf if self.told >= 0 else self.log_e - max(now - self.last, 0.0) / IDLE

    def add(self, account: str, time: float) -> None:
        """Note one request."""
        self.last = max(self.last, time)
        member = self.members.get(account)
        if member is not None:
            member.seen += 1
            member.last = max(member.last, time)
            return
        if len(self.members) >= KEPT:
            self._forget(KEPT // 8)
        self.members[account] = Member(1, time)

    def trim(self, most: int) -> None:
        """Remember at most so many accounts, and so many named ones: those seen, and named, last."""
        self._forget(len(self.members) - most)
        for name in list(self.named)[: max(len(self.named) - most, 0)]:
            del self.named[name]

    def _forget(self, n: int) -> None:
        """Forget the `n` accounts that have been silent for longest."""
        if n > 0:
            for name in sorted(self.members, key=lambda name: (self.members[name].last, name))[:n]:
                del self.members[name]

    def fitting(self) -> list[str]:
        """Return the accounts at work whose share is like the others', most requests first, then by name."""
        present = {a: m.seen for a, m in self.members.items() if m.last >= self.last - PRESENT}
        if not present:
            return []
        usual = sorted(present.values())[len(present) // 2]
        least = max(min(ENOUGH, round(usual / 2)), usual / BAND, 1)
        most = usual * BAND + ENOUGH
        fitting = [account for account, seen in present.items() if least <= seen <= most]
        return sorted(fitting, key=lambda account: (-present[account], account))

    def name(self) -> list[str]:
        """Name who fits now beside those named before; return all, the newest `NAMED`."""
        for account in self.fitting():
            self.named.setdefault(account)
        while len(self.named) > KEPT:
            del self.named[next(iter(self.named))]
        return list(self.named)[-NAMED:]
