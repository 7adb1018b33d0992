"""Telemetry JSON to request columns: a compiled scanner for whole batches, and the contract's decoder where the
scanner is not sure."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from siphonwatch.models.account import request as rq
from siphonwatch.streams.contracts.telemetry import Malformed, Telemetry, decode
from siphonwatch.streams.edge.adapters.wrapping import clean, unwrapped
from siphonwatch.streams.worker.scan import make_tables, scan

ENTRY = np.dtype([("hash", "<u4"), ("chars", "<u2")])
"""One of `Telemetry.chunks`."""

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


class Decoder:
    """Decodes batches of telemetry v1 records.

    Examples
    --------
    >>> batch = Decoder().decode([b'{"id":"r1","time":1.5,"account":"a"}', b'{"id":"r2"}'])
    >>> batch.requests["time"].tolist(), batch.rows.tolist(), batch.rejected[0][1].reason
    ([1.5], [0], 'schema')
    """

    def __init__(self) -> None:
        self._tables = make_tables()
        self._blank = rq.blank().view(np.uint64)

    def decode(self, values: Sequence[bytes]) -> Decoded:
        """Decode one record a value."""
        n = len(values)
        lengths = np.fromiter(map(len, values), np.int64, n)
        ends = np.cumsum(lengths)
        starts = ends - lengths
        data = b"".join([*values, PADDING])
        records = np.empty(n, rq.REQUEST)
        certain = np.zeros(n, np.bool_)
        scan(np.frombuffer(data, np.uint8), starts, ends, self._tables, records.view(np.uint8), self._blank, certain)
        if certain.all():
            return Decoded(records, np.arange(n), [])
        rejected: list[tuple[int, Malformed]] = []
        keep = np.ones(n, np.bool_)
        for i in np.flatnonzero(~certain).tolist():
            try:
                records[i] = to_request(decode_wrapped(values[i]))
            except Malformed as error:
                keep[i] = False
                rejected.append((i, error))
        return Decoded(records[keep], np.flatnonzero(keep), rejected)


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
    for inner in itertools.chain((plain,) if plain != raw else (), unwrapped(plain, MARKS)):
        try:
            return decode(inner)
        except Malformed:
            continue
    raise bad


def to_request(record: Telemetry) -> np.void:
    """Return one validated record as a `REQUEST`: the reference that the scanner is held to."""
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
    row["account_hash"] = rq.mix(np.uint64(rq.fnv1a(account, 0, len(account))))
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
