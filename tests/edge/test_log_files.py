"""Files come apart into the records that are in them, however they are cut, packed or damaged."""

from __future__ import annotations

import gzip
import io
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import zstandard
from adapter_samples import COMBINED, LITELLM, SAMPLES
from hypothesis import given
from hypothesis import strategies as st

from siphonwatch.streams.contracts.telemetry import Malformed
from siphonwatch.streams.edge.adapters import Unreadable, read_records
from siphonwatch.streams.edge.adapters.elements import Elements, split

values = st.recursive(
    st.none() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def pieces(raw: bytes, cuts: list[int]) -> list[bytes]:
    """The bytes cut at the given places."""
    edges = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    return [raw[a:b] for a, b in itertools.pairwise(edges)]


@given(
    items=st.lists(values, max_size=6), cuts=st.lists(st.integers(0, 200), max_size=6), indent=st.none() | st.just(1)
)
def test_an_array_comes_apart_into_its_elements_wherever_the_chunks_end(
    items: list[Any], cuts: list[int], indent: int | None
) -> None:
    cutter = Elements(10_000, array=True)
    found: list[Any] = []
    for piece in pieces(json.dumps(items, indent=indent).encode(), cuts):
        found += cutter.feed(piece)
    found += cutter.close()
    assert [json.loads(element) for element in found] == items


@given(
    raw=st.text(alphabet='[]{},"\\a \n', max_size=60),
    cuts=st.lists(st.integers(0, 60), max_size=5),
    array=st.booleans(),
)
def test_chunks_never_change_what_is_found(raw: str, cuts: list[int], array: bool) -> None:
    def run(parts: list[bytes]) -> list[object]:
        cutter = Elements(1000, array=array)
        found = [element for part in parts for element in cutter.feed(part)]
        return [str(element) for element in (*found, *cutter.close())]

    assert run(pieces(raw.encode(), cuts)) == run([raw.encode()])


def test_an_oversized_element_is_passed_over_and_its_neighbours_stay() -> None:
    raw = json.dumps(["a", "b" * 500, "c"]).encode()
    cutter = Elements(100, array=True)
    found = [element for i in range(0, len(raw), 7) for element in cutter.feed(raw[i : i + 7])]
    assert [element.reason if isinstance(element, Malformed) else element for element in found] == [
        b'"a"',
        "size",
        b'"c"',
    ]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"[]", []),
        (b" [1, 2] ", [b"1", b"2"]),
        (b"[1][2]", [b"1", b"2"]),
        (b'{"a": 1}\n{"a": 2}\n', [b'{"a": 1}', b'{"a": 2}']),
        (b'{\n"a": 1\n}', [b'{\n"a": 1\n}']),
        (b"[1", ["json"]),
        (b"[1] x", [b"1", "json"]),
        (b"", []),
    ],
)
def test_a_message_comes_apart_into_its_records(raw: bytes, expected: list[Any]) -> None:
    assert [item.reason if isinstance(item, Malformed) else item for item in split(raw, 1000)] == expected


LINES = [json.dumps(LITELLM | {"id": f"r-{i}"}).encode() for i in range(60)]


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress], ids=["plain", "gzip", "zstd"])
@pytest.mark.parametrize("layout", ["lines", "array", "pretty"])
def test_every_packing_and_layout_gives_the_same_records(tmp_path: Path, pack: Any, layout: str) -> None:
    path = tmp_path / "log"
    raw = {
        "lines": b"\r\n".join(LINES),
        "array": b"[" + b",\n".join(LINES) + b"]",
        "pretty": b"\n".join(json.dumps(json.loads(line), indent=1).encode() for line in LINES),
    }[layout]
    path.write_bytes(pack(raw))
    records = read_records(path)
    assert records.format == "litellm"
    assert [json.loads(record)["id"] for record in records if isinstance(record, bytes)] == [
        f"r-{i}" for i in range(60)
    ]


def test_a_stream_that_is_no_file_is_read_too() -> None:
    class Pipe:
        def __init__(self, raw: bytes) -> None:
            self._inner = io.BytesIO(raw)

        def read(self, size: int = -1) -> bytes:
            return self._inner.read(min(size, 3))

    records = read_records(Pipe((COMBINED + "\n" + COMBINED).encode()))  # type: ignore[arg-type]
    assert records.format == "nginx"
    assert list(records) == [COMBINED.encode(), COMBINED.encode()]


def test_a_line_beyond_the_limit_is_passed_over_and_its_neighbours_stay(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b'{"a":1}\n"' + b"x" * 1_000_000 + b'"\n{"a":2}\n' + b"y" * 100 + b"\n" + b"z" * 101)
    found = [r.reason if isinstance(r, Malformed) else r for r in read_records(path, "telemetry", limit=100)]
    assert found == [b'{"a":1}', "size", b'{"a":2}', b"y" * 100, "size"]


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress], ids=["gzip", "zstd"])
def test_a_truncated_archive_gives_what_is_there_and_then_says_so(tmp_path: Path, pack: Any) -> None:
    path = tmp_path / "log.packed"
    many = b"\n".join(json.dumps(LITELLM | {"id": f"{i * 7919 % 10007}"}).encode() for i in range(5000))
    packed = pack(many)
    path.write_bytes(packed[: len(packed) * 2 // 3])
    records = iter(read_records(path))
    count = 0
    with pytest.raises(Unreadable, match=r"log\.packed cannot be read beyond record \d+"):
        for _ in records:
            count += 1
    assert count > 100


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match=r"cannot open .*absent.*No such file"):
        read_records(tmp_path / "absent")


def test_an_unknown_log_is_refused_with_the_formats_there_are(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("dear diary\nnothing happened\n")
    with pytest.raises(ValueError, match=r"notes\.txt: none of the first 2 records .*litellm"):
        read_records(path)
    with pytest.raises(ValueError, match="'csv' is not known"):
        read_records(path, "csv")


def test_an_empty_file_has_no_records(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.write_bytes(b"\n\n")
    assert list(read_records(path)) == []


@pytest.mark.parametrize("format", sorted(SAMPLES))
def test_auto_tells_the_format_of_a_file(tmp_path: Path, format: str) -> None:
    path = tmp_path / "log"
    path.write_text("not a record\n" + json.dumps(SAMPLES[format]))
    assert read_records(path).format == format


def test_a_real_apache_log_is_read_without_loss() -> None:
    path = Path(__file__).resolve().parents[3] / "shared" / "data" / "weblogs" / "elastic_apache_logs"
    if not path.is_file():
        pytest.skip("the shared web logs are not beside this checkout")
    records = read_records(path)
    assert records.format == "nginx"
    assert sum(1 for _ in records) == 10_000
