"""The state log's interface without a broker, for `replay`: keeps cold pages compressed and nothing else.

A replay starts from the first record and ends with the last, so it never restores.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

from streams.state import codec
from streams.state.codec import Frame, Page
from streams.state.log import Snapshot


class MemoryStateLog:
    """Stands in for `StateLog` where nothing outlives the process."""

    written = 0
    """Bytes appended: none."""

    def __init__(self) -> None:
        self._cold: dict[int, Frame] = {}

    async def restore(self) -> Snapshot | None:
        """Return None: every replay starts afresh."""
        return None

    async def stage(self, pages: Mapping[int, Page]) -> None:
        """Keep the cold pages among these."""
        await self.checkpoint(pages, b"", 0)

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
            else:
                self._cold[number] = await asyncio.to_thread(_squeeze, page)
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
            yield {page: codec.unpack_page(self._cold[page])}

    async def stop(self) -> None:
        """Let go of the pages."""
        self._cold.clear()


def _squeeze(page: Page) -> Frame:
    return codec.read_frame(codec.pack_page(page))
