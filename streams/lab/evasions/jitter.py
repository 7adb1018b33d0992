"""Sampling parameters drawn anew for each request, so that no job of one set of parameters is to be seen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from siphonwatch.streams.edge.adapters.values import count
from siphonwatch.streams.lab.redteam.records import ModelCall
from siphonwatch.streams.lab.redteam.trick import Origin, Sent, Trick


class Jitter(Trick):
    """Each request draws its temperature, top_p and max_tokens anew; answers are never cut shorter than they were.

    Costs nothing.
    """

    variants: ClassVar = {"jitter": {}}

    def rewrite(self, record: ModelCall, origin: Origin) -> Iterator[Sent]:
        """Set the three parameters; see `Trick.rewrite`."""
        r = self.random(origin.account, origin.number)
        wanted = record.parameters
        least = max(count(wanted.get("max_tokens"), 256), record.tokens[1] + 1)
        for other in ("max_completion_tokens", "max_output_tokens"):
            wanted.pop(other, None)
        wanted |= {
            "temperature": round(r.uniform(0.5, 1.1), 2),
            "top_p": round(r.uniform(0.85, 1.0), 3),
            "max_tokens": r.randint(least, 2 * least),
        }
        yield Sent(record, origin)
