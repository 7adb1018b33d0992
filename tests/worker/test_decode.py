"""The compiled scanner reads exactly what the contract's decoder reads, rejects exactly what that rejects."""

from __future__ import annotations

import contextlib
import itertools
import json

import numpy as np
import pytest
from decode_strategies import OPTIONAL, REQUIRED, damaged, field, records
from hypothesis import example, given, settings
from hypothesis import strategies as st

from siphonwatch.models.account import request as rq
from siphonwatch.streams.contracts import telemetry as contract
from siphonwatch.streams.contracts.telemetry import Malformed, Telemetry, decode, encode
from siphonwatch.streams.worker import scan
from siphonwatch.streams.worker.decode import Decoder, decode_wrapped, to_request
from siphonwatch.streams.worker.scan.tokens import name_slot

DECODER = Decoder()
MINIMAL = b'{"id":"r1","time":1.5,"account":"a"}'


def with_field(name: str, value: str) -> bytes:
    """The smallest record, with one more field."""
    return b'{"id":"r1","account":"a","time":1' + f',"{name}":{value}}}'.encode()


def agree(raw: bytes) -> bool:
    """Hold the decoder to the contract on one record; return whether it is valid."""
    batch = DECODER.decode([MINIMAL, raw, MINIMAL])
    neighbour = to_request(decode(MINIMAL)).tobytes()
    assert batch.requests[0].tobytes() == batch.requests[-1].tobytes() == neighbour
    try:
        expected = decode_wrapped(raw)
    except Malformed as error:
        ((row, found),) = batch.rejected
        assert (row, found.reason, str(found)) == (1, error.reason, str(error))
        assert batch.rows.tolist() == [0, 2]
        return False
    assert not batch.rejected
    assert batch.rows.tolist() == [0, 1, 2]
    found, wanted = batch.requests[1], to_request(expected)
    assert found.tobytes() == wanted.tobytes(), [
        n for n in rq.REQUEST.names if found[n].tobytes() != wanted[n].tobytes()
    ]
    return True


def test_every_byte_of_a_request_belongs_to_a_field() -> None:
    assert sum(rq.REQUEST[name].itemsize for name in rq.REQUEST.names) == rq.REQUEST.itemsize


def test_every_field_of_the_contract_is_known_to_the_scanner() -> None:
    assert set(Telemetry.__struct_fields__) == {*REQUIRED, *OPTIONAL}


@settings(max_examples=400, deadline=None)
@given(records())
def test_any_valid_record_reads_as_the_contract_reads_it(raw: bytes) -> None:
    assert agree(raw)


@settings(max_examples=600, deadline=None)
@given(damaged())
@example(b"")
@example(b"{}")
@example(b"[" * 2000)
@example(b'{"x":' * 2000)
@example(MINIMAL + MINIMAL)
@example(MINIMAL[:-1])
@example(MINIMAL + b" \n\r\t ")
@example(b"\xef\xbb\xbf" + MINIMAL)
@example(b'{"id":"r1","time":1.5,"account":"a",}')
@example(b'{"id":"r1","time":1.5,"account":"a" "v":1}')
def test_a_damaged_record_is_rejected_exactly_when_the_contract_rejects_it(raw: bytes) -> None:
    agree(raw)


@pytest.mark.parametrize("name", [*REQUIRED, *OPTIONAL])
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_each_field_alone_reads_as_the_contract_reads_it(name: str, data: st.DataObject) -> None:
    assert agree(with_field(name, data.draw(field(name))))


