"""Records of the desk: bounded, read back as written, erased in place, and in an order that no log changes."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from siphonwatch.streams.contracts import desk

SCHEMA = Path(__file__).parents[2] / "deploy" / "schemas" / "desk.v1.json"
HEX = "0123456789abcdef"
COMMON = {
    "id": st.text(HEX, min_size=12, max_size=12),
    "case": st.text(HEX, min_size=16, max_size=16),
    "account": st.text(min_size=1, max_size=64),
    "by": st.text(min_size=1, max_size=64),
    "time": st.floats(0, 2**34),
}
TEXT = st.text(max_size=desk.MAX_TEXT)
RECORDS: st.SearchStrategy[desk.Desk] = st.one_of(
    st.builds(desk.Note, **COMMON, text=TEXT),
    st.builds(desk.Assign, **COMMON, to=st.text(max_size=64)),
    st.builds(desk.Snooze, **COMMON, until=st.floats(0, 2**34), text=TEXT),
    st.builds(desk.Reopen, **COMMON, text=TEXT),
    st.builds(desk.Merge, **COMMON, of=st.just("e" * 16), text=TEXT),
    st.builds(desk.Split, **COMMON, accounts=st.lists(COMMON["account"], max_size=5), text=TEXT),
)


@given(RECORDS)
def test_a_record_is_read_back_as_it_was_written_and_is_valid(record: desk.Desk) -> None:
    raw = desk.encode(record)
    assert desk.decode(raw) == record
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(json.loads(raw))


@given(st.lists(RECORDS, max_size=8), st.randoms())
def test_their_order_is_not_that_of_the_log(records: list[desk.Desk], random: object) -> None:
    unique = list({record.id: record for record in records}.values())
    shuffled = sorted(unique, key=lambda _: random.random())  # type: ignore[attr-defined]
    assert desk.history(shuffled) == desk.history(unique)


@given(RECORDS)
def test_an_erased_account_leaves_no_name_and_no_text_and_only_its_own_records_change(record: desk.Desk) -> None:
    blank = desk.blanked(record, record.account)
    assert not desk.names(blank, record.account) or record.account == "erased"
    assert (blank.id, blank.time, desk.text_of(blank)) == (record.id, record.time, "")
    assert desk.history([record, blank]) == [blank]


GOOD = {"type": "note", "id": "0" * 12, "case": "a" * 16, "account": "x", "by": "Ann", "time": 1.0, "text": "t"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": "secret-tag"}, {"id": "0" * 11}, {"id": "0" * 12 + "\n"}, {"case": "A" * 16}, {"account": ""},
        {"by": ""}, {"by": "x" * 65}, {"time": -1}, {"time": 1e99}, {"text": "x" * (desk.MAX_TEXT + 1)}, {"v": 2},
        {"type": "merge", "of": "a" * 16}, {"type": "split", "accounts": ["x"] * (desk.MAX_ACCOUNTS + 1)},
        {"type": "snooze", "until": "tomorrow"},
    ],
)  # fmt: skip
def test_what_is_beyond_the_contract_is_refused_and_not_quoted(wrong: dict[str, object]) -> None:
    with pytest.raises(desk.NotOfTheDesk) as refused:
        desk.decode(msgspec.json.encode(GOOD | wrong))
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("raw", [b"", b"null", b"[" * 100_000, b"\xff", b" " * (desk.MAX_BYTES + 1)])
def test_no_bytes_do_more_than_be_refused(raw: bytes) -> None:
    with pytest.raises(desk.NotOfTheDesk):
        desk.decode(raw)
