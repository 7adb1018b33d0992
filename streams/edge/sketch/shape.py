"""Skeleton and prefix of plain ASCII text, compiled: what `template.read` finds, character by character, several times
as fast. `template` says what they are and why; what is not plain it reads itself.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from siphonwatch.models.common.kernel import allocating, inlined, kernel
from siphonwatch.streams.edge.sketch import characters
from siphonwatch.streams.edge.sketch.template import (
    COLON,
    ENDS,
    HEAD,
    INSTRUCTION,
    ITEM,
    LABEL,
    LEAD,
    PREFIX_CHARS,
    PREFIX_WORDS,
    QUESTION,
    SCORED_CHARS,
    SCORED_WORDS,
    SHORT,
    TAIL,
)
from siphonwatch.streams.edge.sketch.vocabulary import KEPT, TASK

ROOM = 4 * (HEAD + TAIL) + 2 * PREFIX_CHARS
"""Bytes that skeleton and prefix take at most: two segments, whose marks become three characters of two and whose
tokens are set apart by spaces, then the prefix, likewise."""

_TASK_BIT = 2


@lru_cache(1)
def words() -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return the kept words in a table of `characters.lexicon`: of each the bits kept and task, then its number."""
    return characters.lexicon(
        {word: 1 | _TASK_BIT * (word in TASK) | number << 2 for number, word in enumerate(sorted(KEPT))}
    )


@inlined
def _blank(char: int) -> bool:
    return char == 32 or 9 <= char <= 13 or 28 <= char <= 31


@inlined
def _letter(char: int) -> bool:
    return 97 <= char | 32 <= 122


@inlined
def _digit(char: int) -> bool:
    return 48 <= char <= 57


@inlined
def _lower(char: int) -> int:
    return char + 32 if 65 <= char <= 90 else char


@kernel
def _token(text: NDArray[np.uint8], start: int, end: int) -> tuple[int, int]:
    """Where the next token of `text[start:end]` begins and ends: a word, a number, `?` or `:`; at the end, nothing."""
    i = start
    while i < end:
        char = text[i]
        if _letter(char):
            j = i + 1
            while True:
                while j < end and _letter(text[j]):
                    j += 1
                if j + 1 < end and text[j] == 39 and _letter(text[j + 1]):
                    j += 1
                else:
                    return i, j
        if _digit(char):
            j = i + 1
            while j < end and (_digit(text[j]) or text[j] == 46 or text[j] == 44 or text[j] == 58 or text[j] == 47):
                j += 1
            return i, j
        if char == 63 or char == 58:
            return i, i + 1
        i += 1
    return end, end


@kernel
def _known(
    text: NDArray[np.uint8], start: int, end: int, keys: NDArray[np.uint64], values: NDArray[np.uint64]
) -> np.uint64:
    """What the table of kept words holds of a token, in whatever case; 0 where it is none."""
    word = np.uint64(0)
    for i in range(start, end):
        word = (word ^ np.uint64(_lower(text[i]))) * np.uint64(0x9E3779B97F4A7C15)
        word ^= word >> np.uint64(29)
    mask = np.uint64(keys.size - 1)
    slot = word & mask
    while keys[slot] != np.uint64(0):
        if keys[slot] == word:
            value: np.uint64 = values[slot]
            return value
        slot = (slot + np.uint64(1)) & mask
    return np.uint64(0)


@allocating
def _unblocked(points: NDArray[np.uint32], start: int, end: int, out: NDArray[np.uint8], at: int) -> int:
    """Write what `template._BLOCK` leaves of a text, a line break for each block of code; return the end of it."""
    i = start
    while i < end:
        if points[i] == 96 and i + 2 < end and points[i + 1] == 96 and points[i + 2] == 96:
            out[at] = 10
            at += 1
            i += 3
            while i < end:
                if points[i] == 96 and i + 2 < end and points[i + 1] == 96 and points[i + 2] == 96:
                    i += 3
                    break
                i += 1
            continue
        out[at] = points[i]
        at += 1
        i += 1
    return at


