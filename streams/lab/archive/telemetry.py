"""Requests as columns and back: `REQUEST` records to Arrow tables without loss, in bulk, and with units and meanings.

What is sealed stays sealed here; whoever reads opens it by the worker's keys. Labels that telemetry has in clear are
kept as text, for people, of which the records' hashes follow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from siphonwatch.models.account import request as rq
from siphonwatch.models.common.declare import Field, identity
from siphonwatch.models.common.vocabulary import CHUNKS, MASK_FAMILIES, REPLY_CHUNKS
from siphonwatch.streams.contracts.sealed import WORDS, Words
from siphonwatch.streams.worker.decode import Decoder, decode_wrapped
from siphonwatch.streams.worker.opening import open_all

SEALED_BYTES = 8 * WORDS
FLAGS = ("stream", "structured", "canonical")
PLACES = (("partition", pa.int32()), ("offset", pa.int64()), ("arrived", pa.timestamp("ms", "UTC")))
REMEMBERED = 100_000
"""Texts of labels that are remembered from step to step."""
UNITS = {
    "time": ("s", "when the request arrived at the gateway, since 1970"),
    "arrived": ("ms", "when the broker had the record; null for a log"),
    "duration": ("s", "from request to the end of the response"),
    "account": ("keyed hash", "who pays"),
    "account_hash": ("hash", "of the account's name"),
    "id": ("", "the gateway's id of the request, up to 64 bytes"),
    "id_bytes": ("", "the id where it is not UTF-8 in its first 64 bytes"),
    "rest": ("", "plain REST"),
    "sealed": ("", "sealed parts as on the topic; null where nothing is sealed"),
    "projection": ("32 signed bytes", "keyed projection of the message, unit length scaled to 127"),
    "account_age": ("days", "since the account was made; -1 unknown"),
    "item": ("", "a numeric identifier plus a keyed offset of its route; -1 none"),
    "page": ("", "page number or offset of a listing; -1 none"),
    "remaining": ("requests", "left in the account's rate limit; -1 unknown"),
    "tokens_in": ("tokens", ""),
    "tokens_out": ("tokens", ""),
    "max_tokens": ("tokens", "asked for"),
} | {name: ("characters", "") for name in ("chars", "chars_out", "chars_system", "chars_earlier")}
UNITS |= {name: ("per mille", "share of characters") for name in ("digits", "upper", "punctuation", "spaces", "wide")}
UNITS |= {name: ("keyed 64-bit hash", "0 where absent") for name in rq.HASHES}
UNITS |= {name: ("label", "in clear; empty where absent") for name in rq.LABELS}
LISTS = (("chunk", CHUNKS), ("reply_chunk", REPLY_CHUNKS))


def _field(name: str, type_: pa.DataType) -> pa.Field:
    unit, meaning = UNITS.get(name, ("", ""))
    metadata = {key: text for key, text in (("unit", unit), ("meaning", meaning)) if text}
    return pa.field(name, type_, metadata=metadata or None)


def _schema() -> pa.Schema:
    label = pa.dictionary(pa.int32(), pa.string())
    columns: list[tuple[str, pa.DataType]] = [*PLACES, ("id", pa.string()), ("account", pa.string()),
        ("time", pa.float64()), ("rest", pa.bool_())]  # fmt: skip
    columns += [(name, label) for name in rq.LABELS]
    columns += [(name, pa.bool_() if name in FLAGS else pa.int32()) for name in rq.COUNTS]
    columns += [(name, pa.float32()) for name in rq.REALS]
    columns += [("account_hash", pa.uint64()), *((name, pa.uint64()) for name in rq.HASHES), ("item", pa.int64())]
    columns += [(f"mask_{family}", pa.int32()) for family in MASK_FAMILIES]
    columns += [("projection", pa.binary(rq.REQUEST["projection"].itemsize))]
    for name, _ in LISTS:
        columns += [(name, pa.list_(pa.uint32())), (f"{name}_chars", pa.list_(pa.uint16()))]
    columns += [("sealed", pa.binary()), ("id_bytes", pa.binary())]
    return pa.schema([_field(name, type_) for name, type_ in columns])


SCHEMA = _schema()
LAYOUT = identity([Field(field.name, "u1", str(field.type), "") for field in SCHEMA])
"""Stands for the columns and their types."""
PLAIN = ("offset", "time", "arrived", "id", "projection", "sealed", "id_bytes", "content", "said", "before", "reply",
         "follows", "earlier", "duration", "item")  # fmt: skip
"""Columns whose values seldom recur: Parquet need not look for a dictionary of them."""
DICTIONARIES = [field.name for field in SCHEMA if field.name not in PLAIN]


class Sealed(NamedTuple):
    """Sealed parts of `n` requests."""

    octets: npt.NDArray[np.uint8]
    """`(n, SEALED_BYTES)`."""
    lengths: npt.NDArray[np.int64]
    """Bytes of each; 0 where nothing is sealed."""


class Requests(NamedTuple):
    """Requests with their places on the topic."""

    requests: rq.Array
    """`(n,) REQUEST`."""
    offsets: npt.NDArray[np.int64]
    arrived: npt.NDArray[np.int64]
    """Milliseconds since 1970; -1 where no broker had them."""
    sealed: Sealed | None = None
    """None where nothing is sealed."""

    def at(self, chosen: npt.NDArray[Any] | slice) -> Requests:
        """Return some of them."""
        sealed = None if self.sealed is None else Sealed(self.sealed.octets[chosen], self.sealed.lengths[chosen])
        return Requests(self.requests[chosen], self.offsets[chosen], self.arrived[chosen], sealed)


def join(parts: Sequence[Requests]) -> Requests:
    """Return the requests of several parts, in their order."""
    if len(parts) == 1:
        return parts[0]
    sealed = None
    if any(part.sealed is not None for part in parts):
        filled = [part.sealed or _none_sealed(len(part.requests)) for part in parts]
        sealed = Sealed(np.concatenate([s.octets for s in filled]), np.concatenate([s.lengths for s in filled]))
    return Requests(
        np.concatenate([p.requests for p in parts]) if parts else np.empty(0, rq.REQUEST),
        np.concatenate([p.offsets for p in parts]) if parts else np.empty(0, np.int64),
        np.concatenate([p.arrived for p in parts]) if parts else np.empty(0, np.int64),
        sealed,
    )


def _none_sealed(n: int) -> Sealed:
    return Sealed(np.zeros((n, SEALED_BYTES), np.uint8), np.zeros(n, np.int64))


class KeepingDecoder(Decoder):
    """A decoder that opens nothing and keeps what is sealed, and the texts of labels."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: dict[int, str] = {0: ""}
        """Of the labels met, by hash."""
        self._blocks: list[tuple[npt.NDArray[np.uint64] | None, npt.NDArray[np.int64]]] = []

    def take(self, values: Sequence[bytes], offsets: npt.NDArray[np.int64], arrived: npt.NDArray[np.int64]) -> Any:
        """Decode records, one a value; return `Requests` and what was rejected, place and reason."""
        self._blocks = []
        decoded = self.decode(values)
        rows, sealed = decoded.rows, None
        if any(words is not None for words, _ in self._blocks):
            octets = np.zeros((len(values), SEALED_BYTES), np.uint8)
            at = 0
            for words, lengths in self._blocks:
                if words is not None:
                    octets[at : at + len(lengths)] = words.view(np.uint8).reshape(-1, SEALED_BYTES)
                at += len(lengths)
            lengths = np.concatenate([lengths for _, lengths in self._blocks])
            sealed = Sealed(octets[rows], lengths[rows])
            sealed.octets[np.arange(SEALED_BYTES) >= sealed.lengths[:, None]] = 0
        self._learn(decoded.requests, [values[row] for row in rows.tolist()])
        return Requests(decoded.requests, offsets[rows], arrived[rows], sealed), decoded.rejected

    def forget(self) -> None:
        """Forget texts where they are many; call it when no request that was decoded is waiting to be written."""
        if len(self.texts) > REMEMBERED:
            self.texts = {0: ""}

    def _open(self, records: rq.Array) -> int:
        n = len(records)
        lengths = self._lengths[:n].copy()
        self._blocks.append((self._sealed[: n * WORDS].copy() if lengths.any() else None, lengths))
        return 0

    def _learn(self, requests: rq.Array, values: Sequence[bytes]) -> None:
        for name in rq.LABELS:
            found, first = np.unique(requests[name], return_index=True)
            for label, at in zip(found.tolist(), first.tolist(), strict=True):
                if label not in self.texts:
                    self.texts[label] = getattr(decode_wrapped(values[at]), name)


