"""Gateway topics to telemetry: what a gateway writes itself is adapted, sketched and sent on, keyed by account.

Each record says in its `source` header which element of which message it was made from, so that the scoring side can
pass over what is made again after a crash. No state is kept: the position is the offset that was committed.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import islice
from typing import Protocol

import structlog

from siphonwatch.streams.common import chosen
from siphonwatch.streams.common.cores import cores
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts import provenance
from siphonwatch.streams.contracts.dead_letter import MAX_DIGITS, DeadLetter
from siphonwatch.streams.contracts.provenance import Seals
from siphonwatch.streams.contracts.telemetry import Malformed
from siphonwatch.streams.edge.children import ALONE, Beside, Element, Made, adapters_of
from siphonwatch.streams.worker.agents.partition import Place
from siphonwatch.streams.worker.agents.sources import SOURCE, origin, sealed
from siphonwatch.streams.worker.gauges import Readings
from siphonwatch.streams.worker.inorder import InOrder, Outgoing
from siphonwatch.streams.worker.meter import Meter
from siphonwatch.streams.worker.outlet import KafkaOutlet, dead_letter
from siphonwatch.streams.worker.retries import Retries
from siphonwatch.streams.worker.transport import Batch, Begin

BAD = "bad"
"""Header of a dead letter: the places of the elements in its message that could not be read."""
SLICE, SLICE_BYTES = 256, 1024 * 1024
"""Messages adapted at a time beside the event loop: up to the one that reaches either, some 50 ms of work."""

REMEMBERED = 1 << 15
"""Accounts whose partition is remembered, some 5 MB."""

_log = structlog.get_logger(__name__)


def make_beside(settings: Settings) -> Beside:
    """Return what adapts messages of the topics in `[ingest]`; the partitions of a worker share it.

    Raises
    ------
    SettingsError
        Where identity.key is missing.
    """
    for warning in chosen.warnings(settings):
        _log.warning("an account setting that clients may choose", warning=warning)
    adapters = adapters_of(settings)
    processes = settings.ingest.processes
    return Beside(adapters, partial(adapters_of, settings), processes or cores(), 0 if processes else ALONE)


class Ingest(Protocol):
    """Turns a gateway's records into telemetry."""

    async def process(self, batch: Batch) -> None:
        """Adapt, sketch and produce a batch; return when the broker has acknowledged all of it."""

    def blocked(self) -> float:
        """Return for how many seconds its records have been refused or unanswered; 0 where they are not."""

    async def close(self) -> None:
        """Stop sending."""


class IngestPartition:
    """Commits a batch's offsets after `Ingest.process` returned: at least once, never lost.

    Parameters
    ----------
    ingest
        Of this partition alone: what it waits for is its own.
    meter
        What is counted.
    """

    def __init__(self, ingest: Ingest, meter: Meter) -> None:
        self._ingest = ingest
        self._meter = meter
        self._next: int | None = None

    async def restore(self, begin: Begin) -> Place:
        """Read on from the committed offset, or from the start of a topic that was made anew."""
        if begin.anew:
            self._meter.made_anew(begin.incarnation)
        return Place(0 if begin.anew else begin.committed, begin.sure or begin.anew)

    async def resume(self, begin: Begin) -> None:
        """Return None: nothing is kept over a rebalance, so there is nothing to go on with."""

    async def process(self, batch: Batch) -> None:
        """Ingest one batch."""
        await self._ingest.process(batch)
        self._next = batch.next_offset

    async def checkpoint(self) -> int | None:
        """Return the offset that all ingested batches reach."""
        return self._next

    async def committed(self) -> None:
        """Nothing is to be cleaned up."""

    def blocked(self) -> float:
        """Return for how many seconds its records have been refused or unanswered; 0 where they are not."""
        return self._ingest.blocked()

    def readings(self) -> Readings:
        """Nothing is kept."""
        return iter(())

    async def close(self) -> None:
        """Stop sending."""
        await self._ingest.close()


