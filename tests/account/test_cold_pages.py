"""Accounts that leave memory and come back are found as if they had never left."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from core_fakes import START, dump_of, load_into, requests, run, traffic
from hypothesis import given, settings
from hypothesis import strategies as st

from siphonwatch.models.account.cold import ColdIndex
from siphonwatch.models.account.request import Array
from siphonwatch.models.account.row import PAGE_ROWS, ROW
from siphonwatch.models.account.table import NAME, AccountTable
from siphonwatch.models.engine.config import ScorerConfig
from siphonwatch.models.engine.scorer import Scorer
from siphonwatch.models.evidence.cases import Finding
from siphonwatch.streams.worker.state.codec import Page
from siphonwatch.streams.worker.state.cold_file import PAGE_BYTES, ColdFile
from siphonwatch.streams.worker.state.pages import FIRST_COLD, ColdPages, from_page, to_page

TRAFFIC = traffic(seed=3, accounts=60, each=12)
N = len(TRAFFIC)


def evicted(cold: ColdPages, table: AccountTable, keep: int) -> dict[int, Page]:
    """All pages that an eviction makes."""
    return {number: page for part in cold.evict(table, keep) for number, page in part.items()}


def thaw(cold: ColdPages, table: AccountTable, q: Array, log: Mapping[int, Page]) -> None:
    """Bring accounts back as a partition does: from the file, and what it lacks from the log."""
    places = cold.wanted(q)
    absent = np.isin(places // PAGE_ROWS, cold.missing(places))
    if not absent.all():
        cold.thaw(table, places[~absent])
    for page in np.unique(places[absent] // PAGE_ROWS).tolist():
        cold.thaw_from(table, places[absent], {page: log[page].data})


class Tiered:
    """A scorer whose idle accounts go to pages at every checkpoint, kept as the state topic keeps them."""

    def __init__(self, keep: int, file_pages: int = 0) -> None:
        self.scorer = Scorer(ScorerConfig())
        self.scorer.table.reserve(keep)
        self.file_bytes = file_pages * PAGE_BYTES
        self.cold = ColdPages(file=ColdFile(self.file_bytes))
        self.keep = keep
        self.log: dict[int, Page] = {}
        self.moved = 0

    def score(self, start: int, end: int) -> list[Finding]:
        q = TRAFFIC[start:end]
        self.bring_back(q)
        assert not len(self.cold.wanted(q))
        return run(self.scorer, q, first=start)

    def bring_back(self, q: Array) -> None:
        thaw(self.cold, self.scorer.table, q, self.log)

    def checkpoint(self) -> None:
        pages: dict[int, Page | None] = evicted(self.cold, self.scorer.table, self.keep)
        self.moved += len(pages)
        for number, rows in self.scorer.table.take_dirty().items():
            pages[number] = None if rows is None else to_page(rows)
        pages |= dict.fromkeys(self.cold.take_dropped())
        for number, page in pages.items():
            if page is None:
                self.log.pop(number, None)
            else:
                self.log[number] = page

    def restart(self) -> None:
        """Come back from the log alone."""
        dump = dump_of(self.scorer)
        self.scorer, self.cold = Scorer(ScorerConfig()), ColdPages(file=ColdFile(self.file_bytes))
        self.scorer.table.reserve(self.keep)
        hot = {number: from_page(page.data) for number, page in self.log.items() if not page.cold}
        self.scorer.table.place(hot)
        self.scorer.table.settle()
        load_into(self.scorer, dump)
        self.cold.load({number: page.index for number, page in self.log.items() if page.cold}, self.scorer.table)

    def accounts(self) -> dict[str, float]:
        for page in [page for page in self.log.values() if page.cold]:
            rows = from_page(page.data)
            q = requests("x", [START] * len(rows))
            q["account_hash"], q["account"] = rows["hash"], rows["account"]
            self.bring_back(q)
        return self.scorer.suspicion()


def told(findings: list[Finding]) -> list[tuple[str, float]]:
    return [(f.id, f.log_e) for f in findings]


@pytest.fixture(scope="module")
def expected() -> tuple[list[tuple[str, float]], dict[str, float]]:
    scorer = Scorer(ScorerConfig())
    return told(run(scorer, TRAFFIC)), scorer.suspicion()


@settings(max_examples=25, deadline=None)
@given(
    keep=st.integers(3, 50),
    edges=st.lists(st.integers(1, N - 1), min_size=3, max_size=20, unique=True),
    restarts=st.sets(st.integers(0, 20)),
    file_pages=st.sampled_from((0, 2, 100)),
)
def test_leaving_and_returning_changes_no_finding(
    expected: tuple[list[tuple[str, float]], dict[str, float]],
    keep: int,
    edges: list[int],
    restarts: set[int],
    file_pages: int,
) -> None:
    tiered, findings, start = Tiered(keep, file_pages), [], 0
    for number, end in enumerate([*sorted(edges), N]):
        findings += tiered.score(start, end)
        tiered.checkpoint()
        assert len(tiered.scorer.table) <= keep
        assert len(tiered.scorer.table) + len(tiered.cold) == len(np.unique(TRAFFIC["account_hash"][:end]))
        if number in restarts:
            tiered.restart()
        start = end
    assert tiered.moved
    assert told(findings) == expected[0]
    assert tiered.accounts() == expected[1]


def test_nobody_leaves_while_there_is_room() -> None:
    tiered = Tiered(keep=1000)
    tiered.score(0, N)
    tiered.checkpoint()
    assert len(tiered.cold) == 0 and not any(page.cold for page in tiered.log.values())


def filled(names: list[str], at: float = START) -> AccountTable:
    scorer = Scorer(ScorerConfig())
    for i, name in enumerate(names):
        run(scorer, requests(name, [at + i]), first=i)
    return scorer.table


def pages_of(cold: ColdPages, account: str) -> list[int]:
    """The page that an account is on."""
    return (cold.wanted(requests(account, [START])) // PAGE_ROWS).tolist()


def test_the_longest_idle_leave_first_and_a_tenth_of_room_is_made() -> None:
    table, cold = filled([f"a{i}" for i in range(40)]), ColdPages()
    pages = evicted(cold, table, keep=30)
    assert sorted(pages) == [FIRST_COLD]
    assert len(table) == 27 and len(cold) == 13
    assert table.rows["last_time"][table.used()].min() == START + 13
    assert not evicted(cold, table, keep=30)


def test_a_cold_page_holds_no_more_than_a_page_of_accounts() -> None:
    table, cold = filled([f"a{i}" for i in range(60)]), ColdPages()
    pages = evicted(cold, table, keep=10)
    assert [len(from_page(page.data)) for page in pages.values() if page] == [PAGE_ROWS] * 3 + [60 - 9 - 48]


def test_of_two_pages_that_name_an_account_the_later_counts_and_the_empty_one_is_dropped() -> None:
    old, new = filled(["a", "b"]), filled(["a"], at=START + 500)
    new.rows["requests"][new.used()] = 77
    data = {
        FIRST_COLD: to_page(old.rows[old.used()], cold=True),
        FIRST_COLD + 4: to_page(new.rows[new.used()], cold=True),
    }
    cold, table = ColdPages(), AccountTable()
    cold.load({number: page.index for number, page in data.items()}, table)
    q = requests("a", [START])
    assert len(cold) == 2 and pages_of(cold, "a") == [FIRST_COLD + 4]
    thaw(cold, table, q, data)
    assert table.rows["requests"][table.used()].tolist() == [77]
    assert cold.take_dropped() == {FIRST_COLD + 4}
    assert cold.take_dropped() == set()
    assert pages_of(cold, "b") == [FIRST_COLD]
    more = evicted(cold, filled([f"c{i}" for i in range(20)]), keep=10)
    assert min(more) == FIRST_COLD + 5, "numbers of pages are not used twice"


def test_an_account_in_memory_counts_above_its_old_page() -> None:
    table, cold = filled(["a"]), ColdPages()
    page = to_page(table.rows[table.used()], cold=True)
    cold.load({FIRST_COLD: page.index}, table)
    assert len(cold) == 0 and pages_of(cold, "a") == []
    assert cold.take_dropped() == {FIRST_COLD}


def test_a_page_that_came_late_does_not_replace_who_is_back_already() -> None:
    table = filled(["a"])
    rows = table.rows[table.used()].copy()
    rows["requests"] = 5
    table.insert(rows)
    assert len(table) == 1 and table.rows["requests"][table.used()].tolist() == [1]


def test_pages_idle_for_too_long_are_forgotten_whole() -> None:
    table, cold = filled([f"a{i}" for i in range(40)]), ColdPages()
    pages = evicted(cold, table, keep=10)
    cold.forget(START + PAGE_ROWS)
    assert len(cold) == 31 - PAGE_ROWS
    assert cold.take_dropped() == {min(pages)}
    assert pages_of(cold, "a3") == []
    assert pages_of(cold, "a20") == [FIRST_COLD + 1]


def test_above_the_bound_those_that_left_first_are_forgotten() -> None:
    table, cold = filled([f"a{i}" for i in range(60)]), ColdPages(most=20)
    pages = evicted(cold, table, keep=10)
    assert len(cold) == 51
    assert cold.forget(0.0) == 2 * PAGE_ROWS
    assert len(cold) == 19 and cold.take_dropped() == set(sorted(pages)[:2])
    assert cold.forget(0.0) == 0


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(("add", "take", "drop")), st.lists(st.integers(1, 400), max_size=40, unique=True)),
        max_size=25,
    )
)
def test_the_index_answers_as_a_dictionary_does(steps: list[tuple[str, list[int]]]) -> None:
    index, model = ColdIndex(), {}
    for number, (step, values) in enumerate(steps):
        # Hashes that share a start in the index, so that they run into each other.
        hashes = [v % 7 + (v << 32) for v in values]
        if step == "add":
            new = [h for h in hashes if h not in model]
            places = number * PAGE_ROWS + np.arange(len(new)) % PAGE_ROWS
            index.add(np.array(new, np.uint64), places)
            model |= dict(zip(new, places.tolist(), strict=True))
        elif step == "take":
            assert index.take(np.array(hashes, np.uint64)).tolist() == [model.pop(h, -1) for h in hashes]
        else:
            gone = {v % 5 for v in values}
            index.drop(sorted(gone))
            model = {h: place for h, place in model.items() if place // PAGE_ROWS not in gone}
        everyone = [v % 7 + (v << 32) for v in range(1, 401)]
        assert index.find(np.array(everyone, np.uint64)).tolist() == [model.get(h, -1) for h in everyone]
        assert len(index) == len(model)


def test_adds_and_takes_without_end_keep_the_index_small() -> None:
    index = ColdIndex()
    for start in range(1, 200_000, 1000):
        hashes = (np.arange(start, start + 1000, dtype=np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        index.add(hashes, start + np.arange(1000))
        index.take(hashes)
    assert len(index) == 0
    assert len(index._hashes) <= 8192


def numbered(count: int, start: int = 1) -> Array:
    rows = np.zeros(count, ROW)
    rows["hash"] = np.arange(start, start + count)
    return rows


def test_the_file_gives_what_was_put_and_the_oldest_page_makes_room() -> None:
    file = ColdFile(3 * PAGE_BYTES)
    file.put([7, 8], numbered(PAGE_ROWS + 3))
    file.put([9, 10], numbered(2 * PAGE_ROWS, start=100))
    assert [page in file for page in (7, 8, 9, 10)] == [False, True, True, True]
    assert file.nbytes == 3 * PAGE_BYTES
    out = np.zeros(4, ROW)
    file.read(np.array([10, 8, 9, 10]), np.array([1, 2, 0, 0]), out)
    assert out["hash"].tolist() == [100 + PAGE_ROWS + 1, PAGE_ROWS + 3, 100, 100 + PAGE_ROWS]
    file.drop(9)
    assert 9 not in file and len(file) == 2
    file.close()
    assert 8 not in file


def test_a_disk_without_room_only_makes_it_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.pwrite", refuse)
    file = ColdFile(10 * PAGE_BYTES)
    file.put([1], numbered(PAGE_ROWS))
    assert 1 not in file
    file.put([2], numbered(PAGE_ROWS))
    assert len(file) == 0


def test_a_table_gives_back_what_it_was_restored_with_beyond_its_capacity() -> None:
    big, names = filled([f"a{i}" for i in range(200)]), [f"a{i}" for i in range(200)]
    table = AccountTable()
    table.reserve(50)
    table.place({page: rows for page, rows in big.take_dirty().items() if rows is not None})
    table.settle()
    cold = ColdPages(file=ColdFile(100 * PAGE_BYTES))
    evicted(cold, table, keep=50)
    assert len(table) == 45 and len(table.rows) == 64
    log = {page: rows for page, rows in table.take_dirty().items()}
    assert set(log) == set(range(13)), "every page has changed, and those beyond the table are dropped"
    assert [page for page, rows in log.items() if rows is not None] == [0, 1, 2]
    again = AccountTable()
    again.place({page: rows for page, rows in log.items() if rows is not None})
    again.settle()
    for each in (table, again):
        hot = [name for name in names if not pages_of(cold, name)]
        slots = [each.locate(requests(name, [START]))[0] for name in hot]
        assert each.rows["requests"][slots].tolist() == [1] * 45 and len(each) == 45
    for name in names:
        thaw(cold, table, requests(name, [START]), {})
    assert len(table) == 200 and not len(cold)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.lists(st.integers(1, 300), min_size=1, max_size=60)), max_size=20))
def test_a_table_finds_whom_it_holds_whoever_left_before(steps: list[tuple[bool, list[int]]]) -> None:
    table, held = AccountTable(), set()
    for enter, values in steps:
        q = np.zeros(len(values), NAME)
        q["account_hash"] = [v % 11 + (v << 40) for v in values]  # many run into each other in the index
        q["account"][:, 0] = values
        if enter:
            table.locate(q)
            held |= set(values)
        elif gone := sorted(held & set(values)):
            table.evict(np.unique(table.locate(q[[values.index(v) for v in gone]])))
            held -= set(gone)
        assert len(table) == len(held)
        assert set(table.rows["account"][table.used()][:, 0].tolist()) == held
        everyone = np.zeros(300, NAME)
        everyone["account_hash"] = [v % 11 + (v << 40) for v in range(1, 301)]
        everyone["account"][:, 0] = range(1, 301)
        slots = table.locate(everyone, np.zeros(300, np.bool_))
        assert {v for v, slot in zip(range(1, 301), slots.tolist(), strict=True) if slot >= 0} == held
