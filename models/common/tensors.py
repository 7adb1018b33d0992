"""Named arrays in the safetensors format: a header of JSON, then plain numbers. What is read holds data and no code.

It is our own reader and writer of a small published format, so that a worker that takes over a learned support needs no
further package; a test holds it against the `safetensors` package in both directions.

Source: https://huggingface.co/docs/safetensors (format description)
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

DTYPES = {
    "F64": "<f8", "F32": "<f4", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U64": "<u8", "U32": "<u4",
    "U16": "<u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip
"""The format's names of element types, those NumPy has; none of them is an object."""
_NAMES = {np.dtype(dtype): name for name, dtype in DTYPES.items()}
MAX_HEADER = 1 << 20
"""Bytes of a header; the format allows 100 MB, and ours have some 100 a name."""

Tensors = Mapping[str, npt.NDArray[Any]]


class TensorsError(ValueError):
    """Bytes are no safetensors file, or an array has no place in one."""


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


def write_tensors(arrays: Tensors) -> bytes:
    """Serialise arrays by name; the same arrays always give the same bytes.

    Raises
    ------
    TensorsError
        Where an array's elements are no plain numbers.

    Examples
    --------
    >>> arrays = read_tensors(write_tensors({"weights": np.array([1.0, 2.0], np.float32)}))
    >>> arrays["weights"].tolist(), str(arrays["weights"].dtype)
    ([1.0, 2.0], 'float32')
    """
    header: dict[str, Any] = {}
    parts, at = [], 0
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        dtype = array.dtype.newbyteorder("<") if array.dtype.kind in "fiu" else array.dtype
        if dtype not in _NAMES:
            raise TensorsError(f"array {name} has elements of type {array.dtype}: numbers and booleans alone are kept")
        data = np.ascontiguousarray(array, dtype).tobytes()
        header[name] = _Entry(_NAMES[dtype], list(array.shape), (at, at + len(data)))
        parts.append(data)
        at += len(data)
    text = msgspec.json.encode(header)
    text += b" " * (-len(text) % 8)
    return b"".join([struct.pack("<Q", len(text)), text, *parts])


def read_tensors(data: bytes) -> dict[str, npt.NDArray[Any]]:
    """Read arrays by name, checked to lie one behind the other without a gap; they may be changed.

    Raises
    ------
    TensorsError
        Where `data` is anything else.
    """
    if len(data) < 8:
        raise TensorsError("not a safetensors file: it ends within its first 8 bytes")
    (length,) = struct.unpack_from("<Q", data)
    if length > min(MAX_HEADER, len(data) - 8):
        raise TensorsError(f"not a safetensors file: its header should have {length:,} bytes")
    try:
        header = msgspec.json.decode(data[8 : 8 + length], type=dict[str, Any])
        header.pop("__metadata__", None)
        entries = msgspec.convert(header, dict[str, _Entry])
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise TensorsError(f"not a safetensors file: {error}") from None
    arrays, due, body = {}, 0, memoryview(data)[8 + length :]
    for name, entry in sorted(entries.items(), key=lambda item: item[1].data_offsets):
        begin, end = entry.data_offsets
        if entry.dtype not in DTYPES or min(entry.shape, default=0) < 0:
            raise TensorsError(f"array {name} of type {entry.dtype} and shape {entry.shape} cannot be read here")
        dtype = np.dtype(DTYPES[entry.dtype])
        if begin != due or end - begin != math.prod(entry.shape) * dtype.itemsize or end > len(body):
            raise TensorsError(f"array {name} is not where the header says, or not as long")
        try:
            arrays[name] = np.frombuffer(body[begin:end], dtype).reshape(entry.shape).copy()
        except ValueError as error:  # of no elements, but of a dimension or more dimensions than NumPy has
            raise TensorsError(f"array {name} of shape {entry.shape} cannot be read here: {error}") from None
        due = end
    if due != len(body):
        raise TensorsError(f"{len(body) - due:,} bytes follow the last array")
    return arrays
