"""The state log against a topic in memory: what is written, what is kept, what each failure says."""

from __future__ import annotations

import asyncio
import os
import zlib
from collections.abc import Callable, Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from state_fakes import FakeJournal, Topic, contents, drive, fetched, inline, state_log

from siphonwatch.streams.worker.state import Fenced, LocalStateLog, Page, Snapshot, StateError, StateLog, codec, local
from siphonwatch.streams.worker.state.journal import Record

A, B, C = Page(b"a" * 90, b"ia"), Page(b"b" * 80, b"ib", cold=True), Page(b"c", b"")


def restored(topic: Topic, owner: str | None = None) -> tuple[StateLog, Snapshot | None]:
    log = state_log(topic, owner)
    return log, drive(log.restore())


def save(log: StateLog, pages: dict[int, Page | None], offset: int, models: bytes = b"m") -> None:
    drive(log.checkpoint(pages, models, offset))
    drive(log.committed())


def damage(topic: Topic, prefix: bytes, change: Callable[[bytes], bytes]) -> None:
    offset = max(o for o, r in topic.entries.items() if r.key.startswith(prefix) and r.value is not None)
    key, value = topic.entries[offset]
    assert value is not None
    topic.entries[offset] = Record(key, change(value))


def flip(value: bytes) -> bytes:
    return value[:-1] + bytes([value[-1] ^ 1])


@given(st.binary(max_size=300), st.binary(max_size=40), st.booleans())
def test_a_page_comes_back_as_it_was_packed(data: bytes, index: bytes, cold: bool) -> None:
    frame = codec.read_frame(codec.pack_pages([Page(data, index, cold)])[0])
    assert (codec.unpack_page(frame), frame.index, frame.cold) == (data, index, cold)


@given(st.binary(min_size=1, max_size=60), st.integers(0, 10_000), st.integers(1, 255))
def test_no_changed_byte_of_a_page_goes_unnoticed(data: bytes, where: int, change: int) -> None:
    value = bytearray(codec.pack_pages([Page(data, b"index")])[0])
    value[where % len(value)] ^= change
    with pytest.raises(codec.Corrupt):
        codec.read_frame(bytes(value))


@given(
    st.dictionaries(st.integers(0, 2**40), st.tuples(st.sampled_from(["x", "y"]), st.integers(1, 2**40))),
    st.binary(max_size=500),
    st.integers(1, 50),
)
def test_a_body_comes_back_whatever_its_parts(table: dict[int, tuple[str, int]], models: bytes, size: int) -> None:
    blob = codec.pack_body({p: codec.Version(o, e, -1) for p, (o, e) in table.items()}, models)
    parts = codec.split(blob, size)
    assert max(map(len, parts)) <= size
    assert codec.read_body(codec.join(parts, zlib.crc32(blob))) == (table, models)


def test_an_empty_topic_restores_nothing() -> None:
    assert restored(Topic())[1] is None


def test_a_snapshot_comes_back_with_hot_pages_and_the_index_of_cold_ones() -> None:
    topic = Topic()
    log, _ = restored(topic)
    drive(log.checkpoint({1: A, 2: B}, b"models" * 100, 7, {"clock": 1.5}))
    log, snapshot = restored(topic)
    assert snapshot is not None
    assert (snapshot.next_offset, snapshot.models, snapshot.meta) == (7, b"models" * 100, {"clock": 1.5})
    assert snapshot.cold == {2: b"ib"}
    assert drive(contents(log, snapshot)) == {1: A, 2: B}
    assert drive(fetched(log, [1, 2])) == {1: A.data, 2: B.data}


def test_later_checkpoints_carry_unchanged_pages_and_drop_dropped_ones() -> None:
    topic = Topic()
    log, _ = restored(topic)
    save(log, {1: A, 2: B, 3: C}, 7)
    save(log, {1: C, 3: None, 9: None}, 8)
    log, snapshot = restored(topic)
    assert snapshot is not None
    assert drive(contents(log, snapshot)) == {1: C, 2: B}
    save(log, {4: A}, 9)
    log, snapshot = restored(topic)
    assert snapshot is not None
    assert drive(contents(log, snapshot)) == {1: C, 2: B, 4: A}


def test_clean_up_keeps_this_snapshot_and_the_one_before_and_nothing_else() -> None:
    topic = Topic()
    log, _ = restored(topic, "o")
    for offset in range(1, 6):
        save(log, {1: Page(b"%d" % offset)}, offset)
    assert topic.keys() == {b"claim", b"m/o/4", b"b/o/4/0", b"p/1/o/4", b"m/o/5", b"b/o/5/0", b"p/1/o/5"}
    topic.compact()
    assert len(topic.entries) == 7


