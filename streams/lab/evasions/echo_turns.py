"""The exchange before, sent once more in front of each prompt: a conversation that really was had."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from siphonwatch.streams.lab.redteam.records import ModelCall
from siphonwatch.streams.lab.redteam.survey import Survey
from siphonwatch.streams.lab.redteam.trick import Origin, Sent, Trick


class EchoTurns(Trick):
    """Each request goes on from the account's last: its prompt and the answer to it come first, then the next prompt.

    Costs the tokens of that prompt and answer with every request.
    """

    variants: ClassVar = {"echo-turns": {}}

    def __init__(self, survey: Survey, seed: int) -> None:
        super().__init__(survey, seed)
        self._last: dict[str, list[dict[str, Any]]] = {}

    def rewrite(self, record: ModelCall, origin: Origin) -> Iterator[Sent]:
        """Put the last exchange behind the system prompt; see `Trick.rewrite`."""
        said = record.messages
        head = sum(message.get("role") == "system" for message in said[:1])
        before = self._last.get(origin.account, [])
        if said and record.reply:
            self._last[origin.account] = [said[-1], {"role": "assistant", "content": record.reply}]
        if said and before:
            record.messages = [*said[:head], *before, *said[head:]]
        yield Sent(record, origin)