def to_table(partition: int, rows: Requests, texts: dict[int, str]) -> pa.Table:
    """Return requests as a table of `SCHEMA`; `texts` are those of the labels, by hash."""
    requests, n = rows.requests, len(rows.requests)
    ids, raw = _ids(requests["id"])
    columns: dict[str, Any] = {
        "partition": np.full(n, partition, np.int32),
        "offset": rows.offsets,
        "arrived": pa.array(rows.arrived, pa.int64(), mask=rows.arrived < 0).cast(pa.timestamp("ms", "UTC")),
        "id": ids,
        "account": _texts(requests["account"]).cast(pa.string()),
        "rest": requests["rest"] == 1,
        "projection": pa.FixedSizeBinaryArray.from_buffers(
            SCHEMA.field("projection").type, n, [None, pa.py_buffer(np.ascontiguousarray(requests["projection"]))]
        ),
        "sealed": _sealed(rows.sealed, n),
        "id_bytes": raw,
    }
    for name in rq.LABELS:
        found, places = np.unique(requests[name], return_inverse=True)
        words = pa.array([texts[label] for label in found.tolist()], pa.string())
        columns[name] = pa.DictionaryArray.from_arrays(pa.array(places.astype(np.int32)), words)
    for name in FLAGS:
        columns[name] = requests[name] != 0
    for j, family in enumerate(MASK_FAMILIES):
        columns[f"mask_{family}"] = np.ascontiguousarray(requests["masks"][:, j])
    for name, _ in LISTS:
        there = requests[name] != 0
        starts = np.zeros(n + 1, np.int32)
        np.cumsum(there.sum(axis=1), out=starts[1:])
        for column in (name, f"{name}_chars"):
            columns[column] = pa.ListArray.from_arrays(pa.array(starts), pa.array(requests[column][there]))
    arrays = []
    for field in SCHEMA:
        values: Any = columns.get(field.name)
        if values is None:
            values = np.ascontiguousarray(requests[field.name])
        arrays.append(values if isinstance(values, pa.Array) else pa.array(values, field.type))
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def from_table(table: pa.Table, keys: Words | None = None) -> Requests:
    """Return the requests of a table, equal to those that it was made of; sealed parts are opened where a key fits."""
    n = table.num_rows
    requests = np.zeros(n, rq.REQUEST)
    columns = {name: table.column(name) for name in SCHEMA.names}
    for name in ("time", "item", "account_hash", *rq.HASHES, *rq.REALS):
        requests[name] = columns[name].to_numpy()
    for name in rq.COUNTS:
        requests[name] = columns[name].to_numpy()
    requests["rest"] = columns["rest"].to_numpy()
    for name in rq.LABELS:
        requests[name] = _label_hashes(columns[name])
    for j, family in enumerate(MASK_FAMILIES):
        requests["masks"][:, j] = columns[f"mask_{family}"].to_numpy()
    coded = _one(columns["account"].dictionary_encode())
    requests["account"] = _words(coded.dictionary)[coded.indices.to_numpy()]
    requests["id"] = _words(_one(columns["id"]))
    raw = _one(columns["id_bytes"])
    if raw.null_count < n:
        odd = np.flatnonzero(raw.is_valid().to_numpy(zero_copy_only=False))
        requests["id"][odd] = _words(raw)[odd]
    projection = _one(columns["projection"])
    width = projection.type.byte_width
    start = projection.offset * width
    octets = np.frombuffer(projection.buffers()[1], np.int8)[start : start + n * width]
    requests["projection"] = octets.reshape(n, width)
    for name, most in LISTS:
        lists = _one(columns[name])
        offsets = lists.offsets.to_numpy()
        there = np.arange(most) < np.diff(offsets)[:, None]
        requests[name][there] = lists.flatten().to_numpy()
        requests[f"{name}_chars"][there] = _one(columns[f"{name}_chars"]).flatten().to_numpy()
    arrived = columns["arrived"].cast(pa.int64()).fill_null(-1).to_numpy()
    sealed = _from_sealed(_one(columns["sealed"]))
    if sealed is not None and keys is not None and len(keys):
        sealed = _opened(requests, sealed, keys.ravel())
    return Requests(requests, columns["offset"].to_numpy(), arrived, sealed)


