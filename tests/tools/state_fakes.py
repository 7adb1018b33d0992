"""A compacted partition in memory whose every append and read is a point where a test may stop, fail or interleave."""

from __future__ import annotations

import types
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterable, Sequence
from typing import Any

from siphonwatch.streams.worker.state import Page, Snapshot, StateError, StateLog
from siphonwatch.streams.worker.state.journal import Entry, Record


@types.coroutine
def tick() -> Generator[None, None, None]:
    """Give the hand back to whoever steps the coroutine."""
    yield


async def inline(function: Callable[..., Any], *args: Any) -> Any:
    """Stand in for `asyncio.to_thread`."""
    return function(*args)


def drive(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that only ever waits for `tick` to its end."""
    while True:
        try:
            work.send(None)
        except StopIteration as stop:
            return stop.value


class Topic:
    """One partition; offsets never change, compaction only removes."""

    def __init__(self) -> None:
        self.entries: dict[int, Record] = {}
        self.end = 0

    def put(self, record: Record) -> int:
        self.entries[self.end] = record
        self.end += 1
        return self.end - 1

    def copy(self) -> Topic:
        other = Topic()
        other.entries, other.end = dict(self.entries), self.end
        return other

    def compact(self, keep: Callable[[int], bool] = lambda offset: False) -> None:
        """Remove what was written again later, and tombstones of which nothing older is left, unless `keep` says so."""
        last = {record.key: offset for offset, record in self.entries.items()}
        for offset in list(self.entries):
            if last[self.entries[offset].key] != offset and not keep(offset):
                del self.entries[offset]
        first: dict[bytes, int] = {}
        for offset, record in self.entries.items():
            first.setdefault(record.key, offset)
        for offset in list(self.entries):
            record = self.entries[offset]
            if record.value is None and first[record.key] == offset and not keep(offset):
                del self.entries[offset]

    def keys(self) -> set[bytes]:
        """Keys that have a value."""
        last = {record.key: record.value for record in self.entries.values()}
        return {key for key, value in last.items() if value is not None}


class FakeJournal:
    """A connection to a `Topic`.

    `fail` is asked before every append: "" goes on, "lost" raises without appending, "late" raises and lets the record
    land later (`land`), "applied" appends and then raises.
    """

    name = "state[0]"

    def __init__(self, topic: Topic, max_value: int = 200, fail: Callable[[Record], str] = lambda record: "") -> None:
        self.topic = topic
        self.max_value = max_value
        self.fail = fail
        self.late: list[Record] = []

    async def append(self, records: Sequence[Record]) -> list[int]:
        offsets = []
        for record in records:
            await tick()
            how = self.fail(record)
            if how in ("", "applied"):
                offsets.append(self.topic.put(record))
            if how == "late":
                self.late.append(record)
            if how:
                raise StateError(f"no acknowledgement: {how}")
        await tick()
        return offsets

    async def read(self, start: int | None, stop: int) -> AsyncIterator[list[Entry]]:
        offset = start or 0
        while offset < stop:
            if offset in self.topic.entries:
                await tick()
            if offset in self.topic.entries:
                yield [Entry(offset, *self.topic.entries[offset])]
            offset += 1

    async def stop(self) -> None:
        """Nothing to close."""


def state_log(topic: Topic, owner: str | None = None, **options: Any) -> StateLog:
    return StateLog(FakeJournal(topic, **options), owner, run=inline)


async def fetched(log: StateLog, pages: Iterable[int]) -> dict[int, bytes]:
    """The data of pages, all at once, and no others."""
    wanted = set(pages)
    found = {page: data async for part in log.fetch(wanted) for page, data in part.items()}
    return {page: data for page, data in found.items() if page in wanted}


async def contents(log: StateLog, snapshot: Snapshot) -> dict[int, Page]:
    """Everything in a snapshot: hot pages, and cold ones fetched."""
    pages = {number: page for part in [part async for part in snapshot.hot()] for number, page in part}
    for number, data in (await fetched(log, snapshot.cold)).items():
        pages[number] = Page(data, snapshot.cold[number], cold=True)
    return pages
