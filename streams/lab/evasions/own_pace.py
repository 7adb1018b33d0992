"""The attack at the pace of honest use: single requests within the account's own sessions, no runs of their own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from siphonwatch.streams.lab.redteam.records import Record
from siphonwatch.streams.lab.redteam.survey import Survey
from siphonwatch.streams.lab.redteam.trick import Origin, Sent, Trick

LEAST = 20
"""Honest requests that make a pace of one's own; with fewer the attacker takes that of an honest account."""
NEAREST = 10
"""Honest accounts to draw such a pace from: those with enough requests that are the least busy."""
PAUSE = (4.0, 40.0)
"""Seconds behind an honest request, as a person takes to write; never beyond half the way to the next."""


class OwnPace(Trick):
    """Each request of the attack follows one honest request of the account, spread over all of its sessions.

    Costs days: what finds no honest request to follow is not sent within the log, and the same answers take longer.
    """

    variants: ClassVar = {"own-pace": {}}
    formats: ClassVar = frozenset(("litellm", "nginx"))

    def __init__(self, survey: Survey, seed: int) -> None:
        super().__init__(survey, seed)
        self._slots: dict[str, list[float]] = {}
        others = [(len(survey.honest[account]), account) for account in survey.bystanders()]
        self._lenders = sorted(others)

    def rewrite(self, record: Record, origin: Origin) -> Iterator[Sent]:
        """Move the request to its place, or leave it out; see `Trick.rewrite`."""
        account = origin.account
        slots = self._slots.get(account) or self._slots.setdefault(account, self._places(account))
        if origin.number < len(slots):
            record.time = slots[origin.number]
            yield Sent(record, origin, arrival=record.time)

    def _places(self, account: str) -> list[float]:
        """The times of the attack requests of an account, as many as there is room for."""
        r = self.random(account)
        wanted = self.survey.attacks[account]
        own = self.survey.honest.get(account, ())
        if len(own) < LEAST and self._lenders:
            fits = [lender for n, lender in self._lenders if n >= wanted][:NEAREST] or [self._lenders[-1][1]]
            own = self.survey.honest[r.choice(fits)]
        times = sorted(own)
        chosen = sorted(r.sample(range(len(times)), min(wanted, len(times))))
        ends = [*times[1:], self.survey.end]
        return [round(times[i] + min(r.uniform(*PAUSE), max(ends[i] - times[i], 0.0) / 2), 3) for i in chosen]
