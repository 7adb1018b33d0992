"""Telemetry JSON to request columns: a compiled scanner for whole batches, and the contract's decoder where the
scanner is not sure."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from siphonwatch.models.account import request as rq
from siphonwatch.streams.contracts.sealed import WORDS, Words
from siphonwatch.streams.contracts.telemetry import Malformed, Telemetry, decode
from siphonwatch.streams.edge.adapters.wrapping import clean, unwrapped
from siphonwatch.streams.worker.opening import open_all
from siphonwatch.streams.worker.scan import make_tables, scan, unpack

ENTRY = np.dtype([("hash", "<u4"), ("chars", "<u2")])
"""One of `Telemetry.chunks`."""

BLOCK = 1024
"""Records read at a time. Of 2,000 and more, what is allocated for them outgrew what malloc keeps when it is freed, and
half of the time went into getting the pages again."""

PADDING = b" " * 16
"""Behind the last record, so that the scanner may look a word or two ahead."""


class Decoded(NamedTuple):
    """What one batch holds."""

    requests: rq.Array
    """The good records, shape `(m,)` of `REQUEST`, in their order."""
    rows: npt.NDArray[np.int64]
    """Each one's place in the batch, shape `(m,)`."""
    rejected: list[tuple[int, Malformed]]
    """The others: place and reason."""
    unopened: int = 0
    """How many of the good ones have sealed parts that no key opens: those fields are absent."""


class Decoder:
    """Decodes batches of telemetry records, versions 1 and 2.

    Parameters
    ----------
    keys
        That sealed parts are opened with, see `siphonwatch.streams.worker.opening.keys_of`; none by default.

    Examples
    --------
    >>> batch = Decoder().decode([b'{"id":"r1","time":1.5,"account":"a"}', b'{"id":"r2"}'])
    >>> batch.requests["time"].tolist(), batch.rows.tolist(), batch.rejected[0][1].reason
    ([1.5], [0], 'schema')
    """

    def __init__(self, keys: Words | None = None) -> None:
        self._keys = np.zeros(0, np.uint64) if keys is None else keys.ravel()
        self._tables = make_tables()
        self._blank = rq.blank().view(np.uint64)
        self._sealed = np.empty((BLOCK + 1) * WORDS, np.uint64)  # one more: what reads ahead may read on
        self._lengths = np.zeros(BLOCK, np.int64)

    def decode(self, values: Sequence[bytes]) -> Decoded:
        """Decode one record a value."""
        records = np.empty(len(values), rq.REQUEST)
        rejected: list[tuple[int, Malformed]] = []
        unopened = 0
        for start in range(0, len(values), BLOCK):
            part = slice(start, start + BLOCK)
            rejected += [(start + i, error) for i, error in self._read(values[part], records[part])]
            unopened += self._open(records[part])
        if not rejected:
            return Decoded(records, np.arange(len(values)), [], unopened)
        keep = np.ones(len(values), np.bool_)
        keep[[i for i, _ in rejected]] = False
        return Decoded(records[keep], np.flatnonzero(keep), rejected, unopened)

    def _read(self, values: Sequence[bytes], records: rq.Array) -> Iterator[tuple[int, Malformed]]:
        """Read up to `BLOCK` values into records, what is sealed beside them; yield place and reason of bad ones."""
        n = len(values)
        sizes = np.fromiter(map(len, values), np.int64, n)
        ends = np.cumsum(sizes)
        data = np.frombuffer(b"".join([*values, PADDING]), np.uint8)
        found = np.empty(n, np.int64)
        scan(data, ends - sizes, ends, self._tables, records.view(np.uint8), self._blank, found)
        octets, lengths = self._sealed.view(np.uint8), self._lengths
        lengths[:] = 0
        if found.max(initial=0) > 0:
            unpack(data, found, self._tables.base64, octets, lengths)
        if found.min(initial=0) == 0:
            return
        for i in np.flatnonzero(found < 0).tolist():
            try:
                record = decode_wrapped(values[i])
            except Malformed as error:
                yield i, error
                continue
            records[i] = to_request(record)
            parts = np.frombuffer(base64.b64decode(record.sealed), np.uint8)
            octets[8 * WORDS * i :][: len(parts)] = parts
            lengths[i] = len(parts)

    def _open(self, records: rq.Array) -> int:
        lengths = self._lengths[: len(records)]
        if not lengths.any():
            return 0
        words = records.view(np.uint64)
        return open_all(self._sealed, self._sealed.view(np.uint8), lengths, words, words.view(np.uint8), self._keys)


MARKS = frozenset(("account", "time"))
"""Fields of telemetry: an object with one is no envelope around it."""


def decode_wrapped(raw: bytes) -> Telemetry:
    """Parse one record, behind a byte-order mark or in an envelope as Kafka Connect and other producers write it.

    Raises
    ------
    Malformed
        As `siphonwatch.streams.contracts.telemetry.decode`, of the record as it stands.
    """
    try:
        return decode(raw)
    except Malformed as error:
        bad = error
    plain = clean(raw)
    held = list(itertools.islice(unwrapped(plain, MARKS), 2))
    if len(held) > 1:
        raise Malformed("schema", "an envelope of several records: each needs a record of the topic of its own")
    for inner in ((plain,) if plain != raw else ()) + tuple(held):
        try:
            return decode(inner)
        except Malformed:
            continue
    raise bad


def to_request(record: Telemetry) -> np.void:
    """Return one validated record as a `REQUEST`, without what is sealed: the reference that the scanner is held to."""
    row = rq.blank()[0]
    for name in rq.HASHES:
        row[name] = int(getattr(record, name) or "0", 16)
    for name in rq.LABELS:
        raw = np.frombuffer(getattr(record, name).encode(), np.uint8)
        row[name] = rq.fnv1a(raw, 0, len(raw)) if len(raw) else 0
    for name in (*rq.COUNTS, "time", "item", "duration"):
        row[name] = getattr(record, name)
    for name in ("temperature", "top_p"):
        value = getattr(record, name)
        with np.errstate(over="ignore"):
            row[name] = np.nan if value is None else np.float32(value)
    account = np.frombuffer(record.account.encode(), np.uint8)
    row["account_hash"] = rq.account_hash(account)
    row["account"] = rq.name_words(record.account.encode())
    row["id"] = rq.name_words(record.id.encode())
    row["rest"] = record.kind == "rest"
    row["masks"][: len(record.masks)] = record.masks
    if record.projection:
        row["projection"] = np.frombuffer(base64.b64decode(record.projection), np.int8)
    for name, field in (("chunk", record.chunks), ("reply_chunk", record.reply_chunks)):
        entries = np.frombuffer(base64.b64decode(field), ENTRY)
        row[name][: len(entries)] = entries["hash"]
        row[f"{name}_chars"][: len(entries)] = entries["chars"]
    return row  # type: ignore[no-any-return]
