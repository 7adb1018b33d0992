"""The skeleton of a text: what stays when its variable parts are masked out. It is hashed under the key by its
callers, and never leaves the gateway as text.

A prompt sweep keeps one instruction and changes the material; the instruction is the first or the last sentence or
line, the material is the long rest. `read` takes the two segments at each end, picks the one that speaks most like an
instruction, and masks what varies inside it.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from siphonwatch.streams.edge.sketch.vocabulary import KEPT, TASK, ZH_TASK

HEAD, TAIL = 600, 400
"""Characters looked at; the instruction stands within them in every template set measured."""

ENDS = 2
"""Segments considered at each end: a label line (`Answer:`) often stands after the instruction."""

INSTRUCTION = 0.1
"""Score from which a segment counts as an instruction. On 133 public templates, 0.1 found the fixed part of more of
them than 0.15 or 0.2, and unrelated human prompts collided no more."""

QUESTION, COLON, LEAD = 0.2, 0.1, 0.1
"""What a closing question mark, a closing colon and a leading task word add to the share of task words."""

LABEL = 0.6
"""Weight of a short label before long material (`Context: ...`), which is fixed but says little."""

SHORT = 0.22
"""Ceiling of the score of a segment of one or two words (`Output:`): above a bare question, below an instruction."""

ITEM = 0.5
"""Weight of a list item: lists are material more often than instruction."""

SEGMENTS = 2048
"""Segments remembered in memory with what was found, at most 5 MB: an application sends its instructions all day."""

SCORED_CHARS, SCORED_WORDS = 140, 24
PREFIX_CHARS, PREFIX_WORDS = 160, 6
"""Six found the shared head of a third of the public templates, eight of a fifth; with five, unrelated prompts meet."""
MASK = "0"

_HAN = "\u3040-\u30ff\u3400-\u9fff"
_TOKEN = re.compile(rf"[^\W\d_{_HAN}]+(?:['\u2019][^\W\d_{_HAN}]+)*|\d[\d.,:/]*|[?:\uff1f\uff1a]|{ZH_TASK}|[{_HAN}]")
_ASCII_TOKEN = re.compile(r"[A-Za-z]+(?:'[A-Za-z]+)*|\d[\d.,:/]*|[?:]")  # the same on plain text, three times as fast
_END = re.compile(r"[\n.!?\u3002\uff01\uff1f](?:(?<=[\n\u3002\uff01\uff1f])|(?=\s))")  # one class first: a fast search
_VARIABLE = re.compile(
    r'"[^"\n]{0,300}"|\u201c[^\u201d\n]{0,300}\u201d|\u300c[^\u300d\n]{0,300}\u300d|`[^`\n]{0,300}`'
    r"|\{[^}\n]{0,80}\}+|\[[^\]\n]{0,80}\]|<[^>\n]{0,80}>|https?://\S{1,300}"
)
_BLOCK = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)


class Shape(NamedTuple):
    """What `read` finds; hash both before they go anywhere."""

    skeleton: str
    """The instruction, variable parts masked; '' for a text without words."""
    prefix: str
    """The first words, case-folded, numbers masked."""


def read(text: str) -> Shape:
    """Return skeleton and prefix of `text`; bounded work whatever its length."""
    text = text.strip()
    head, tail = text[:HEAD], text[HEAD:][-TAIL:]
    if "```" in text:
        head, tail = _BLOCK.sub("\n", head), _BLOCK.sub("\n", tail)
    prefix = _prefix(text[:PREFIX_CHARS].lower())
    segments = _segments(head, tail)
    if not segments:
        return Shape("", prefix)
    ends = segments if len(segments) <= 2 * ENDS else segments[:ENDS] + segments[-ENDS:]
    best, top = "", 0.0
    for segment in ends:
        fixed, score = _score(segment)
        if score > top:
            best, top = fixed, score
    if top >= INSTRUCTION:
        return Shape(_mask(best), prefix)
    # nothing reads like an instruction: both ends together, so that only near-copies share the hash
    return Shape(f"-\n{_mask(segments[0])}\n{_mask(segments[-1]) if len(segments) > 1 else ''}", prefix)


def _prefix(start: str) -> str:
    """The first words of a text's start; of plain text mostly they stand in its first half, whose end may be cut."""
    half = start[: len(start) // 2] if start.isascii() else ""
    words = [word for word in _tokens(half) if word not in "?:"]
    if len(words) <= PREFIX_WORDS:
        words = [word for word in _tokens(start) if word not in "?:\uff1f\uff1a"]
    return " ".join([MASK if word[0].isdigit() else word for word in words[:PREFIX_WORDS]])


def whole(text: str) -> str:
    """Return the masked form of all of `text`, of a system prompt say: every sentence counts, only variables vary."""
    return "\n".join(_mask(part) for part in _split(_BLOCK.sub("\n", text)))


def _segments(head: str, tail: str) -> list[str]:
    """Sentences and lines of both ends, without those cut in the middle and without stray short ones."""
    first, last = _split(head), _split(tail)
    if tail:
        first = first[:-1] or first
        last = last[1:] or last
    segments = first + last
    return [
        part for part in segments if len(part) > 12 or part[-1] in ":?\uff1a\uff1f" or not part.isascii()
    ] or segments


def _tokens(text: str) -> list[str]:
    return (_ASCII_TOKEN if text.isascii() else _TOKEN).findall(text)


def _split(text: str) -> list[str]:
    parts = []
    start = 0
    for match in _END.finditer(text):
        parts.append(text[start : match.end()].strip())
        start = match.end()
    parts.append(text[start:].strip())
    return [part for part in parts if part]


@lru_cache(SEGMENTS)
def _score(segment: str) -> tuple[str, float]:
    """The part of a segment before its material, and how much it reads like an instruction."""
    weight = 1.0
    cut = segment.find(": ")
    if cut < 0:
        cut = segment.find("\uff1a")
    if 0 < cut < len(segment) - 3:
        weight = LABEL if cut < 24 else 1.0
        segment = segment[: cut + 1]
    words = _tokens(segment[:SCORED_CHARS].lower())[:SCORED_WORDS]
    if not words:
        return segment, 0.0
    if words[0][0].isdigit() or segment[0] in "-*\u2022":
        weight *= ITEM
    tasks = TASK.intersection(words)
    score = len(tasks) / (len(words) + 3)
    end = segment[-1]
    if end in "?\uff1f":
        score += QUESTION
    elif end in ":\uff1a":
        score += COLON
    if words[0] in TASK:
        score += LEAD
    score *= weight
    return segment, min(score, SHORT) if len(words) <= 2 else score


@lru_cache(SEGMENTS)
def _mask(segment: str) -> str:
    """Mask quotes, code, placeholders, links, numbers and names; in a segment rich in task words, every other word."""
    segment = _VARIABLE.sub(" 0 ", segment[:HEAD])
    tokens = _tokens(segment)
    words = [token.lower() for token in tokens]
    rich = len(TASK.intersection(words)) >= 2 and sum(word in KEPT for word in words) >= 5
    out: list[str] = []
    for index, (token, word) in enumerate(zip(tokens, words, strict=True)):
        if word not in KEPT and (rich or token[0].isdigit() or (index > 0 and token[0].isupper())):
            word = MASK
            if out and out[-1] == MASK:
                continue
        out.append(word)
    return " ".join(out)
