"""Refused requests around each attack request, so that most of what an account does got it nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from siphonwatch.streams.lab.redteam.records import Record
from siphonwatch.streams.lab.redteam.trick import Origin, Sent, Trick, digest

REFUSED = 3
"""In front of each request that is answered: enough to be most of the traffic."""


class Burn(Trick):
    """The account runs into its rate limit on purpose: three requests that are refused (429) before each one that is
    answered, a second apart.

    Costs requests, and no tokens.
    """

    variants: ClassVar = {"burn": {}}
    formats: ClassVar = frozenset(("litellm", "nginx"))

    def rewrite(self, record: Record, origin: Origin) -> Iterator[Sent]:
        """Put the refused requests in front; see `Trick.rewrite`."""
        for number in range(REFUSED):
            refused = record.copy()
            refused.id = digest(f"{record.id}|refused|{number}", 32)
            refused.time = record.time - (REFUSED - number)
            refused.refuse(429)
            yield Sent(refused, origin, "waste")
        yield Sent(record, origin)