@allocating
def _split(text: NDArray[np.uint8], start: int, end: int, parts: NDArray[np.int32], n: int) -> int:
    """Add where the sentences and lines of `text[start:end]` begin and end, white space around them left out."""
    begin = start
    for i in range(start, end + 1):
        if i < end:
            char = text[i]
            ends = char == 10
            if char == 46 or char == 33 or char == 63:
                ends = i + 1 < end and _blank(text[i + 1])
            if not ends:
                continue
        first, last = begin, min(i + 1, end)
        while first < last and _blank(text[first]):
            first += 1
        while last > first and _blank(text[last - 1]):
            last -= 1
        if first < last:
            parts[n, 0], parts[n, 1] = first, last
            n += 1
        begin = i + 1
    return n


@allocating
def _segments(
    points: NDArray[np.uint32], start: int, end: int, text: NDArray[np.uint8], parts: NDArray[np.int32]
) -> int:
    """Write both ends of a text without blocks of code, and where their sentences and lines begin and end, but for
    those that are cut in the middle and stray short ones; return how many these are."""
    size = n = first = 0
    for side in range(2):
        begin, stop = start, min(start + HEAD, end)
        if side:
            if stop == end:
                break
            begin, stop = max(stop, end - TAIL), end
            first = n
        written = size
        size = _unblocked(points, begin, stop, text, written)
        n = _split(text, written, size, parts, n)
    kept = long = 0
    cut = end - start > HEAD
    for i in range(n):
        if cut and ((i == first - 1 and first > 1) or (i == first and n - first > 1)):
            continue
        begin, stop = parts[i, 0], parts[i, 1]
        fits = stop - begin > 12 or text[stop - 1] == 58 or text[stop - 1] == 63
        if long and not fits:
            continue
        if fits and not long:  # from the first one that fits on only such count
            kept = 0
        long += fits
        parts[kept, 0], parts[kept, 1] = begin, stop
        kept += 1
    return kept


@allocating
def _score(
    text: NDArray[np.uint8], start: int, end: int, keys: NDArray[np.uint64], values: NDArray[np.uint64]
) -> tuple[int, float]:
    """Where the part of a segment before its material ends, and how much it reads like an instruction."""
    weight = 1.0
    for i in range(start, end - 1):
        if text[i] == 58 and text[i + 1] == 32:
            if 0 < i - start < end - start - 3:
                weight = LABEL if i - start < 24 else 1.0
                end = i + 1
            break
    seen = np.empty(SCORED_WORDS, np.uint64)
    n = tasks = 0
    first, lead = 0, False
    stop = min(end, start + SCORED_CHARS)
    i = start
    while n < SCORED_WORDS:
        begin, i = _token(text, i, stop)
        if begin == i:
            break
        known = _known(text, begin, i, keys, values)
        if known & np.uint64(_TASK_BIT):
            new = True
            for j in range(tasks):
                new = new and seen[j] != known
            if new:
                seen[tasks] = known
                tasks += 1
            lead = lead or n == 0
        if n == 0:
            first = text[begin]
        n += 1
    if n == 0:
        return end, 0.0
    if _digit(first) or text[start] == 45 or text[start] == 42:
        weight *= ITEM
    score = tasks / (n + 3)
    if text[end - 1] == 63:
        score += QUESTION
    elif text[end - 1] == 58:
        score += COLON
    if lead:
        score += LEAD
    score *= weight
    return end, min(score, SHORT) if n <= 2 else score


@kernel
def _quoted(text: NDArray[np.uint8], start: int, end: int, closer: int, most: int) -> int:
    """Where what opens at `start` ends with `closer`, at most so many characters on and in the same line; else -1."""
    i = start + 1
    while i < end and i - start - 1 < most and text[i] != closer and text[i] != 10:
        i += 1
    return i + 1 if i < end and text[i] == closer else -1


@kernel
def _link(text: NDArray[np.uint8], start: int, end: int) -> int:
    """Where the link that begins with the `h` at `start` ends, -1 where none does."""
    i = start
    if not (i + 4 < end and text[i + 1] == 116 and text[i + 2] == 116 and text[i + 3] == 112):
        return -1
    i += 5 if text[i + 4] == 115 else 4
    if not (i + 3 < end and text[i] == 58 and text[i + 1] == 47 and text[i + 2] == 47):
        return -1
    i += 3
    begin = i
    while i < end and i - begin < 300 and not _blank(text[i]):
        i += 1
    return i if i > begin else -1


