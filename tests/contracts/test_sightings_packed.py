"""Packed sightings as bytes: what is packed comes back, a coordinator misses nothing, and no value does harm."""

from __future__ import annotations

import random
import struct

import numpy as np
import pytest
from core_fakes import dump_of
from hypothesis import given
from hypothesis import strategies as st

from siphonwatch.models.account.request import REQUEST, Array, blank
from siphonwatch.models.campaign.sighting import FIELDS
from siphonwatch.models.engine.config import ScorerConfig
from siphonwatch.models.engine.coordinator import Coordinator
from siphonwatch.streams.contracts.sighting import MAX_ROWS, join, pack, unpack
from siphonwatch.streams.contracts.telemetry import Malformed

SOURCE = "siphonwatch.telemetry.v1:3"
HEAD = 32
"""Bytes before the source."""
AT = HEAD + 32
"""Where the columns begin: behind the source and its padding."""


def requests_of(seed: int, n: int) -> Array:
    """Requests in which everything is noise but what a time and an account must be."""
    draw = np.random.default_rng(seed)
    requests = np.frombuffer(draw.bytes(n * REQUEST.itemsize), REQUEST).copy()
    requests["time"] = 1.7e9 + draw.random(n) * 1e6
    requests["account"] = 0
    names = requests["account"].view(np.uint8).reshape(n, -1)
    for row, length in zip(names, draw.integers(1, 65, n), strict=True):
        row[:length] = draw.integers(0x21, 0x7F, length)
    return requests


def relayed(n: int) -> Array:
    """One list handed round thirty accounts, with whatever else in the fields that no sighting holds."""
    draw = np.random.default_rng(5)
    requests = np.repeat(blank(), n)
    for name in set(REQUEST.names or ()) - set(FIELDS):
        requests[name] = np.frombuffer(draw.bytes(requests[name].nbytes), requests[name].dtype).reshape(
            requests[name].shape
        )
    requests["time"] = 1.767e9 + np.arange(n) * 144.0
    requests["account"][:, 0] = 0x41 + np.arange(n) % 30
    requests["account_hash"] = (1 + np.arange(n) % 30) << 32
    requests["net"] = 1 + np.arange(n) % 30
    requests["content"] = draw.integers(1, 2**63, n)
    requests["template"] = draw.integers(1, 2**63, n)
    requests["projection"] = draw.integers(-128, 128, (n, 32))
    for name in ("turns", "agent", "headers", "system"):
        requests[name] = 1
    requests["id"][:, 0] = 0x61
    requests["max_tokens"] = 512
    return requests


def outcome(requests: Array) -> tuple[list[str], bytes, bytes]:
    coordinator = Coordinator(ScorerConfig())
    findings = coordinator.score(requests, np.arange(len(requests)))
    return [repr(finding) for finding in findings], dump_of(coordinator), coordinator.table.rows.tobytes()


@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(0, 2**62), st.randoms())
def test_what_is_packed_comes_back_to_the_last_bit(seed: int, n: int, first: int, r: random.Random) -> None:
    requests = requests_of(seed, n)
    offsets = first + np.cumsum([r.randrange(1, 1000) for _ in range(n)])
    places = np.array(sorted(r.sample(range(n), r.randrange(1, n + 1))))
    (value,) = pack(SOURCE, requests, offsets, places)
    packed = unpack(value)
    assert packed.source == SOURCE
    assert packed.offsets.tolist() == offsets[places].tolist()
    assert packed.indexes.tolist() == list(range(len(places)))
    back = join([packed])
    for name in FIELDS:
        assert back[name].tobytes() == requests[places][name].tobytes()


@given(st.integers(0, 30), st.integers(-5, 100))
def test_only_rows_of_higher_offsets_are_left_after_one(first: int, applied: int) -> None:
    offsets = first + 2 * np.arange(20)
    (value,) = pack(SOURCE, requests_of(1, 20), offsets)
    left = unpack(value).after(applied)
    assert left.offsets.tolist() == [offset for offset in offsets.tolist() if offset > applied]
    assert left.indexes.tolist() == [i for i, offset in enumerate(offsets.tolist()) if offset > applied]
    assert join([left])["id"].tolist() == requests_of(1, 20)["id"][left.indexes].tolist()


