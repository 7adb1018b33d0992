"""All that is compiled of a sketch, in one call a request: calls and arrays returned took longer than the work itself.

What it writes, `Reading` reads; the text goes in as code points and comes out as hashes, counts and projections.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from siphonwatch.models.common.kernel import allocating, inlined
from siphonwatch.models.common.vocabulary import CHUNKS, PROJECTION, REPLY_CHUNKS
from siphonwatch.streams.edge.sketch import chunks, digest, kernel, shape, signs
from siphonwatch.streams.edge.sketch.characters import COUNTS, WIDE

SAID, BEFORE, REPLY, FOLLOWS, EARLIER, SAMPLE, REPLY_SAMPLE = range(7)
"""Texts of a request, as places in `bounds`; the first `TURNS` are hashed word for word."""
TEXTS, TURNS = 7, 5

TEMPLATE, PREFIX, CONTENT = range(TURNS, TURNS + 3)
"""Hashes, as places among the sixteen digits each, behind those of the turns."""
HASHES = TURNS + 3
PROJECTED = 16 * HASHES
CHUNKED = PROJECTED + 4 * -(-PROJECTION // 3)
REPLY_CHUNKED = CHUNKED + 8 * CHUNKS
WRITTEN = REPLY_CHUNKED + 8 * REPLY_CHUNKS
"""Where in what is written each begins, and how long it is."""

PRESENT, CHUNKS_FOUND, REPLY_CHUNKS_FOUND, RULES, SIGNS, NUMBERS = range(COUNTS, COUNTS + 6)
"""Numbers behind the counts of `kernel.scan`: the places that hold a hash, as bits (`PROJECTION_BIT` where there is a
projection); chunks; rules of intents that may fit; signs found."""
PROJECTION_BIT = 1 << HASHES

_KEYS = 5
SCANNED, CUT, OF_TURN, OF_TEMPLATE, OF_PREFIX = range(_KEYS)
"""Keys of four words each, in their order."""

_DIGITS = np.frombuffer(b"0123456789abcdef", np.uint8).copy()
_BASE64 = np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", np.uint8).copy()


class Tables(NamedTuple):
    """What every call takes beside the text."""

    kinds: NDArray[np.uint8]
    fold: NDArray[np.uint32]
    steps: NDArray[np.int16]
    words: NDArray[np.uint64]
    """The sizes of the tables that follow; keys; the lexicon's keys and values; the kept words' keys and values; the
    bits of the signs' states; what each rule needs."""


def tables(
    kinds: NDArray[np.uint8],
    fold: NDArray[np.uint32],
    keys: list[NDArray[np.uint64]],
    lexicon: tuple[NDArray[np.uint64], NDArray[np.uint64]],
    automaton: tuple[NDArray[np.int16], NDArray[np.uint64]],
    needs: NDArray[np.uint64],
) -> Tables:
    """Put tables together.

    Parameters
    ----------
    kinds, fold
        From `characters.tables`.
    keys
        `_KEYS` of `(4,) uint64`.
    lexicon
        From `characters.lexicon`, of all words that the scan looks up.
    automaton
        From `signs.automaton`.
    needs
        `(rules, 2) uint64`: bits of the lexicon that must all stand in a text, and of signs of which one must.
    """
    steps, bits = automaton
    kept = shape.words()
    sizes = np.array([lexicon[0].size, kept[0].size, bits.size, needs.size], np.uint64)
    parts = [sizes, *keys, *lexicon, *kept, bits, needs.ravel()]
    return Tables(kinds, fold, steps, np.concatenate(parts))


@inlined
def _hex(value: np.uint64, out: NDArray[np.uint8], place: int) -> None:
    """Write the bytes of a word, lowest first, in hexadecimal digits."""
    at = 16 * place
    for i in range(8):
        byte = np.int64(value >> np.uint64(8 * i)) & 255
        out[at + 2 * i] = _DIGITS[byte >> 4]
        out[at + 2 * i + 1] = _DIGITS[byte & 15]


@inlined
def _base64(first: int, second: int, third: int, out: NDArray[np.uint8], at: int) -> None:
    """Write three bytes in base64."""
    bits = first << 16 | second << 8 | third
    out[at] = _BASE64[bits >> 18]
    out[at + 1] = _BASE64[bits >> 12 & 63]
    out[at + 2] = _BASE64[bits >> 6 & 63]
    out[at + 3] = _BASE64[bits & 63]


