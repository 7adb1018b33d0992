"""Records declared as tables, a line a field: its name, kind, unit and meaning. Layout, bytes and identity follow."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

SPARE = "spare"
"""Bytes that fill a record up to its alignment, always 0: without padding equal records are equal bytes."""


class Field(NamedTuple):
    """One field of a record."""

    name: str
    kind: str | tuple[Field, ...]
    """A scalar as numpy spells it, or the fields of a record in the record."""
    unit: str
    meaning: str
    shape: tuple[int, ...] = ()
    over: tuple[str, ...] = ()
    """Fields, neighbours in the table, whose bytes this one names once more; it adds none. Empty for one of its own."""


def record(fields: Sequence[Field], size: int = 0) -> np.dtype[np.void]:
    """Return the layout of a record: its fields in the table's order, those of 8 bytes first, then of 4, 2 and 1.

    Parameters
    ----------
    size
        Bytes of the record, where others share them and it names only some; as many as it needs by default.

    Raises
    ------
    ValueError
        Where a field lies over others that are no neighbours or have another size, or `size` is too small.

    Examples
    --------
    >>> table = (Field("mark", "u1", "", "a mark"), Field("time", "f8", "s", "a time"))
    >>> record(table).names, record(table).itemsize
    (('time', 'mark', 'spare'), 16)
    """
    own = {f.name: np.dtype((_kind(f), f.shape)) for f in fields if not f.over}
    order = sorted(own, key=lambda name: -_align(own[name]))
    offsets, at = {}, 0
    for name in order:
        offsets[name] = at
        at += own[name].itemsize
    whole = max(at + -at % max(map(_align, own.values())), size)
    if size and whole != size:
        raise ValueError(f"a record of {whole} bytes does not fit into {size}: {', '.join(order)}")
    if not size and whole > at:
        own[SPARE], offsets[SPARE] = np.dtype(("u1", (whole - at,))), at
    for field in fields:
        if field.over:
            spans = sorted((offsets[name], own[name].itemsize) for name in field.over)
            start, end = spans[0][0], sum(spans[-1])
            if sum(length for _, length in spans) != end - start:
                raise ValueError(f"{field.name} lies over {', '.join(field.over)}, which are no neighbours")
            own[field.name] = np.dtype((_kind(field, (end - start) // math.prod(field.shape)), field.shape))
            offsets[field.name] = start
            if own[field.name].itemsize != end - start:
                raise ValueError(
                    f"{field.name} takes {own[field.name].itemsize} bytes, not the {end - start} it shares"
                )
    names = sorted(own, key=offsets.__getitem__)
    formats, starts = [own[name] for name in names], [offsets[name] for name in names]
    return np.dtype({"names": names, "formats": formats, "offsets": starts, "itemsize": whole}, align=True)


def raw(records: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
    """Return records, of any shape, as plain bytes in the same memory: a copy of these is a copy of memory.

    Records numpy copies field by field, which took 5 times as long for rows of accounts.
    """
    return records.view(np.dtype((np.void, records.dtype.itemsize)))


def sizes(fields: Sequence[Field]) -> dict[str, int]:
    """Return the bytes of each field that has its own, those that fill the record up as well."""
    layout = record(fields)
    own = [field.name for field in fields if not field.over]
    return {name: layout[name].itemsize for name in [*own, SPARE] if name in (layout.names or ())}


def identity(fields: Sequence[Field], *also: object) -> str:
    """Return 12 hexadecimal digits that stand for what each byte of a record means.

    Names, kinds, units and their order count, and the representation of what is `also` given; the wording of a meaning
    may change.
    """
    return hashlib.blake2b(repr((_said(fields), also)).encode(), digest_size=6).hexdigest()


def _said(fields: Sequence[Field]) -> list[tuple[Any, ...]]:
    return [(f.name, f.kind if isinstance(f.kind, str) else _said(f.kind), f.unit, f.shape, f.over) for f in fields]


def _kind(field: Field, size: int = 0) -> np.dtype[Any]:
    return np.dtype(field.kind) if isinstance(field.kind, str) else record(field.kind, size)


def _align(kind: np.dtype[Any]) -> int:
    return (kind.subdtype[0] if kind.subdtype else kind).alignment
