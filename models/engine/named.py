"""Why those that a campaign's case names are in it, as a finding says it. Decides nothing."""

from __future__ import annotations

from siphonwatch.models.account.carriers import KINDS, PLACES, Carrier
from siphonwatch.models.campaign.members import Campaign
from siphonwatch.models.evidence.cases import MEMBERS, Member

USER = "user"
"""The kind of carriers that end users are."""
CARRIERS = len(KINDS) * PLACES
"""End users told as carriers: as many as an account has of all kinds."""


def parts(case: Campaign, names: list[str]) -> list[Member]:
    """Return why each of the first accounts, or end users of one, is in a case."""
    known = [(name, part) for name in names if (part := case.of(name)) is not None]
    total = sum(part.seen for _, part in known)
    return [
        Member(case.within or name, part.seen, part.seen / total, part.first, case.user(name))
        for name, part in known[:MEMBERS]
    ]


def carriers(case: Campaign, members: list[Member]) -> list[Carrier]:
    """Return who inside the account of a case sends it: the first of its end users; none of several accounts."""
    return [Carrier(USER, member.user, member.share) for member in members[:CARRIERS] if case.within]
