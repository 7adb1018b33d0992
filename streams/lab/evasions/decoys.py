"""A trivial request between any two of the attack, the same few over and over: half of the traffic is no list."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from siphonwatch.streams.lab.redteam.records import ModelCall
from siphonwatch.streams.lab.redteam.trick import Origin, Sent, Trick, digest

DECOYS = ("ping", "Are you there?", "What day is it today?", "Say OK.", "Count to three.")
ANSWER = "OK."
BEHIND = 0.5
"""Seconds after the prompt: within the pause that a loop makes anyway."""


class Decoys(Trick):
    """Behind each prompt the account sends one of a few trivial requests, with the same parameters.

    Costs as many requests again, and hardly any tokens.
    """

    variants: ClassVar = {"decoys": {}}

    def rewrite(self, record: ModelCall, origin: Origin) -> Iterator[Sent]:
        """Leave the prompt as it is and add the decoy; see `Trick.rewrite`."""
        yield Sent(record, origin)
        if record.messages:
            decoy = record.copy()
            decoy.id = digest(f"{record.id}|decoy", 32)
            decoy.time = record.time + BEHIND
            said = self.random(origin.account, origin.number).choice(DECOYS)
            decoy.messages = [
                *(m for m in record.messages if m.get("role") == "system"),
                {"role": "user", "content": said},
            ]
            decoy.answer(ANSWER)
            yield Sent(decoy, origin, "waste")
