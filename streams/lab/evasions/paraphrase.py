"""Other words for the instruction that an attack repeats, drawn anew for each request; what is asked stays as it is."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, ClassVar

from siphonwatch.streams.lab.redteam.records import ModelCall
from siphonwatch.streams.lab.redteam.survey import Survey
from siphonwatch.streams.lab.redteam.trick import Origin, Sent, Trick

SHINGLE = 3
"""Words in a row that are looked for: fewer recur in any language by themselves."""
RECURS = 0.1
"""Share of a campaign's prompts, and at least three of them, in which a part of the instruction stands."""
WORD = re.compile(r"\w+")
SENTENCE = re.compile(r"((?<=[^\d][.!?])\s+|\n\s*)")
"""Between sentences or lines; the number of a list's item stays with its words."""
SYNONYMS = {
    "write": ("compose", "draft", "produce"), "give": ("provide", "offer", "supply"),
    "answer": ("reply", "response", "solution"), "response": ("reply", "answer"),
    "complete": ("full", "whole", "entire"), "explain": ("describe", "lay out", "set out"),
    "following": ("next", "below"), "task": ("job", "assignment", "exercise"), "tasks": ("jobs", "exercises"),
    "question": ("query", "request"), "step": ("stage", "part"), "think": ("reason", "reflect"),
    "show": ("present", "give"), "solve": ("work out", "settle"), "instruction": ("order", "direction"),
    "instructions": ("orders", "directions"), "detailed": ("thorough", "careful"), "final": ("last", "closing"),
    "create": ("make", "produce"), "generate": ("produce", "make", "create"), "provide": ("give", "supply"),
    "list": ("name", "enumerate"), "problem": ("exercise", "puzzle"), "carefully": ("with care", "closely"),
    "then": ("after that", "next"), "each": ("every",), "all": ("every one of",), "use": ("employ", "apply"),
    "your": ("the",), "describe": ("explain", "portray"), "describes": ("fits", "suits"), "below": ("underneath",),
    "appropriately": ("fittingly",), "completes": ("fulfils", "carries out"), "between": ("inside",),
    "item": ("entry",), "what": ("which",), "best": ("most closely", "most fittingly"), "this": ("the", "that"),
    "article": ("piece", "text", "story"), "text": ("passage", "piece"), "label": ("tag", "class", "category"),
    "would": ("could", "might"), "should": ("ought to", "must"), "must": ("should", "has to"),
    "recommend": ("suggest", "propose"), "example": ("sample", "instance"), "input": ("material", "given text"),
    "output": ("result", "outcome"), "grade": ("mark", "rate"), "rubric": ("scale", "scheme"),
    "impartial": ("fair", "neutral"), "training": ("teaching",), "set": ("collection",), "building": ("making",),
    "expert": ("specialist",), "teacher": ("tutor",), "fully": ("wholly",), "sure": ("certain",),
    "come": ("think",), "try": ("attempt",), "make": ("create",), "using": ("with",), "sentence": ("line", "phrase"),
}  # fmt: skip
"""Words of instructions, and what may stand in their place."""
FILLERS = ("Please: ", "Kindly note. ", "As before, ", "Once more: ", "If you can, ", "For this one, ", "Now, ")


class Paraphrase(Trick):
    """The instruction around each prompt is worded anew: synonyms, sentences in another order, words put in front. What
    differs from prompt to prompt stays word for word.

    Costs a few tokens, and some answers that fit the instruction less well, which are not counted.
    """

    variants: ClassVar = {"paraphrase": {}}

    def __init__(self, survey: Survey, seed: int) -> None:
        super().__init__(survey, seed)
        self._recurring = {campaign: recurring(prompts) for campaign, prompts in survey.prompts.items()}

    def rewrite(self, record: ModelCall, origin: Origin) -> Iterator[Sent]:
        """Word the instruction anew in the system prompt and the last user message; see `Trick.rewrite`."""
        r = self.random(origin.account, origin.number)
        known = self._recurring.get(origin.campaign, frozenset())
        said = record.messages
        last = max((i for i, one in enumerate(said) if one.get("role") == "user"), default=-1)
        record.messages = [
            reworded(one, known, r) if i == last or one.get("role") == "system" else one for i, one in enumerate(said)
        ] or said  # fmt: skip
        yield Sent(record, origin)


def recurring(prompts: list[str]) -> frozenset[tuple[str, ...]]:
    """Return the rows of words that stand in many of a campaign's prompts."""
    seen: Counter[tuple[str, ...]] = Counter()
    for prompt in prompts:
        seen.update(set(_shingles([word.group().lower() for word in WORD.finditer(prompt)])))
    least = max(3, RECURS * len(prompts))
    return frozenset(row for row, n in seen.items() if n >= least)


def _shingles(words: list[str]) -> list[tuple[str, ...]]:
    return list(zip(*(words[k:] for k in range(SHINGLE)), strict=False))


def reworded(message: dict[str, Any], known: frozenset[tuple[str, ...]], r: random.Random) -> dict[str, Any]:
    """Return a message with its recurring parts in other words; one that is no plain text stays as it is."""
    text = message.get("content")
    if not isinstance(text, str):
        return message
    parts: list[str] = []
    end = 0
    for start, stop in wrapper_spans(text, known):
        parts += [text[end:start], _paraphrased(text[start:stop], r)]
        end = stop
    return {**message, "content": "".join([*parts, text[end:]])}


def wrapper_spans(text: str, known: frozenset[tuple[str, ...]]) -> list[tuple[int, int]]:
    """Return where a text repeats its campaign's instruction: from the first to the last word of each such part."""
    words = list(WORD.finditer(text))
    inside = [False] * len(words)
    for k, row in enumerate(_shingles([word.group().lower() for word in words])):
        if row in known:
            inside[k : k + SHINGLE] = [True] * SHINGLE
    spans: list[tuple[int, int]] = []
    for k, word in enumerate(words):
        if inside[k] and k and inside[k - 1]:
            spans[-1] = spans[-1][0], word.end()
        elif inside[k]:
            spans.append(word.span())
    return spans


def _paraphrased(part: str, r: random.Random) -> str:
    """One part of an instruction in other words."""
    pieces = SENTENCE.split(part)
    sentences, between = pieces[::2], pieces[1::2]
    if len(sentences) > 2:
        middle = sentences[:-1]  # the last one leads over to what is asked
        r.shuffle(middle)
        sentences = [*middle, sentences[-1]]
    worded = [WORD.sub(lambda word: _synonym(word.group(), r), sentence) for sentence in sentences]
    joined = "".join(map("".join, zip(worded, [*between, ""], strict=True)))
    return r.choice(FILLERS) + joined if r.random() < 0.8 else joined


def _synonym(word: str, r: random.Random) -> str:
    others = SYNONYMS.get(word.lower())
    if not others or r.random() < 0.3:
        return word
    found = r.choice(others)
    return found.capitalize() if word[0].isupper() else found
