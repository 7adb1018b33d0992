"""A scorer goes on from a checkpoint as if it had never stopped; other state is refused; memory is bounded."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from core_fakes import START, dump_of, load_into, requests, run, state, traffic
from hypothesis import given, settings
from hypothesis import strategies as st

from siphonwatch.models.account.request import REQUEST, name_words
from siphonwatch.models.account.row import PAGE_ROWS, PARTS, ROW
from siphonwatch.models.account.table import AccountTable
from siphonwatch.models.common.arrays import as_bytes, pack, unpack
from siphonwatch.models.common.declare import sizes
from siphonwatch.models.engine.config import ScorerConfig
from siphonwatch.models.engine.scorer import Scorer
from siphonwatch.models.engine.stage import AccountStage
from siphonwatch.models.evidence.cases import Finding
from siphonwatch.streams.worker.state.pages import from_page

TRAFFIC = traffic(seed=2)
N = len(TRAFFIC)
CONFIG = ScorerConfig(close_after=4 * 3600.0)
NAMES = ("stage.rarity.id", "stage.population.of")
"""Parts that say what others are of: what is of others begins anew."""


def told(findings: list[Finding]) -> list[bytes]:
    return [msgspec.json.encode(finding) for finding in findings]


def restored(dump: bytes, pages: dict[int, bytes | None]) -> Scorer:
    scorer = Scorer(CONFIG)
    scorer.table.place({number: from_page(data) for number, data in pages.items() if data is not None})
    scorer.table.settle()
    load_into(scorer, dump)
    return scorer


@pytest.fixture(scope="module")
def good() -> bytes:
    scorer = Scorer(CONFIG)
    run(scorer, TRAFFIC[:700])
    return dump_of(scorer)


@settings(max_examples=25, deadline=None)
@given(at=st.integers(0, N), again=st.integers(0, 50))
def test_going_on_from_a_checkpoint_at_any_moment_gives_the_same(at: int, again: int) -> None:
    whole = Scorer(CONFIG)
    expected = run(whole, TRAFFIC)
    first = Scorer(CONFIG)
    findings = run(first, TRAFFIC[:at])
    second = restored(*state(first))
    assert state(second) == state(first)
    start = max(at - again, 0)
    findings += run(second, TRAFFIC[start:], first=start)
    assert told(findings) == told(expected)
    second.stage.count.skipped = 0
    assert state(second) == state(whole)


def test_only_changed_pages_are_written_and_they_bring_everything_back() -> None:
    scorer, kept = Scorer(CONFIG), {}
    for start in range(0, N, 200):
        run(scorer, TRAFFIC[start : start + 200], first=start)
        changed = scorer.table.take_dirty()
        kept |= changed
        assert not scorer.table.take_dirty()
        touched = {int(slot) // PAGE_ROWS for slot in scorer.table.locate(TRAFFIC[start : start + 200])}
        scorer.table.take_dirty()
        assert set(changed) == touched
    table = AccountTable()
    table.place({number: rows for number, rows in kept.items() if rows is not None})
    table.settle()
    assert table.rows[table.used()].tobytes() == scorer.table.rows[scorer.table.used()].tobytes()


def test_loading_leaves_nothing_shared_with_what_was_loaded(good: bytes) -> None:
    one, other = Scorer(CONFIG), Scorer(CONFIG)
    load_into(one, good)
    load_into(other, good)
    run(one, TRAFFIC[:100])
    assert dump_of(other) == good


@pytest.mark.parametrize("data", [b"", b"\x00", b"junk", b"\x80", b"\x81\xa1a\x93\xa5bytes\x90\xc4\x00", b"\xc1" * 9])
def test_state_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"not packed arrays|do not fit this version"):
        load_into(Scorer(CONFIG), data)


def parts(data: bytes) -> list[str]:
    """Names of parts; of the reference's many like sketches, those of the first and the last."""
    return [name for name in sorted(unpack(data)) if name.split(".")[1:2] not in [[str(k)] for k in range(1, 23)]]


def test_state_without_any_one_part_is_refused(good: bytes) -> None:
    scorer, whole = Scorer(CONFIG), unpack(good)
    for name in parts(good):
        with pytest.raises(ValueError, match=r"do not fit this version|expected"):
            load_into(scorer, pack({key: part for key, part in whole.items() if key != name}))