def test_nothing_is_deleted_before_the_commit_is_confirmed() -> None:
    topic = Topic()
    log, _ = restored(topic)
    for offset in range(1, 4):
        drive(log.checkpoint({1: Page(b"%d" % offset)}, b"", offset))
    assert all(record.value is not None for record in topic.entries.values())


def test_garbage_of_a_crashed_owner_goes_after_our_first_confirmed_commit() -> None:
    topic = Topic()
    log, _ = restored(topic, "first")
    save(log, {1: A}, 1)
    left = 1

    def fail(record: Record) -> str:
        nonlocal left
        left -= 1
        return "lost" if left < 0 else ""

    crashed = StateLog(FakeJournal(topic), "crashed", inline)
    drive(crashed.restore())
    crashed._journal.fail = fail  # type: ignore[attr-defined]
    with pytest.raises(StateError):
        drive(crashed.checkpoint({5: A, 6: A}, b"", 2))
    assert b"p/5/crashed/1" in topic.keys()
    log, _ = restored(topic, "next")
    drive(log.checkpoint({}, b"", 2))
    assert b"p/5/crashed/1" in topic.keys()
    drive(log.committed())
    assert not any(b"crashed" in key for key in topic.keys())
    assert restored(topic)[1] is not None


def test_garbage_without_any_snapshot_restores_nothing_and_is_cleaned_up() -> None:
    topic = Topic()
    topic.put(Record(b"p/1/gone/1", codec.pack_pages([A])[0]))
    log, snapshot = restored(topic, "o")
    assert snapshot is None
    save(log, {}, 1)
    assert topic.keys() == {b"claim", b"m/o/1", b"b/o/1/0"}


@pytest.mark.parametrize("prefix", [b"p/1/", b"b/", b"m/"])
@pytest.mark.parametrize("change", [flip, lambda value: b""], ids=["flipped", "cut"])
def test_a_damaged_record_falls_back_to_the_snapshot_before(prefix: bytes, change: Callable[[bytes], bytes]) -> None:
    topic = Topic()
    log, _ = restored(topic)
    for offset in range(1, 5):
        save(log, {1: Page(b"%d" % offset)}, offset)
    topic.compact()
    damage(topic, prefix, change)
    log, snapshot = restored(topic)
    assert snapshot is not None
    assert snapshot.next_offset == 3
    assert drive(contents(log, snapshot)) == {1: Page(b"3")}
    save(log, {2: A}, 6)
    log, snapshot = restored(topic)
    assert snapshot is not None
    assert drive(contents(log, snapshot)) == {1: Page(b"3"), 2: A}


@pytest.mark.parametrize("prefix", [b"p/", b"b/", b"m/"])
def test_snapshots_none_of_which_is_whole_are_an_error_and_not_an_empty_state(prefix: bytes) -> None:
    topic = Topic()
    log, _ = restored(topic)
    save(log, {1: A}, 1)
    damage(topic, prefix, flip)
    with pytest.raises(StateError, match=r"state\[0\] has snapshots and none is complete.*[Rr]estore the topic"):
        restored(topic)


def test_an_owner_whose_partition_was_claimed_learns_it_before_it_could_commit() -> None:
    topic = Topic()
    old, _ = restored(topic, "old")
    save(old, {1: A}, 1)
    new, _ = restored(topic, "new")
    with pytest.raises(Fenced, match="claimed by owner new"):
        drive(old.checkpoint({2: A}, b"", 5))
    save(new, {3: C}, 2)
    log, snapshot = restored(topic)
    assert snapshot is not None
    assert snapshot.next_offset == 2  # the zombie's snapshot has the greater offset and is passed over
    assert drive(contents(log, snapshot)) == {1: A, 3: C}


def test_an_owner_goes_on_with_its_memory_where_nobody_wrote_meanwhile() -> None:
    topic = Topic()
    log, _ = restored(topic, "owner")
    save(log, {1: A}, 10)
    assert drive(log.resume())
    save(log, {2: B}, 20)
    after, snapshot = restored(topic)
    assert snapshot is not None and snapshot.next_offset == 20
    assert drive(contents(after, snapshot)) == {1: A, 2: B}


def test_an_owner_does_not_go_on_where_another_one_wrote_meanwhile() -> None:
    topic = Topic()
    log, _ = restored(topic, "owner")
    save(log, {1: A}, 10)
    other, _ = restored(topic, "other")
    save(other, {1: C}, 20)
    assert not drive(log.resume())
    with pytest.raises(ValueError, match="restore"):
        drive(log.checkpoint({1: A}, b"m", 30))
    _, snapshot = restored(topic)
    assert snapshot is not None and snapshot.next_offset == 20