def test_a_coordinator_misses_nothing_that_a_sighting_does_not_hold() -> None:
    requests = relayed(3000)
    sent = join([unpack(value) for value in pack(SOURCE, requests, np.arange(3000))])
    findings, dump, rows = outcome(requests)
    assert outcome(sent) == (findings, dump, rows)
    assert findings


def test_many_requests_make_as_few_records_as_may_be() -> None:
    requests = np.repeat(requests_of(1, 1), 2 * MAX_ROWS + 1)
    sizes = [len(unpack(value).indexes) for value in pack(SOURCE, requests, np.arange(len(requests)))]
    assert sizes == [MAX_ROWS, MAX_ROWS, 1]
    assert pack(SOURCE, requests[:0], np.arange(0)) == []


@given(st.binary(max_size=200))
def test_what_is_no_packed_sightings_is_malformed(value: bytes) -> None:
    with pytest.raises(Malformed) as caught:
        unpack(value)
    assert caught.value.reason == "schema"


@given(st.data())
def test_a_value_that_was_tampered_with_is_malformed_or_harmless(data: st.DataObject) -> None:
    (value,) = pack(SOURCE, relayed(6), np.arange(6))
    changed = bytearray(value)
    for _ in range(data.draw(st.integers(1, 12))):
        at = data.draw(st.integers(0, len(changed) - 1) | st.integers(0, AT))
        some = data.draw(st.binary(min_size=1, max_size=8) | st.sampled_from([b"\0" * 8, b"\xff" * 8]))
        changed[at : at + len(some)] = some
    kept = bytes(changed[: data.draw(st.integers(0, len(changed)) | st.just(len(changed)))])
    try:
        packed = unpack(kept)
    except Malformed as error:
        assert error.reason in ("schema", "size", "fields")
        return
    coordinator = Coordinator(ScorerConfig())
    coordinator.score(join([packed]), packed.indexes)
    assert 0 <= coordinator.now <= 2**34


def change(at: int, kind: str, *numbers: float) -> bytes:
    (value,) = pack(SOURCE, relayed(6), np.arange(10, 16))
    some = struct.pack(kind, *numbers)
    return value[:at] + some + value[at + len(some) :]


TIMES = AT + 6 * 8
ACCOUNTS = AT + 6 * 8 * (1 + FIELDS.index("account"))


@pytest.mark.parametrize(
    ("value", "reason", "words"),
    [
        (change(4, "<H", 2), "schema", "format 2, this version reads 1"),
        (change(8, "<I", 7), "schema", "layout 00000007, this version reads"),
        (change(12, "<I", 0), "size", "0 rows"),
        (change(12, "<I", MAX_ROWS + 1), "size", f"{MAX_ROWS + 1} rows"),
        (change(12, "<I", 7), "size", "expected for 7 rows"),
        (change(16, "<q", 9), "fields", "from 9 to 15"),
        (change(24, "<q", 16), "fields", "from 10 to 16"),
        (change(16, "<q", -1), "fields", "from -1 to 15"),
        (change(AT + 8, "<q", 10), "fields", "offsets do not increase"),
        (change(HEAD, "<8s", b"\xff" * 8), "fields", "source"),
        (change(HEAD, "<8s", b"a:b:c:d:"), "fields", "source"),
        (change(TIMES, "<d", float("nan")), "fields", "time"),
        (change(TIMES, "<d", float("inf")), "fields", "time"),
        (change(TIMES, "<d", -1.0), "fields", "time"),
        (change(ACCOUNTS, "<Q", 0), "fields", "account"),
        (change(ACCOUNTS, "<Q", 0x0000610061), "fields", "account"),
        (change(ACCOUNTS, "<Q", 0x20), "fields", "account"),
        (change(ACCOUNTS, "<Q", 0xE9), "fields", "account"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_what_is_wrong(value: bytes, reason: str, words: str) -> None:
    with pytest.raises(Malformed, match=words) as caught:
        unpack(value)
    assert caught.value.reason == reason
