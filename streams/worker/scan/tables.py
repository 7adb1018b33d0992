"""The scanner's table of fields, derived once from the contract's JSON Schema."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from siphonwatch.models.account import request as rq
from siphonwatch.streams.contracts.telemetry import Telemetry

HASH, COUNT, REAL, BOOL, LABEL, TIME, DURATION, ACCOUNT, ID, KIND, PROJECTION, MASKS, VERSION, ITEM = range(14)
QUOTE, BACKSLASH, COMMA, COLON, OPEN, CLOSE, LIST, UNLIST, MINUS, DOT = b'"\\,:{}[]-.'
Bytes = npt.NDArray[np.uint8]


class Tables(NamedTuple):
    """What the scanner looks things up in; a row for each field, in the order in which the contract writes them."""

    names: npt.NDArray[np.uint64]
    """Open-addressing table of field-name hashes..."""
    rows: npt.NDArray[np.int64]
    """...and the row of each; -1 where empty."""
    text: Bytes
    """The names themselves, one after the other..."""
    starts: npt.NDArray[np.int64]
    """...and where each starts."""
    words: npt.NDArray[np.uint64]
    """`(rows, 2)` the names as words of eight bytes; none is longer than two..."""
    masks: npt.NDArray[np.uint64]
    """...and which bytes of them count."""
    kind: npt.NDArray[np.int64]
    offset: npt.NDArray[np.int64]
    """Place in the record, in units of the field's own width."""
    low: npt.NDArray[np.int64]
    high: npt.NDArray[np.int64]
    """Range of a count, or the longest text in `high`."""
    base64: npt.NDArray[np.int16]
    """Value of each base64 digit, -1 for other characters."""
    powers: npt.NDArray[np.float64]
    """10**0 to 10**22, all exact."""


class Views(NamedTuple):
    """The records, `(n,) REQUEST`, as plain arrays of each width, `(n, itemsize / width)`."""

    octets: Bytes
    ints: npt.NDArray[np.int32]
    reals: npt.NDArray[np.float32]
    longs: npt.NDArray[np.int64]
    hashes: npt.NDArray[np.uint64]
    times: npt.NDArray[np.float64]


_KINDS = (
    dict.fromkeys(rq.HASHES, HASH)
    | dict.fromkeys(rq.LABELS, LABEL)
    | dict.fromkeys(rq.COUNTS, COUNT)
    | {"stream": BOOL, "structured": BOOL, "canonical": BOOL, "temperature": REAL, "top_p": REAL, "duration": DURATION}
    | {"time": TIME, "account": ACCOUNT, "id": ID, "kind": KIND, "projection": PROJECTION, "masks": MASKS}
    | {"v": VERSION, "item": ITEM}
)
_WIDTH = {HASH: 8, LABEL: 8, TIME: 8, ITEM: 8, ACCOUNT: 1, ID: 1, PROJECTION: 1}
_PLACES = {"kind": "rest", "v": "time"}
"""Where a field of another name is kept; the version is not kept, so any place will do."""


def views(records: rq.Array) -> Views:
    """Return records as the scanner writes them; they share memory."""
    octets, ints, reals, longs, hashes, times = (
        records.view(width).reshape(len(records), rq.REQUEST.itemsize // np.dtype(width).itemsize)
        for width in ("u1", "i4", "f4", "i8", "u8", "f8")
    )
    return Views(octets, ints, reals, longs, hashes, times)


def make_tables() -> Tables:
    """Work the tables out from the contract's own JSON Schema."""
    fields = msgspec.json.schema(Telemetry)["$defs"]["Telemetry"]["properties"]
    order = [field.encode_name for field in msgspec.structs.fields(Telemetry)]
    size = 256
    names, rows = np.zeros(size, np.uint64), np.full(size, -1)
    kind, offset, low, high = (np.zeros(len(order), np.int64) for _ in range(4))
    for row, name in enumerate(order):
        raw = np.frombuffer(name.encode(), np.uint8)
        h = rq.fnv1a(raw, 0, len(raw))
        slot = int(h) % size
        while rows[slot] >= 0:
            slot = (slot + 1) % size
        names[slot], rows[slot], kind[row] = h, row, _KINDS[name]
        schema, place = fields[name], rq.REQUEST.fields[_PLACES.get(name, name)][1]  # type: ignore[index]
        offset[row] = place // _WIDTH.get(_KINDS[name], 4)
        if schema.get("type") == "integer":
            low[row], high[row] = int(schema.get("minimum", 0)), int(schema.get("maximum", 0))
        else:
            high[row] = int(schema.get("maxLength", 0))
    words = np.array([list(name.encode().ljust(16, b"\0")) for name in order], np.uint8).view(np.uint64)
    masks = np.array([[255] * len(name) + [0] * (16 - len(name)) for name in order], np.uint8).view(np.uint64)
    text = np.frombuffer("".join(order).encode(), np.uint8)
    starts = np.cumsum([0] + [len(name) for name in order])
    return Tables(
        names, rows, text, starts, words, masks, kind, offset, low, high,
        _digits(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", -1),
        np.array([10.0**k for k in range(23)]),
    )  # fmt: skip


def _digits(alphabet: bytes, other: int) -> npt.NDArray[np.int16]:
    table = np.full(256, other, np.int16)
    table[np.frombuffer(alphabet, np.uint8)] = np.arange(len(alphabet))
    return table
