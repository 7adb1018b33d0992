"""The attack in the clothes of the account's honest traffic: its client, key, address, system prompt and parameters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from siphonwatch.streams.lab.redteam.records import Record
from siphonwatch.streams.lab.redteam.survey import Survey
from siphonwatch.streams.lab.redteam.trick import Origin, Sent, Trick


class Blend(Trick):
    """Each request is sent as one of the account's honest requests was; an account without any imitates an honest
    account's, with its own key.

    Costs the tokens of the honest system prompt.
    """

    variants: ClassVar = {"blend": {}}
    formats: ClassVar = frozenset(("litellm", "nginx"))

    def __init__(self, survey: Survey, seed: int) -> None:
        super().__init__(survey, seed)
        self._models = [account for account in survey.bystanders() if survey.profiles[account]]

    def rewrite(self, record: Record, origin: Origin) -> Iterator[Sent]:
        """Dress the request; see `Trick.rewrite`."""
        profiles = self.survey.profiles.get(origin.account)
        own = bool(profiles)
        if not profiles and self._models:
            profiles = self.survey.profiles[self.random(origin.account).choice(self._models)]
        if profiles:
            one = self.random(origin.account, origin.number).choice(profiles)
            one.dress(record)
            if own:
                record.key = one.key
        yield Sent(record, origin)
