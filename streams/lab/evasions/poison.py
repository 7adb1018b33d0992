"""Many accounts that do a little of what the attack does, before it begins, so that the detector's reference for what
is normal moves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from siphonwatch.streams.lab.redteam.records import Record
from siphonwatch.streams.lab.redteam.trick import Origin, Sent, Trick, digest, sibling
from siphonwatch.streams.lab.scenario.clients import address

DAY = 86_400.0
DAYS = 14
A_DAY = 8
SHARE = 0.05
"""Poisoning accounts for each honest one: a part of a gateway's customers that an attacker could still open."""


class Poison(Trick):
    """For two weeks before the log, further accounts of the attackers (one for twenty honest ones) each send eight of
    the attack's own requests a day, hours apart. They are in no figure of what is found.

    Costs those accounts, their requests and tokens, and the days.
    """

    variants: ClassVar = {"poison": {}}
    formats: ClassVar = frozenset(("litellm", "nginx"))

    def rewrite(self, record: Record, origin: Origin) -> Iterator[Sent]:
        """Leave the attack as it is; see `Trick.rewrite`."""
        yield Sent(record, origin)

    def prelude(self) -> Iterator[Sent]:
        """Yield the requests of the poisoning accounts; see `Trick.prelude`."""
        survey = self.survey
        attackers = list(survey.campaigns)
        for number in range(max(4, round(SHARE * len(survey.bystanders())))):
            owner = attackers[number % len(attackers)]
            account = sibling(owner, f"p{number}")
            r = self.random(account)
            place = address(r)
            for k in range(DAYS * A_DAY):
                record = r.choice(survey.attack_samples).copy()
                record.id = digest(f"{account}|{k}", 32)
                record.account, record.key, record.address = account, digest(account, 64), place
                record.time = round(survey.start - (1 + k // A_DAY) * DAY + (k % A_DAY + r.random()) * DAY / A_DAY, 3)
                origin = Origin(owner, survey.campaigns[owner], k)
                yield Sent(record, origin, "waste", arrival=record.time, labelled=False)
