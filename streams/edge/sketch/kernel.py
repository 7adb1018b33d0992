"""One compiled pass over a text's code points: class counts, keyed SimHash and keyed random projection.

It sees text only as an array in memory and gives numbers; it keeps nothing between calls and holds no key itself.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from siphonwatch.models.common.kernel import allocating, inlined
from siphonwatch.models.common.vocabulary import PROJECTION
from siphonwatch.streams.edge.sketch.characters import (
    BREAKS,
    COUNTS,
    DIGITS,
    DOUBLES,
    FILLERS,
    HAN,
    IS_DIGIT,
    IS_LETTER,
    IS_LOWER,
    IS_OTHER,
    IS_PUNCTUATION,
    IS_SPACE,
    IS_UPPER,
    LATIN,
    LONG,
    LOWER,
    MAX_RULES,
    OPAQUE,
    OPENERS,
    OPENS,
    PUNCTUATION,
    SENTENCES,
    SPACES,
    UPPER,
    VOTES,
    WIDE,
)

HEAD, TAIL = 4096, 1024
"""Characters of a long text that are read, from its start and its end: bounded work for any input."""


def points(text: str) -> NDArray[np.uint32]:
    """Return the code points of `text`, `(n,) uint32`."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


@inlined
def _rotl(x: np.uint64, bits: int) -> np.uint64:
    return (x << np.uint64(bits)) | (x >> np.uint64(64 - bits))


@allocating
def siphash(word: np.uint64, k0: np.uint64, k1: np.uint64) -> np.uint64:
    """SipHash-1-3 of one 64-bit word: a pseudo-random function of it under (k0, k1) (Aumasson, Bernstein 2012)."""
    v0 = k0 ^ np.uint64(0x736F6D6570736575)
    v1 = k1 ^ np.uint64(0x646F72616E646F6D)
    v2 = k0 ^ np.uint64(0x6C7967656E657261)
    v3 = k1 ^ np.uint64(0x7465646279746573)
    for step in range(5):
        if step == 0:
            block = word
            v3 ^= block
        elif step == 1:
            v0 ^= word
            block = np.uint64(8) << np.uint64(56)
            v3 ^= block
        elif step == 2:
            v0 ^= np.uint64(8) << np.uint64(56)
            v2 ^= np.uint64(0xFF)
        v0 += v1
        v2 += v3
        v1 = _rotl(v1, 13) ^ v0
        v3 = _rotl(v3, 16) ^ v2
        v0 = _rotl(v0, 32)
        v2 += v1
        v0 += v3
        v1 = _rotl(v1, 17) ^ v2
        v3 = _rotl(v3, 21) ^ v0
        v2 = _rotl(v2, 32)
    return v0 ^ v1 ^ v2 ^ v3


@inlined
def _insert(table: NDArray[np.uint64], item: np.uint64, salt: np.uint64) -> bool:
    """Put a non-zero item into the open-addressing set; return whether it is new.

    Its slot depends on the secret `salt` in every bit (MurmurHash3's finaliser): no text can be written whose items
    all meet in one.
    """
    mask = np.uint64(table.size - 1)
    slot = item ^ salt
    slot ^= slot >> np.uint64(33)
    slot *= np.uint64(0xFF51AFD7ED558CCD)
    slot ^= slot >> np.uint64(33)
    slot *= np.uint64(0xC4CEB9FE1A85EC53)
    slot = (slot >> np.uint64(32)) & mask
    while table[slot] != np.uint64(0):
        if table[slot] == item:
            return False
        slot = (slot + np.uint64(1)) & mask
    table[slot] = item
    return True


@inlined
def _add_signs(ones: NDArray[np.int32], bits: np.uint64) -> None:
    """Count the ones of each of the first `PROJECTION` bits: a fixed number, which is what lets LLVM make vectors."""
    for i in range(PROJECTION):
        ones[i] += np.int32((bits >> np.uint64(i)) & np.uint64(1))


