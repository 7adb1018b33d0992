"""Adapts raw records over several processes. What comes out, and in which order, is what one process gives; memory is
bounded by the chunks under way."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import NamedTuple

from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts.telemetry import Malformed, encode
from siphonwatch.streams.edge.adapters import Adapter, make_adapter
from siphonwatch.streams.edge.sketch import Sketcher

ALONE = 4096
"""Records that are adapted here before others are asked: a second of work, which is what a process takes to begin."""
CHUNK_RECORDS, CHUNK_BYTES = 256, 1024 * 1024
"""A chunk ends with the record that reaches either: some 60 ms of work, so that to hand it over costs little."""
AHEAD = 3
"""Chunks a process that are under way or wait to be taken."""

Raw = bytes | Malformed
Make = Callable[[], Adapter]


class Adapted(NamedTuple):
    """What came of some records."""

    records: list[Raw]
    """Encoded telemetry, and a reason for each element that is malformed."""
    passed_over: Counter[str]
    """Elements that were no requests, by what they were."""
    without_text: int
    """See `siphonwatch.streams.edge.adapters.Adapter`."""


class ProcessDied(RuntimeError):
    """A process that adapts records ended by itself; what was read after its chunk is not adapted."""


def adapter_of(settings: Settings, format: str) -> Adapter:
    """Return an adapter with a sketcher of its own."""
    identity = Identity.from_settings(settings)
    return make_adapter(format, settings, Sketcher(identity), identity)


def adapted(
    settings: Settings,
    format: str,
    raw: Iterable[Raw],
    processes: int,
    alone: int = ALONE,
    at_once: int = CHUNK_RECORDS,
) -> Iterator[Adapted]:
    """Adapt raw records, in their order, a chunk at a time.

    Parameters
    ----------
    settings, format
        Of the adapter.
    raw
        Records, and what could not be read of them, which is passed on. What it raises is raised here, once all
        that came before is adapted.
    processes
        How many; with one there is no other than this.
    alone
        Records adapted here before others begin.
    at_once
        Records a chunk, at most; with 1 each comes out before the next one is read.

    Raises
    ------
    ProcessDied
        When one of the processes ends, as the system ends some where memory is short.
    """
    return spread(partial(adapter_of, settings, format), raw, processes, alone, at_once)


def spread(
    make: Make, raw: Iterable[Raw], processes: int, alone: int = ALONE, at_once: int = CHUNK_RECORDS
) -> Iterator[Adapted]:
    """Do the same with adapters that `make` returns, which other processes can import."""
    adapter, done = make(), 0
    failures: list[BaseException] = []
    chunks = _chunks(iter(raw), at_once, failures)
    for chunk in chunks:
        yield _adapt(adapter, chunk)
        done += len(chunk)
        if processes > 1 and done >= alone:
            yield from _beside(make, chunks, processes)
    if failures:
        raise failures[0]


def _chunks(raw: Iterator[Raw], at_once: int, failures: list[BaseException]) -> Iterator[list[Raw]]:
    """Cut records into chunks; a failure to read them ends the last one and is noted."""
    chunk: list[Raw] = []
    size = 0
    try:
        for record in raw:
            chunk.append(record)
            size += len(record) if isinstance(record, bytes) else 0
            if len(chunk) >= at_once or size >= CHUNK_BYTES:
                yield chunk
                chunk, size = [], 0
    except Exception as error:  # noqa: BLE001 - whatever it is, it is raised when what came before is adapted
        failures.append(error)
    if chunk:
        yield chunk


def _adapt(adapter: Adapter, chunk: list[Raw]) -> Adapted:
    found: list[Raw] = []
    without = adapter.without_text
    for record in chunk:
        if isinstance(record, Malformed):
            found.append(record)
        else:
            found += [e if isinstance(e, Malformed) else encode(e) for e in adapter.records(record)]
    return Adapted(found, adapter.take_passed_over(), adapter.without_text - without)


def _beside(make: Make, chunks: Iterator[list[Raw]], processes: int) -> Iterator[Adapted]:
    """Adapt chunks in other processes; they are begun anew, as a copy of this one would have its threads' locks."""
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _begin, (make,))
    try:
        waiting: deque[Future[Adapted]] = deque()
        more = True
        while more or waiting:
            for chunk in itertools.islice(chunks, processes * AHEAD - len(waiting)) if more else ():
                waiting.append(pool.submit(_adapt_there, chunk))
            more = more and len(waiting) == processes * AHEAD
            if waiting:
                yield waiting.popleft().result()
    except BrokenProcessPool:
        raise ProcessDied(
            "a process that adapts records ended by itself, perhaps for lack of memory: use fewer processes"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


_there: list[Adapter] = []
"""The adapter of a process that adapts for another one."""


def _begin(make: Make) -> None:
    """Make ready in a process of the pool: it leaves interrupts to its parent, and ends when that has."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process(),), daemon=True).start()
    _there[:] = [make()]


def _end_with(parent: multiprocessing.process.BaseProcess | None) -> None:
    if parent is not None:
        parent.join()
        os._exit(1)


def _adapt_there(chunk: list[Raw]) -> Adapted:
    return _adapt(_there[0], chunk)
