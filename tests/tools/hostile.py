"""Records as anybody who may write a topic can write them, sent as they are: what no client library would send, too."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import zstandard
from aiokafka import AIOKafkaProducer
from aiokafka.errors import InvalidTimestampError, UnknownError
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c
from hypothesis import strategies as st

from siphonwatch.models.account.request import blank
from siphonwatch.streams.contracts.provenance import SEAL, SIGHTINGS, SOURCE, Seals
from siphonwatch.streams.contracts.sighting import pack
from siphonwatch.streams.contracts.telemetry import Telemetry, encode
from siphonwatch.streams.worker.agents.sources import sealed

HUGE = 3_000_000
"""Bytes that compress to nothing: brokers bound what is compressed."""
SPOILT = "spoilt"
"""A header of this name is sent under one of as many bytes that are no UTF-8."""
NONE, ZSTD = 0, 4
"""Codecs of a record batch."""
LENGTH_END, ATTRIBUTES, RECORDS = 12, 21, 61
"""Places in a record batch: behind its length, which counts from there; what its checksum covers, which stands before
it; and the records."""


class Hostile(NamedTuple):
    """One record."""

    kind: str
    """Which topic it is for: one of `KINDS`."""
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    timestamp: int | None
    """Milliseconds since 1970, None for now."""

    def __repr__(self) -> str:
        headers = ", ".join(f"{name[:40]!r}: {shown(data)}" for name, data in self.headers)
        return f"<{self.kind} {shown(self.key)} {shown(self.value)} {{{headers}}} at {self.timestamp}>"

    @property
    def spoilt(self) -> bool:
        """Whether no client can read it."""
        return any(name == SPOILT for name, _ in self.headers)


def shown(data: bytes | None) -> str:
    return repr(data) if data is None or len(data) <= 100 else f"{data[:40]!r}... of {len(data)}"


class Raw:
    """A record batch that aiokafka's producer takes for one of its own."""

    def __init__(self, records: Sequence[Hostile]) -> None:
        self._count = len(records)
        spoilt = any(record.spoilt for record in records)
        builder = DefaultRecordBatchBuilder(2, NONE if spoilt else ZSTD, 0, -1, -1, -1, 1 << 30)
        now = int(time.time() * 1000)
        for i, (_, key, value, headers, stamp) in enumerate(records):
            builder.append(i, now if stamp is None else stamp, key, value, [*headers])
        raw = bytes(builder.build())
        if spoilt:
            names = raw[RECORDS:].replace(SPOILT.encode(), b"\xff" * len(SPOILT))
            packed = zstandard.ZstdCompressor().compress(names)
            covered = ZSTD.to_bytes(2, "big") + raw[ATTRIBUTES + 2 : RECORDS] + packed
            crc = calc_crc32c(covered).to_bytes(4, "big")
            size = (len(packed) + RECORDS - LENGTH_END).to_bytes(4, "big")
            raw = raw[: LENGTH_END - 4] + size + raw[LENGTH_END : ATTRIBUTES - 4] + crc + covered
        self._raw = bytearray(raw)

    def _build(self) -> bytearray:
        return self._raw

    def close(self) -> None:
        """It is."""

    def closed(self) -> bool:
        return True

    def size(self) -> int:
        return len(self._raw)

    def record_count(self) -> int:
        return self._count


async def send(producer: AIOKafkaProducer, topic: str, partition: int, records: Sequence[Hostile]) -> list[int]:
    """Send records in one request, or one by one where the broker refuses that; return the offsets of those it took.

    Apache Kafka refuses timestamps far ahead, and records without a key on a compacted topic.
    """
    try:
        future = await producer.send_batch(Raw(records), topic, partition=partition)
        meta = await future
    except (InvalidTimestampError, UnknownError):
        if len(records) == 1:
            return []
        return [offset for one in records for offset in await send(producer, topic, partition, [one])]
    return [int(meta.offset) + place for place in range(len(records))]


def strategies(
    seals: Seals, partitions: int, verdict: bytes, alert: bytes, control: bytes
) -> st.SearchStrategy[tuple[int, Hostile]]:
    """A partition and a record for it; some of them are good, and some look good."""
    number = st.integers(0, 2**40).map(str)
    telemetry = st.builds(
        lambda n, t: encode(Telemetry(id=f"r{n}", time=t, account=f"account-{len(n)}")),
        number,
        st.sampled_from([1.8e9, 0.0, 2.0**34]) | st.floats(1.8e9, 1.8e9 + 3600),
    )
    litellm = number.map(
        lambda n: msgspec.json.encode(
            {
                "id": n, "startTime": 1.8e9, "endTime": 1.8e9 + 1, "model": "m", "call_type": "acompletion",
                "metadata": {"user_api_key_org_id": f"org-{len(n)}"},
                "messages": [{"role": "user", "content": f"question {n}"}],
            }
        )
    )  # fmt: skip
    mixed = litellm.map(lambda good: b"[%b,{},%b,7]" % (good, good))

    def sightings(first: int, rows: int) -> bytes:
        requests = np.repeat(blank(), rows)
        requests["account"][:, 0] = 0x61
        requests["time"] = 1.8e9
        return pack("t:0", requests, np.arange(first, first + rows))[0]

    packed = st.builds(sightings, st.integers(0, 2**62), st.integers(1, 3))
    junk = (
        st.none()
        | st.binary(max_size=60)
        | st.just(bytes(HUGE))
        | st.just(b"[" * 50_000)
        | st.just(b'{"id":"\\ud800","time":1e400,"account":"\xff"}')
    )
    good = {
        "telemetry": telemetry, "sightings": packed, "ingest": litellm | mixed, "verdicts": st.just(verdict),
        "alerts": st.just(alert), "control": st.just(control),
    }  # fmt: skip
    text = st.sampled_from(
        [SOURCE, SEAL, "bad", "redriven", "redriven-seal", "original.bad", "reason", "", "é"]
    ) | st.text(max_size=8)
    data = (
        st.none()
        | st.binary(max_size=40)
        | st.just(bytes(HUGE))
        | st.sampled_from([b"0", b"1,2", b"x", b"9" * 5000, b"g:0:%d:0" % 2**62, b"-1"])
    )
    loose = st.lists(st.tuples(text, data), max_size=4)
    keys = st.none() | st.binary(max_size=70) | st.just(bytes(HUGE))
    stamps = st.none() | st.sampled_from([0, -1, 1, 2**62, 2**63 - 1]) | st.integers(0, 2**45)

    @st.composite
    def one(draw: Any) -> tuple[int, Hostile]:
        kind = draw(st.sampled_from([*good]))
        partition = 0 if kind in ("verdicts", "control") else draw(st.integers(0, partitions - 1))
        value = draw(good[kind] | good[kind].map(lambda v: v[:-1] + b"\xff") | junk)
        headers = draw(loose)
        if kind == "sightings" and draw(st.booleans()):
            headers = [*headers, (SEAL, seals.mac(SIGHTINGS, partition)(value or b""))]
        elif kind == "telemetry" and draw(st.booleans()):
            headers = [(SOURCE, sealed(seals.mac(SOURCE, partition), b"g:0:%d:0" % draw(st.integers(0, 9)))), *headers]
        elif kind in ("telemetry", "sightings", "ingest") and draw(st.integers(0, 9)) == 0:
            headers = [*headers, (SPOILT, b"")]
        return partition, Hostile(kind, draw(keys), value, tuple(headers), draw(stamps))

    return one()