def test_a_claim_among_the_last_records_of_an_owner_is_not_overlooked_when_it_goes_on() -> None:
    topic = Topic()
    log, _ = restored(topic, "owner")
    save(log, {1: A}, 10)
    save(log, {1: B}, 20)
    drive(log.checkpoint({1: C}, b"m", 30))
    restored(topic, "other")
    drive(log.committed())  # its tombstones stand behind the other's claim
    assert not drive(log.resume())


def test_a_compacted_claim_of_another_owner_still_counts_when_one_goes_on() -> None:
    topic = Topic()
    log, _ = restored(topic, "owner")
    save(log, {1: A}, 10)
    restored(topic, "other")
    journal = log._journal
    assert isinstance(journal, FakeJournal)
    append = journal.append

    async def compacted(records: Sequence[Record]) -> list[int]:
        offsets = await append(records)
        topic.compact()
        return offsets

    journal.append = compacted  # type: ignore[method-assign]
    assert not drive(log.resume())


def test_a_delayed_clean_up_of_an_earlier_owner_takes_no_page_from_its_successors() -> None:
    """Without claims the last owner would build on the zombie's snapshot, which the second owner's clean-up breaks."""
    topic = Topic()
    zombie, _ = restored(topic, "zombie")
    save(zombie, {1: A, 2: A}, 6)
    second, _ = restored(topic, "second")
    with pytest.raises(Fenced):
        drive(zombie.checkpoint({2: C}, b"", 100))
    save(second, {1: C}, 7)
    drive(second.checkpoint({1: B}, b"", 8))  # its commit is confirmed, its clean-up still to come
    third, snapshot = restored(topic, "third")
    assert snapshot is not None and snapshot.next_offset == 8
    drive(third.checkpoint({}, b"", 9))
    drive(second.committed())
    topic.compact()
    log, snapshot = restored(topic)
    assert snapshot is not None and snapshot.next_offset == 9
    assert drive(contents(log, snapshot)) == {1: B, 2: A}


def test_a_failed_checkpoint_is_retried_with_the_same_pages() -> None:
    topic = Topic()
    fails = iter(["", "", "", "lost"])
    journal = FakeJournal(topic, fail=lambda record: next(fails, ""))
    log = StateLog(journal, run=inline)
    drive(log.restore())
    with pytest.raises(StateError):
        drive(log.checkpoint({1: A}, b"", 4))
    assert restored(topic.copy())[1] is None
    save(log, {1: A}, 4)
    log, snapshot = restored(topic)
    assert snapshot is not None
    assert drive(contents(log, snapshot)) == {1: A}


def test_a_manifest_that_lands_late_does_not_outrank_a_newer_one() -> None:
    topic = Topic()
    journal = FakeJournal(topic, fail=lambda record: "late" if record.key == b"m/o/2" and record.value else "")
    log = StateLog(journal, "o", inline)
    drive(log.restore())
    save(log, {1: A}, 1)
    with pytest.raises(StateError):
        drive(log.checkpoint({1: B}, b"", 2))
    drive(log.checkpoint({1: C}, b"", 3))  # its commit is confirmed, its clean-up still to come
    topic.put(journal.late[0])
    other, snapshot = restored(topic.copy())
    assert snapshot is not None and snapshot.next_offset == 3
    drive(log.committed())
    assert b"m/o/2" not in topic.keys()
    other, snapshot = restored(topic)
    assert snapshot is not None
    assert drive(contents(other, snapshot)) == {1: C}


def test_a_failing_clean_up_is_made_up_for_by_the_next() -> None:
    topic = Topic()
    log = StateLog(FakeJournal(topic, fail=lambda r: "lost" if r.value is None and topic.end < 13 else ""), "o", inline)
    drive(log.restore())
    for offset in range(1, 6):
        save(log, {1: Page(b"%d" % offset)}, offset)
    assert {key for key in topic.keys() if key.startswith(b"m/")} == {b"m/o/4", b"m/o/5"}


def test_pages_written_ahead_can_be_fetched_and_count_from_the_checkpoint_on() -> None:
    topic = Topic()
    log, _ = restored(topic, "o")
    save(log, {1: A}, 1)
    drive(log.stage({2: B, 3: C}))
    drive(log.stage({3: B}))
    assert drive(fetched(log, [1, 2, 3])) == {1: A.data, 2: B.data, 3: B.data}
    _, before = restored(Topic.copy(topic))
    assert before is not None and before.next_offset == 1 and not before.cold
    save(log, {2: None}, 2)
    save(log, {}, 3)
    assert {key for key in topic.keys() if key.startswith(b"p/")} == {b"p/1/o/1", b"p/3/o/3"}, "the others are garbage"
    with pytest.raises(KeyError):
        drive(fetched(log, [2]))
    _, after = restored(topic)
    assert after is not None and list(after.cold) == [3]