@pytest.mark.parametrize(
    "value",
    ["-0", "-0.0", "0", "00", "01", "-01", "+1", "1.", ".5", "-", "1e2", "1E+2", "1e400", "-1e-400", "17179869184",
     "17179869184.000001", "17179869185", "9007199254740991", "9007199254740993", "0.1", "1767571200.123456",
     "0.0000000000000000000001", "0.00000000000000000000001", "123456789012345678901234567890", "null", "true", '"1"',
     "NaN", "Infinity", "2147483647", "2147483648", "-1", "-2", "999", "1000", "999999999999999999",
     "9999999999999999999", "9007199254740992", "200.0", "{}", "[]", "[1,]", "[,1]", "[1,2,3,4,5,6,7,8]",
     "[1,2,3,4,5,6,7,8,9]", "[-1]", "[2147483648]", "[1 2]", "[1.0]", "[ ]", '"llm"', '"Rest"', '"ABCDEF0123456789"',
     '"0123456789abcdef"', '"0123456789abcde"', '"0123456789abcdefa"', '"\\u0030123456789abcdef"', '""', '"a b"',
     '"\x7f"', '"' + "x" * 64 + '"', '"' + "x" * 65 + '"', '"' + "x" * 128 + '"', '"' + "x" * 129 + '"',
     '"' + "A" * 8 + '"', '"' + "AbC/+9xZ" * 8 + '"', '"' + "zzzzzzzz" * 16 + '"', '"' + "A" * 136 + '"',
     '"' + "A" * 72 + '"', '"' + "A" * 15 + '-"', '"' + "A" * 12 + '"',
     '"' + "A" * 43 + '="', '"' + "A" * 42 + '=="', '"' + "A" * 44 + '"', '"' + "A" * 40 + '=AA="', "tru", "nul"],
)  # fmt: skip
@pytest.mark.parametrize(
    "name", ["time", "account", "id", "kind", "temperature", "duration", "status", "item", "page", "v", "stream", "key",
             "model", "masks", "projection", "chunks", "reply_chunks", "unknown"],
)  # fmt: skip
def test_borders_of_every_kind_of_field_agree(name: str, value: str) -> None:
    agree(with_field(name, value))


def test_any_byte_at_any_place_of_a_hash_reads_as_the_contract_reads_it() -> None:
    good = b"0123456789abcdef"
    values = [with_field("key", '"@"').replace(b"@", good[:at] + bytes([byte]) + good[at + 1 :])
              for at in range(16) for byte in range(256)]  # fmt: skip
    batch = DECODER.decode(values)
    expected = {}
    for row, raw in enumerate(values):
        with contextlib.suppress(Malformed):
            expected[row] = int(decode(raw).key or "0", 16)
    assert dict(zip(batch.rows.tolist(), batch.requests["key"].tolist(), strict=True)) == expected
    assert len(expected) >= 16 * 16


@settings(max_examples=40, deadline=None)
@given(st.lists(records() | damaged(), max_size=12), st.data())
def test_any_cut_into_batches_gives_the_same_records(values: list[bytes], data: st.DataObject) -> None:
    whole = DECODER.decode(values)
    assert sorted([*whole.rows.tolist(), *(row for row, _ in whole.rejected)]) == list(range(len(values)))
    cut = data.draw(st.integers(0, len(values)))
    parts = [DECODER.decode(values[:cut]), DECODER.decode(values[cut:])]
    assert b"".join(p.requests.tobytes() for p in parts) == whole.requests.tobytes()
    assert [*parts[0].rows, *(parts[1].rows + cut)] == whole.rows.tolist()
    again = [(row + shift, str(e)) for p, shift in zip(parts, (0, cut), strict=True) for row, e in p.rejected]
    assert again == [(row, str(e)) for row, e in whole.rejected]


def test_an_empty_batch_holds_nothing() -> None:
    batch = DECODER.decode([])
    assert len(batch.requests) == len(batch.rows) == len(batch.rejected) == 0


def test_plain_records_are_read_by_the_scanner_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(raw: bytes) -> Telemetry:
        raise AssertionError(f"the slow path was taken for {raw!r}")

    record = Telemetry(
        id="r1", time=1767571200.25, account="ab" * 16, key="0123456789abcdef", model="m-1", masks=[1, 0, 2],
        temperature=0.7, projection="A" * 43 + "=", item=2**53, stream=True, kind="rest", duration=0.125,
        chunks="Abcdefgh" * 16, reply_chunks="Abcdefg/",
    )  # fmt: skip
    monkeypatch.setattr("siphonwatch.streams.worker.decode.decode", refuse)
    batch = DECODER.decode([encode(record)] * 3)
    assert len(batch.requests) == 3
    assert batch.requests[2].tobytes() == to_request(record).tobytes()


def test_an_unknown_name_at_the_place_of_a_field_s_is_not_read_as_that_field() -> None:
    tables = scan.make_tables()
    names = [f"x{i}" for i in range(20_000)]
    words = np.array([list(f'{name}"'.encode().ljust(16, b"\0")) for name in names], np.uint8).view(np.uint64)
    row = Telemetry.__struct_fields__.index("status")
    same = [
        name
        for name, (first, second) in zip(names, words, strict=True)
        if tables.rows[name_slot(first, second, tables.spread)] == row
    ]
    batch = DECODER.decode([with_field(name, "500") for name in same])
    assert len(batch.requests) == len(same) > 0
    assert set(batch.requests["status"].tolist()) == {200}