@pytest.mark.parametrize("wrong", [np.zeros(3, np.float32), np.zeros((2, 2, 2), np.int64), b"junk", b""], ids=repr)
def test_state_with_any_one_part_of_another_shape_is_refused(good: bytes, wrong: np.ndarray | bytes) -> None:
    scorer, whole = Scorer(CONFIG), unpack(good)
    for name in parts(good):
        if name in NAMES and isinstance(wrong, bytes):
            continue
        with pytest.raises(ValueError, match=r"expected|another version|do not fit this version"):
            load_into(scorer, pack(whole | {name: wrong}))


def test_refused_state_leaves_the_scorer_as_it_was(good: bytes) -> None:
    for name in ("judge.cases.open", "stage.rarity.counts", "stage.rarity.common1.counts", "judge.reference.taught"):
        scorer = Scorer(CONFIG)
        before = dump_of(scorer)
        with pytest.raises(ValueError, match=r"."):
            load_into(scorer, pack(unpack(good) | {name: np.zeros((2, 2, 2), np.int64)}))
        assert dump_of(scorer) == before, name


def test_state_of_a_later_format_names_the_formats_that_are_read(good: bytes) -> None:
    later = AccountStage.FORMAT + 1
    with pytest.raises(ValueError, match=f"state has format {later}, this version reads 5 and {later - 1}"):
        load_into(Scorer(CONFIG), pack(unpack(good) | {"format": str(later).encode()}))


def of_format_5(data: bytes) -> bytes:
    """A state as the release before wrote it where a second stage was set: its parts, and its rank in each case."""
    parts = unpack(data)
    cases = msgspec.msgpack.decode(as_bytes(parts, "judge.cases.open"))
    for case in cases:
        case["last"]["second_stage"] = 0.97
    return pack(
        parts
        | {
            "format": b"5",
            "judge.looked_closer": msgspec.msgpack.encode(12),
            "judge.second_stage_name": b"river.anomaly:HalfSpaceTrees",
            "judge.second_stage.pickle": b"\x80\x05never read",
            "judge.cases.open": msgspec.msgpack.encode(cases),
        }
    )


@pytest.mark.parametrize("at", [600, 700, 900])
def test_state_of_the_release_with_a_second_stage_is_read_and_its_open_cases_go_on(at: int) -> None:
    expected = run(Scorer(CONFIG), TRAFFIC)
    first = Scorer(CONFIG)
    findings = run(first, TRAFFIC[:at])
    dump, pages = state(first)
    second = restored(of_format_5(dump), pages)
    assert second.cases.standing() == first.cases.standing() != []
    findings += run(second, TRAFFIC[at:], first=at)
    assert told(findings) == told(expected)
    assert AccountStage.FORMAT != 5 and b"second_stage" not in dump_of(second), "and is written without"


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_damaged_state_loads_or_is_refused_and_never_anything_else(good: bytes, data: st.DataObject) -> None:
    raw = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1) | st.integers(0, 400))
        raw[at] = data.draw(st.integers(0, 255))
    raw = raw[: data.draw(st.integers(0, len(raw)) | st.just(len(raw)))]
    try:
        load_into(Scorer(CONFIG), bytes(raw))
    except ValueError as error:
        assert str(error)


def test_a_page_of_another_layout_is_refused_by_its_size() -> None:
    with pytest.raises(
        ValueError, match=f"a page of 100 bytes holds no rows of {ROW.itemsize}: written by another version"
    ):
        from_page(b"x" * 100)


def test_a_row_takes_at_most_three_kilobytes() -> None:
    assert ROW.itemsize <= 3072


def test_memory_of_many_accounts_is_bounded_by_their_rows() -> None:
    n, table = 100_000, AccountTable()
    q = np.zeros(1000, REQUEST)
    q["time"] = START
    for start in range(0, n, 1000):
        q["account_hash"] = (np.arange(start, start + 1000, dtype=np.uint64) + np.uint64(1)) * np.uint64(
            0x9E3779B97F4A7C15
        )
        q["account"][:, 0] = np.arange(start + 1, start + 1001)
        table.locate(q)
    assert len(table) == n
    assert table.nbytes / n <= 1.3 * ROW.itemsize
    assert ROW.itemsize * n <= table.nbytes


def test_two_accounts_with_one_hash_keep_rows_of_their_own() -> None:
    q = requests("a", [START, START + 1])
    q["account"][1] = name_words(b"b")
    scorer = Scorer(CONFIG)
    run(scorer, q)
    assert sorted(scorer.suspicion()) == ["a", "b"]
    assert scorer.table.rows[scorer.table.used()]["requests"].tolist() == [1, 1]


def test_rows_have_no_padding_so_equal_rows_are_equal_bytes() -> None:
    assert sum(sizes(PARTS).values()) == ROW.itemsize