def test_cold_pages_between_those_asked_for_come_along() -> None:
    log, _ = restored(Topic())
    save(log, {1: B, 2: A, 3: B, 4: B}, 1)

    async def all_of(pages: list[int]) -> set[int]:
        return {page async for part in log.fetch(pages) for page in part}

    assert drive(all_of([1, 4])) == {1, 3, 4}, "hot pages are in memory already"
    assert drive(all_of([4])) == {4}


def test_pages_that_moved_or_vanished_are_looked_for_once_and_then_named() -> None:
    topic = Topic()
    log, _ = restored(topic)
    save(log, {1: A, 2: B}, 1)
    records = list(topic.entries.values())
    topic.entries = dict(enumerate(reversed(records)))  # as a topic made anew from a backup
    assert drive(fetched(log, [1, 2])) == {1: A.data, 2: B.data}
    topic.entries = {o: r for o, r in topic.entries.items() if not r.key.startswith(b"p/2/")}
    assert drive(fetched(log, [1])) == {1: A.data}
    with pytest.raises(StateError, match=r"no longer has pages \[2\]"):
        drive(fetched(log, [1, 2]))
    with pytest.raises(KeyError):
        drive(fetched(log, [77]))


def test_a_damaged_cold_page_is_named_when_it_is_fetched() -> None:
    topic = Topic()
    log, _ = restored(topic)
    save(log, {2: B}, 1)
    damage(topic, b"p/2/", flip)
    with pytest.raises(StateError, match=r"page 2 of state\[0\] is damaged"):
        drive(fetched(log, [2]))


def test_a_page_too_large_for_the_topic_is_refused_by_name() -> None:
    log = state_log(Topic(), max_value=20)
    drive(log.restore())
    with pytest.raises(StateError, match=r"page 3 is .* make pages smaller"):
        drive(log.checkpoint({3: Page(bytes(range(256)))}, b"", 1))


def test_models_larger_than_a_record_are_split_and_joined() -> None:
    topic = Topic()
    log, _ = restored(topic)
    models = b"".join(i.to_bytes(4, "big") for i in range(2000))
    save(log, {}, 1, models)
    assert sum(key.startswith(b"b/") for key in topic.keys()) > 5
    snapshot = restored(topic)[1]
    assert snapshot is not None and snapshot.models == models


def test_misuse_is_refused() -> None:
    log = state_log(Topic())
    with pytest.raises(ValueError, match="restore"):
        drive(log.checkpoint({}, b"", 0))
    drive(log.restore())
    save(log, {}, 5)
    with pytest.raises(ValueError, match="next_offset 4 is before 5"):
        drive(log.checkpoint({}, b"", 4))


def test_a_record_of_someone_else_is_left_alone() -> None:
    topic = Topic()
    topic.put(Record(b"hello", b"world"))
    log, snapshot = restored(topic)
    assert snapshot is None
    save(log, {}, 1)
    assert b"hello" in topic.keys()


def test_the_local_log_gives_back_cold_pages_and_forgets_the_others() -> None:
    async def work() -> None:
        log = LocalStateLog()
        assert await log.restore() is None
        assert await log.checkpoint({1: A, 2: B, 3: B}, b"", 5) == 5
        await log.committed()
        assert await fetched(log, [2, 3]) == {2: B.data, 3: B.data}
        await log.checkpoint({2: A, 3: None}, b"", 6)
        for page in (1, 2, 3):
            with pytest.raises(KeyError):
                await fetched(log, [page])
        await log.stop()

    asyncio.run(work())


def test_the_local_log_s_file_stays_in_proportion_to_what_it_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "SPARE", 10_000)

    async def work() -> None:
        log = LocalStateLog()
        draw = Random(1)
        data = {page: draw.randbytes(500) for page in range(1000)}
        for first in range(0, 1000, 10):
            await log.stage({page: Page(data[page], cold=True) for page in range(first, first + 10)})
            await log.checkpoint(dict.fromkeys(range(first - 10, first - 1)), b"", first)
        kept = range(9, 990, 10)
        assert os.fstat(log._fd).st_size < 250_000, "520,000 bytes were written"
        assert await fetched(log, kept) == {page: data[page] for page in kept}

    asyncio.run(work())