@inlined
def _add_votes(ones: NDArray[np.int32], bits: np.uint64) -> None:
    """Count the ones of each bit."""
    for i in range(64):
        ones[i] += np.int32((bits >> np.uint64(i)) & np.uint64(1))


@allocating
def scan(
    points: NDArray[np.uint32],
    kinds: NDArray[np.uint8],
    fold: NDArray[np.uint32],
    key: NDArray[np.uint64],
    lexicon_keys: NDArray[np.uint64],
    lexicon_values: NDArray[np.uint64],
) -> tuple[NDArray[np.int64], np.uint64, np.uint64, bool, NDArray[np.int8]]:
    """Read a text once.

    Features are sets, so that repetition inside a text weighs once. Projection: distinct case-folded 4-grams of
    characters, whitespace runs as one space (2-grams in ideographic and kana text), each adding a sign vector that
    SipHash draws for it. SimHash: distinct words of four letters or more (each ideograph is a word) and distinct
    pairs of neighbouring words.

    Parameters
    ----------
    points
        `(n,) uint32`, the code points.
    kinds, fold
        From `tables`.
    key
        `(4,) uint64`: two SipHash keys, of grams and of words.
    lexicon_keys, lexicon_values
        From `lexicon`.

    Returns
    -------
    counts : `(COUNTS,) int64`
    rules : uint64
        The rule bits of all lexicon words found.
    simhash : uint64
    has_words : bool
        False where there was no word to take a SimHash of.
    projection : `(PROJECTION,) int8`
        Unit length scaled to 127; zeros where there is no gram.
    """
    n = points.size
    counts = np.zeros(COUNTS, np.int64)
    size = 64
    while size < 6 * n:
        size *= 2
    seen = np.zeros(size, np.uint64)
    signs = np.zeros(PROJECTION, np.int32)
    votes = np.zeros(64, np.int32)
    grams = voters = 0
    gram = np.uint64(0)  # the last four folded characters, 16 bits each
    held = 0  # how many characters the gram holds
    after_space = True
    stop = False  # a sentence ended just before
    word = np.uint64(0)
    length = 0
    previous = np.uint64(0)
    has_words = False
    run = run_digits = run_letters = 0  # of the present word as base64 would write it
    last = np.uint32(32)
    opens = np.uint32(0)  # the opener just before, a space between allowed
    repeats = 0
    rules = np.uint64(0)
    for i in range(n + 1):
        kind = IS_SPACE
        point = np.uint32(32)
        entry = np.uint8(IS_SPACE)
        if i < n:
            point = points[i]
            if point < 65536:
                entry = kinds[point]
                kind = entry & 7
            elif 0x20000 <= point < 0x33000:
                kind = IS_LETTER
                entry = np.uint8(IS_LETTER | (HAN - LATIN + 1) << 3)
            elif 0x1F000 <= point < 0x20000:
                kind = IS_PUNCTUATION
                entry = np.uint8(IS_PUNCTUATION)
            else:
                kind = IS_OTHER
                entry = np.uint8(IS_OTHER)
            if point > 127:
                counts[WIDE] += 1
            if kind == IS_DIGIT:
                counts[DIGITS] += 1
            elif kind == IS_UPPER:
                counts[UPPER] += 1
            elif kind == IS_LOWER:
                counts[LOWER] += 1
            elif kind == IS_PUNCTUATION:
                counts[PUNCTUATION] += 1
            elif kind == IS_SPACE:
                counts[SPACES] += 1
                if point != 32:
                    counts[BREAKS] += 1
                elif after_space:
                    counts[DOUBLES] += 1
            if entry & OPENS:
                if point != 95 or last == 95:
                    opens = point
            elif opens:
                if (kind == IS_UPPER or (kind == IS_LOWER and opens != 40)) and point < 128:
                    counts[OPENERS] += 1
                if point != 32 or last == 32:
                    opens = np.uint32(0)
            repeats = repeats + 1 if point == last else 0
            if kind == IS_PUNCTUATION or point == 88 or point == 120:
                if point == 42 and (repeats or 0x4E00 <= last <= 0x9FFF):
                    counts[FILLERS] += 1
                elif repeats and (point == 35 or point == 88 or point == 120 or 0x2022 <= point <= 0x25CF):
                    counts[FILLERS] += 1
            script = (entry >> 3) & 15
            if script:
                counts[LATIN + script - 1] += 1
            if kind == IS_SPACE:
                pass
            elif point == 46 or point == 63 or point == 33:
                stop = True
            else:
                if stop and after_space and (kind == IS_LOWER or kind == IS_UPPER):
                    counts[SENTENCES] += 1
                stop = False
        if point < 128 and (kind == IS_DIGIT or kind == IS_UPPER or kind == IS_LOWER or point in (43, 45, 47, 61, 95)):
            run += 1
            run_digits += kind == IS_DIGIT
            run_letters += kind == IS_UPPER or kind == IS_LOWER
        elif run:
            if run >= 8 and run_letters and (run_digits or last == 61):
                counts[OPAQUE] += 1
            if run >= 16:
                counts[LONG] += 1
            run = run_digits = run_letters = 0
        last = point
        ideograph = 0x2E80 <= point < 0xAC00 or point >= 0x20000
        # words
        if kind == IS_DIGIT or kind == IS_UPPER or kind == IS_LOWER or kind == IS_LETTER:
            folded = fold[point] if point < 65536 else point
            if ideograph:
                length = 4
                word = (word ^ np.uint64(folded)) * np.uint64(0x9E3779B97F4A7C15)
            else:
                length += 1
                word = (word ^ np.uint64(folded)) * np.uint64(0x9E3779B97F4A7C15)
                word ^= word >> np.uint64(29)
        else:
            folded = np.uint32(32) if kind == IS_SPACE else point
        ends = not (kind == IS_DIGIT or kind == IS_UPPER or kind == IS_LOWER or kind == IS_LETTER) or ideograph
        if ends and length > 0:
            has_words = True
            slot = word & np.uint64(lexicon_keys.size - 1)
            while lexicon_keys[slot] != np.uint64(0):
                if lexicon_keys[slot] == word:
                    bits = lexicon_values[slot]
                    rules |= bits & np.uint64((1 << MAX_RULES) - 1)
                    bits >>= np.uint64(MAX_RULES)
                    vote = VOTES
                    while bits:
                        counts[vote] += np.int64(bits & np.uint64(1))
                        bits >>= np.uint64(1)
                        vote += 1
                    break
                slot = (slot + np.uint64(1)) & np.uint64(lexicon_keys.size - 1)
            item = siphash(word, key[2], key[3])
            if length >= 4 and _insert(seen, item | np.uint64(1), key[0]):
                _add_votes(votes, item)
                voters += 1
            pair = siphash(item ^ _rotl(previous, 1), key[2], key[3])
            if _insert(seen, pair | np.uint64(1), key[0]):
                _add_votes(votes, pair)
                voters += 1
            previous = item
            word = np.uint64(0)
            length = 0
        # grams
        if i < n and not (kind == IS_SPACE and after_space):
            unit = np.uint64((folded ^ (folded >> np.uint32(16))) & np.uint32(0xFFFF))
            if unit == np.uint64(0):
                unit = np.uint64(0xFFFF)
            gram = (gram << np.uint64(16)) | unit
            held += 1
            item = gram
            if ideograph:
                item = gram & np.uint64(0xFFFFFFFF)
            if (ideograph or held >= 4 or i == n - 1) and _insert(seen, item, key[0]):
                _add_signs(signs, siphash(item, key[0], key[1]))
                grams += 1
        after_space = kind == IS_SPACE
    simhash = np.uint64(0)
    for i in range(64):
        if 2 * votes[i] > voters:
            simhash |= np.uint64(1) << np.uint64(i)
    projection = np.zeros(PROJECTION, np.int8)
    square = 0.0
    for i in range(PROJECTION):
        signs[i] = 2 * signs[i] - grams
        square += float(signs[i]) * float(signs[i])
    if square > 0.0:
        scale = 127.0 / np.sqrt(square)
        for i in range(PROJECTION):
            projection[i] = np.int8(np.rint(signs[i] * scale))
    return counts, rules, simhash, has_words, projection


