"""One account's attack dealt out over several accounts, so that each sends little."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from siphonwatch.streams.lab.redteam.records import Record
from siphonwatch.streams.lab.redteam.survey import Survey
from siphonwatch.streams.lab.redteam.trick import Origin, Sent, Trick, digest, sibling
from siphonwatch.streams.lab.scenario.clients import address


class Split(Trick):
    """A campaign spreads over so many accounts, each request over the next that chance names, each account with a key
    and an address of its own; the first is the one there was, with its own traffic.

    Costs accounts. A campaign that has as many already stays as it is.
    """

    variants: ClassVar = {f"split-{n}": {"accounts": n} for n in (2, 4, 16, 64)}
    formats: ClassVar = frozenset(("litellm", "nginx"))

    def __init__(self, survey: Survey, seed: int, accounts: int) -> None:
        super().__init__(survey, seed)
        self._each = {
            campaign: -(-accounts // len(survey.members(campaign))) for campaign in set(survey.campaigns.values())
        }

    def rewrite(self, record: Record, origin: Origin) -> Iterator[Sent]:
        """Give the request to one of the accounts; see `Trick.rewrite`."""
        number = self.random(origin.account, origin.number).randrange(self._each[origin.campaign])
        if number:
            record.account = sibling(origin.account, number)
            record.key = digest(record.account, 64)
            record.address = address(self.random(record.account))
        yield Sent(record, origin)
