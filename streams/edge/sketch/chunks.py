"""Cuts a text into chunks where its own words say so, and hashes each under the key: a part that two texts share is cut
and hashed alike in both, whatever stands before and behind it. It keeps nothing between calls and holds no key itself.

Boundaries are strict local minima of a keyed hash of two neighbouring words (content-defined chunking: Muthitacharoen,
Chen, Mazieres 2001, "A low-bandwidth network file system"; local extrema: Bjorner, Blass, Gurevich 2010,
"Content-dependent chunking for differential compression"): what is a boundary depends on the words around it and on
nothing farther away, so that a payload moves only the boundaries beside it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from siphonwatch.models.common.kernel import allocating, inlined
from siphonwatch.streams.edge.sketch.characters import (
    IS_DIGIT,
    IS_LETTER,
    IS_LOWER,
    IS_OTHER,
    IS_PUNCTUATION,
    IS_SPACE,
    IS_UPPER,
)
from siphonwatch.streams.edge.sketch.kernel import siphash

SHORTEST = 32
"""Characters of a chunk at least, except of a text that is shorter: what is shorter is said by many."""

LEVEL = 3
"""One word end in 2**3 may be a boundary: chunks of about 100 characters in English prose."""

SENTENCE = 3
"""Levels that the end of a sentence or a colon is above another word end: instructions end there, and the material
that follows them then leaves them whole."""

IN_WORD = 1 << IS_DIGIT | 1 << IS_UPPER | 1 << IS_LOWER | 1 << IS_LETTER
"""The classes of characters that words are made of, as bits."""


@inlined
def _strength(word: np.uint64, previous: np.uint64, salt: np.uint64) -> np.uint64:
    """A keyed hash of a word and the one before it (MurmurHash3's finaliser); the smaller it is, the stronger."""
    h = word ^ (previous << np.uint64(1) | previous >> np.uint64(63)) ^ salt
    h ^= h >> np.uint64(33)
    h *= np.uint64(0xFF51AFD7ED558CCD)
    h ^= h >> np.uint64(33)
    h *= np.uint64(0xC4CEB9FE1A85EC53)
    return h ^ (h >> np.uint64(33))


@allocating
def cut(
    points: NDArray[np.uint32],
    kinds: NDArray[np.uint8],
    fold: NDArray[np.uint32],
    key: NDArray[np.uint64],
    most: int,
) -> NDArray[np.uint16]:
    """Cut a text into at most `most` chunks.

    The level of a boundary is the number of zeros that its hash begins with. Where there would be more chunks, the
    level that a boundary needs is raised: a boundary of a higher level is one of every lower level too, so two texts
    of like length are cut alike where they are alike.

    Parameters
    ----------
    points
        `(n,) uint32`, the code points.
    kinds, fold
        From `characters.tables`: case is folded, white space is one space and none at the ends.
    key
        `(4,) uint64`: the state to begin a chunk's hash with, what boundaries are salted with, a SipHash key.
    most
        Chunks at most.

    Returns
    -------
    entries : `(k, 3) uint16`
        Of each chunk, in order: the two halves of its keyed hash, which is never 0, the lower one first; its length in
        characters of the folded text, at most 65,535.
    """
    n = points.size
    text = np.empty(n, np.uint32)
    places = np.empty(n, np.int64)
    hashes = np.empty(n, np.uint64)
    size = found = length = 0
    word = previous = np.uint64(0)
    space = False  # white space stands before the next character
    for i in range(n):
        point = points[i]
        if point < 65536:
            kind = kinds[point] & 7
        elif 0x20000 <= point < 0x33000:
            kind = IS_LETTER
        else:
            kind = IS_PUNCTUATION if 0x1F000 <= point < 0x20000 else IS_OTHER
        inside = IN_WORD >> kind & 1 == 1
        ideograph = inside and (0x2E80 <= point < 0xAC00 or point >= 0x20000)
        if not inside and length > 0:
            h = _strength(word, previous, key[1])
            if point in (33, 46, 58, 63, 0x3002, 0xFF01, 0xFF1A, 0xFF1F):  # ! . : ? and what they are in Chinese
                h >>= np.uint64(SENTENCE)
            if h >> np.uint64(64 - LEVEL) == np.uint64(0):
                places[found], hashes[found] = size, h
                found += 1
            word, previous, length = np.uint64(0), word, 0
        if kind == IS_SPACE:
            space = size > 0
            continue
        if space:
            text[size] = 32
            size += 1
            space = False
        folded = fold[point] if point < 65536 else point
        text[size] = folded
        size += 1
        if inside:
            word = (word ^ np.uint64(folded)) * np.uint64(0x9E3779B97F4A7C15)
            word ^= word >> np.uint64(29)
            length += 1
        if ideograph:  # each is a word
            h = _strength(word, previous, key[1])
            if h >> np.uint64(64 - LEVEL) == np.uint64(0):
                places[found], hashes[found] = size, h
                found += 1
            word, previous, length = np.uint64(0), word, 0
    if size == 0:
        return np.empty((0, 3), np.uint16)

    # Boundaries: stronger than all others within the length of the shortest chunk, the first one of equal ones.
    bounds = np.empty(found + 1, np.int64)
    strengths = np.empty(found + 1, np.uint64)
    kept = 0
    for j in range(found):
        place, h = places[j], hashes[j]
        holds = SHORTEST <= place <= size - SHORTEST
        other = j - 1
        while holds and other >= 0 and place - places[other] < SHORTEST:
            holds = hashes[other] > h
            other -= 1
        other = j + 1
        while holds and other < found and places[other] - place < SHORTEST:
            holds = hashes[other] >= h
            other += 1
        if holds:
            bounds[kept], strengths[kept] = place, h
            kept += 1
    below = np.uint64(1) << np.uint64(64 - LEVEL)
    fitting = kept
    while fitting >= most:
        below >>= np.uint64(1)
        fitting = 0
        for j in range(kept):
            fitting += strengths[j] < below
    bounds[kept], strengths[kept] = size, np.uint64(0)

    entries = np.empty((fitting + 1, 3), np.uint16)
    row = start = 0
    for j in range(kept + 1):
        if strengths[j] < below or j == kept:
            h = key[0]
            for i in range(start, bounds[j], 2):  # two characters at a time, behind the last one of an odd number 0
                pair = np.uint64(text[i])
                if i + 1 < bounds[j]:
                    pair |= np.uint64(text[i + 1]) << np.uint64(32)
                h = (h ^ pair) * np.uint64(0x9E3779B97F4A7C15)
                h ^= h >> np.uint64(29)
            h = siphash(h, key[2], key[3])
            low, high = h & np.uint64(0xFFFF), h >> np.uint64(16) & np.uint64(0xFFFF)
            entries[row, 0] = low if low | high else np.uint64(1)
            entries[row, 1] = high
            entries[row, 2] = min(bounds[j] - start, 65535)
            row += 1
            start = bounds[j]
    return entries
