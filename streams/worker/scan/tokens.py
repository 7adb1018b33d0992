"""The tokens of JSON: white space, texts, numbers, field names. Each function returns where its token ends, or that it
is not sure."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from siphonwatch.models.common.kernel import inlined, kernel
from siphonwatch.streams.worker.scan.tables import DOT, MINUS, NAME_BITS, OTHER, QUOTE, Bytes, Tables
from siphonwatch.streams.worker.scan.words import WIDTH, byte_at, first_byte, quotes, stops, word_at


@kernel
def space(buf: Bytes, p: int, end: int) -> int:
    """The next place that is not white space."""
    while p < end:
        c = byte_at(buf, p)
        if c > 32 or not (c == 32 or c == 10 or c == 13 or c == 9):
            break
        p += 1
    return p


@kernel
def read_text(buf: Bytes, p: int, end: int) -> int:
    """The closing quote of the plain ASCII string whose first character is at `p`; -1 if it is not plain."""
    while p < end:
        marks = stops(word_at(buf, p))
        if marks == np.uint64(0):
            p += WIDTH
            continue
        p += first_byte(marks)
        return p if p < end and byte_at(buf, p) == QUOTE else -1
    return -1


@kernel
def read_integer(buf: Bytes, p: int, end: int) -> tuple[Any, int]:
    """(value, place after it) of an integer of up to 18 digits; place -1 if it is anything else."""
    negative = p < end and byte_at(buf, p) == MINUS
    if negative:
        p += 1
    first = p
    value = np.int64(0)
    while p < end and 48 <= byte_at(buf, p) <= 57:
        value = value * 10 + (byte_at(buf, p) - 48)
        p += 1
        if p - first > 18:
            return value, -1
    if p == first or (byte_at(buf, first) == 48 and p - first > 1):
        return value, -1
    if p < end and (byte_at(buf, p) == DOT or byte_at(buf, p) == 101 or byte_at(buf, p) == 69):
        return value, -1
    return (-value if negative else value), p


@kernel
def read_real(buf: Bytes, p: int, end: int, powers: npt.NDArray[np.float64]) -> tuple[float, int]:
    """(value, place after it) of a decimal, correctly rounded (Clinger's fast path); place -1 in doubt."""
    negative = p < end and byte_at(buf, p) == MINUS
    if negative:
        p += 1
    first, value, point = p, np.int64(0), -1
    while p < end:
        c = byte_at(buf, p)
        if 48 <= c <= 57:
            value = value * 10 + (c - 48)
            if value > 9007199254740992:
                return 0.0, -1
        elif c == DOT and point < 0:
            point = p
        else:
            break
        p += 1
    if p < end and (byte_at(buf, p) == 101 or byte_at(buf, p) == 69):
        return 0.0, -1
    whole = (point if point >= 0 else p) - first
    decimals = p - point - 1 if point >= 0 else 0
    if whole == 0 or (byte_at(buf, first) == 48 and whole > 1) or (point >= 0 and decimals == 0) or decimals > 22:
        return 0.0, -1
    real = float(value) / powers[decimals]
    # The integer -0 is 0, the decimal -0.0 is not.
    return (-real if negative and (point >= 0 or value > 0) else real), p


@kernel
def skip(buf: Bytes, p: int, end: int) -> int:
    """The place after the value of an unknown field; -1 in doubt. Only flat scalars and plain strings are certain."""
    if p < end and byte_at(buf, p) == QUOTE:
        q = read_text(buf, p + 1, end)
        return q + 1 if q >= 0 else -1
    place: int = read_integer(buf, p, end)[1]
    return place


@kernel
def name_slot(first: np.uint64, second: np.uint64, spread: np.uint64) -> np.int64:
    """The place, in `Tables.rows`, of a name whose words, with its closing quote and 0 behind, are these."""
    return np.int64(((first ^ (second * OTHER)) * spread) >> np.uint64(64 - NAME_BITS))


@inlined
def _is_name(first: np.uint64, second: np.uint64, row: int, tables: Tables) -> bool:
    """Whether two words begin with the name of a row and its closing quote; never so for the row behind the last."""
    return bool(
        (first & tables.masks[row, 0]) == tables.words[row, 0]
        and (second & tables.masks[row, 1]) == tables.words[row, 1]
    )


@inlined
def read_field(buf: Bytes, p: int, end: int, guess: int, tables: Tables) -> tuple[int, int]:
    """(row, place after the closing quote) of the field name at `p`; row -1 if it is unknown, place -1 in doubt.

    The row `guess` is tried first.
    """
    first, second = word_at(buf, p), word_at(buf, p + WIDTH)
    row = int(guess)
    if not _is_name(first, second, row, tables):
        marks = quotes(first)
        if marks != np.uint64(0):
            marks ^= marks - np.uint64(1)
            first, second = first & marks, np.uint64(0)
        else:
            marks = quotes(second)
            second &= marks ^ (marks - np.uint64(1))
        row = int(tables.rows[name_slot(first, second, tables.spread)])
        if not _is_name(first, second, row, tables):
            q = read_text(buf, p, end)
            return -1, (q + 1 if q >= 0 else -1)
    q = p + int(tables.sizes[row])
    return row, (q if q <= end else -1)
