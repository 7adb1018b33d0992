"""How the scanner reads and checks eight bytes at a time, as one little-endian 64-bit word."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from siphonwatch.models.common.kernel import kernel

WIDTH = 8
_ONES = 0x0101010101010101
_HIGH, _ALL = np.uint64(_ONES * 0x80), np.uint64(_ONES)
_QUOTES, _BACKSLASHES = np.uint64(_ONES * 0x22), np.uint64(_ONES * 0x5C)
_SPACES, _DELETES = np.uint64(_ONES * 0x20), np.uint64(_ONES * 0x7F)
_ZERO, _LETTER = np.uint64(_ONES * 0x30), np.uint64(_ONES * 0x60)
_OVER_9, _OVER_6, _OVER_0 = np.uint64(_ONES * 0x76), np.uint64(_ONES * 0x79), np.uint64(_ONES * 0x7F)
_LOW_BITS, _NINE = np.uint64(_ONES * 0x0F), np.uint64(9)
_PAIRS, _QUADS, _HALF = np.uint64(0x00FF00FF00FF00FF), np.uint64(0x0000FFFF0000FFFF), np.uint64(0xFFFFFFFF)


@intrinsic
def byte_at(typing_context: Any, buf: Any, p: Any) -> Any:
    """The byte `buf[p]`, which must exist, as an `int64`: unlike an index, `p` is never taken to count from the end."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        return builder.zext(builder.load(builder.gep(array.data, [arguments[1]])), ir.IntType(64))

    return types.int64(buf, types.int64), generate


@intrinsic
def put(typing_context: Any, buf: Any, p: Any, value: Any) -> Any:
    """Write a value, as wide as its type is, to the bytes from `buf[p]` on, which must exist."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> None:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = builder.gep(array.data, [arguments[1]])
        builder.store(arguments[2], builder.bitcast(place, ir.PointerType(arguments[2].type)), align=1)

    return types.void(buf, types.int64, value), generate


@intrinsic
def word_at(typing_context: Any, buf: Any, p: Any) -> Any:
    """The eight bytes from `buf[p]` on; all eight must exist."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = builder.bitcast(builder.gep(array.data, [arguments[1]]), ir.PointerType(ir.IntType(64)))
        return builder.load(place, align=1)

    return types.uint64(buf, types.int64), generate


@intrinsic
def first_byte(typing_context: Any, marks: Any) -> Any:
    """The place, 0 to 7, of the first byte of a word that is not 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        zeros = builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))
        return builder.lshr(zeros, ir.Constant(ir.IntType(64), 3))

    return types.int64(types.uint64), generate


@kernel
def quotes(word: np.uint64) -> np.uint64:
    """Marks of the bytes that are a quote; up to the first one they are exact."""
    x = word ^ _QUOTES
    return (x - _ALL) & ~x & _HIGH


@kernel
def stops(word: np.uint64) -> np.uint64:
    """Marks of the bytes that end a plain text or make it doubtful: quotes, backslashes and what is no printable
    ASCII. Up to the first one they are exact (Mycroft 1987, "determine if a word has a zero byte")."""
    x, y, z = word ^ _QUOTES, word ^ _BACKSLASHES, word ^ _DELETES
    found = ((x - _ALL) & ~x) | ((y - _ALL) & ~y) | ((z - _ALL) & ~z) | ((word - _SPACES) & ~word) | word
    return found & _HIGH


@kernel
def has_space(word: np.uint64) -> bool:
    """Whether any byte is a space."""
    x = word ^ _SPACES
    return bool(((x - _ALL) & ~x & _HIGH) != np.uint64(0))


@kernel
def low_bytes(word: np.uint64, n: int) -> np.uint64:
    """The first `n` bytes, from 1 to 8, and 0 for the others."""
    return word & (np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(64 - 8 * n))


@kernel
def is_hex(word: np.uint64) -> bool:
    """Whether all eight characters are lower-case hexadecimal digits."""
    digit, letter = word ^ _ZERO, word ^ _LETTER
    not_digit = digit + _OVER_9
    not_letter = (letter + _OVER_6) | ~(letter + _OVER_0)
    return bool((((not_digit & not_letter) | digit | letter) & _HIGH) == np.uint64(0))


@kernel
def from_hex(word: np.uint64) -> np.uint64:
    """The 32-bit value of eight hexadecimal digits, the first the most significant."""
    v = (word & _LOW_BITS) + ((word >> np.uint64(6)) & np.uint64(_ONES)) * _NINE
    v = ((v << np.uint64(4)) | (v >> np.uint64(8))) & _PAIRS
    v = ((v << np.uint64(8)) | (v >> np.uint64(16))) & _QUADS
    return ((v << np.uint64(16)) | (v >> np.uint64(32))) & _HALF
