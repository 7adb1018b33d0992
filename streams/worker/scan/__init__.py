"""The compiled scanner of telemetry JSON: one pass over a batch's bytes into request records.

It accepts a record only where it is certain to read it as `telemetry.decode` does; whatever it doubts (escapes,
non-ASCII, exponents, nested unknown fields, anything malformed) it leaves alone.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from siphonwatch.models.account import request as rq
from siphonwatch.models.common.kernel import kernel
from siphonwatch.streams.contracts.sealed import WORDS
from siphonwatch.streams.worker.scan.tables import (
    ACCOUNT,
    BOOL,
    CHUNKS,
    CLOSE,
    COLON,
    COMMA,
    COUNT,
    DURATION,
    HASH,
    ID,
    ITEM,
    KIND,
    LABEL,
    LIST,
    MASKS,
    OPEN,
    QUOTE,
    REAL,
    SEALED,
    TIME,
    UNLIST,
    VERSION,
    Bytes,
    Tables,
    make_tables,
)
from siphonwatch.streams.worker.scan.tokens import read_field, read_integer, read_real, read_text, skip, space
from siphonwatch.streams.worker.scan.words import byte_at, from_hex, has_space, is_hex, low_bytes, put, word_at

__all__ = ["make_tables", "scan", "unpack"]


MISSING = np.float32(np.nan)
NULL, TRUE, FALSE, LLM, REST = (
    np.uint64(int.from_bytes(text, "little")) for text in (b"null", b"true", b"false", b"llm", b"rest")
)
PAD = 61
SEALED_DIGITS = WORDS * 32 // 3
_ACCOUNT_HASH = rq.REQUEST.fields["account_hash"][1]  # type: ignore[index]


@kernel
def hash_text(buf: Bytes, p: int, end: int) -> np.uint64:
    """`siphonwatch.models.account.request.fnv1a` of `buf[p:end]`."""
    h = rq.FNV_OFFSET
    while p < end:
        h = (h ^ np.uint64(byte_at(buf, p))) * rq.FNV_PRIME
        p += 1
    return h if h != np.uint64(0) else np.uint64(1)


@kernel
def three_bytes(buf: Bytes, p: int, base64: npt.NDArray[np.int32]) -> np.int32:
    """The three bytes that four base64 digits stand for, the first the lowest; negative where one is no digit."""
    return np.int32(
        base64[0, byte_at(buf, p)]
        | base64[1, byte_at(buf, p + 1)]
        | base64[2, byte_at(buf, p + 2)]
        | base64[3, byte_at(buf, p + 3)]
    )


@kernel
def _scan(buf: Bytes, p: int, end: int, out: Bytes, base: int, tables: Tables, name_bytes: int) -> int:
    """Read the object in `buf[p:end]` into the record at `out[base]`; -1 in doubt, else where it has its sealed parts,
    of which nothing is known but that they are a plain string of so many characters; 0 where there are none."""
    sealed = 0
    seen, before = 0, len(tables.kind)
    p = space(buf, p, end)
    if p >= end or byte_at(buf, p) != OPEN:
        return -1
    p = space(buf, p + 1, end)
    while True:
        if p >= end or byte_at(buf, p) != QUOTE:
            return -1
        row, p = read_field(buf, p + 1, end, tables.after[before], tables)
        if p < 0:
            return -1
        p = space(buf, p, end)
        if p >= end or byte_at(buf, p) != COLON:
            return -1
        p = space(buf, p + 1, end)
        if p >= end:
            return -1

        if row < 0:
            p = skip(buf, p, end)
            if p < 0:
                return -1
        else:
            tables.after[before] = row
            before = row
            kind, at, low, high = tables.kind[row], base + tables.offset[row], tables.low[row], tables.high[row]
            if kind == HASH:
                if byte_at(buf, p) != QUOTE or p + 1 >= end:
                    return -1
                p += 1
                value = np.uint64(0)
                if byte_at(buf, p) != QUOTE:
                    if p + 16 >= end or byte_at(buf, p + 16) != QUOTE:
                        return -1
                    high_word, low_word = word_at(buf, p), word_at(buf, p + 8)
                    if not (is_hex(high_word) and is_hex(low_word)):
                        return -1
                    value = (from_hex(high_word) << np.uint64(32)) | from_hex(low_word)
                    p += 16
                put(out, at, value)
                p += 1
            elif kind == COUNT or kind == ITEM or kind == VERSION:
                number, q = read_integer(buf, p, end)
                if q < 0:
                    return -1
                if kind == VERSION:
                    if number != 1 and number != 2:
                        return -1
                elif number < low or number > high:
                    return -1
                elif kind == ITEM:
                    put(out, at, number)
                else:
                    put(out, at, np.int32(number))
                p = q
            elif kind == TIME or kind == DURATION or kind == REAL:
                if kind == REAL and p + 4 <= end and low_bytes(word_at(buf, p), 4) == NULL:
                    put(out, at, MISSING)
                    p += 4
                else:
                    real, q = read_real(buf, p, end, tables.powers)
                    if q < 0:
                        return -1
                    if kind == TIME:
                        if real < 0.0 or real > 17179869184.0:
                            return -1
                        put(out, at, real)
                        seen |= 2
                    else:
                        if kind == DURATION and (real < 0.0 or real > 1e7):
                            return -1
                        put(out, at, np.float32(real))
                    p = q
            elif kind == BOOL:
                word = word_at(buf, p)
                if p + 4 <= end and low_bytes(word, 4) == TRUE:
                    put(out, at, np.int32(1))
                    p += 4
                elif p + 5 <= end and low_bytes(word, 5) == FALSE:
                    put(out, at, np.int32(0))
                    p += 5
                else:
                    return -1
            elif kind == MASKS:
                if byte_at(buf, p) != LIST:
                    return -1
                for j in range(rq.MASKS):
                    put(out, at + 4 * j, np.int32(0))
                p = space(buf, p + 1, end)
                j = 0
                while p < end and byte_at(buf, p) != UNLIST:
                    number, q = read_integer(buf, p, end)
                    if q < 0 or j >= rq.MASKS or number < 0 or number > 2147483647:
                        return -1
                    put(out, at + 4 * j, np.int32(number))
                    j += 1
                    p = space(buf, q, end)
                    if p < end and byte_at(buf, p) == COMMA:
                        p = space(buf, p + 1, end)
                        if p >= end or byte_at(buf, p) == UNLIST:
                            return -1
                    elif p >= end or byte_at(buf, p) != UNLIST:
                        return -1
                if p >= end:
                    return -1
                p += 1
            else:  # the remaining kinds are texts
                if byte_at(buf, p) != QUOTE:
                    return -1
                p += 1
                q = read_text(buf, p, end)
                if q < 0:
                    return -1
                size = q - p
                if kind == LABEL:
                    if size > high:
                        return -1
                    put(out, at, hash_text(buf, p, q) if size else np.uint64(0))
                elif kind == ACCOUNT or kind == ID:
                    if size == 0 or size > high:
                        return -1
                    kept = min(size, name_bytes)
                    for j in range(0, name_bytes, 8):
                        word = np.uint64(0)
                        if j < kept:
                            word = low_bytes(word_at(buf, p + j), min(kept - j, 8))
                            if kind == ACCOUNT and has_space(word):
                                return -1
                        put(out, at + j, word)
                    if kind == ACCOUNT:
                        put(out, base + _ACCOUNT_HASH, rq.mix(hash_text(buf, p, q)))
                        seen |= 4
                    else:
                        seen |= 1
                elif kind == KIND:
                    word = word_at(buf, p)
                    if size == 3 and low_bytes(word, 3) == LLM:
                        put(out, at, np.int32(0))
                    elif size == 4 and low_bytes(word, 4) == REST:
                        put(out, at, np.int32(1))
                    else:
                        return -1
                elif kind == CHUNKS:
                    if size % 8 != 0 or size > 8 * high:
                        return -1
                    bad = np.int32(0)
                    for j in range(high):
                        first = second = 0
                        if 8 * j < size:
                            first = int(three_bytes(buf, p + 8 * j, tables.base64))
                            second = int(three_bytes(buf, p + 8 * j + 4, tables.base64))
                            bad |= np.int32(first | second)
                        put(out, at + 4 * j, np.uint32((first | second << 24) & 0xFFFFFFFF))
                        put(out, at + low + 2 * j, np.uint16(second >> 8 & 0xFFFF))
                    if bad < 0:
                        return -1
                elif kind == SEALED:
                    if size % 32 != 0 or size > SEALED_DIGITS:
                        return -1
                    sealed = p if size else 0
                else:  # PROJECTION
                    if size == 0:
                        for j in range(0, 32, 8):
                            put(out, at + j, np.uint64(0))
                    elif size != 44 or byte_at(buf, p + 43) != PAD:
                        return -1
                    else:
                        bad = np.int32(0)
                        for group in range(10):
                            triple = np.int32(three_bytes(buf, p + group * 4, tables.base64))
                            bad |= triple
                            put(out, at + group * 3, triple)
                        last = (
                            tables.base64[0, byte_at(buf, p + 40)]
                            | tables.base64[1, byte_at(buf, p + 41)]
                            | tables.base64[2, byte_at(buf, p + 42)]
                        )
                        if (bad | last) < 0:
                            return -1
                        put(out, at + 30, np.int16(last))
                p = q + 1

        p = space(buf, p, end)
        if p >= end:
            return -1
        c = byte_at(buf, p)
        if c == COMMA:
            p = space(buf, p + 1, end)
        elif c == CLOSE:
            return sealed if seen == 7 and space(buf, p + 1, end) == end else -1
        else:
            return -1


@kernel
def scan(
    buf: Bytes,
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    tables: Tables,
    out: Bytes,
    blank: npt.NDArray[np.uint64],
    found: npt.NDArray[np.int64],
) -> None:
    """Read each object in `buf[starts[i]:ends[i]]` into record `i` of `out`.

    `found[i]` becomes -1 where that is not certain, else where its sealed parts begin in `buf`, 0 where it has none.
    `blank` is a record of defaults as words; 16 bytes behind the last object must be readable.
    """
    for i in range(len(starts)):
        base = i * len(blank) * 8
        for j in range(len(blank)):
            put(out, base + 8 * j, blank[j])
        found[i] = _scan(buf, starts[i], ends[i], out, base, tables, rq.NAME_BYTES)


@kernel
def unpack(
    buf: Bytes,
    found: npt.NDArray[np.int64],
    base64: npt.NDArray[np.int32],
    sealed: Bytes,
    lengths: npt.NDArray[np.int64],
) -> None:
    """Write what the sealed parts that `scan` found stand for to `sealed[8 * WORDS * i]`, and to `lengths[i]` how many
    bytes that is; `found[i]` becomes -1 where they are no base64."""
    for i in range(len(found)):
        p, at, bad = found[i], 8 * WORDS * i, np.int32(0)
        if p > 0:
            while byte_at(buf, p) != QUOTE:
                triple = three_bytes(buf, p, base64)
                bad |= triple
                put(sealed, at, triple)
                p += 4
                at += 3
            if bad < 0:
                found[i] = -1
            else:
                lengths[i] = at - 8 * WORDS * i