@kernel
def _variable(text: NDArray[np.uint8], i: int, end: int) -> int:
    """Where the quote, code, placeholder or link that begins at `i` ends, -1 where none does."""
    char = text[i]
    if char == 34 or char == 96:
        return _quoted(text, i, end, char, 300)
    if char == 91:
        return _quoted(text, i, end, 93, 80)
    if char == 60:
        return _quoted(text, i, end, 62, 80)
    if char == 104:
        return _link(text, i, end)
    if char == 123:
        last = _quoted(text, i, end, 125, 80)
        while 0 < last < end and text[last] == 125:
            last += 1
        return last
    return -1


@allocating
def _mask(
    text: NDArray[np.uint8],
    start: int,
    end: int,
    keys: NDArray[np.uint64],
    values: NDArray[np.uint64],
    out: NDArray[np.uint8],
    at: int,
) -> int:
    """Write a segment with what varies in it masked; return the end of it."""
    plain = np.empty(2 * (end - start), np.uint8)
    size = 0
    i = start
    while i < end:
        last = _variable(text, i, end)
        if last > 0:
            plain[size], plain[size + 1], plain[size + 2] = 32, 48, 32
            size += 3
            i = last
        else:
            plain[size] = text[i]
            size += 1
            i += 1
    tokens = np.empty((size, 2), np.int32)
    known = np.empty(size, np.uint64)
    n = kept = 0
    task = np.uint64(0)
    several = False
    i = 0
    while True:
        begin, i = _token(plain, i, size)
        if begin == i:
            break
        value = _known(plain, begin, i, keys, values)
        kept += value != np.uint64(0)
        if value & np.uint64(_TASK_BIT):
            several = several or (task != np.uint64(0) and task != value)
            task = value
        tokens[n, 0], tokens[n, 1], known[n] = begin, i, value
        n += 1
    rich = several and kept >= 5
    masked = False
    started = at
    for index in range(n):
        begin = tokens[index, 0]
        char = plain[begin]
        if known[index] == np.uint64(0) and (rich or _digit(char) or (index > 0 and 65 <= char <= 90)):
            if masked:
                continue
            masked = True
        else:
            masked = False
        if at > started:
            out[at] = 32
            at += 1
        if masked:
            out[at] = 48
            at += 1
        else:
            for i in range(begin, tokens[index, 1]):
                out[at] = _lower(plain[i])
                at += 1
    return at


@allocating
def read(
    points: NDArray[np.uint32],
    keys: NDArray[np.uint64],
    values: NDArray[np.uint64],
    out: NDArray[np.uint8],
) -> tuple[int, int]:
    """Write skeleton and prefix of a text.

    Parameters
    ----------
    points
        `(n,) uint32`, code points below 128.
    keys, values
        From `words`.
    out
        `(ROOM,) uint8`.

    Returns
    -------
    skeleton, prefix : int
        Where each ends; the second one begins where the first one ends.
    """
    start, end = 0, points.size
    while start < end and _blank(points[start]):
        start += 1
    while end > start and _blank(points[end - 1]):
        end -= 1

    text = np.empty(HEAD + TAIL, np.uint8)
    parts = np.empty((HEAD + TAIL + 2, 2), np.int32)
    n = _segments(points, start, end, text, parts)
    best = -1
    best_end = 0
    top = 0.0
    for i in range(n):
        if ENDS <= i < n - ENDS:
            continue
        fixed, score = _score(text, parts[i, 0], parts[i, 1], keys, values)
        if score > top:
            best, best_end, top = i, fixed, score
    skeleton = 0
    whole = top < INSTRUCTION  # nothing reads like one: both ends together
    for side in range(min(n, 1 + whole)):
        if whole:
            best = (n - 1) * side
            best_end = parts[best, 1]
            if not side:
                out[0], out[1] = 45, 10
                skeleton = 2
        skeleton = _mask(text, parts[best, 0], best_end, keys, values, out, skeleton)
        if whole and not side:
            out[skeleton] = 10
            skeleton += 1

    opening = np.empty(PREFIX_CHARS, np.uint8)
    size = min(PREFIX_CHARS, end - start)
    for i in range(size):
        opening[i] = _lower(points[start + i])
    prefix = skeleton
    found = 0
    i = 0
    while found < PREFIX_WORDS:
        begin, i = _token(opening, i, size)
        if begin == i:
            break
        char = opening[begin]
        if char != 63 and char != 58:
            if found:
                out[prefix] = 32
                prefix += 1
            found += 1
            if _digit(char):
                out[prefix] = 48
                prefix += 1
            else:
                for j in range(begin, i):
                    out[prefix] = opening[j]
                    prefix += 1
    return skeleton, prefix