def test_records_with_other_fields_before_them_read_the_same() -> None:
    few, many = MINIMAL, encode(Telemetry(id="r2", time=2.0, account="b", model="m", status=404, turns=3, lang="en"))
    turned = b'{"lang":"en","turns":3,"status":404,"model":"m","account":"b","time":2.0,"id":"r2"}'
    values = [few, many, turned, many, few, turned, turned, few]
    assert DECODER.decode(values).requests.tobytes() == b"".join(to_request(decode(v)).tobytes() for v in values)


def test_a_longer_id_than_is_kept_is_cut_and_the_account_is_hashed_whole() -> None:
    ids = ["x" * 64, "x" * 65, "x" * 128]
    batch = DECODER.decode([encode(Telemetry(id=i, time=1.0, account="a" * 64)) for i in ids])
    assert rq.names(batch.requests["id"]) == ["x" * 64] * 3
    other = DECODER.decode([encode(Telemetry(id="x", time=1.0, account="a" * 63 + "b"))])
    assert other.requests["account_hash"][0] != batch.requests["account_hash"][0]


@pytest.mark.parametrize("name", ["account", "key", "projection"])
def test_a_line_break_at_the_end_is_part_of_no_value(name: str) -> None:
    good = {"account": "abc", "key": "0" * 16, "projection": "A" * 43 + "="}[name]
    with pytest.raises(Malformed, match=rf"\$\.{name}"):
        decode(with_field(name, f'"{good}\\n"'))
    assert agree(with_field(name, f'"{good}"'))


def test_reasons_never_quote_the_content() -> None:
    secret = "s3cret-value-that-must-not-leak"
    for raw in (
        *(with_field(name, f'"{secret} {secret}"') for name in ("status", "account", "kind", "v", "key", "time")),
        secret.encode(),
        MINIMAL + secret.encode(),
    ):
        ((_, error),) = DECODER.decode([raw]).rejected
        assert secret not in str(error)
        assert error.reason in ("json", "schema")


def test_the_schema_names_every_field_and_its_bounds() -> None:
    schema = contract.json_schema()
    fields = schema["$defs"]["Telemetry"]["properties"]
    assert set(fields) == set(Telemetry.__struct_fields__)
    assert schema["$defs"]["Telemetry"]["required"] == ["id", "time", "account"]
    assert all("minimum" in f and "maximum" in f for f in fields.values() if f.get("type") == "integer")


@given(st.floats(0, 2**34), st.integers(0, 2**31 - 1), st.floats(-1e6, 1e6) | st.none())
@settings(max_examples=60, deadline=None)
def test_a_record_round_trips_through_its_encoding(time: float, count: int, temperature: float | None) -> None:
    record = Telemetry(id="x", time=time, account="a", tokens_in=count, temperature=temperature, masks=[count])
    assert decode(encode(record)) == record
    assert agree(encode(record))


def test_the_powers_of_ten_that_decimals_are_divided_by_are_exact() -> None:
    assert scan.make_tables().powers.tolist() == [float(f"1e{i}") for i in range(23)]


def test_decimals_are_rounded_as_python_rounds_them() -> None:
    rng = np.random.default_rng(5)
    whole, part = rng.integers(0, 2**33, 3000).tolist(), rng.integers(0, 10**6, 3000).tolist()
    texts = [f"{a}.{b:0{d}d}" for a, b, d in zip(whole, part, itertools.cycle((6, 9, 12)))]
    batch = DECODER.decode([b'{"id":"r","account":"a","time":' + t.encode() + b"}" for t in texts])
    assert batch.requests["time"].tolist() == [float(t) for t in texts]


@pytest.mark.parametrize(
    "wrapped",
    [
        b"\xef\xbb\xbf" + MINIMAL,
        json.dumps(MINIMAL.decode()).encode(),
        json.dumps(json.dumps(MINIMAL.decode())).encode(),
        b'{"schema":{"type":"struct"},"payload":' + MINIMAL + b"}",
        json.dumps({"schema": None, "payload": MINIMAL.decode()}).encode(),
    ],
    ids=["byte-order mark", "a string", "a string in a string", "connect", "connect, a string"],
)
def test_a_record_in_an_envelope_is_the_record(wrapped: bytes) -> None:
    assert DECODER.decode([wrapped]).requests.tobytes() == DECODER.decode([MINIMAL]).requests.tobytes()


def test_an_envelope_of_several_records_is_refused_rather_than_read_in_part() -> None:
    (rejected,) = DECODER.decode([b'{"records":[{"value":' + MINIMAL + b'},{"value":' + MINIMAL + b"}]}"]).rejected
    assert "several records" in str(rejected[1])
