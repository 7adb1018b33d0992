"""Packed sightings: many requests of one telemetry partition as the columns of one Kafka record. No I/O, no arithmetic.

A value is little endian throughout:

====================  =====  ==========================================================================
field                 bytes  what it holds
====================  =====  ==========================================================================
magic                 4      ``SWSG``
format                2      `FORMAT`
source length         2      of the text below
layout                4      CRC-32 of names, types and order of the columns: what else must agree
count                 4      rows, from 1 to `MAX_ROWS`
first, last           8, 8   telemetry offsets of the first and the last row
source                       `topic:partition` of the telemetry, ASCII, padded with NUL to 8 bytes
columns                      `offset`, then each of `siphonwatch.models.campaign.sighting.FIELDS` as `REQUEST` types it
====================  =====  ==========================================================================

Rows ascend by telemetry offset, so what is sent again after a crash is dropped by its offset alone, however it is cut.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.request import NAME_BYTES, REQUEST, Array
from siphonwatch.models.campaign.sighting import FIELDS
from siphonwatch.streams.contracts.telemetry import Malformed

MAGIC = b"SWSG"
FORMAT = 1
MAX_ROWS = 2500
"""Rows a record: 929 kB, below the 1 MiB that brokers take by default even if nothing compresses, and whole as a dead
letter. Part of the format: rows are told apart by the record's offset times this, plus their place in it."""
LATEST = 2.0**34
"""Times are seconds since 1970, from 0 to this, as the telemetry contract has it."""
_HEAD = struct.Struct("<4sHHIIqq")
_SOURCE = re.compile(rb"[A-Za-z0-9._-]{1,249}:[0-9]{1,10}(@[A-Za-z0-9_-]{22})?")
_COLUMNS = (("offset", np.dtype("<i8")), *((name, REQUEST[name].newbyteorder("<")) for name in FIELDS))
_LAYOUT = zlib.crc32(repr([(name, column.base.str, column.shape) for name, column in _COLUMNS]).encode())
_ROW_BYTES = sum(column.itemsize for _, column in _COLUMNS)

Columns = tuple[npt.NDArray[Any], ...]


class Packed(NamedTuple):
    """The rows of one record."""

    source: str
    """Partition of telemetry that they came from, see `siphonwatch.streams.worker.agents.sources.origin`."""
    indexes: npt.NDArray[np.int64]
    """Each row's place in the record, `(n,)`."""
    columns: Columns
    """The telemetry offsets, `(n,) int64`, then `FIELDS`."""

    @property
    def offsets(self) -> npt.NDArray[np.int64]:
        """Telemetry offsets, increasing, `(n,)`."""
        return self.columns[0]

    def after(self, offset: int) -> Packed:
        """Return the rows of higher telemetry offsets."""
        start = int(np.searchsorted(self.offsets, offset, "right"))
        if start == 0:
            return self
        return Packed(self.source, self.indexes[start:], tuple(column[start:] for column in self.columns))


def pack(
    source: str, requests: Array, offsets: npt.NDArray[np.int64], places: npt.NDArray[np.int64] | None = None
) -> list[bytes]:
    """Return requests as values of records, as few as `MAX_ROWS` allows.

    Parameters
    ----------
    source
        Partition of telemetry that they came from, see `siphonwatch.streams.worker.agents.sources.origin`.
    requests, offsets
        `(n,) REQUEST` and their telemetry offsets, increasing, `(n,)`.
    places
        Which of them, ascending; all by default.

    Examples
    --------
    >>> from siphonwatch.models.account.request import blank
    >>> request = blank()
    >>> request["account"][:, 0] = 0x61
    >>> (value,) = pack("telemetry:0", request, np.array([17]))
    >>> packed = unpack(value)
    >>> packed.source, packed.offsets.tolist(), join([packed])["account"].tolist() == request["account"].tolist()
    ('telemetry:0', [17], True)
    """
    chosen = np.arange(len(requests)) if places is None else places
    values = []
    for start in range(0, len(chosen), MAX_ROWS):
        part = chosen[start : start + MAX_ROWS]
        at = offsets[part]
        name = source.encode()
        head = _HEAD.pack(MAGIC, FORMAT, len(name), _LAYOUT, len(part), int(at[0]), int(at[-1]))
        columns: Columns = (at, *(requests[field][part] for field in FIELDS))
        body = [
            column.astype(kind.base, copy=False).tobytes() for column, (_, kind) in zip(columns, _COLUMNS, strict=True)
        ]
        values.append(b"".join([head, name, bytes(_padding(len(name))), *body]))
    return values


def unpack(value: bytes) -> Packed:
    """Read a record's value; what it returns looks into the value.

    Raises
    ------
    Malformed
        With reason `schema` (not packed sightings, or of another format or layout), `size` (other than its head
        says) or `fields` (a source, offsets, a time or an account that cannot be).
    """
    if len(value) < _HEAD.size or not value.startswith(MAGIC):
        raise Malformed("schema", "no packed sightings")
    _, version, length, layout, count, first, last = _HEAD.unpack_from(value)
    if version != FORMAT:
        raise Malformed("schema", f"packed sightings of format {version}, this version reads {FORMAT}")
    if layout != _LAYOUT:
        raise Malformed("schema", f"packed sightings of layout {layout:08x}, this version reads {_LAYOUT:08x}")
    if not 1 <= count <= MAX_ROWS:
        raise Malformed("size", f"{count} rows, from 1 to {MAX_ROWS} expected")
    at = _HEAD.size + length + _padding(length)
    if len(value) != at + count * _ROW_BYTES:
        raise Malformed("size", f"{len(value)} bytes, {at + count * _ROW_BYTES} expected for {count} rows")
    source = value[_HEAD.size : _HEAD.size + length]
    if not _SOURCE.fullmatch(source):
        raise Malformed("fields", "the source is no topic:partition")
    columns = []
    for _, kind in _COLUMNS:
        columns.append(np.frombuffer(value, kind, count, at))
        at += count * kind.itemsize
    packed = Packed(source.decode("ascii"), np.arange(count), tuple(columns))
    _check(packed, first, last)
    return packed


def join(parts: Sequence[Packed]) -> Array:
    """Return the rows of several records, `(n,) REQUEST`, one after the other; fields that none holds are 0."""
    requests = np.zeros(sum(len(part.indexes) for part in parts), REQUEST)
    start = 0
    for part in parts:
        end = start + len(part.indexes)
        for name, column in zip(FIELDS, part.columns[1:], strict=True):
            requests[name][start:end] = column
        start = end
    return requests


def _padding(length: int) -> int:
    return -length % 8


def _check(packed: Packed, first: int, last: int) -> None:
    """Refuse what no sender writes and a coordinator could not bear."""
    offsets = packed.offsets
    if first < 0 or (offsets[0], offsets[-1]) != (first, last) or not (offsets[1:] > offsets[:-1]).all():
        raise Malformed("fields", f"telemetry offsets do not increase from {first} to {last}")
    times = packed.columns[1 + FIELDS.index("time")]
    if not ((times >= 0.0) & (times <= LATEST)).all():
        raise Malformed("fields", "a time is no time since 1970")
    accounts = packed.columns[1 + FIELDS.index("account")].view(np.uint8).reshape(-1, NAME_BYTES)
    filled = accounts != 0
    printable = accounts - np.uint8(0x21) <= np.uint8(0x7E - 0x21)
    if not ((filled == printable).all() and filled[:, 0].all() and (filled[:, :-1] >= filled[:, 1:]).all()):
        raise Malformed("fields", "an account is no printable ASCII")
