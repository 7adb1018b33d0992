"""Records adapted over several processes come out as one process gives them, in their order, and none goes missing."""

from __future__ import annotations

import json
import multiprocessing
from collections import Counter
from collections.abc import Iterator

import pytest
from adapter_samples import LITELLM, settings
from spread_adapters import FATAL, numbered

from siphonwatch.streams.contracts.telemetry import Malformed
from siphonwatch.streams.edge import spread as spreading
from siphonwatch.streams.edge.spread import Adapted, ProcessDied, Raw, adapted, spread

COUNT = 3000


def mixed() -> Iterator[Raw]:
    """Numbers, what is none, and what could not even be read."""
    for number in range(COUNT):
        if number % 97 == 3:
            yield Malformed("size", f"record {number}")
        else:
            yield b"odd" if number % 31 == 5 else b"%d" % number


def told(parts: Iterator[Adapted]) -> tuple[list[str], list[tuple[str, int]], int]:
    """All that came of it, in a form that compares."""
    records, passed, without = [], Counter[str](), 0
    for part in parts:
        records += [r.decode() if isinstance(r, bytes) else f"{r.reason}/{r}" for r in part.records]
        passed.update(part.passed_over)
        without += part.without_text
    return records, list(passed.items()), without


@pytest.mark.parametrize("processes", [2, 3])
def test_several_processes_give_what_one_gives_in_its_order(processes: int) -> None:
    alone = told(spread(numbered, mixed(), 1))
    assert told(spread(numbered, mixed(), processes, alone=100, at_once=50)) == alone
    assert len(alone[0]) + alone[1][0][1] == COUNT


def test_litellm_records_give_the_same_telemetry_by_two_processes_as_by_one() -> None:
    raw = [json.dumps(LITELLM | {"id": f"r{i}", "messages": [{"role": "user", "content": f"Tell me of {i} cats."}]})
           for i in range(200)]  # fmt: skip
    records = [text.encode() for text in raw] + [b"{", b"[]"]
    alone = told(adapted(settings(), "litellm", records, 1))
    assert told(adapted(settings(), "litellm", records, 2, alone=50, at_once=50)) == alone
    assert len(set(alone[0])) > 200


def test_few_records_begin_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spreading, "ProcessPoolExecutor", None)
    assert len(told(spread(numbered, [b"1", b"2"], 8))[0]) == 2


@pytest.mark.parametrize("processes", [1, 2])
def test_what_was_read_before_the_source_failed_is_adapted_and_then_the_failure_is_raised(processes: int) -> None:
    def broken() -> Iterator[Raw]:
        yield from (b"1" for _ in range(275))
        raise OSError("the file ends early")

    found: list[Raw] = []
    with pytest.raises(OSError, match="ends early"):
        for part in spread(numbered, broken(), processes, alone=100, at_once=50):
            found += part.records
    assert len(found) == 275


def test_a_process_that_dies_is_an_error_and_leaves_no_other_behind() -> None:
    records = [b"1"] * 400 + [FATAL] + [b"2"] * 400
    found: list[Raw] = []
    with pytest.raises(ProcessDied, match="use fewer processes"):
        for part in spread(numbered, records, 2, alone=100, at_once=50):
            found += part.records
    assert 100 <= len(found) <= 400
    assert not multiprocessing.active_children()


def test_records_are_read_only_as_fast_as_they_are_taken() -> None:
    read = 0

    def counted() -> Iterator[Raw]:
        nonlocal read
        for _ in range(100_000):
            read += 1
            yield b"1"

    parts = spread(numbered, counted(), 2, alone=100, at_once=50)
    for _ in range(3):
        next(parts)
    parts.close()  # type: ignore[attr-defined]
    assert read <= 3 * 50 + 2 * spreading.AHEAD * 50
    assert not multiprocessing.active_children()


def test_a_chunk_of_one_record_comes_out_before_the_next_one_is_read() -> None:
    read = iter(range(1, 1000))
    parts = spread(numbered, (b"%d" % number for number in read), 1, at_once=1)
    assert next(parts).records[0].startswith(b'{"id":"r1"')  # type: ignore[union-attr]
    assert next(read) == 2
