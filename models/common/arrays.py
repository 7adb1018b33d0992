"""Named arrays to bytes and back, byte for byte; the same arrays always give the same bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

OTHER = "it was written by another version"


class _Packed(msgspec.Struct, array_like=True):
    descr: object
    shape: tuple[int, ...]
    data: bytes


def pack(arrays: Mapping[str, npt.NDArray[np.generic] | bytes]) -> bytes:
    """Serialise arrays (structured ones too) and plain bytes by name."""
    packed = {}
    for name in sorted(arrays):
        value = arrays[name]
        array = np.frombuffer(value, np.uint8) if isinstance(value, bytes) else value
        descr = "bytes" if isinstance(value, bytes) else np.lib.format.dtype_to_descr(array.dtype)
        packed[name] = _Packed(descr, array.shape, np.ascontiguousarray(array).tobytes())
    return msgspec.msgpack.encode(packed)


def unpack(data: bytes) -> dict[str, npt.NDArray[np.generic] | bytes]:
    """Read what `pack` wrote; the arrays may be changed.

    Raises
    ------
    ValueError
        Where `data` is something else.
    """
    out: dict[str, npt.NDArray[np.generic] | bytes] = {}
    try:
        packed = msgspec.msgpack.decode(data, type=dict[str, _Packed])
        for name, item in packed.items():
            if item.descr == "bytes":
                out[name] = item.data
            else:
                dtype = np.lib.format.descr_to_dtype(_as_descr(item.descr))
                out[name] = np.frombuffer(item.data, dtype).reshape(item.shape).copy()
    except (msgspec.DecodeError, TypeError, ValueError) as error:
        raise ValueError(f"not packed arrays: {error}") from None
    return out


def _as_descr(descr: Any) -> Any:
    """A dtype's description as NumPy wants it: MessagePack made its tuples lists."""
    if isinstance(descr, list):
        fields = []
        for field in descr:
            name, kind, *shape = field
            fields.append((name, _as_descr(kind), *(tuple(s) for s in shape)))
        return fields
    return descr


Parts = Mapping[str, npt.NDArray[Any] | bytes]
"""A snapshot: what something keeps, by name. `snapshot()` gives one, `restore(parts)` takes it over."""


def under(prefix: str, parts: Parts) -> dict[str, npt.NDArray[Any] | bytes]:
    """Return a snapshot with each name below `prefix`.

    Examples
    --------
    >>> under("clock", {"now": b"7"})
    {'clock.now': b'7'}
    """
    return {f"{prefix}.{name}": part for name, part in parts.items()}


def below(prefix: str, parts: Parts) -> dict[str, npt.NDArray[Any] | bytes]:
    """Return the snapshot that was put below `prefix`.

    Examples
    --------
    >>> below("clock", {"clock.now": b"7", "cases": b""})
    {'now': b'7'}
    """
    return {name[len(prefix) + 1 :]: part for name, part in parts.items() if name.startswith(f"{prefix}.")}


def as_bytes(parts: Parts, name: str) -> bytes:
    """Return a part of plain bytes.

    Raises
    ------
    ValueError
        Where it is missing or an array.
    """
    part = _part(parts, name)
    if not isinstance(part, bytes):
        raise ValueError(f"state part {name!r} is an array, expected bytes: {OTHER}")
    return part


def as_array(parts: Parts, name: str) -> npt.NDArray[Any]:
    """Return a part that is an array of any shape.

    Raises
    ------
    ValueError
        Where it is missing or bytes.
    """
    part = _part(parts, name)
    if isinstance(part, bytes):
        raise ValueError(f"state part {name!r} is bytes, expected an array: {OTHER}")
    return part


def like(parts: Parts, name: str, expected: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a copy of a part that is an array of the dtype and shape of the expected one.

    Its dtype is the expected one's, alignment included: compiled code takes a record that is aligned and one that is
    not for different types, and would be compiled for both.

    Raises
    ------
    ValueError
        Where it is anything else, or missing.
    """
    part = _part(parts, name)
    found = "bytes" if isinstance(part, bytes) else f"{part.dtype}{part.shape}"
    if isinstance(part, bytes) or (part.dtype, part.shape) != (expected.dtype, expected.shape):
        raise ValueError(f"state part {name!r} is {found}, expected {expected.dtype}{expected.shape}: {OTHER}")
    copied = np.empty_like(expected)
    copied[...] = part
    return copied


def _part(parts: Parts, name: str) -> npt.NDArray[Any] | bytes:
    if name not in parts:
        raise ValueError(f"state part {name!r} is missing, expected there: {OTHER}")
    return parts[name]
