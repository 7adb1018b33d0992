"""Keyed hashes of what was said, compiled: those of `Identity.hash64`, of text as code points.

White space is the client's: what is hashed is the words with one space between them. It keeps nothing between calls.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from siphonwatch.models.common.kernel import allocating, inlined
from siphonwatch.streams.edge.sketch.characters import IS_SPACE

BLOCK = 128
"""Bytes of a block of BLAKE2b; the first one is the key."""

_IV = np.array(
    [
        0x6A09E667F3BCC908, 0xBB67AE8584CAA73B, 0x3C6EF372FE94F82B, 0xA54FF53A5F1D36F1,
        0x510E527FADE682D1, 0x9B05688C2B3E6C1F, 0x1F83D9ABFB41BD6B, 0x5BE0CD19137E2179,
    ],
    np.uint64,
)  # fmt: skip
_SIGMA = np.array(
    [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
        [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
        [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
        [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
        [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
        [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
        [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
        [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
        [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
    ],
    np.uint8,
)
_PARAMETERS = 0x01012008
"""Eight bytes of hash, 32 of key, no tree: the first word of BLAKE2b's parameters (RFC 7693)."""


@inlined
def _rotr(x: np.uint64, bits: int) -> np.uint64:
    return (x >> np.uint64(bits)) | (x << np.uint64(64 - bits))


@inlined
def _mix(
    a: np.uint64, b: np.uint64, c: np.uint64, d: np.uint64, x: np.uint64, y: np.uint64
) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    a = a + b + x
    d = _rotr(d ^ a, 32)
    c = c + d
    b = _rotr(b ^ c, 24)
    a = a + b + y
    d = _rotr(d ^ a, 16)
    c = c + d
    b = _rotr(b ^ c, 63)
    return a, b, c, d


@allocating
def blake2b(words: NDArray[np.uint64], size: int) -> np.uint64:
    """BLAKE2b of eight bytes under a key of 32 (RFC 7693).

    Parameters
    ----------
    words
        `(n,) uint64`: a block that begins with the key and is zeros otherwise, then the text, then zeros to the end of
        its last block.
    size
        Bytes of block and text; the text is not empty.
    """
    h0, h1, h2, h3, h4, h5, h6, h7 = _IV[0], _IV[1], _IV[2], _IV[3], _IV[4], _IV[5], _IV[6], _IV[7]
    h0 ^= np.uint64(_PARAMETERS)
    for at in range(0, size, BLOCK):
        m = words[at // 8 : at // 8 + BLOCK // 8]
        v0, v1, v2, v3, v4, v5, v6, v7 = h0, h1, h2, h3, h4, h5, h6, h7
        v8, v9, v10, v11 = _IV[0], _IV[1], _IV[2], _IV[3]
        v12 = _IV[4] ^ np.uint64(min(at + BLOCK, size))
        v13, v14, v15 = _IV[5], _IV[6], _IV[7]
        if at + BLOCK >= size:
            v14 = ~v14
        for r in range(12):
            s = _SIGMA[r]
            v0, v4, v8, v12 = _mix(v0, v4, v8, v12, m[s[0]], m[s[1]])
            v1, v5, v9, v13 = _mix(v1, v5, v9, v13, m[s[2]], m[s[3]])
            v2, v6, v10, v14 = _mix(v2, v6, v10, v14, m[s[4]], m[s[5]])
            v3, v7, v11, v15 = _mix(v3, v7, v11, v15, m[s[6]], m[s[7]])
            v0, v5, v10, v15 = _mix(v0, v5, v10, v15, m[s[8]], m[s[9]])
            v1, v6, v11, v12 = _mix(v1, v6, v11, v12, m[s[10]], m[s[11]])
            v2, v7, v8, v13 = _mix(v2, v7, v8, v13, m[s[12]], m[s[13]])
            v3, v4, v9, v14 = _mix(v3, v4, v9, v14, m[s[14]], m[s[15]])
        h0 ^= v0 ^ v8
        h1 ^= v1 ^ v9
        h2 ^= v2 ^ v10
        h3 ^= v3 ^ v11
        h4 ^= v4 ^ v12
        h5 ^= v5 ^ v13
        h6 ^= v6 ^ v14
        h7 ^= v7 ^ v15
    hashed: np.uint64 = h0
    return hashed


@inlined
def _put(block: NDArray[np.uint8], size: int, point: np.uint32) -> int:
    """Write a code point in UTF-8, a lone surrogate as its three bytes; return the size then."""
    if point < 0x80:
        block[size] = point
        return size + 1
    if point < 0x800:
        block[size] = 0xC0 | point >> 6
        block[size + 1] = 0x80 | point & 63
        return size + 2
    if point < 0x10000:
        block[size] = 0xE0 | point >> 12
        block[size + 1] = 0x80 | point >> 6 & 63
        block[size + 2] = 0x80 | point & 63
        return size + 3
    block[size] = 0xF0 | point >> 18
    block[size + 1] = 0x80 | point >> 12 & 63
    block[size + 2] = 0x80 | point >> 6 & 63
    block[size + 3] = 0x80 | point & 63
    return size + 4


@allocating
def write(points: NDArray[np.uint32], kinds: NDArray[np.uint8], most: int, block: NDArray[np.uint8]) -> int:
    """Write text in UTF-8 behind the first block, white space as one space between words and none at the ends.

    Parameters
    ----------
    points
        `(n,) uint32`, the code points.
    kinds
        From `characters.tables`.
    most
        Characters written, at most.
    block
        `(room(n, most),) uint8` or longer.

    Returns
    -------
    int
        Where what is written ends: at `BLOCK` where there is nothing but white space.
    """
    size = BLOCK
    written = 0
    space = False
    for i in range(points.size):
        point = points[i]
        if point < 65536 and kinds[point] & 7 == IS_SPACE:
            space = written > 0
            continue
        if space and written < most:
            block[size] = 32
            size += 1
            written += 1
        space = False
        if written >= most:
            break
        size = _put(block, size, point)
        written += 1
    return size


@inlined
def room(points: int, most: int) -> int:
    """Bytes that so many characters may take, in whole blocks with the first."""
    return (4 * min(points, most) // BLOCK + 2) * BLOCK


@allocating
def keyed(block: NDArray[np.uint8], size: int, key: NDArray[np.uint64]) -> np.uint64:
    """BLAKE2b, as above, of what stands in `block[BLOCK : size]`, which has room to the end of its last block."""
    words = block.view(np.uint64)
    for i in range(BLOCK // 8):
        words[i] = key[i] if i < 4 else np.uint64(0)
    for i in range(size, -(-size // BLOCK) * BLOCK):
        block[i] = 0
    return blake2b(words, size)
