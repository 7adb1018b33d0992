"""Texts that a backtracking search is slow on: near-matches of every pattern of the sketch, and long runs.

The near-matches are generated from the patterns' own parse trees, so that a new pattern is tried without being listed.
"""

from __future__ import annotations

import importlib
import pkgutil
import random
import re
import re._constants as ops
import re._parser as parser
from collections.abc import Iterator
from typing import Any

import siphonwatch.streams.edge.sketch
from siphonwatch.streams.edge.sketch import intents
from siphonwatch.streams.edge.sketch.chains import Search

SIZE = 5120
"""Characters of a text that the sketch reads; what a longer one has in between is skipped."""
SAMPLES = 2
"""Strings drawn for each branch of each pattern, besides the longest."""
JOINTS = ("", " ", ".", "\n")
CATEGORIES = {ops.CATEGORY_DIGIT: "7", ops.CATEGORY_WORD: "a", ops.CATEGORY_SPACE: " "}


def patterns() -> list[re.Pattern[str]]:
    """Return every compiled pattern that a module of the sketch holds, alone or inside its rules."""
    found: dict[str, re.Pattern[str]] = {}
    for module in pkgutil.iter_modules(siphonwatch.streams.edge.sketch.__path__):
        pending = list(vars(importlib.import_module(f"siphonwatch.streams.edge.sketch.{module.name}")).values())
        while pending:
            value = pending.pop()
            if isinstance(value, re.Pattern):
                found.setdefault(value.pattern, value)
            elif isinstance(value, Search):
                found.setdefault(value.pattern, re.compile(value.pattern))
            elif isinstance(value, tuple):
                pending.extend(value)
    return list(found.values())


def repeated(piece: str, size: int = SIZE) -> str:
    """Return `piece` over and over."""
    return (piece * (size // len(piece) + 1))[:size]


def texts() -> Iterator[tuple[str, str]]:
    """Yield (name, text) of `SIZE` characters each."""
    yield from _runs()
    rng = random.Random(8)
    for number, pattern in enumerate(patterns()):
        seen = set()
        for branch in _branches(parser.parse(pattern.pattern, pattern.flags)):
            drawn = [_draw(branch, rng, most=True), *(_draw(branch, rng, most=False) for _ in range(SAMPLES))]
            for sample in drawn:
                for cut in {len(sample), len(sample) - 1, 2 * len(sample) // 3, len(sample) // 3}:
                    piece = sample[:cut]
                    joint = rng.choice(JOINTS)
                    if piece and (piece, joint) not in seen:
                        seen.add((piece, joint))
                        yield f"pattern {number}: {pattern.pattern[:40]!r} {piece[:30]!r}", repeated(piece + joint)


def _runs() -> Iterator[tuple[str, str]]:
    """Long runs and words, alone and behind what makes the sketch look closer at the rest."""
    letters = "".join(chr(97 + i * 7 % 26) for i in range(SIZE))
    runs = {
        "lower case": "a",
        "one word": letters,
        "upper case": "A",
        "title case": "Aa",
        "digits": "7",
        "letters and digits": "a7",
        "hexadecimal": "deadbeef01 ",
        "hexadecimal in prose": "a deadbeef01 ",
        "base64": "Ab3dEf9hIj2lMn== ",
        "underscores": "_",
        "at signs": "@",
        "hashes": "#",
        "per cents": "%",
        "pipes": "|",
        "dollars": "$",
        "stars": "*",
        "initials": "A*** ",
        "crosses": "x",
        "crosses in groups": "xx-",
        "bullets": "\u2022",
        "blocks": "\u2588",
        "rings": "\u25cb",
        "full stops": ".",
        "question marks": "?",
        "sentences": "A. ",
        "quotes after stops": ".'\" ",
        "spaces": " ",
        "tabs": "\t",
        "line ends": "\n",
        "nested braces": "{" * 40 + "}" * 40,
        "nested tags": "<a>",
        "brackets that open": "[",
        "brackets that open words": "[a",
        "angles that open": "<a ",
        "braces that open": "{{a ",
        "wide quotes that open": "\u201c",
        "corner quotes that open": "\u300c",
        "back ticks": "`",
        "fences": "```",
        "quotes": '"',
        "combining marks": "e\u0301",
        "only combining marks": "\u0301",
        "joined emoji": "\U0001f469\u200d",
        "surrogates": "\ud83d",
        "ideographs": "\u67d0",
        "ideographs and stars": "\u67d0*",
        "names": "\u5f20\u4e09",
        "two words": "make two ",
        "numbers": "7 ",
        "letters": "a ",
        "links": "https://a ",
        "zero bytes": "\0",
        "things to make": "write 5 5 5 5 ",
        "new things to make": "make 5 more new ",
        "things to grade": "rate grade score ",
        "things to say": "write say give ",
        "things not to say": "not say ",
        "placeholders": "<A_A_A_A_A_A ",
        "parts": "_A",
        "dots": "a.a",
        "dashes": "a-",
        "a short placeholder": "<ID>",
        "distinct ideographs": "".join(chr(0x4E00 + i) for i in range(SIZE)),
        "distinct characters": "".join(chr(0x100 + 11 * i % 0xC000) for i in range(SIZE)),
        "placeholders by number": "".join(f"<ID_{i}>" for i in range(SIZE)),
    }
    lures = {
        "": "",
        "a base64 word": "the Qm9i3xJ8kZ2pLw4vRt6yBg== is ",
        "a name": "Jane Doe met \u5f20\u4e09. ",
        "a placeholder": "<PERSON_1> and ",
        "a technical word": "git ",
        "a word of every rule": "".join(f"{words.split()[-1]}\n" for words in intents._GROUPS.values()),
    }
    for lure, start in lures.items():
        for name, piece in runs.items():
            yield f"{name} after {lure or 'nothing'}", (start + repeated(piece))[:SIZE]


def _branches(tree: Any) -> list[list[Any]]:
    """The alternatives of a pattern: those of the pattern itself, and of the groups it is made of."""
    items = list(tree)
    if len(items) == 1 and items[0][0] is ops.BRANCH:
        return [branch for inner in items[0][1][1] for branch in _branches(inner)]
    return [items]


def _draw(items: Any, rng: random.Random, most: bool) -> str:
    """One string that the items match, assertions aside; as long as they allow (within 90 a repeat) with `most`."""
    out = []
    for op, value in items:
        if op is ops.LITERAL:
            out.append(chr(value))
        elif op in (ops.NOT_LITERAL, ops.ANY):
            out.append("a")
        elif op is ops.IN:
            out.append(_member(value, rng))
        elif op is ops.BRANCH:
            out.append(_draw(rng.choice(value[1]), rng, most))
        elif op is ops.SUBPATTERN:
            out.append(_draw(value[-1], rng, most))
        elif op in (ops.MAX_REPEAT, ops.MIN_REPEAT, ops.POSSESSIVE_REPEAT):
            least, highest, inner = value
            times = min(highest, 90) if most else rng.randint(least, min(highest, least + 6))
            out.extend(_draw(inner, rng, most) for _ in range(times))
        elif op is ops.ATOMIC_GROUP:
            out.append(_draw(value, rng, most))
    return "".join(out)


def _member(items: Any, rng: random.Random) -> str:
    if items[0][0] is ops.NEGATE:
        return rng.choice("a 5")
    op, value = rng.choice(items)
    if op is ops.RANGE:
        return chr(rng.randint(*value))
    return CATEGORIES.get(value, "a") if op is ops.CATEGORY else chr(value)
