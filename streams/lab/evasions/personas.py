"""Rotating made-up system prompts, so that one attacker looks like the users of many small products."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import ClassVar

from siphonwatch.streams.lab.redteam.records import ModelCall
from siphonwatch.streams.lab.redteam.trick import Origin, Sent, Trick

ROLES = ("a tutor", "an editor", "a travel agent", "a nurse", "an accountant", "a chemist", "a lawyer", "a gardener")
PLACES = ("a school in Oslo", "a small press", "a clinic by the sea", "a bank in Porto", "a start-up in Pune")
MANNERS = ("Stay friendly.", "Keep it short.", "Be precise and name your sources.", "Use plain words.")
PERSONAS = 24
"""Of a campaign: more cost nothing either, fewer repeat often enough to be taken for a product's own."""


class Personas(Trick):
    """Each request carries the next of two dozen made-up system prompts, in place of the attacker's own.

    Costs the tokens of a short system prompt with every request.
    """

    variants: ClassVar = {"personas": {}}

    def rewrite(self, record: ModelCall, origin: Origin) -> Iterator[Sent]:
        """Set the system prompt; see `Trick.rewrite`."""
        parts = list(itertools.product(ROLES, PLACES, MANNERS))
        self.random(origin.campaign).shuffle(parts)
        role, place, manner = parts[origin.number % PERSONAS]
        record.system = f"You are {role} at {place}. {manner}"
        yield Sent(record, origin)
