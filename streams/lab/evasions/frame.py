"""The attack behind the fingerprints of honest accounts, so that who acts on a fingerprint hits them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import ClassVar

from siphonwatch.streams.lab.redteam.records import Record
from siphonwatch.streams.lab.redteam.survey import Profile, Survey
from siphonwatch.streams.lab.redteam.trick import Origin, Sent, Trick

LARGEST = 8
"""Groups to choose from: a campaign hides in one of the largest."""


class Frame(Trick):
    """Each campaign copies the client, address, system prompt and parameters of one honest account, or of one of the
    largest groups of honest accounts that share them. Look at the honest accounts alerted.

    Costs the tokens of the system prompt.
    """

    variants: ClassVar = {"frame-account": {"group": False}, "frame-group": {"group": True}}
    formats: ClassVar = frozenset(("litellm", "nginx"))

    def __init__(self, survey: Survey, seed: int, group: bool) -> None:
        super().__init__(survey, seed)
        groups: dict[tuple[object, ...], dict[str, Profile]] = defaultdict(dict)
        for account in survey.bystanders():
            for one in survey.profiles[account]:
                groups[one.fingerprint if group else (account,)][account] = one
        largest = sorted(groups.values(), key=len, reverse=True)
        self._framed = [list(of.values()) for of in (largest[:LARGEST] if group else largest)]

    def rewrite(self, record: Record, origin: Origin) -> Iterator[Sent]:
        """Copy one member's profile; see `Trick.rewrite`."""
        if self._framed:
            members = self.random(origin.campaign).choice(self._framed)
            self.random(origin.account, origin.number).choice(members).dress(record)
        yield Sent(record, origin)
