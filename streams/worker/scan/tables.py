"""The scanner's table of fields, derived once from the contract's JSON Schema."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from siphonwatch.models.account import request as rq
from siphonwatch.models.common import vocabulary
from siphonwatch.streams.contracts.telemetry import Telemetry

HASH, COUNT, REAL, BOOL, LABEL, TIME, DURATION, ACCOUNT, ID, KIND, PROJECTION, MASKS, VERSION, ITEM, CHUNKS, SEALED = (
    range(16)
)
QUOTE, BACKSLASH, COMMA, COLON, OPEN, CLOSE, LIST, UNLIST, MINUS, DOT = b'"\\,:{}[]-.'
Bytes = npt.NDArray[np.uint8]
NAME_BITS = 10
"""Places for names, as a power of two: of ten factors one puts each of 70 names at a place of its own."""
OTHER = np.uint64(0x9E3779B97F4A7C15)
"""Multiplies a name's second word, so that equal halves do not cancel (the golden ratio, Knuth 6.4)."""


class Tables(NamedTuple):
    """What the scanner looks things up in; a row for each field, in the order in which the contract writes them."""

    rows: npt.NDArray[np.uint8]
    """Each name's row, at the place that `siphonwatch.streams.worker.scan.tokens.name_slot` gives it; no two names
    share a place. Elsewhere the number of rows, the row behind the last, which no name fits."""
    spread: np.uint64
    """The factor for which that is so."""
    words: npt.NDArray[np.uint64]
    """`(rows + 1, 2)` the names with the closing quote as words of eight bytes; none is longer than two..."""
    masks: npt.NDArray[np.uint64]
    """...and which bytes of them count."""
    sizes: npt.NDArray[np.int64]
    """Bytes of each name with its closing quote."""
    after: npt.NDArray[np.int64]
    """`(rows + 1,)` which field came after each one last, and first in a record at the end: most records of a gateway
    have the same. It is the one thing here that the scanner writes, and changes no result."""
    kind: npt.NDArray[np.int64]
    offset: npt.NDArray[np.int64]
    """Place in the record, bytes."""
    low: npt.NDArray[np.int64]
    high: npt.NDArray[np.int64]
    """Range of a count, or the longest text in `high`; of chunks, how many bytes behind their hashes their lengths are
    kept, and how many there are at most."""
    base64: npt.NDArray[np.int32]
    """`(4, 256)` what each base64 digit adds to three bytes, the first byte the lowest, by its place among four digits;
    negative for other characters."""
    powers: npt.NDArray[np.float64]
    """10**0 to 10**22, all exact."""


_KINDS = (
    dict.fromkeys(rq.HASHES, HASH)
    | dict.fromkeys(rq.LABELS, LABEL)
    | dict.fromkeys(rq.COUNTS, COUNT)
    | {"stream": BOOL, "structured": BOOL, "canonical": BOOL, "temperature": REAL, "top_p": REAL, "duration": DURATION}
    | {"time": TIME, "account": ACCOUNT, "id": ID, "kind": KIND, "projection": PROJECTION, "masks": MASKS}
    | {"v": VERSION, "item": ITEM, "chunks": CHUNKS, "reply_chunks": CHUNKS, "sealed": SEALED}
)
_PLACES = {"kind": "rest", "v": "time", "sealed": "time", "chunks": "chunk", "reply_chunks": "reply_chunk"}
"""Where a field of another name is kept; the version is not kept, nor what is sealed, so any place will do."""
_MOST = {"chunks": vocabulary.CHUNKS, "reply_chunks": vocabulary.REPLY_CHUNKS}
"""Chunks that a field holds at most."""


def make_tables() -> Tables:
    """Work the tables out from the contract's own JSON Schema."""
    fields = msgspec.json.schema(Telemetry)["$defs"]["Telemetry"]["properties"]
    order = [field.encode_name for field in msgspec.structs.fields(Telemetry)]
    kind, offset, low, high = (np.zeros(len(order), np.int64) for _ in range(4))
    for row, name in enumerate(order):
        schema = fields[name]
        kind[row] = _KINDS[name]
        offset[row] = rq.REQUEST.fields[_PLACES.get(name, name)][1]  # type: ignore[index]
        if kind[row] == CHUNKS:
            lengths = rq.REQUEST.fields[f"{_PLACES[name]}_chars"][1]  # type: ignore[index]
            low[row], high[row] = lengths - offset[row], _MOST[name]
        elif schema.get("type") == "integer":
            low[row], high[row] = int(schema.get("minimum", 0)), int(schema.get("maximum", 0))
        else:
            high[row] = int(schema.get("maxLength", 0))
    texts = [name.encode() + b'"' for name in order]
    words = np.array([list(text.ljust(16, b"\0")) for text in (*texts, b"\1")], np.uint8).view(np.uint64)
    masks = np.array([[255] * len(text) + [0] * (16 - len(text)) for text in (*texts, b"")], np.uint8).view(np.uint64)
    rows, spread = _places(words[:-1])
    return Tables(
        rows, spread, words, masks, np.array([len(text) for text in texts]), np.append(np.arange(1, len(order) + 1), 0),
        kind, offset, low, high,
        _digits(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"),
        np.array([10.0**k for k in range(23)]),
    )  # fmt: skip


def _places(words: npt.NDArray[np.uint64]) -> tuple[npt.NDArray[np.uint8], np.uint64]:
    """A factor for which no two names share a place, found by trying, and the row at each place."""
    mixed = words[:, 0] ^ words[:, 1] * OTHER
    candidates = np.random.default_rng(0)
    while True:
        spread = candidates.integers(2**64, dtype=np.uint64) | np.uint64(1)
        slots = (mixed * spread) >> np.uint64(64 - NAME_BITS)
        if len(np.unique(slots)) == len(slots):
            rows = np.full(2**NAME_BITS, len(words), np.uint8)
            rows[slots] = np.arange(len(words))
            return rows, spread


def _digits(alphabet: bytes) -> npt.NDArray[np.int32]:
    table = np.full((4, 256), -1, np.int32)
    for value, digit in enumerate(alphabet):
        for place in range(4):
            table[place, digit] = int.from_bytes((value << (18 - 6 * place)).to_bytes(3, "big"), "little")
    return table
