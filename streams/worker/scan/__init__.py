"""The compiled scanner of telemetry JSON: one pass over a batch's bytes into request records.

It accepts a record only where it is certain to read it as `telemetry.decode` does; whatever it doubts (escapes,
non-ASCII, exponents, nested unknown fields, anything malformed) it leaves alone.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from siphonwatch.models.account import request as rq
from siphonwatch.models.common.kernel import kernel
from siphonwatch.streams.worker.scan.tables import (
    ACCOUNT,
    BOOL,
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
    TIME,
    UNLIST,
    VERSION,
    Bytes,
    Tables,
    Views,
    make_tables,
    views,
)
from siphonwatch.streams.worker.scan.tokens import read_field, read_integer, read_real, read_text, skip, space
from siphonwatch.streams.worker.scan.words import from_hex, is_hex, word_at

__all__ = ["make_tables", "scan", "views"]


@kernel
def _scan(buf: Bytes, p: int, end: int, i: int, tables: Tables, views: Views, name_bytes: int) -> bool:
    """Read the object in `buf[p:end]` into record `i`; False in doubt."""
    seen, guess = 0, 0
    p = space(buf, p, end)
    if p >= end or buf[p] != OPEN:
        return False
    p = space(buf, p + 1, end)
    while True:
        if p >= end or buf[p] != QUOTE:
            return False
        row, p = read_field(buf, p + 1, end, guess, tables)
        if p < 0:
            return False
        guess = row + 1
        p = space(buf, p, end)
        if p >= end or buf[p] != COLON:
            return False
        p = space(buf, p + 1, end)
        if p >= end:
            return False

        if row < 0:
            p = skip(buf, p, end)
            if p < 0:
                return False
        else:
            kind, at, low, high = tables.kind[row], tables.offset[row], tables.low[row], tables.high[row]
            if kind == HASH:
                if buf[p] != QUOTE or p + 1 >= end:
                    return False
                p += 1
                value = np.uint64(0)
                if buf[p] != QUOTE:
                    if p + 16 >= end or buf[p + 16] != QUOTE:
                        return False
                    high_word, low_word = word_at(buf, p), word_at(buf, p + 8)
                    if not (is_hex(high_word) and is_hex(low_word)):
                        return False
                    value = (from_hex(high_word) << np.uint64(32)) | from_hex(low_word)
                    p += 16
                views.hashes[i, at] = value
                p += 1
            elif kind == COUNT or kind == ITEM or kind == VERSION:
                number, q = read_integer(buf, p, end)
                if q < 0:
                    return False
                if kind == VERSION:
                    if number != 1:
                        return False
                elif number < low or number > high:
                    return False
                elif kind == ITEM:
                    views.longs[i, at] = number
                else:
                    views.ints[i, at] = number
                p = q
            elif kind == TIME or kind == DURATION or kind == REAL:
                if (
                    kind == REAL
                    and p + 4 <= end
                    and buf[p] == 110
                    and buf[p + 1] == 117
                    and buf[p + 2] == 108
                    and buf[p + 3] == 108
                ):
                    views.reals[i, at] = np.nan
                    p += 4
                else:
                    real, q = read_real(buf, p, end, tables.powers)
                    if q < 0:
                        return False
                    if kind == TIME:
                        if real < 0.0 or real > 17179869184.0:
                            return False
                        views.times[i, at] = real
                        seen |= 2
                    else:
                        if kind == DURATION and (real < 0.0 or real > 1e7):
                            return False
                        views.reals[i, at] = np.float32(real)
                    p = q
            elif kind == BOOL:
                if p + 4 <= end and buf[p] == 116 and buf[p + 1] == 114 and buf[p + 2] == 117 and buf[p + 3] == 101:
                    views.ints[i, at] = 1
                    p += 4
                elif (
                    p + 5 <= end
                    and buf[p] == 102
                    and buf[p + 1] == 97
                    and buf[p + 2] == 108
                    and buf[p + 3] == 115
                    and buf[p + 4] == 101
                ):
                    views.ints[i, at] = 0
                    p += 5
                else:
                    return False
            elif kind == MASKS:
                if buf[p] != LIST:
                    return False
                for j in range(rq.MASKS):
                    views.ints[i, at + j] = 0
                p = space(buf, p + 1, end)
                j = 0
                while p < end and buf[p] != UNLIST:
                    number, q = read_integer(buf, p, end)
                    if q < 0 or j >= rq.MASKS or number < 0 or number > 2147483647:
                        return False
                    views.ints[i, at + j] = number
                    j += 1
                    p = space(buf, q, end)
                    if p < end and buf[p] == COMMA:
                        p = space(buf, p + 1, end)
                        if p >= end or buf[p] == UNLIST:
                            return False
                    elif p >= end or buf[p] != UNLIST:
                        return False
                if p >= end:
                    return False
                p += 1
            else:  # the remaining kinds are texts
                if buf[p] != QUOTE:
                    return False
                p += 1
                q = read_text(buf, p, end)
                if q < 0:
                    return False
                size = q - p
                if kind == LABEL:
                    if size > high:
                        return False
                    views.hashes[i, at] = rq.fnv1a(buf, p, q) if size else np.uint64(0)
                elif kind == ACCOUNT or kind == ID:
                    if size == 0 or size > high:
                        return False
                    kept = min(size, name_bytes)
                    for j in range(kept):
                        if kind == ACCOUNT and buf[p + j] == 32:
                            return False
                        views.octets[i, at + j] = buf[p + j]
                    for j in range(kept, name_bytes):
                        views.octets[i, at + j] = 0
                    if kind == ACCOUNT:
                        views.hashes[i, 2] = rq.mix(rq.fnv1a(buf, p, q))
                        seen |= 4
                    else:
                        seen |= 1
                elif kind == KIND:
                    if size == 3 and buf[p] == 108 and buf[p + 1] == 108 and buf[p + 2] == 109:
                        views.ints[i, at] = 0
                    elif size == 4 and buf[p] == 114 and buf[p + 1] == 101 and buf[p + 2] == 115 and buf[p + 3] == 116:
                        views.ints[i, at] = 1
                    else:
                        return False
                else:  # PROJECTION
                    if size == 0:
                        for j in range(32):
                            views.octets[i, at + j] = 0
                    elif size != 44 or buf[p + 43] != 61:
                        return False
                    else:
                        for group in range(11):
                            bits = np.int64(0)
                            for j in range(4):
                                c = buf[p + group * 4 + j]
                                digit = np.int64(tables.base64[c])
                                if digit < 0:
                                    if group == 10 and j == 3:
                                        digit = np.int64(0)
                                    else:
                                        return False
                                bits = (bits << 6) | digit
                            views.octets[i, at + group * 3] = (bits >> 16) & 255
                            views.octets[i, at + group * 3 + 1] = (bits >> 8) & 255
                            if group < 10:
                                views.octets[i, at + group * 3 + 2] = bits & 255
                p = q + 1

        p = space(buf, p, end)
        if p >= end:
            return False
        if buf[p] == COMMA:
            p = space(buf, p + 1, end)
        elif buf[p] == CLOSE:
            return seen == 7 and space(buf, p + 1, end) == end
        else:
            return False


@kernel
def scan(
    buf: Bytes,
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    tables: Tables,
    views: Views,
    blank: npt.NDArray[np.uint64],
    certain: npt.NDArray[np.bool_],
) -> None:
    """Read each object in `buf[starts[i]:ends[i]]` into record `i`; `certain[i]` says whether it did.

    `blank` is a record of defaults as words; 16 bytes behind the last object must be readable.
    """
    for i in range(len(starts)):
        for j in range(len(blank)):
            views.hashes[i, j] = blank[j]
        certain[i] = _scan(buf, starts[i], ends[i], i, tables, views, rq.NAME_BYTES)
