"""The tokens of JSON: white space, texts, numbers, field names. Each function returns where its token ends, or that it
is not sure."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from siphonwatch.models.account import request as rq
from siphonwatch.models.common.kernel import kernel
from siphonwatch.streams.worker.scan.tables import BACKSLASH, DOT, MINUS, QUOTE, Bytes, Tables
from siphonwatch.streams.worker.scan.words import word_at


@kernel
def space(buf: Bytes, p: int, end: int) -> int:
    """The next place that is not white space."""
    while p < end and (buf[p] == 32 or buf[p] == 10 or buf[p] == 13 or buf[p] == 9):
        p += 1
    return p


@kernel
def read_text(buf: Bytes, p: int, end: int) -> int:
    """The closing quote of the plain ASCII string whose first character is at `p`; -1 if it is not plain."""
    while p < end:
        c = buf[p]
        if c == QUOTE:
            return p
        if c < 32 or c > 126 or c == BACKSLASH:
            return -1
        p += 1
    return -1


@kernel
def read_integer(buf: Bytes, p: int, end: int) -> tuple[Any, int]:
    """(value, place after it) of an integer of up to 18 digits; place -1 if it is anything else."""
    negative = p < end and buf[p] == MINUS
    if negative:
        p += 1
    first = p
    value = np.int64(0)
    while p < end and 48 <= buf[p] <= 57:
        value = value * 10 + (np.int64(buf[p]) - 48)
        p += 1
        if p - first > 18:
            return value, -1
    if p == first or (buf[first] == 48 and p - first > 1):
        return value, -1
    if p < end and (buf[p] == DOT or buf[p] == 101 or buf[p] == 69):
        return value, -1
    return (-value if negative else value), p


@kernel
def read_real(buf: Bytes, p: int, end: int, powers: npt.NDArray[np.float64]) -> tuple[float, int]:
    """(value, place after it) of a decimal, correctly rounded (Clinger's fast path); place -1 in doubt."""
    negative = p < end and buf[p] == MINUS
    if negative:
        p += 1
    first, value, point = p, np.int64(0), -1
    while p < end:
        c = buf[p]
        if 48 <= c <= 57:
            value = value * 10 + (np.int64(c) - 48)
            if value > 9007199254740992:
                return 0.0, -1
        elif c == DOT and point < 0:
            point = p
        else:
            break
        p += 1
    if p < end and (buf[p] == 101 or buf[p] == 69):
        return 0.0, -1
    whole = (point if point >= 0 else p) - first
    decimals = p - point - 1 if point >= 0 else 0
    if whole == 0 or (buf[first] == 48 and whole > 1) or (point >= 0 and decimals == 0) or decimals > 22:
        return 0.0, -1
    real = float(value) / powers[decimals]
    # The integer -0 is 0, the decimal -0.0 is not.
    return (-real if negative and (point >= 0 or value > 0) else real), p


@kernel
def skip(buf: Bytes, p: int, end: int) -> int:
    """The place after the value of an unknown field; -1 in doubt. Only flat scalars and plain strings are certain."""
    if p < end and buf[p] == QUOTE:
        q = read_text(buf, p + 1, end)
        return q + 1 if q >= 0 else -1
    place: int = read_integer(buf, p, end)[1]
    return place


@kernel
def read_field(buf: Bytes, p: int, end: int, guess: int, tables: Tables) -> tuple[int, int]:
    """(row, place after the closing quote) of the field name at `p`; row -1 if it is unknown, place -1 in doubt.

    Our own encoder writes the fields in order, so the one after the last is tried first.
    """
    if guess < len(tables.kind):
        size = tables.starts[guess + 1] - tables.starts[guess]
        if p + size < end and buf[p + size] == QUOTE:
            first, second = word_at(buf, p) & tables.masks[guess, 0], word_at(buf, p + 8) & tables.masks[guess, 1]
            if first == tables.words[guess, 0] and second == tables.words[guess, 1]:
                return guess, p + size + 1
    begin, h = p, rq.FNV_OFFSET
    while p < end and buf[p] != QUOTE:
        c = buf[p]
        if c == BACKSLASH or c < 32 or c > 126:
            return -1, -1
        h = (h ^ np.uint64(c)) * rq.FNV_PRIME
        p += 1
    slot = np.int64(h % np.uint64(len(tables.names)))
    while tables.rows[slot] >= 0 and tables.names[slot] != h:
        slot = (slot + 1) % len(tables.names)
    row = tables.rows[slot]
    if row >= 0:  # another name may have the same hash
        start = tables.starts[row]
        same = tables.starts[row + 1] - start == p - begin
        for j in range(begin, p if same else begin):
            same &= buf[j] == tables.text[start + j - begin]
        if not same:
            row = -1
    return row, p + 1
