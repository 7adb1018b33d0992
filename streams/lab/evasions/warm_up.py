"""Weeks of slow honest traffic before the attack, so that an account has a past and is known as harmless."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from siphonwatch.streams.lab.redteam.records import Record
from siphonwatch.streams.lab.redteam.trick import Origin, Sent, Trick, digest

DAY = 86_400.0
DAYS = 21
A_DAY = 4
"""Requests of an account: those of somebody who now and then asks something."""


class WarmUp(Trick):
    """For three weeks before the log each attack account sends a few requests a day, as honest accounts of the log do.

    Costs days, and the tokens of those requests.
    """

    variants: ClassVar = {"warm-up": {}}
    formats: ClassVar = frozenset(("litellm", "nginx"))

    def rewrite(self, record: Record, origin: Origin) -> Iterator[Sent]:
        """Leave the attack as it is; see `Trick.rewrite`."""
        yield Sent(record, origin)

    def prelude(self) -> Iterator[Sent]:
        """Yield the honest requests; see `Trick.prelude`."""
        samples = self.survey.honest_samples
        for account, campaign in self.survey.campaigns.items() if samples else ():
            r = self.random(account)
            key = digest(account, 64)
            client = r.choice(samples).client
            for number in range(DAYS * A_DAY):
                day = 1 + number // A_DAY
                record = r.choice(samples).copy()
                record.id = digest(f"{account}|warm|{number}", 32)
                record.account, record.key, record.client = account, key, client
                record.time = round(self.survey.start - day * DAY + r.uniform(8.0, 20.0) * 3600, 3)
                yield Sent(record, Origin(account, campaign, number), "cover", arrival=record.time)
