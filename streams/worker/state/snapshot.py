"""A restored snapshot as its owner gets it; it never holds all pages compressed and decompressed at once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from siphonwatch.streams.worker.state import codec
from siphonwatch.streams.worker.state.codec import Page
from siphonwatch.streams.worker.state.scan import Stored

SLICE = 512
"""Pages packed or unpacked at a time: 16 MiB raw, so that memory stays flat and the event loop is never held long."""

Run = Callable[..., Any]
"""Runs a function beside the event loop, as `asyncio.to_thread` does."""


class Snapshot:
    """A restored snapshot; hot pages are handed over once, cold pages stay in the topic.

    Attributes
    ----------
    next_offset : int
        Telemetry offset to continue at.
    meta : dict
    models : bytes
    cold : dict[int, bytes]
        Index of each cold page.
    """

    def __init__(self, stored: Stored, run: Run) -> None:
        self.next_offset = stored.manifest.next_offset
        self.meta = stored.manifest.meta
        self.models = stored.models
        self.cold = stored.cold
        self._hot = stored.hot
        self._run = run

    async def hot(self) -> AsyncIterator[list[tuple[int, Page]]]:
        """Iterate over the hot pages, some hundreds at a time; what was handed over is released here.

        Raises
        ------
        Corrupt
            When a page does not decompress although its checksum fits: written by an incompatible version.
        """
        while self._hot:
            part = [self._hot.popitem() for _ in range(min(SLICE, len(self._hot)))]
            yield await self._run(_unpack, part)


def _unpack(frames: Sequence[tuple[int, codec.Frame]]) -> list[tuple[int, Page]]:
    return [(number, Page(codec.unpack_page(frame), frame.index)) for number, frame in frames]
