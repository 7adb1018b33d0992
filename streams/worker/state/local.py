"""The state log's interface without a broker, for `replay`: keeps cold pages in a temporary file and nothing else.

A replay starts from the first record and ends with the last, so it never restores.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import weakref
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any

from siphonwatch.streams.worker.state import codec
from siphonwatch.streams.worker.state.codec import Page
from siphonwatch.streams.worker.state.log import Snapshot

SPARE = 64 * 1024 * 1024
"""Bytes of pages that went, beyond as many as are wanted, at which the file is rewritten."""


class LocalStateLog:
    """Stands in for `StateLog` where nothing outlives the process.

    The file, in the folder for temporary files, has no name. It is rewritten where pages that went take most of it.
    """

    written = 0
    """Bytes appended: none that last."""

    def __init__(self) -> None:
        self._fd = -1
        self._close: Callable[[], object] = int  # nothing is open
        self._end = 0
        self._cold: dict[int, tuple[int, int]] = {}  # page -> place in the file, bytes

    name = "memory"

    async def restore(self, *, afresh: bool = False) -> Snapshot | None:
        """Return None: every replay starts afresh."""
        return None

    async def resume(self) -> bool:
        """Return False: nothing is assigned twice."""
        return False

    async def stage(self, pages: Mapping[int, Page]) -> None:
        """Keep the cold pages among these.

        Raises
        ------
        OSError
            When the disk takes no more.
        """
        await asyncio.to_thread(self._keep, {n: page for n, page in pages.items() if page.cold})

    async def checkpoint(
        self,
        pages: Mapping[int, Page | None],
        models: bytes,
        next_offset: int,
        meta: dict[str, Any] | None = None,
    ) -> int:
        """Keep the cold pages among these; forget those that are dropped or hot again."""
        for number, page in pages.items():
            if page is None or not page.cold:
                self._cold.pop(number, None)
        await self.stage({n: page for n, page in pages.items() if page is not None})
        return next_offset

    async def committed(self) -> None:
        """Do nothing: nothing is superseded."""

    async def fetch(self, pages: Iterable[int]) -> AsyncIterator[dict[int, bytes]]:
        """Iterate over the data of cold pages.

        Raises
        ------
        KeyError
            For a page that is not cold.
        """
        for page in pages:
            at, size = self._cold[page]
            yield {page: codec.unpack_page(codec.read_frame(os.pread(self._fd, size, at)))}

    async def stop(self) -> None:
        """Let go of the pages."""
        self._cold.clear()

    def _keep(self, pages: Mapping[int, Page]) -> None:
        if pages and (self._fd < 0 or self._end > SPARE + 2 * sum(size for _, size in self._cold.values())):
            self._begin()
        for number, packed in zip(pages, codec.pack_pages(pages.values()), strict=True):
            self._write(number, packed)

    def _begin(self) -> None:
        """Begin a file, with what the one before holds that is still wanted."""
        before, close = self._fd, self._close
        with tempfile.TemporaryFile(prefix="siphonwatch-state-") as file:
            self._fd = os.dup(file.fileno())
        self._close = weakref.finalize(self, os.close, self._fd)
        self._end = 0
        for number, (at, size) in list(self._cold.items()):
            self._write(number, os.pread(before, size, at))
        close()

    def _write(self, number: int, packed: bytes) -> None:
        left, at = memoryview(packed), self._end
        while left:
            written = os.pwrite(self._fd, left, at)
            left, at = left[written:], at + written
        self._cold[number] = (self._end, len(packed))
        self._end = at
