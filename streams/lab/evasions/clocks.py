"""Time stamps that are wrong: the attack's requests are stamped before or after they arrive."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from siphonwatch.streams.lab.redteam.records import Record
from siphonwatch.streams.lab.redteam.survey import Survey
from siphonwatch.streams.lab.redteam.trick import Origin, Sent, Trick

HOURS = 6.0


class Clocks(Trick):
    """Each request is stamped up to six hours before it arrives (late) or after (ahead), as chance has it.

    Costs nothing, and needs a gateway that takes the client's word for the time, or one of the attacker's own.
    """

    variants: ClassVar = {"clocks-ahead": {"sign": 1}, "clocks-late": {"sign": -1}}
    formats: ClassVar = frozenset(("litellm", "nginx"))

    def __init__(self, survey: Survey, seed: int, sign: int) -> None:
        super().__init__(survey, seed)
        self._sign = sign

    def rewrite(self, record: Record, origin: Origin) -> Iterator[Sent]:
        """Stamp the request; it arrives when it did. See `Trick.rewrite`."""
        by = self._sign * self.random(origin.account, origin.number).uniform(0.0, HOURS * 3600)
        record.time = round(record.time + by, 3)
        yield Sent(record, origin)
