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
_HIGH = np.uint64(_ONES * 0x80)
_ZERO, _LETTER = np.uint64(_ONES * 0x30), np.uint64(_ONES * 0x60)
_OVER_9, _OVER_6, _OVER_0 = np.uint64(_ONES * 0x76), np.uint64(_ONES * 0x79), np.uint64(_ONES * 0x7F)
_LOW_BITS, _NINE = np.uint64(_ONES * 0x0F), np.uint64(9)
_PAIRS, _QUADS, _HALF = np.uint64(0x00FF00FF00FF00FF), np.uint64(0x0000FFFF0000FFFF), np.uint64(0xFFFFFFFF)


@intrinsic
def word_at(typing_context: Any, buf: Any, p: Any) -> Any:
    """The eight bytes from `buf[p]` on; all eight must exist."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = builder.bitcast(builder.gep(array.data, [arguments[1]]), ir.PointerType(ir.IntType(64)))
        return builder.load(place, align=1)

    return types.uint64(buf, types.int64), generate


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
