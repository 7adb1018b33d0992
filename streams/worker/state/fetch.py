"""Brings single pages back from the state topic by their offsets; it never decides which version is the right one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Container, Iterable, Iterator, Mapping, Sequence

from siphonwatch.streams.worker.state import codec
from siphonwatch.streams.worker.state.codec import Corrupt, Version
from siphonwatch.streams.worker.state.journal import Entry, Journal, StateError
from siphonwatch.streams.worker.state.snapshot import Run

NEAR = 32
"""Records that a fetch reads over rather than seeking past them: a request costs about as much."""


class Fetcher:
    """Reads pages of one partition of the state topic.

    Parameters
    ----------
    journal
        The partition.
    run
        Runs a function beside the event loop.
    """

    def __init__(self, journal: Journal, run: Run) -> None:
        self._journal = journal
        self._run = run

    async def fetch(
        self, table: Mapping[int, Version], pages: Iterable[int], end: int
    ) -> AsyncIterator[dict[int, bytes]]:
        """Iterate over the data of pages, some at a time; the topic is known to reach to offset `end`.

        Cold pages of `table` that stand between those asked for come along.

        Raises
        ------
        StateError
            When the broker does not answer, or a page is damaged or no longer in the topic.
        """
        missing = set(pages)
        for start, stop in _near(sorted(table[page].offset for page in missing)):
            async for entries in self._journal.read(start, stop):
                if found := self._frames(table, missing, entries, start):
                    missing -= found.keys()
                    yield await self._run(_unpack, found)
        if missing:  # the topic was made anew or restored from a backup: offsets have changed
            async for entries in self._journal.read(None, end):
                if found := self._frames(table, missing, entries, end):
                    missing -= found.keys()
                    yield await self._run(_unpack, found)
        if missing:
            raise StateError(
                f"{self._journal.name} no longer has pages {sorted(missing)[:5]} ({len(missing)} in all): the topic's"
                " cleanup.policy must be `compact` alone (`siphonwatch topics --check`). Restart the worker to restore"
                " what is left"
            )

    def _frames(
        self, table: Mapping[int, Version], wanted: Container[int], entries: Iterable[Entry], along: int
    ) -> dict[int, codec.Frame]:
        """The wanted pages among some records; from offset `along` on cold ones besides."""
        found: dict[int, codec.Frame] = {}
        for offset, key, value in entries:
            page = codec.page_of(key)
            if value is None or page is None or page not in table or key != _key(table[page], page):
                continue
            if page not in wanted and offset < along:
                continue
            try:
                frame = codec.read_frame(value)
            except Corrupt as error:
                raise StateError(f"page {page} of {self._journal.name} is damaged: {error}") from None
            if page in wanted or frame.cold:
                found[page] = frame
        return found


def _key(version: Version, page: int) -> bytes:
    return codec.page_key(page, version.owner, version.epoch)


def _near(offsets: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield ranges of offsets, each one read, that hold all of these, ascending."""
    start = stop = -1
    for offset in offsets:
        if start >= 0 and offset - stop >= NEAR:
            yield start, stop
            start = -1
        start, stop = (offset if start < 0 else start), offset + 1
    if start >= 0:
        yield start, stop


def _unpack(frames: Mapping[int, codec.Frame]) -> dict[int, bytes]:
    return {page: codec.unpack_page(frame) for page, frame in frames.items()}
