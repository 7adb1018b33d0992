"""The same long text around each prompt in the message itself, so that the messages of a campaign are nearly alike."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import ClassVar

from siphonwatch.streams.lab.redteam.records import ModelCall
from siphonwatch.streams.lab.redteam.survey import Survey
from siphonwatch.streams.lab.redteam.trick import Origin, Sent, Trick

RULES = (
    "Read the whole request before you begin, and keep to the order in which things are asked.",
    "Write for a reader who knows the subject a little but has not seen this request.",
    "Where a term has several meanings, say in a few words which one you use.",
    "Prefer short sentences to long ones, and plain words to rare ones.",
    "Numbers are written with their units, and dates as day, month and year.",
    "Do not repeat the request, and do not comment on its form.",
    "If something needed for the answer is missing, say what it is and go on with a sensible assumption.",
    "Lists have at most seven points; what needs more is grouped.",
    "Quote nothing longer than one line, and name where a quotation comes from.",
    "Code stands in fenced blocks and runs as it is, without parts left out.",
    "A table has a heading for each column, and no empty cells.",
    "Where opinions differ, give the main ones and what speaks for each.",
    "Say how sure you are only where it changes what a reader would do.",
    "Close with one sentence that sums up what was found.",
    "Greetings, apologies and offers of further help are left out.",
    "Words in another language are translated where they first appear.",
    "Abbreviations are spelled out the first time, unless everybody knows them.",
    "Steps are numbered where their order matters, and only there.",
    "Keep the tone even: neither praise nor blame, whatever the subject.",
    "What is common knowledge needs no explanation; what follows from it may need one.",
    "An estimate comes with the figures that it rests on.",
    "When two answers are possible, give the likelier one first.",
    "Avoid brackets inside sentences, and footnotes altogether.",
    "The answer stands by itself: it refers to no earlier one.",
)


class Wrapper(Trick):
    """Each prompt stands between constant rules for the answer, several times as long as itself: one text a campaign.

    Costs the tokens of the rules with every request.
    """

    variants: ClassVar = {"wrapper": {"rules": 22}}

    def __init__(self, survey: Survey, seed: int, rules: int) -> None:
        super().__init__(survey, seed)
        self._rules = rules

    def rewrite(self, record: ModelCall, origin: Origin) -> Iterator[Sent]:
        """Put the rules around the last user message; see `Trick.rewrite`."""
        before, after = self._around(self.random(origin.campaign))
        said = record.messages
        last = max((i for i, one in enumerate(said) if one.get("role") == "user"), default=-1)
        if last >= 0 and isinstance(said[last].get("content"), str):
            wrapped = {**said[last], "content": f"{before}\n\n{said[last]['content']}\n\n{after}"}
            record.messages = [*said[:last], wrapped, *said[last + 1 :]]
        yield Sent(record, origin)

    def _around(self, r: random.Random) -> tuple[str, str]:
        rules = r.sample(RULES, self._rules)
        cut = r.randrange(len(rules) // 2, len(rules))
        return " ".join(rules[:cut]), " ".join(rules[cut:])