@allocating
def _step(keys: NDArray[np.uint64], values: NDArray[np.int64], node: int, point: np.uint32, added: int) -> int:
    """The child of a trie's node by a code point, -1 where there is none; `added` becomes it where it is positive."""
    item = np.uint64(node + 1) << np.uint64(32) | np.uint64(point)
    mask = np.uint64(keys.size - 1)
    slot = (item ^ item >> np.uint64(32)) * np.uint64(0x9E3779B97F4A7C15)
    slot = (slot >> np.uint64(32)) & mask
    while keys[slot] != np.uint64(0):
        if keys[slot] == item:
            return int(values[slot])
        slot = (slot + np.uint64(1)) & mask
    if added > 0:
        keys[slot] = item
        values[slot] = added
    return -1


@allocating
def distinct_found(text: NDArray[np.uint32], needles: NDArray[np.uint32], ends: NDArray[np.int64]) -> int:
    """Count the needles that stand in a text, in one pass (Aho, Corasick 1975: Efficient string matching).

    Parameters
    ----------
    text
        `(n,) uint32`, code points.
    needles
        `(m,) uint32`, all needles one after the other; each is distinct and not empty.
    ends
        `(k,) int64`, where each needle ends.
    """
    size = 64
    while size < 4 * needles.size:
        size *= 2
    keys = np.zeros(size, np.uint64)
    values = np.zeros(size, np.int64)
    parents = np.zeros(needles.size + 1, np.int64)
    points_in = np.zeros(needles.size + 1, np.uint32)
    depths = np.zeros(needles.size + 1, np.int64)
    whole = np.zeros(needles.size + 1, np.bool_)
    nodes = 1
    begin = 0
    for end in ends:
        node = 0
        for i in range(begin, end):
            child = _step(keys, values, node, needles[i], nodes)
            if child < 0:
                child = nodes
                parents[child], points_in[child], depths[child] = node, needles[i], depths[node] + 1
                nodes += 1
            node = child
        whole[node] = True
        begin = end
    # By depth, counted: to compile a sort took longer than to compile all the rest.
    places = np.zeros(needles.size + 2, np.int64)
    for node in range(nodes):
        places[depths[node] + 1] += 1
    for depth in range(needles.size + 1):
        places[depth + 1] += places[depth]
    order = np.zeros(nodes, np.int64)
    for node in range(nodes):
        order[places[depths[node]]] = node
        places[depths[node]] += 1
    fail = np.zeros(nodes, np.int64)  # the longest proper suffix that is in the trie
    for place in range(nodes):
        node = order[place]
        if depths[node] > 1:
            suffix = fail[parents[node]]
            child = _step(keys, values, suffix, points_in[node], 0)
            while child < 0 and suffix:
                suffix = fail[suffix]
                child = _step(keys, values, suffix, points_in[node], 0)
            fail[node] = max(child, 0)
    seen = np.zeros(nodes, np.bool_)
    seen[0] = True
    found = 0
    node = 0
    for point in text:
        child = _step(keys, values, node, point, 0)
        while child < 0 and node:
            node = fail[node]
            child = _step(keys, values, node, point, 0)
        node = max(child, 0)
        suffix = node
        while not seen[suffix]:  # and so were all of its suffixes, when it was
            seen[suffix] = True
            found += whole[suffix]
            suffix = fail[suffix]
    return found