def _opened(requests: rq.Array, sealed: Sealed, keys: Words) -> Sealed | None:
    """Open sealed parts in place; what fits no key stays sealed."""
    room = np.zeros((len(requests) + 1) * WORDS, np.uint64)
    octets = room.view(np.uint8)
    octets[: sealed.octets.size] = sealed.octets.ravel()
    words = requests.view(np.uint64)
    unopened = open_all(room, octets, sealed.lengths, words, words.view(np.uint8), keys)
    if not unopened:
        return None
    same = (octets[: sealed.octets.size].reshape(sealed.octets.shape) == sealed.octets).all(axis=1)
    return Sealed(sealed.octets, np.where(same, sealed.lengths, 0))


def _one(column: pa.ChunkedArray) -> pa.Array:
    chunk = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    return chunk.chunk(0) if isinstance(chunk, pa.ChunkedArray) else chunk


def _texts(words: npt.NDArray[np.uint64]) -> pa.Array:
    """Kept texts as bytes, without the NULs behind them."""
    octets = np.ascontiguousarray(words).view(np.uint8).reshape(len(words), rq.NAME_BYTES)
    filled = octets[:, ::-1] != 0
    lengths = np.where(filled.any(axis=1), rq.NAME_BYTES - filled.argmax(axis=1), 0)
    return _binary(octets, lengths)


