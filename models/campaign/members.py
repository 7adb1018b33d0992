"""The accounts behind a watched fingerprint, and which of them an alert names. Keeps a bounded list."""

from __future__ import annotations

import math
from collections.abc import Collection

import msgspec

from siphonwatch.models.campaign.evidence import FLOOR
from siphonwatch.models.evidence.cases import ERASED

KEPT = 4096
"""Accounts remembered of one campaign."""
NAMED = 1000
"""Accounts named in an alert; the number of all is among its signals."""
ENOUGH = 3
"""Requests from which an account may be named, once its campaign has gone on for so long."""
CROWD, TWICE = 100, 2
"""Accounts of a fingerprint that has joined another one's case, from which so many reads are needed to name one: most
of such a crowd are seen once, those who only read with the same client too. Pools of 64 accounts (docs: detection): it
and `Member.returns` leave 4 of 32 honest accounts named."""
BAND = 5.0
"""Times the campaign's median above or below which an account is a bystander with the same client."""
TALKING = 0.25
"""Share of conversations from which an account is a bystander of a campaign that holds none. Honest people whose client
and prompt are copied go on with theirs."""
ASKING = 1.5
"""Times the median of those who hold none within which it is a member all the same: it works off its part beside."""
SILENT = 0.05
"""Share of conversations below which an account holds none; where such accounts send most, so does their campaign."""
IDLE = 3600.0
"""Seconds of silence that count like evidence lower by one, a natural logarithm: a campaign goes on day and night, and
conclusive evidence (some 7) keeps its place over a quiet night."""
FEWEST = 3
"""Accounts of a pool that follows another, at least: as few as a campaign has."""
HUSH = 3600.0
"""Seconds of silence of a whole pool from which another may have followed it."""
MISSED = 20
"""Requests that a pool would have sent in its silence, at its own pace, before it counts as one."""
ALIKE = 3.0
"""Times their median above or below which a new account is none of the pool that follows."""
EARLY = 1800.0
"""Seconds before a pool fell silent at which the next one may begin."""
LATE = 0.8
"""Share of the accounts of a pool that have to have begun after another fell silent to follow it."""
PRESENT = 3 * 86_400.0
"""Seconds of silence after which an account is no longer counted among those at work."""


OF = "/"
"""Between an account and its end user in the name of a member."""


def as_member(account: str, user: int) -> str:
    """Return an end user of an account, by hash, as a member."""
    return f"{account}{OF}{user:016x}"


class Member(msgspec.Struct, array_like=True):
    """One account's part in a campaign."""

    seen: int
    last: float
    first: float
    talks: int = 0
    """Its requests that went on with a conversation, since it was seen first."""
    returns: bool = False
    """Whether it was seen to come back to what it had read."""

    @property
    def talking(self) -> bool:
        """Whether it holds conversations."""
        return self.talks >= TALKING * (self.talks + self.seen)

    @property
    def silent(self) -> bool:
        """Whether it holds none."""
        return self.talks < SILENT * (self.talks + self.seen)


