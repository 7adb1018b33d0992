"""Gateway topics to telemetry: what a gateway writes itself is adapted, sketched and sent on, keyed by account.

Each record says in its `source` header which element of which message it was made from, so that the scoring side can
pass over what is made again after a crash. No state is kept: the position is the offset that was committed.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
import traceback
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Protocol

import structlog

from siphonwatch.streams.common import chosen
from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts import provenance
from siphonwatch.streams.contracts.dead_letter import MAX_DIGITS, DeadLetter
from siphonwatch.streams.contracts.provenance import Seals
from siphonwatch.streams.contracts.telemetry import Malformed, Telemetry, encode
from siphonwatch.streams.edge.adapters import make_adapter
from siphonwatch.streams.edge.adapters.base import Adapter
from siphonwatch.streams.edge.sketch import Sketcher
from siphonwatch.streams.worker.agents.partition import Place
from siphonwatch.streams.worker.agents.sources import SOURCE, origin, sealed
from siphonwatch.streams.worker.gauges import Readings
from siphonwatch.streams.worker.inorder import InOrder, Outgoing
from siphonwatch.streams.worker.meter import Meter
from siphonwatch.streams.worker.outlet import KafkaOutlet, dead_letter
from siphonwatch.streams.worker.retries import Retries
from siphonwatch.streams.worker.transport import Batch, Begin

Element = tuple[int, Telemetry | Malformed]
BAD = "bad"
"""Header of a dead letter: the places of the elements in its message that could not be read."""
SLICE = 256
"""Messages adapted at a time beside the event loop, a tenth of a second of work."""

_log = structlog.get_logger(__name__)


def make_adapters(settings: Settings) -> dict[str, Adapter]:
    """Return the adapter of each topic in `[ingest]`; the partitions of a worker share them.

    Raises
    ------
    SettingsError
        Where identity.key is missing.
    """
    for warning in chosen.warnings(settings):
        _log.warning("an account setting that clients may choose", warning=warning)
    identity = Identity.from_settings(settings)
    sketcher = Sketcher(identity)
    return {
        topic: make_adapter(format_, settings, sketcher, identity) for topic, format_ in settings.ingest.topics.items()
    }


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
    adapter
        Of the topic.
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
        adapter: Adapter,
        sender: InOrder,
        outlet: KafkaOutlet,
        retries: Retries,
        meter: Meter,
        seals: Seals,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._adapter = adapter
        self._sender = sender
        self._outlet = outlet
        self._retries = retries
        self._meter = meter
        self._mac = cache(partial(seals.mac, provenance.SOURCE))
        self._now = now

    async def process(self, batch: Batch) -> None:
        """Ingest a batch; returns when the broker has acknowledged all that came of it."""
        letters: list[DeadLetter] = []
        partitions = await self._sender.partitions()
        for start in range(0, len(batch), SLICE):
            rows = range(start, min(start + SLICE, len(batch)))
            for row, elements in await asyncio.to_thread(_adapt, self._adapter, batch, rows):
                if (letter := self._queue(batch, row, elements, partitions)) is not None:
                    letters.append(letter)
            await self._sender.room()
        passed = self._adapter.take_passed_over()
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

    def _queue(self, batch: Batch, row: int, elements: list[Element], partitions: list[int]) -> DeadLetter | None:
        """Queue the good elements of one message; return a dead letter where it has bad ones.

        The letter names the bad elements' places, so that a redrive takes up those alone.
        """
        wanted = _places(dict(batch.headers[row]).get(BAD))
        bad: list[tuple[int, Malformed]] = []
        name = origin(batch.topic, batch.partition, batch.incarnation)
        for place, element in elements:
            if wanted is not None and place not in wanted:
                continue
            if isinstance(element, Malformed):
                self._meter.dead_letter(element)
                bad.append((place, element))
                continue
            key = element.account.encode()
            partition = self._sender.partition_of(key, partitions)
            source = f"{name}:{batch.offsets[row]}:{place}".encode()
            header = sealed(self._mac(partition), source)
            self._sender.put(partition, Outgoing(key, encode(element), [(SOURCE, header)]))
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


def _adapt(adapter: Adapter, batch: Batch, rows: range) -> list[tuple[int, list[Element]]]:
    """What the messages hold, each element with its place."""
    return [(row, list(enumerate(_records(adapter, batch, row)))) for row in rows]


def _records(adapter: Adapter, batch: Batch, row: int) -> Iterator[Telemetry | Malformed]:
    """The elements of one message; where an adapter fails on it, those before the failure and its reason.

    An adapter is not to fail on anything. One that does costs this message, kept as a dead letter, and not the worker.
    """
    try:
        value = batch.values[row]
        if value is not None:  # a tombstone says nothing
            yield from adapter.records(value)
    except Exception as error:  # noqa: BLE001 - see above
        place = traceback.extract_tb(error.__traceback__)[-1]  # what it says may quote the message
        _log.error(
            "an adapter failed on a message; please report it",
            topic=batch.topic, partition=batch.partition, offset=int(batch.offsets[row]),
            error=f"{type(error).__name__} in {place.name}, line {place.lineno}",
        )  # fmt: skip
        yield Malformed("schema", f"the adapter failed: {type(error).__name__}")
