"""Whether a text reads as case-folded and whitespace-normalised by a machine, what was masked before or after aside.

It looks at the form of the letters and spaces, never at words.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from siphonwatch.models.common.vocabulary import BASE64
from siphonwatch.streams.edge.sketch import characters

LEAST_LETTERS = 40
LONG = 160
"""Below this, one all-lower-case line is how people type; above it, mostly what a program wrote."""
SENTENCES = 80
"""A shorter text counts too when it is punctuated: it ends its sentences but does not capitalise them."""
NAMED = 60
"""One sentence that capitalises nothing but names."""
FEW = 4
"""Capitalised words, and sentences that start with one, stay below one in so many: they are names put in."""

_MARKS = re.compile(
    r"[<\[{(]{1,3}[A-Z][A-Z0-9_ .-]{0,60}[>\]})]{1,3}"  # placeholders
    r"|(?<![A-Za-z])[A-Z]?\*{2,}"  # star runs, with an initial
    r"|(?<![A-Za-z0-9])(?=[A-Za-z]{0,64}\d)[A-Za-z0-9]{8,}=*"  # surrogates
)
_RUN = re.compile(r"[A-Za-z0-9+/]+=*")
_TURN = re.compile(r"[a-z][A-Z]")
_UPPER = re.compile(r"[A-Z]")
_NO_NAME = re.compile(r"(?<![A-Za-z])[A-Z](?![a-z])|[a-z][A-Z]|[A-Z]{2}")
_NAME = re.compile(r"[A-Z][a-z]+")
_START = re.compile(r"[.!?][\"')]* [\"'(]*([A-Za-z])")


def is_canonical(counts: Sequence[int], masks: Sequence[int], sample: str) -> bool:
    """Return whether `sample` is canonical text.

    Parameters
    ----------
    counts
        Of `kernel.scan`.
    masks
        Masked spans by family, empty where there are none.
    sample
        The text, bounded by the caller.
    """
    upper = counts[characters.UPPER]
    doubles = counts[characters.DOUBLES] - sample.startswith(" ")  # folding leaves one space of many, at the ends too
    if counts[characters.BREAKS] or doubles or counts[characters.LOWER] + upper < LEAST_LETTERS:
        return False
    if upper == 0:
        if len(sample) >= LONG or sample.rstrip()[-1] == ".":
            return True
        return len(sample) >= SENTENCES and (counts[characters.SENTENCES] > 0 or sample.rstrip()[-1] in "!?")
    if upper >= counts[characters.LOWER]:
        return False
    if not masks:
        return _only_names(sample)
    rest = _MARKS.sub("", sample).lstrip()
    if masks[BASE64]:
        rest = _RUN.sub(lambda run: "" if _TURN.search(run[0]) else run[0], rest)
    return not _UPPER.search(rest) or _only_names(rest)


def _only_names(text: str) -> bool:
    """Whether what capitals a text has are those of names, as consistent fake ones put into folded text are."""
    if text[:1].isupper() or len(text) < NAMED or _NO_NAME.search(text):
        return False
    if len(_NAME.findall(text)) * FEW > text.count(" "):
        return False
    starts = _START.findall(text)
    capital = sum(start.isupper() for start in starts)
    if capital * FEW > len(starts) - capital:
        return False
    return text.rstrip()[-1:] in '.?!:"' if len(starts) == capital else len(text) >= SENTENCES
