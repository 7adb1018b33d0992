"""A greeting that the model really answered, as the beginning of a conversation in front of several prompts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from siphonwatch.streams.lab.redteam.records import ModelCall
from siphonwatch.streams.lab.redteam.survey import Survey
from siphonwatch.streams.lab.redteam.trick import Origin, Sent, Trick, digest

GREETINGS = ("Good morning!", "Hi, I have some questions for you.", "Hello, can you help me with something?")
ANSWERS = (
    "Good morning! What can I do for you?",
    "Hello! Ask whatever you like.",
    "Of course. What is it about?",
    "Hi, I am listening. Go on.",
)
AHEAD = 5.0
"""Seconds by which the greeting comes before its first prompt."""


class Greeting(Trick):
    """Every so many prompts the account greets the model first, and each of them then goes on from that exchange.

    Costs a short request for so many prompts, and the exchange's tokens with every one.
    """

    variants: ClassVar = {"greeting-4": {"prompts": 4}, "greeting-16": {"prompts": 16}}

    def __init__(self, survey: Survey, seed: int, prompts: int) -> None:
        super().__init__(survey, seed)
        self._prompts = prompts
        self._had: dict[str, list[dict[str, Any]]] = {}

    def rewrite(self, record: ModelCall, origin: Origin) -> Iterator[Sent]:
        """Send the greeting where one is due, and put the exchange before the prompt; see `Trick.rewrite`."""
        said = record.messages
        if not said:
            yield Sent(record, origin)
            return
        head = said[: sum(message.get("role") == "system" for message in said[:1])]
        if origin.number % self._prompts == 0 or origin.account not in self._had:
            r = self.random(origin.account, origin.number)
            # Models answer each greeting in other words.
            exchange = [
                {"role": "user", "content": r.choice(GREETINGS)},
                {"role": "assistant", "content": f"{r.choice(ANSWERS)} {r.choice(ANSWERS)}"},
            ]
            self._had[origin.account] = exchange
            greeting = record.copy()
            greeting.id = digest(f"{record.id}|greeting", 32)
            greeting.time = record.time - AHEAD
            greeting.messages = [*head, exchange[0]]
            greeting.answer(exchange[1]["content"])
            yield Sent(greeting, origin, "waste")
        record.messages = [*head, *self._had[origin.account], *said[len(head) :]]
        yield Sent(record, origin)