class Campaign(msgspec.Struct):
    """A watched fingerprint: the accounts it was seen with since it first scored, and what was told of it."""

    group: int
    last: float
    members: dict[str, Member] = {}
    named: dict[str, None] = {}
    """Accounts named so far, in the order of their naming."""
    joined: dict[str, Member] = {}
    """Further accounts of its case, named by fingerprints that joined it, and what they know of each."""
    together: bool = False
    """Whether these are the accounts that hand walks round, or guess: plain REST."""
    quiet: bool = False
    """Whether its accounts hold no conversations, by the card that has something to tell of it."""
    pattern: str = ""
    """Of its case; "" before the first."""
    fell_silent: float = -1.0
    """Event time at which the pool named first had fallen silent, where another followed; -1 where none did."""
    within: str = ""
    """The account whose end users its members are; "" where they are accounts."""
    parts: dict[str, int] = {}
    """What its requests pin, as it was when it was last looked at for something to tell."""
    lead: int = 0
    """The fingerprint whose case this one's accounts belong to; 0 for a case of its own."""
    told: float = -1.0
    """Event time of the last finding; -1 before the first, or once its case has closed."""
    asked: float = -1.0
    """Event time at which it was last looked at for something to tell."""
    told_log_e: float = 0.0
    log_e: float = FLOOR
    """Evidence when it was last seen."""

    def user(self, member: str) -> str:
        """Return the end user that a member is; "" where it is an account."""
        return member.rpartition(OF)[2] if self.within else ""

    def accounts(self, members: list[str]) -> list[str]:
        """Return the accounts that members are: themselves, or the one whose end users they are. Where all that a case
        named are erased, what stands for those."""
        return [self.within] if self.within else members or [ERASED]

    def strength(self, now: float) -> float:
        """Return what keeps it watched at event time `now` where others want its place: evidence that is not idle."""
        return math.inf if self.told >= 0 else self.log_e - max(now - self.last, 0.0) / IDLE

    def add(self, account: str, time: float, returns: bool = False) -> None:
        """Note one request, and whether its account comes back to what it read."""
        self.last = max(self.last, time)
        member = self.members.get(account)
        if member is not None:
            member.seen += 1
            member.last = max(member.last, time)
            member.returns = member.returns or returns
            return
        if len(self.members) >= KEPT:
            self._forget(KEPT // 8)
        self.members[account] = Member(1, time, time, returns=returns)

    def talk(self, account: str) -> None:
        """Note one request that goes on with a conversation, of an account that was seen."""
        if (member := self.members.get(account)) is not None:
            member.talks += 1

    def begin_anew(self, together: bool) -> None:
        """Forget who was seen, but not who was named, where other reads are evidence from now on."""
        if together != self.together:
            self.together, self.members, self.last = together, {}, -math.inf

    def take(self, other: Campaign, accounts: list[str]) -> None:
        """Take accounts of another fingerprint, which joins this one's case, with what is known of them."""
        for account in accounts:
            if account not in self.named:
                # As of now: the other fingerprint goes on counting.
                self.joined[account] = msgspec.structs.replace(other.members[account])
        while len(self.joined) > KEPT:
            del self.joined[next(iter(self.joined))]

    def remembered(self) -> set[str]:
        """Return every account that it knows of."""
        return self.members.keys() | self.named.keys() | self.joined.keys()

    def erase(self, accounts: Collection[str]) -> None:
        """Forget some accounts, with the end users of one."""
        if self.within in accounts:
            self.within, self.members, self.named, self.joined = ERASED, {}, {}, {}
        for account in accounts:
            self.members.pop(account, None)
            self.named.pop(account, None)
            self.joined.pop(account, None)

    def shares(self, named: list[str]) -> dict[str, float]:
        """Return the part of each of some accounts as a share of their median, at most 1; 1 of those forgotten."""
        seen = {account: self.members[account].seen for account in named if account in self.members}
        middle = sorted(seen.values())[len(seen) // 2] if seen else 1
        return {account: min(seen.get(account, middle) / middle, 1.0) for account in named}

    def names(self, account: str) -> bool:
        """Whether its case names an account."""
        return account in self.named or account in self.joined

    def overlaps(self, accounts: list[str]) -> bool:
        """Whether half of some accounts are named here, or half of those named here are among them."""
        common = sum(map(self.names, accounts))
        return 2 * common >= min(len(accounts), len(self.named)) > 0

    def trim(self, most: int) -> None:
        """Remember at most so many accounts, and so many named ones: those seen, and named, last."""
        self._forget(len(self.members) - most)
        for known in (self.named, self.joined):
            for name in list(known)[: max(len(known) - most, 0)]:
                del known[name]

    def _forget(self, n: int) -> None:
        """Forget the `n` accounts that have been silent for longest."""
        if n > 0:
            for name in sorted(self.members, key=lambda name: (self.members[name].last, name))[:n]:
                del self.members[name]

    def fitting(self) -> list[str]:
        """Return the accounts at work whose share is like the others', most requests first, then by name.

        With them those of a pool that follows: such an account has a share like that of the others that are new.
        """
        present = self._at_work()
        if not present:
            return []
        usual = sorted(present.values())[len(present) // 2]
        most = usual * BAND + ENOUGH
        fitting = [a for a, seen in present.items() if self._least(a, len(present), usual) <= seen <= most]
        fitting += self._followers(fitting, present)
        return sorted(fitting, key=lambda account: (-present[account], account))

    def _least(self, account: str, present: int, usual: int) -> float:
        """Requests from which an account fits, where so many are `present` and their median is `usual`.

        Who comes back to what it read may be an app's user, who reads with the same client or in the same place: such
        an account has to carry a load like the others'.
        """
        if self.members[account].returns:
            return max(ENOUGH, usual / 2)
        crowd = self.together and self.lead != 0 and present >= CROWD
        return max(min(ENOUGH, round(usual / 2)), usual / BAND, TWICE if crowd else 1)

    def _at_work(self) -> dict[str, int]:
        """Requests of the accounts at work, without bystanders that talk where the campaign holds no conversations."""
        parts = {a: m for a, m in self.members.items() if m.last >= self.last - PRESENT}
        asking = sorted(m.seen for m in parts.values() if not m.talking)
        silent = sum(m.seen for m in parts.values() if m.silent)
        if asking and (self.quiet or 2 * silent > sum(m.seen for m in parts.values())):
            usual = asking[len(asking) // 2]
            parts = {a: m for a, m in parts.items() if not m.talking or usual / ASKING <= m.seen <= usual * ASKING}
        return {a: m.seen for a, m in parts.items()}

    def _followers(self, fitting: list[str], present: dict[str, int]) -> list[str]:
        """The accounts that took the place of those that fit, once these fell silent together."""
        hush = self.hush(fitting, self.last)
        if hush < 0:
            return []
        new = {a: n for a, n in present.items() if n >= ENOUGH and self.members[a].first >= hush - EARLY}
        for account in fitting:
            new.pop(account, None)
        if len(new) < FEWEST:
            return []
        usual = sorted(new.values())[len(new) // 2]
        return [account for account, seen in new.items() if usual / ALIKE <= seen <= usual * ALIKE]

    def hush(self, pool: Collection[str], now: float) -> float:
        """Return the event time at which all of a pool had fallen silent, as seen at `now`; -1 where it has not.

        That is so where it would have sent `MISSED` requests since, at the pace it had, and `HUSH` has passed.
        """
        parts = [self.members[account] for account in pool if account in self.members]
        if len(parts) < FEWEST:
            return -1.0
        began, hush = min(part.first for part in parts), max(part.last for part in parts)
        pace = sum(part.seen for part in parts) / max(hush - began, 1.0)
        return hush if now - hush >= max(HUSH, MISSED / pace) else -1.0

    def of(self, account: str) -> Member | None:
        """What is known of an account of its case."""
        return self.members.get(account) or self.joined.get(account)

    def began_after(self, accounts: list[str], hush: float) -> bool:
        """Whether nearly all of some accounts began when another pool had fallen silent."""
        late = sum(self.members[account].first >= hush - EARLY for account in accounts)
        return late >= LATE * len(accounts) > 0

    def before(self) -> list[str]:
        """Return the accounts named whose place others took: they began before their pool fell silent."""
        if self.fell_silent < 0:
            return []
        known = [(account, self.of(account)) for account in self.all_named()]
        return [
            account
            for account, part in known
            if part is not None and part.first < self.fell_silent - EARLY and part.last <= self.fell_silent
        ]

    def name(self) -> list[str]:
        """Name who fits now beside those named before; return all, the newest `NAMED`."""
        for account in self.fitting():
            self.named.setdefault(account)
            self.joined.pop(account, None)
        while len(self.named) > KEPT:
            del self.named[next(iter(self.named))]
        return self.all_named()

    def all_named(self) -> list[str]:
        """Return all who were named, the newest `NAMED`."""
        return [*self.joined, *self.named][-NAMED:]
