"""Records declared as tables: no padding, nothing overlaps but what says so, and an id that stands for the meaning."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from siphonwatch.models.common.declare import SPARE, Field, identity, raw, record, sizes

PAIR = (Field("a", "f4", "s", "a time"), Field("b", "u4", "hash", "a hash"))
TABLE = (
    Field("mark", "u1", "", "a mark"),
    Field("pairs", PAIR, "", "two pairs", (2,)),
    Field("words", "u4", "", "the pairs", (2, 2), over=("pairs",)),
    Field("time", "f8", "s", "a time"),
)
KINDS = st.sampled_from(["u1", "u2", "i2", "f4", "u4", "f8", "i8", PAIR])


@given(st.lists(st.tuples(KINDS, st.lists(st.integers(1, 5), max_size=2)), min_size=1, max_size=12))
def test_fields_are_aligned_and_fill_the_record(drawn: list[tuple[str | tuple[Field, ...], list[int]]]) -> None:
    fields = [Field(f"f{i}", kind, "", "", tuple(shape)) for i, (kind, shape) in enumerate(drawn)]
    layout, at = record(fields), 0
    assert layout.fields is not None and layout.names is not None and layout.isalignedstruct
    for kind, offset in sorted((layout.fields[name][:2] for name in layout.names), key=lambda found: found[1]):
        assert offset == at and offset % kind.alignment == 0
        at += kind.itemsize
    assert at == layout.itemsize == sum(sizes(fields).values())
    assert set(layout.names) - {SPARE} == {field.name for field in fields}


def test_a_field_over_another_is_a_second_name_of_its_bytes() -> None:
    one = np.zeros(1, record(TABLE))
    one["pairs"]["b"][0] = 7, 9
    assert one["words"][0].tolist() == [[0, 7], [0, 9]]
    assert sizes(TABLE) == {"mark": 1, "pairs": 16, "time": 8, SPARE: 7}


def test_a_record_that_shares_its_bytes_may_name_some_of_them() -> None:
    short = Field("short", PAIR[:1], "", "the first of each pair", (2,), over=("pairs",))
    one = np.zeros(1, record([*TABLE, short]))
    one["short"]["a"] = 3.0
    assert one["pairs"]["a"].tolist() == [[3.0, 3.0]] and not one["pairs"]["b"].any()


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (Field("far", "u1", "", "", (9,), over=("mark", "time")), "no neighbours"),
        (Field("long", "u4", "", "", (3,), over=("pairs",)), "takes 12 bytes, not the 16"),
        (Field("wide", (*PAIR, *TABLE[:1]), "", "", (2,), over=("pairs",)), "does not fit into 8"),
    ],
)
def test_a_field_that_cannot_lie_over_others_is_refused(extra: Field, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        record([*TABLE, extra])


@pytest.mark.parametrize(
    "changed",
    [
        (TABLE[0], *TABLE[2:], TABLE[1]),
        (TABLE[0]._replace(name="sign"), *TABLE[1:]),
        (TABLE[0]._replace(kind="i1"), *TABLE[1:]),
        (*TABLE[:3], TABLE[3]._replace(unit="ms")),
        (TABLE[0], TABLE[1]._replace(kind=PAIR[::-1]), *TABLE[2:]),
    ],
)
def test_another_order_name_kind_or_unit_is_another_record(changed: tuple[Field, ...]) -> None:
    assert identity(changed) != identity(TABLE)


def test_other_words_for_the_same_are_the_same_record() -> None:
    assert identity([field._replace(meaning="said better") for field in TABLE]) == identity(TABLE)
    assert identity(TABLE, 300.0) != identity(TABLE)


def test_plain_bytes_are_the_records_own_memory() -> None:
    rows = np.zeros((2, 3), record(TABLE))
    other = np.zeros(1, record(TABLE))
    other["time"], other["pairs"]["a"] = 5.0, 2.0
    raw(rows)[1, 2] = raw(other)[0]
    assert rows[1, 2].tobytes() == other[0].tobytes() and not rows[0].tobytes().strip(b"\0")
