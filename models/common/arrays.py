"""Named arrays to bytes and back, byte for byte; the same arrays always give the same bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt


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