def _binary(octets: npt.NDArray[np.uint8], lengths: npt.NDArray[np.int64]) -> pa.Array:
    starts = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=starts[1:])
    data = octets[np.arange(octets.shape[1]) < lengths[:, None]]
    return pa.Array.from_buffers(pa.binary(), len(lengths), [None, pa.py_buffer(starts), pa.py_buffer(data)])


def _ids(words: npt.NDArray[np.uint64]) -> tuple[pa.Array, pa.Array]:
    """Ids as text, and the bytes of those that are cut inside a character."""
    octets = _texts(words)
    none = pa.nulls(len(words), pa.binary())
    try:
        return octets.cast(pa.string()), none
    except pa.ArrowInvalid:
        pass
    raw: list[bytes] = octets.to_pylist()
    texts = [text.decode("utf-8", "replace") for text in raw]
    odd = [None if text.encode() == found else found for text, found in zip(texts, raw, strict=True)]
    return pa.array(texts, pa.string()), pa.array(odd, pa.binary())


def _words(texts: pa.Array) -> npt.NDArray[np.uint64]:
    """Texts as they are kept, `(n, NAME_WORDS) uint64`."""
    n = len(texts)
    starts = np.frombuffer(texts.buffers()[1], np.int32)[texts.offset : texts.offset + n + 1]
    octets = np.zeros((n, rq.NAME_BYTES), np.uint8)
    data = texts.buffers()[2]
    if data is not None and n:
        filled = np.frombuffer(data, np.uint8)
        lengths = np.minimum(np.diff(starts), rq.NAME_BYTES)
        if (lengths == np.diff(starts)).all():
            octets[np.arange(rq.NAME_BYTES) < lengths[:, None]] = filled[starts[0] : starts[-1]]
        else:  # replacement characters are longer than what they stand for, whose bytes are beside them
            for i in range(n):
                octets[i, : lengths[i]] = filled[starts[i] : starts[i] + lengths[i]]
    return octets.view(np.uint64)


def _label_hashes(column: pa.ChunkedArray) -> npt.NDArray[np.uint64]:
    parts = [np.zeros(0, np.uint64)]
    for chunk in column.chunks:
        coded = chunk if isinstance(chunk, pa.DictionaryArray) else chunk.dictionary_encode()
        hashes = [rq.label(text) if text else np.uint64(0) for text in coded.dictionary.to_pylist()]
        parts.append(np.array(hashes, np.uint64)[coded.indices.to_numpy()])
    return np.concatenate(parts)


def _sealed(sealed: Sealed | None, n: int) -> pa.Array:
    if sealed is None:
        return pa.nulls(n, pa.binary())
    filled = _binary(sealed.octets, sealed.lengths)
    there = np.packbits(sealed.lengths > 0, bitorder="little")
    return pa.Array.from_buffers(pa.binary(), n, [pa.py_buffer(there), *filled.buffers()[1:]])


def _from_sealed(column: pa.Array) -> Sealed | None:
    n = len(column)
    if column.null_count == n:
        return None
    starts = np.frombuffer(column.buffers()[1], np.int32)[column.offset : column.offset + n + 1]
    lengths = np.diff(starts).astype(np.int64)
    octets = np.zeros((n, SEALED_BYTES), np.uint8)
    filled = np.frombuffer(column.buffers()[2], np.uint8)[starts[0] : starts[-1]]
    octets[np.arange(SEALED_BYTES) < lengths[:, None]] = filled
    return Sealed(octets, lengths)
