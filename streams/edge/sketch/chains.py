"""Searches for `A, at most so many characters, B, ...` in linear time.

A backtracking search for `A[^.]{0,60}B[^.]{0,30}C` looks for B at sixty places behind every A, and for C at thirty
behind each of those. Here every part is looked for once, and places are compared.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

_GAP = re.compile(r"\[\^(\.?)\\n\]\{0,(\d+)\}")
_TOKEN = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|[()|]|.", re.DOTALL)


class Gap(NamedTuple):
    """What may stand between two parts."""

    most: int
    excluded: re.Pattern[str]
    """A character that may not."""


class Chain(NamedTuple):
    """Parts in their order, and the gap before each but the first."""

    first: re.Pattern[str]
    rest: tuple[tuple[Gap, re.Pattern[str]], ...]
    """Each matches no character, and captures what it found: so are matches found that overlap."""

    def found(self, text: str, begin: int, end: int) -> bool:
        """Return whether the chain stands in `text[begin:end]`; of a part's matches at one place the first alternative
        counts."""
        ends = [match.end() for match in self.first.finditer(text, begin, end)]
        for (most, excluded), part in self.rest:
            if not ends:
                return False
            reached, nearest, last = [], 0, len(ends) - 1
            for match in part.finditer(text, ends[0], end):
                start = match.start()
                while nearest < last and ends[nearest + 1] <= start:
                    nearest += 1
                before = ends[nearest]  # if what follows the nearest cannot be bridged, nothing that ends earlier can
                if start - before <= most and not excluded.search(text, before, start):
                    reached.append(match.end(1))
            ends = reached
        return bool(ends)


class Search:
    """A pattern whose alternatives may hold gaps (`[^\\n]{0,60}`, `[^.\\n]{0,60}`) outside of groups.

    Parameters
    ----------
    pattern
        A regular expression. A part's length must be settled by where it starts, as it is for whole
        words, and the first part must not begin inside of itself.
    signs
        Substrings of which one stands in every text that the pattern matches; none where that is not known. To look
        for a substring takes a tenth of the time of a part.
    reach
        Characters that a match extends before and behind one of its signs, at most; 0 where that is not known. With it
        only the surroundings of signs are searched.

    Examples
    --------
    >>> search = Search(r"\\bgrade\\b[^.\\n]{0,9}\\banswer\\b|rubric")
    >>> [search.found(text) for text in ("grade the answer", "grade it. An answer", "by rubric")]
    [True, False, True]
    """

    def __init__(self, pattern: str, signs: Sequence[str] = (), reach: int = 0) -> None:
        self.pattern = pattern
        self.signs = tuple(signs)
        self._reach = reach
        self._places = re.compile("|".join(map(re.escape, signs)))
        plain, self._chains = [], []
        for alternative in _alternatives(pattern):
            pieces = _GAP.split(alternative)
            if len(pieces) == 1:
                plain.append(alternative)
            else:
                gaps = [
                    Gap(int(most), re.compile(rf"[{dot}\n]"))
                    for dot, most in zip(pieces[1::3], pieces[2::3], strict=True)
                ]
                parts = [re.compile(_overlapping(part)) for part in pieces[3::3]]
                self._chains.append(Chain(re.compile(pieces[0]), tuple(zip(gaps, parts, strict=True))))
        self._plain = re.compile("|".join(plain)) if plain else None

    def found(self, text: str) -> bool:
        """Return whether the pattern matches anywhere in `text`."""
        if self.signs and not any(sign in text for sign in self.signs):
            return False
        if not self._reach:
            return self._found(text, 0, len(text))
        begin, end = 0, -1
        for sign in self._places.finditer(text):
            if sign.start() - self._reach > end:
                if end >= 0 and self._found(text, begin, end):
                    return True
                begin = max(0, sign.start() - self._reach)
            end = sign.end() + self._reach
        return self._found(text, begin, end)

    def _found(self, text: str, begin: int, end: int) -> bool:
        if self._plain is not None and self._plain.search(text, begin, end):
            return True
        return any(chain.found(text, begin, end) for chain in self._chains)


def _overlapping(part: str) -> str:
    """The part as an assertion; a word boundary stays before it, where it is cheap."""
    boundary, rest = (r"\b", part[2:]) if part.startswith(r"\b") else ("", part)
    return f"{boundary}(?=({rest}))"


def _alternatives(pattern: str) -> list[str]:
    """What stands between the bars outside of every group."""
    found, depth = [""], 0
    for token in _TOKEN.findall(pattern):
        depth += (token == "(") - (token == ")")  # noqa: S105 - a parenthesis
        if token == "|" and not depth:  # noqa: S105 - a bar
            found.append("")
        else:
            found[-1] += token
    return found
