"""Control records: what they say is checked, whatever stands on their topic, and the last of an id counts."""

from __future__ import annotations

from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from siphonwatch.streams.contracts.control import (
    MAX_BYTES,
    Allow,
    AllowEnd,
    NotAControl,
    decode,
    encode,
    json_schema,
    standing,
)  # fmt: skip


def allow(id: str = "0123456789ab", **changes: Any) -> Allow:
    fields = {
        "id": id, "pattern": "shift", "until": 2e9, "accounts": ["acme"], "why": "asked: Bob", "by": "Ann",
        "time": 1.8e9,
    }  # fmt: skip
    return Allow(**(fields | changes))


def end(id: str = "0123456789ab") -> AllowEnd:
    return AllowEnd(id=id, by="Ann", time=1.8e9)


@pytest.mark.parametrize("control", [allow(), allow(accounts=[], case="0123456789abcdef"), end()])
def test_a_record_round_trips_and_is_valid_by_the_published_schema(control: Allow | AllowEnd) -> None:
    assert decode(encode(control)) == control
    jsonschema.Draft202012Validator(json_schema()).validate(msgspec.json.decode(encode(control)))


@pytest.mark.parametrize(
    "changes",
    [{"id": "0123456789aB"}, {"until": -1.0}, {"accounts": []}, {"accounts": ["a"] * 1001}, {"accounts": [""]},
     {"case": "0123"}, {"by": ""}, {"why": "x" * 2001}, {"pattern": ""}, {"v": 2}],
)  # fmt: skip
def test_one_that_says_what_cannot_be_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(NotAControl):
        decode(encode(allow(**changes)))


@given(st.binary(max_size=200) | st.sampled_from([b"[" * 50_000, b'{"type":"promote","id":"x"}', b"{}", b"null"]))
def test_anything_else_is_refused_by_its_name_and_is_not_quoted(raw: bytes) -> None:
    with pytest.raises(NotAControl) as caught:
        decode(raw)
    assert "promote" not in str(caught.value)


def test_a_record_that_is_too_large_is_not_looked_at() -> None:
    raw = encode(allow())
    with pytest.raises(NotAControl, match="bytes"):
        decode(raw + b" " * (MAX_BYTES - len(raw) + 1))
    assert decode(raw + b" " * (MAX_BYTES - len(raw))) == allow()


def test_the_last_record_of_an_id_counts() -> None:
    later = allow(until=3e9)
    other = allow("ba9876543210")
    assert standing([allow(), other, later]) == {other.id: other, later.id: later}
    assert standing([allow(), end(), other]) == {other.id: other}
    assert standing([end(), allow()]) == {allow().id: allow()}, "of two workers' logs the order is one"