@allocating
def read(
    points: NDArray[np.uint32],
    bounds: NDArray[np.int64],
    plain: bool,
    kinds: NDArray[np.uint8],
    fold: NDArray[np.uint32],
    steps: NDArray[np.int16],
    words: NDArray[np.uint64],
    most: int,
    out: NDArray[np.uint8],
    numbers: NDArray[np.int64],
) -> None:
    """Read all texts of a request.

    Parameters
    ----------
    points
        `(n,) uint32`, the code points of all texts.
    bounds
        `(2 * TEXTS,) int64`: where each begins and ends; some are parts of others.
    plain
        Whether the sample is ASCII: otherwise its template and prefix are left to `template.read`.
    kinds, fold, steps, words
        Of `Tables`.
    most
        Characters of a turn that are hashed.
    out
        `(WRITTEN,) uint8`: hashes in hexadecimal digits, projection and chunks in base64.
    numbers
        `(NUMBERS,) int64`.
    """
    base = 4 + 4 * _KEYS
    lexicon, kept = int(np.int64(words[0])), int(np.int64(words[1]))
    states, needs = int(np.int64(words[2])), int(np.int64(words[3]))
    key = words[4:base]
    lexicon_keys, lexicon_values = words[base : base + lexicon], words[base + lexicon : base + 2 * lexicon]
    base += 2 * lexicon
    kept_keys, kept_values = words[base : base + kept], words[base + kept : base + 2 * kept]
    base += 2 * kept
    bits, rules = words[base : base + states], words[base + states : base + states + needs]

    sample = points[bounds[2 * SAMPLE] : bounds[2 * SAMPLE + 1]]
    counts, found, simhash, has_words, projection = kernel.scan(
        sample, kinds, fold, key[4 * SCANNED : 4 * SCANNED + 4], lexicon_keys, lexicon_values
    )
    for i in range(COUNTS):
        numbers[i] = counts[i]
    present = 0
    if has_words:
        present |= 1 << CONTENT
        for i in range(16):
            out[16 * CONTENT + i] = _DIGITS[np.int64(simhash >> np.uint64(60 - 4 * i)) & 15]
    nothing = True
    for i in range(PROJECTION):
        nothing = nothing and projection[i] == 0
    if not nothing:
        present |= PROJECTION_BIT
        for i in range(0, PROJECTION - 2, 3):
            first, second, third = projection[i] & 255, projection[i + 1] & 255, projection[i + 2] & 255
            _base64(first, second, third, out, PROJECTED + i // 3 * 4)
        _base64(projection[PROJECTION - 2] & 255, projection[PROJECTION - 1] & 255, 0, out, CHUNKED - 4)
        out[CHUNKED - 1] = 61

    longest = shape.ROOM
    for text in range(TURNS):
        longest = max(longest, bounds[2 * text + 1] - bounds[2 * text])
    block = np.empty(digest.room(longest, max(most, shape.ROOM)), np.uint8)
    shaped = np.empty(shape.ROOM, np.uint8)
    skeleton = prefix = 0
    if plain:
        skeleton, prefix = shape.read(sample, kept_keys, kept_values, shaped)
    for place in range(TURNS + 2):
        if place < TURNS:
            turn = points[bounds[2 * place] : bounds[2 * place + 1]]
            size = digest.write(turn, kinds, most, block)
        else:
            begin, end = (0, skeleton) if place == TEMPLATE else (skeleton, prefix)
            size = digest.BLOCK + end - begin
            block[digest.BLOCK : size] = shaped[begin:end]
        if size > digest.BLOCK:
            present |= 1 << place
            of = OF_TURN + max(0, place - TURNS + 1)
            _hex(digest.keyed(block, size, key[4 * of : 4 * of + 4]), out, place)
    numbers[PRESENT] = present

    for side in range(2):
        text, most, at = (REPLY_SAMPLE, REPLY_CHUNKS, REPLY_CHUNKED) if side else (SAMPLE, CHUNKS, CHUNKED)
        cut = points[bounds[2 * text] : bounds[2 * text + 1]]
        entries = chunks.cut(cut, kinds, fold, key[4 * CUT : 4 * CUT + 4], most)
        numbers[CHUNKS_FOUND + side] = entries.shape[0]
        for row in range(entries.shape[0]):
            low, high, length = int(entries[row, 0]), int(entries[row, 1]), int(entries[row, 2])
            _base64(low & 255, low >> 8, high & 255, out, at + 8 * row)
            _base64(high >> 8, length & 255, length >> 8, out, at + 8 * row + 4)

    hits = signs.found(sample, steps, bits)
    may = 0
    for rule in range(needs // 2):
        needed, signed = rules[2 * rule], rules[2 * rule + 1]
        if found & needed == needed and (counts[WIDE] > 0 or signed == np.uint64(0) or hits & signed):
            may |= 1 << rule
    numbers[RULES] = may
    numbers[SIGNS] = np.int64(hits)
