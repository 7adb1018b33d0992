"""Characters and words as tables for the compiled pass: class, script and lower case of code points, and the lexicon.

Worked out from Unicode's own data; it reads no text.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

# indices of the counts that `scan` returns
DIGITS, UPPER, LOWER, PUNCTUATION, SPACES, WIDE, BREAKS, DOUBLES, SENTENCES = range(9)
LATIN, CYRILLIC, GREEK, ARABIC, HEBREW, DEVANAGARI, THAI, KANA, HAN, HANGUL = range(9, 19)
OPAQUE = 19
"""Words of 8 ASCII characters or more that mix letters and digits, or end in `=`."""
OPENERS = 20
"""Brackets and marks that open a word, as a placeholder would; round ones only before a capital."""
FILLERS = 21
"""Repeated stars, crosses, hashes and blocks, and stars after an ideograph."""
LONG = 22
"""Words of 16 ASCII characters or more, as base64 would write them, whatever they mix."""
VOTES = 23
"""From here, one count for each vote bit of the lexicon."""
MAX_VOTES, MAX_RULES = 10, 48
COUNTS = VOTES + MAX_VOTES

OPENING = "<\uff1c\u3008\u300a\u00ab\u2039\u27e8\u27e6_%@#|[\uff3b\u3010\u3014\u300c\u300e({$\uff5b\uff08"
"""What can open a placeholder; the order is that of `placeholders`' closers."""

# classes of a code point: low three bits of a table entry; then the script, and a bit for OPENING
IS_OTHER, IS_DIGIT, IS_UPPER, IS_LOWER, IS_LETTER, IS_PUNCTUATION, IS_SPACE = range(7)
OPENS = 128

_SCRIPTS = (
    (0x0041, 0x024F, LATIN),
    (0x1E00, 0x1EFF, LATIN),
    (0x0370, 0x03FF, GREEK),
    (0x0400, 0x052F, CYRILLIC),
    (0x0590, 0x05FF, HEBREW),
    (0x0600, 0x06FF, ARABIC),
    (0x0750, 0x077F, ARABIC),
    (0x0900, 0x097F, DEVANAGARI),
    (0x0E00, 0x0E7F, THAI),
    (0x1100, 0x11FF, HANGUL),
    (0x3040, 0x30FF, KANA),
    (0x3400, 0x4DBF, HAN),
    (0x4E00, 0x9FFF, HAN),
    (0xAC00, 0xD7A3, HANGUL),
    (0xFF66, 0xFF9D, KANA),
)


@lru_cache(1)
def tables() -> tuple[NDArray[np.uint8], NDArray[np.uint32]]:
    """Return class and script `(65536,) uint8`, and lower case `(65536,) uint32`, of the basic plane's code points."""
    kinds = np.zeros(65536, np.uint8)
    fold = np.arange(65536, dtype=np.uint32)
    for point in range(65536):
        char = chr(point)
        category = unicodedata.category(char)
        if char.isspace() or category[0] == "Z":
            kind = IS_SPACE
        elif category[0] == "N":
            kind = IS_DIGIT
        elif category in ("Lu", "Lt"):
            kind = IS_UPPER
        elif category == "Ll":
            kind = IS_LOWER
        elif category[0] in "LM":
            kind = IS_LETTER
        elif category[0] in "PS":
            kind = IS_PUNCTUATION
        else:
            kind = IS_OTHER
        kinds[point] = kind | (OPENS if char in OPENING else 0)
        lower = char.lower()
        if len(lower) == 1:
            fold[point] = ord(lower)
    for first, last, script in _SCRIPTS:
        span = kinds[first : last + 1]
        letters = (span == IS_UPPER) | (span == IS_LOWER) | (span == IS_LETTER)
        span[letters] |= np.uint8((script - LATIN + 1) << 3)
    return kinds, fold


def lexicon(entries: Mapping[str, int]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Build the open-addressing table that `scan` looks every word up in.

    Parameters
    ----------
    entries
        Case-folded word -> bits: the lower `MAX_RULES` are or-ed together over the words found, each of the next
        `MAX_VOTES` counts its words.

    Returns
    -------
    keys : `(size,) uint64`, 0 where free
    values : `(size,) uint64`
    """
    size = 64
    while size < 4 * len(entries):
        size *= 2
    keys, values = np.zeros(size, np.uint64), np.zeros(size, np.uint64)
    for word, bits in entries.items():
        item = 0
        for char in word:
            item = (item ^ ord(char)) * 0x9E3779B97F4A7C15 % 2**64
            item ^= item >> 29
        slot = item % size
        while keys[slot] and keys[slot] != item:
            slot = (slot + 1) % size
        keys[slot] = item
        values[slot] |= np.uint64(bits)
    return keys, values