class GatewayIngest:
    """Turns records of one partition of a topic in `[ingest]` into telemetry.

    Parameters
    ----------
    beside
        Adapts; shared by the partitions of a worker.
    sender
        To the telemetry topic.
    outlet
        Takes dead letters.
    retries
        Of both.
    meter
        What is counted.
    seals
        Vouch for where telemetry came from.
    now
        Seconds since 1970, for metrics only.
    """

    def __init__(
        self,
        beside: Beside,
        sender: InOrder,
        outlet: KafkaOutlet,
        retries: Retries,
        meter: Meter,
        seals: Seals,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._beside = beside
        self._sender = sender
        self._outlet = outlet
        self._retries = retries
        self._meter = meter
        self._partitions: list[int] = []
        self._found: dict[bytes, int] = {}
        self._mac = cache(partial(seals.mac, provenance.SOURCE))
        self._now = now

    async def process(self, batch: Batch) -> None:
        """Ingest a batch; returns when the broker has acknowledged all that came of it."""
        letters: list[DeadLetter] = []
        passed = Counter[str]()
        partitions = await self._sender.partitions()
        slices, asked = _slices(batch), deque[tuple[range, asyncio.Task[Made]]]()
        try:
            while True:
                for rows in islice(slices, self._beside.at_once - len(asked)):
                    values = [batch.values[row] for row in rows]
                    asked.append((rows, asyncio.create_task(self._beside.adapt(batch.topic, values))))
                if not asked:
                    break
                rows, task = asked[0]
                made = await task
                asked.popleft()
                passed.update(made.passed_over)
                self._log_failures(batch, rows, made)
                for row, elements in zip(rows, made.rows, strict=True):
                    if (letter := self._queue(batch, row, elements, partitions)) is not None:
                        letters.append(letter)
                await self._sender.room()
        finally:
            for _, task in asked:
                task.cancel()
        if tombstones := sum(value is None for value in batch.values):
            passed["tombstone"] += tombstones
        self._meter.passed_over(passed)
        if letters:
            self._meter.lost_letters(await self._outlet.dead_letters(letters))
        await self._sender.flush()
        self._meter.batch(self._now() - batch.timestamps / 1000.0)

    def blocked(self) -> float:
        """Return for how many seconds its records have been refused or unanswered; 0 where they are not."""
        return self._retries.blocked()

    async def close(self) -> None:
        """Stop sending."""
        await self._sender.close()

    def _partition_of(self, key: bytes, partitions: list[int]) -> int:
        """The sender's answer, remembered: accounts recur, and murmur2 takes 6 microseconds in Python."""
        if partitions != self._partitions or len(self._found) >= REMEMBERED:
            self._partitions, self._found = partitions, {}
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = self._sender.partition_of(key, partitions)
        return found

    def _log_failures(self, batch: Batch, rows: range, made: Made) -> None:
        for at, error in made.failures:
            _log.error(
                "an adapter failed on a message; please report it",
                topic=batch.topic, partition=batch.partition, offset=int(batch.offsets[rows[at]]), error=error,
            )  # fmt: skip

    def _queue(self, batch: Batch, row: int, elements: list[Element], partitions: list[int]) -> DeadLetter | None:
        """Queue the good elements of one message; return a dead letter where it has bad ones.

        The letter names the bad elements' places, so that a redrive takes up those alone.
        """
        wanted = _places(dict(batch.headers[row]).get(BAD))
        bad: list[tuple[int, Malformed]] = []
        name = origin(batch.topic, batch.partition, batch.incarnation)
        for place, element in enumerate(elements):
            if wanted is not None and place not in wanted:
                continue
            if (malformed := element.malformed()) is not None:
                self._meter.dead_letter(malformed)
                bad.append((place, malformed))
                continue
            key = element.account.encode()
            partition = self._partition_of(key, partitions)
            source = f"{name}:{batch.offsets[row]}:{place}".encode()
            header = sealed(self._mac(partition), source)
            self._sender.put(partition, Outgoing(key, element.value, [(SOURCE, header)]))
        if not bad:
            return None
        letter = dead_letter(batch, row, bad[0][1], bad[0][0])
        kept = tuple(header for header in letter.headers if header[0] != BAD)
        places = b",".join(b"%d" % place for place, _ in bad)
        return dataclasses.replace(letter, headers=(*kept, (BAD, places)))


def _places(header: bytes | None) -> set[int] | None:
    """The places that a redriven letter names; None, for all, where it has no list of them."""
    if not header or not all(part.isdigit() and len(part) <= MAX_DIGITS for part in header.split(b",")):
        return None
    return {int(part) for part in header.split(b",")}


def _slices(batch: Batch) -> Iterator[range]:
    """Cut a batch's rows into slices."""
    start = size = 0
    for row, value in enumerate(batch.values):
        size += len(value or b"")
        if size >= SLICE_BYTES or row + 1 - start == SLICE or row + 1 == len(batch):
            yield range(start, row + 1)
            start, size = row + 1, 0
