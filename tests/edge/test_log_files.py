"""Files come apart into the records that are in them, however they are cut, packed or damaged."""

from __future__ import annotations

import bz2
import gzip
import io
import itertools
import json
import lzma
from pathlib import Path
from typing import Any

import pytest
import zstandard
from adapter_samples import COMBINED, LITELLM, SAMPLES, adapter
from hypothesis import given
from hypothesis import strategies as st

from siphonwatch.streams.contracts.telemetry import Malformed
from siphonwatch.streams.edge.adapters import Unreadable, read_records
from siphonwatch.streams.edge.adapters.elements import Elements, split
from siphonwatch.streams.edge.adapters.partial import DOCKER_PART, joined

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


@pytest.mark.parametrize("pack", [bz2.compress, lzma.compress, lambda raw: gzip.compress(gzip.compress(raw))])
def test_further_packings_are_read(pack: Any) -> None:
    records = read_records(io.BytesIO(pack(b"\n".join(LINES[:2]))))
    assert (records.format, list(records)) == ("litellm", LINES[:2])


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_text_with_a_wide_byte_order_mark_is_read_from_files_and_topics(encoding: str) -> None:
    line = json.dumps(LITELLM, ensure_ascii=False) + "\r\n"
    raw = ("\ufeff" + line * 2).encode(encoding)
    assert list(read_records(io.BytesIO(raw))) == [line.strip().encode()] * 2
    assert len({found.id for found in adapter("litellm").records(raw) if not isinstance(found, Malformed)}) == 1


def test_a_return_alone_ends_a_line_where_no_other_end_is() -> None:
    records = read_records(io.BytesIO(f"{COMBINED}\r{COMBINED}\r".encode()))
    assert list(records) == [COMBINED.encode()] * 2


@pytest.mark.parametrize("between", [b"", b" ", b",\n", b"\n\x1e"])
def test_objects_one_behind_the_other_are_cut(between: bytes) -> None:
    records = read_records(io.BytesIO(LINES[0] + between + LINES[1] + between + LINES[2] + b"\n"))
    assert records.format == "litellm"
    ids = [found.id for raw in records for found in adapter("litellm").records(raw) if not isinstance(found, Malformed)]
    assert ids == ["r-0", "r-1", "r-2"]


def cut_by_docker(line: bytes) -> bytes:
    """As Docker's json-file driver logs a line that is longer than its buffer."""
    raw = line + b"\n"
    parts = [raw[i : i + DOCKER_PART] for i in range(0, len(raw), DOCKER_PART)]
    found = [{"log": part.decode(), "stream": "stdout", "time": "2026-01-05T00:00:00Z"} for part in parts]
    return b"".join(json.dumps(part, separators=(",", ":")).encode() + b"\n" for part in found)


def cut_by_containerd(line: bytes) -> bytes:
    parts = [line[i : i + 400] for i in range(0, len(line), 400)]
    return b"".join(
        b"2026-01-05T00:00:00.5Z stdout " + (b"P " if part is not parts[-1] else b"F ") + part + b"\n" for part in parts
    )


@pytest.mark.parametrize("cut", [cut_by_docker, cut_by_containerd])
def test_lines_that_a_container_s_runtime_cut_are_put_together(cut: Any) -> None:
    long = json.dumps(LITELLM | {"id": "long", "response": "word " * 8000}).encode()
    records = read_records(io.BytesIO(cut(long) + cut(LINES[0]) + cut(long)))
    ids = [found.id for raw in records for found in adapter("litellm").records(raw) if not isinstance(found, Malformed)]
    assert (records.format, ids) == ("litellm", ["long", "r-0", "long"])


def test_parts_of_two_streams_stay_apart_and_none_is_kept_beyond_the_limit() -> None:
    out, err = b"2026-01-05T00:00:00Z stdout ", b"2026-01-05T00:00:00Z stderr "
    lines = [out + b"P ab", err + b"P x", out + b"F c", err + b"F y"]
    lines += [out + b"P " + b"z" * 9, out + b"F z", err + b"P q"]
    found = [item.reason if isinstance(item, Malformed) else item for item in joined(lines, 8)]
    assert found == [b"abc", b"xy", "size", b"q"]


def test_lines_that_a_shipper_stripped_of_their_end_stay_apart() -> None:
    line = json.dumps({"log": COMBINED, "stream": "stdout"}, separators=(",", ":")).encode()
    assert list(joined([line] * 3, 10_000)) == [line] * 3


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress], ids=["gzip", "zstd"])
def test_a_packed_message_is_unpacked_within_the_limit(pack: Any) -> None:
    reader = adapter("litellm", SIPHONWATCH_INGEST_MAX_RECORD_BYTES="100000")
    packed = pack(LINES[0])
    (found,) = reader.records(packed)
    assert not isinstance(found, Malformed)
    reasons = [one.reason for raw in (packed[:-9], pack(b" " * 200_000)) for one in reader.records(raw)]  # type: ignore[union-attr]
    assert reasons == ["encoding", "size"]


def test_the_header_of_confluent_s_serializers_is_taken_off() -> None:
    (found,) = adapter("litellm").records(b"\0\0\0\x01\x0a" + LINES[0])
    assert not isinstance(found, Malformed)


def test_a_small_damaged_archive_gives_what_is_there_too() -> None:
    records = iter(read_records(io.BytesIO(gzip.compress(LINES[0] + b"\n") + b"trailing")))
    assert next(records) == LINES[0]
    with pytest.raises(Unreadable, match="beyond record 1"):
        next(records)


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
