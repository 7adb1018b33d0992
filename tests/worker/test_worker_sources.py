"""What was made again of a gateway's records is told by its source header alone, whatever the header holds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.agents.sources import SOURCE, Sources, fresh

PLACES = st.tuples(st.sampled_from(["a:0", "a:1", "b:0"]), st.integers(0, 5), st.integers(0, 3))


def header(source: str, offset: int, index: int) -> tuple[tuple[str, bytes], ...]:
    return ((SOURCE, f"{source}:{offset}:{index}".encode()),)


@given(st.lists(PLACES), st.integers(0, 20))
def test_a_place_is_new_where_it_is_beyond_all_before_of_its_source(
    places: list[tuple[str, int, int]], cut: int
) -> None:
    last: dict[str, list[int]] = {}
    expected = []
    for source, offset, index in places:
        expected.append([offset, index] > last.get(source, [-1, -1]))
        last[source] = max([offset, index], last.get(source, [-1, -1]))
    headers, sources = [header(*place) for place in places], Sources()
    found = [*fresh(headers[:cut], sources).tolist(), *fresh(headers[cut:], sources).tolist()]
    assert (found, sources) == (expected, last)


@given(st.lists(st.lists(st.tuples(st.sampled_from([SOURCE, "traceparent"]), st.binary(max_size=12)), max_size=3)))
def test_a_record_whose_source_cannot_be_read_is_new(headers: list[list[tuple[str, bytes]]]) -> None:
    unreadable = [tuple((name, value.replace(b":", b";")) for name, value in pairs) for pairs in headers]
    sources: Sources = {}
    assert fresh(unreadable, sources).all()
    assert not sources
