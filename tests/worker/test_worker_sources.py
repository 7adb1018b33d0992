"""What was made again of a gateway's records is told by its sealed source header alone, whatever the header holds."""

from __future__ import annotations

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts import provenance
from siphonwatch.streams.contracts.dead_letter import REDRIVEN
from siphonwatch.streams.contracts.provenance import Seals
from siphonwatch.streams.worker.agents.sources import SOURCE, Sources, fresh, sealed
from siphonwatch.streams.worker.transport.batch import Headers

PLACES = st.tuples(st.sampled_from(["a:0", "a:1", "b:0"]), st.integers(0, 5), st.integers(0, 3))
MAC = Seals(b"the deployment's").mac(provenance.SOURCE, 3)
HUGE = b"gateway:0:%d:0" % (2**62)


def header(source: str, offset: int, index: int) -> Headers:
    return ((SOURCE, sealed(MAC, f"{source}:{offset}:{index}".encode())),)


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
    parts = [fresh(headers[:cut], sources, MAC), fresh(headers[cut:], sources, MAC)]
    assert ([keep for part in parts for keep in part.keep.tolist()], sources) == (expected, last)
    assert [part.forged for part in parts] == [0, 0]


FORGED = (
    st.none()
    | st.binary(max_size=40)
    | st.integers(-(2**70), 2**70).map(lambda offset: b"gateway:0:%d:0" % offset)
    | st.sampled_from(
        [
            HUGE,
            HUGE + b":" + b"0" * 16,
            HUGE + b":",
            sealed(MAC, b"gateway:0:17:0") + b"0",
            sealed(MAC, b"gateway:0:17:0").replace(b"17", b"99"),
            sealed(Seals(b"another's").mac(provenance.SOURCE, 3), HUGE),
            sealed(Seals(b"the deployment's").mac(provenance.SOURCE, 4), HUGE),
            sealed(Seals(b"the deployment's").mac(provenance.SIGHTINGS, 3), HUGE),
            b"gateway:0:" + b"9" * 5000 + b":0",
        ]
    )
)


@hypothesis.settings(deadline=None)
@given(st.lists(FORGED), st.integers(0, 20))
def test_a_source_without_its_seal_is_counted_and_changes_nothing(forged: list[bytes | None], place: int) -> None:
    headers: list[Headers] = [((SOURCE, value), ("traceparent", None)) for value in forged]
    ours = [header("gateway:0", offset, 0) for offset in (1, 2, 1)]
    sources: Sources = {}
    found = fresh([*headers[:place], ours[0], *headers[place:], *ours[1:]], sources, MAC)
    assert found.keep.sum() == len(forged) + 2
    assert found.forged == len(forged)
    assert sources == {"gateway:0": [2, 0]}


@pytest.mark.parametrize(
    "place", [b"", b"gateway", b"gateway:0:1e5:0", b"gateway:0:" + b"9" * 5000 + b":0", b"gateway:0:1:" + b"9" * 19]
)
def test_a_place_that_is_none_ends_nothing_under_any_seal(place: bytes) -> None:
    """Where a deployment has no key, anybody can seal."""
    mac, sources = provenance.UNKEYED.mac(provenance.SOURCE, 0), Sources()
    assert fresh([((SOURCE, sealed(mac, place)),)], sources, mac).forged == 1
    assert not sources


def test_a_record_that_was_sent_again_from_the_dead_letters_is_new_and_moves_nothing() -> None:
    sources: Sources = {"gateway:0": [17, 0]}
    redriven = (*header("gateway:0", 4, 0), (REDRIVEN, b"1"))
    assert fresh([redriven, redriven], sources, MAC).keep.all()
    assert sources == {"gateway:0": [17, 0]}


def test_seals_need_the_identity_key_and_differ_by_what_they_are_for() -> None:
    settings = Settings()
    seals = {Seals.from_settings(settings).mac("source", 0)(b"x")}
    for key in ("one key of a deployment", "another key of a deployment"):
        settings.identity.key = key
        for purpose in ("source", "sightings", "redriven"):
            seals |= {Seals.from_settings(settings).mac(purpose, number)(b"x") for number in (0, 1, 2**31 - 1)}
    assert len(seals) == 1 + 2 * 3 * 3
    assert {len(seal) for seal in seals} == {16}
