"""Checkpoints of one partition's account state on a compacted topic, and the restore that trusts only complete ones.

It never overwrites a page version, never deletes what a snapshot still needs, and does not know what pages mean.

Why no transaction is needed. State at a telemetry offset is a deterministic function of the telemetry log up to it,
so any complete snapshot is a right one, whoever wrote it; what must never happen is a mixture of two, or a snapshot
that someone else's clean-up takes apart.

- *Never a mixture.* Each page version has its own key, owner (a random id of one assignment) and epoch, which counts
  calls that wrote. Pages may be written before their checkpoint (`stage`); they count from it on. A manifest
  is written after everything it names was acknowledged, and its body lists owner and epoch of every page. A snapshot
  is restored only if each listed version is there and passes its checksum. A crash before the manifest leaves
  garbage, not a snapshot.
- *Never older than the last confirmed commit.* The telemetry offset is committed after the manifest's
  acknowledgement, and the complete snapshot with the greatest offset wins.
- *Clean-up cannot hurt the living.* An owner deletes only after its own commit k was confirmed, and keeps the
  snapshots k and k-1. Were any zombie's snapshot eligible as a base, a successor could build on one that an earlier
  owner's delayed clean-up still takes apart. So a restore first appends a *claim*, and a snapshot counts only if no
  other owner's claim stands between its owner's claim and its manifest. The log's own order makes history one line:
  each base is k or a successor of k, and both hold every version they share with k. The group's generation decides
  whose commit is confirmed, so an owner that lost the partition cleans up nothing new.
- *One record a page.* Packs of 32 pages were no faster to append (5,000 pages: 0.5-0.6 s either way), and a pack is
  garbage only when all its pages are.
- An owner learns of a later claim without reading its own writes back: acknowledged offsets with a gap mean that
  someone else wrote, and only the gap is read.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import ChainMap
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any
from zlib import crc32

import msgspec
import structlog

from siphonwatch.streams.worker.state import codec
from siphonwatch.streams.worker.state.codec import CLAIM, Manifest, Page, Version
from siphonwatch.streams.worker.state.fetch import Fetcher
from siphonwatch.streams.worker.state.journal import Journal, Record, StateError
from siphonwatch.streams.worker.state.scan import AFRESH, Scan
from siphonwatch.streams.worker.state.snapshot import SLICE, Run, Snapshot

__all__ = ["AFRESH", "Fenced", "Snapshot", "StateError", "StateLog"]

TOMBSTONES = 4096

_log = structlog.get_logger(__name__)


class Fenced(StateError):
    """Another owner claimed the partition: stop working on it; the snapshot is not to be committed."""


class StateLog:
    """The durable state of one partition during one assignment, or several where nobody else had it between them.

    After a rebalance either `resume` returns True, or a new one is made and restored: another owner may have had it.

    Parameters
    ----------
    journal
        The state topic's partition of the same number; `siphonwatch.streams.worker.state.kafka.open_state` makes it.
    owner
        Id of this assignment; random unless a test says otherwise.
    run
        Runs a function beside the event loop: `asyncio.to_thread`.
    """

    def __init__(self, journal: Journal, owner: str | None = None, run: Run = asyncio.to_thread) -> None:
        self.owner = owner or secrets.token_hex(8)
        self.written = 0
        """Bytes of keys and values appended."""
        self._journal = journal
        self._run = run
        self._claim = -1
        self._tail = 0  # the offset our next append gets if nobody else writes
        self._gaps: list[tuple[int, int]] = []
        self._table: dict[int, Version] = {}
        self._staged: dict[int, Version] = {}  # pages written for the next checkpoint
        self._manifest: list[bytes] = []  # keys of the newest manifest and its body
        self._next_offset = 0
        self._epoch = 0
        self._done = 0
        self._superseded: dict[int, list[bytes]] = {}  # epoch -> keys that no snapshot from that epoch on needs
        self._garbage: list[bytes] = []
        self._busy = asyncio.Lock()
        self._fetching = asyncio.Lock()
        self._fetcher = Fetcher(journal, run)

    @property
    def name(self) -> str:
        """Topic and partition, for messages."""
        return self._journal.name

    async def restore(self, *, afresh: bool = False) -> Snapshot | None:
        """Claim the partition and return its newest complete snapshot, None where there is none.

        Parameters
        ----------
        afresh
            Return None also where there are snapshots and none is complete; what is left of them becomes garbage.

        Raises
        ------
        StateError
            When the broker does not answer, or snapshots exist and none is complete.
        """
        claim = (await self._journal.append([Record(CLAIM, self.owner.encode())]))[0]
        self._claim, self._tail, self._gaps = claim, claim + 1, []
        scan = Scan(self._journal.name)
        async for entries in self._journal.read(None, claim + 1):
            scan.add(entries)
        if scan.last < claim:
            raise StateError(f"{self._journal.name} could not be read up to its end, offset {claim}: restore again")
        try:
            stored = scan.choose()
        except StateError as error:
            if not afresh:
                raise
            _log.warning("state_afresh", topic=self._journal.name, error=str(error))
            stored = None
        self._garbage = scan.garbage(stored)
        if stored is None:
            if self._garbage:
                _log.warning("state_without_snapshot", topic=self._journal.name, records=len(self._garbage))
            return None
        self._table = stored.table
        self._next_offset = stored.manifest.next_offset
        self._manifest = stored.keys
        _log.info(
            "state_restored",
            topic=self._journal.name,
            next_offset=self._next_offset,
            hot=len(stored.hot),
            cold=len(stored.cold),
            garbage=len(self._garbage),
        )
        return Snapshot(stored, self._run)

    async def resume(self) -> bool:
        """Claim the partition again after a rebalance; return whether nobody wrote to it since our last record.

        Then the last snapshot, and what its owner has in memory of it, are still what counts. False says that another
        owner may have gone on from there, and this log is of no use any more. Offsets tell it: had anyone written, ours
        would have a gap. To read what stands in the gap would not do, as compaction may take another owner's claim away
        now that a newer one is there.

        Raises
        ------
        StateError
            When the broker does not answer, or the topic was made anew.
        """
        if self._claim < 0:
            raise ValueError("restore() comes before the first resume()")
        async with self._busy:
            (claim,) = await self._append([Record(CLAIM, self.owner.encode())])
            self._claim = -1 if self._gaps else claim  # nothing is to be written any more where others have
        return self._claim >= 0

    async def stage(self, pages: Mapping[int, Page]) -> None:
        """Write pages that the next checkpoint is to hold, so that not all of them need be in memory at once.

        Until then they can be fetched, and a restore does not know of them. One that is given again, here or to the
        checkpoint, replaces what was staged.

        Raises
        ------
        StateError
            When the broker did not acknowledge in time, or refused a record: nothing of these pages counts.
        """
        if self._claim < 0:
            raise ValueError("restore() comes before the first page of an assignment")
        async with self._busy:
            self._epoch += 1
            attempted: list[bytes] = []
            try:
                written = await self._append_pages(pages, attempted)
            except BaseException:
                self._garbage.extend(attempted)
                raise
            again = self._staged.keys() & written.keys()
            self._garbage += [codec.page_key(p, self._staged[p].owner, self._staged[p].epoch) for p in again]
            self._staged |= written

    async def checkpoint(
        self,
        pages: Mapping[int, Page | None],
        models: bytes,
        next_offset: int,
        meta: dict[str, Any] | None = None,
    ) -> int:
        """Write a snapshot: the one before with these pages changed (None: dropped), these models and this offset.

        Parameters
        ----------
        pages
            Every page that changed since the last checkpoint that returned, but for those that were staged; after an
            error give them again.
        models
            The partition's models, some MB at most.
        next_offset
            First telemetry offset the snapshot does not contain.
        meta
            Small JSON-compatible values.

        Returns
        -------
        int
            `next_offset`, now safe to commit to the group; call `committed` once that succeeded.

        Raises
        ------
        Fenced
            When another owner claimed the partition.
        StateError
            When the broker did not acknowledge in time, or refused a record. Nothing of it will be restored.
        ValueError
            Before `restore`, or when `next_offset` is before that of the last snapshot.
        """
        if self._claim < 0:
            raise ValueError("restore() comes before the first checkpoint of an assignment")
        if next_offset < self._next_offset:
            raise ValueError(f"next_offset {next_offset} is before {self._next_offset} of the last snapshot")
        async with self._busy:
            self._epoch += 1
            attempted: list[bytes] = []
            try:
                table = await self._write_pages(pages, attempted)
                manifest = await self._write_manifest(table, models, next_offset, meta or {}, attempted)
                await self._check_fence()
            except BaseException:  # cancelled too: whatever reached the log is garbage, to be cleaned up later
                self._garbage.extend(attempted)
                raise
            old = self._table
            self._superseded[self._epoch] = self._manifest + [
                codec.page_key(page, before.owner, before.epoch)
                for page in {*pages, *self._staged}
                for before in (old.get(page), self._staged.get(page))
                if before is not None and before != table.get(page)
            ]
            self._table, self._staged, self._manifest = table, {}, manifest
            self._next_offset, self._done = next_offset, self._epoch
        return next_offset

    async def committed(self) -> None:
        """Clean up, now that the group holds the offset of the last checkpoint; keeps that snapshot and the one before.

        A failing broker only postpones the clean-up.
        """
        async with self._busy:
            due = [epoch for epoch in self._superseded if epoch < self._done]
            for epoch in due:
                self._garbage.extend(self._superseded.pop(epoch))
            if not self._done:
                return
            # Manifests go first: one without its pages would only be looked at in vain.
            self._garbage.sort(key=lambda key: not key.startswith(b"m/"))
            try:
                while self._garbage:
                    part = self._garbage[:TOMBSTONES]
                    await self._append([Record(key, None) for key in part])
                    del self._garbage[: len(part)]
            except StateError as error:
                _log.warning("state_clean_up_postponed", topic=self._journal.name, error=str(error))

    async def fetch(self, pages: Iterable[int]) -> AsyncIterator[dict[int, bytes]]:
        """Iterate over the data of pages, some at a time, such as cold ones whose accounts came back.

        They are of the last snapshot, or staged since. Cold pages that stand between them come along.

        Raises
        ------
        KeyError
            For a page that the snapshot does not have.
        StateError
            When the broker does not answer, or a page is no longer in the topic.
        """
        table = ChainMap(self._staged, self._table)
        async with self._fetching:
            async for part in self._fetcher.fetch(table, pages, self._tail):
                yield part

    async def stop(self) -> None:
        """Close the connections."""
        await self._journal.stop()

    async def _append(self, records: Sequence[Record]) -> list[int]:
        offsets = await self._journal.append(records)
        self.written += sum(len(record.key) + len(record.value or b"") for record in records)
        for offset in offsets:
            if offset < self._tail:
                raise StateError(f"{self._journal.name} was made anew while its state was in use: {AFRESH}")
            if offset > self._tail:
                self._gaps.append((self._tail, offset))
            self._tail = max(self._tail, offset + 1)
        return offsets

    async def _write_pages(self, pages: Mapping[int, Page | None], attempted: list[bytes]) -> dict[int, Version]:
        table = self._table | self._staged
        table |= await self._append_pages({n: page for n, page in pages.items() if page is not None}, attempted)
        for number, page in pages.items():
            if page is None:
                table.pop(number, None)
        return table

    async def _append_pages(self, pages: Mapping[int, Page], attempted: list[bytes]) -> dict[int, Version]:
        """Write pages under this epoch's keys."""
        written: dict[int, Version] = {}
        changed = list(pages.items())
        for start in range(0, len(changed), SLICE):
            part = changed[start : start + SLICE]
            keys = [codec.page_key(number, self.owner, self._epoch) for number, _ in part]
            values: list[bytes] = await self._run(codec.pack_pages, [page for _, page in part])
            for (number, _), value in zip(part, values, strict=True):
                if len(value) > self._journal.max_value:
                    raise StateError(
                        f"page {number} is {len(value)} bytes compressed, {self._journal.name} takes"
                        f" {self._journal.max_value}: make pages smaller"
                    )
            attempted += keys
            offsets = await self._append([Record(key, value) for key, value in zip(keys, values, strict=True)])
            for (number, _), offset in zip(part, offsets, strict=True):
                written[number] = Version(self.owner, self._epoch, offset)
        return written

    async def _write_manifest(
        self,
        table: Mapping[int, Version],
        models: bytes,
        next_offset: int,
        meta: dict[str, Any],
        attempted: list[bytes],
    ) -> list[bytes]:
        blob: bytes = await self._run(codec.pack_body, table, models)
        parts = codec.split(blob, self._journal.max_value)
        keys = [codec.chunk_key(self.owner, self._epoch, i) for i in range(len(parts))]
        attempted += keys
        await self._append([Record(key, part) for key, part in zip(keys, parts, strict=True)])
        key = codec.manifest_key(self.owner, self._epoch)
        attempted.append(key)
        manifest = Manifest(self.owner, self._epoch, next_offset, self._claim, len(parts), crc32(blob), meta)
        await self._append([Record(key, msgspec.json.encode(manifest))])
        return [key, *keys]

    async def _check_fence(self) -> None:
        for start, stop in self._gaps:
            async for entries in self._journal.read(start, stop):
                for entry in entries:
                    if entry.key == CLAIM and entry.value is not None and entry.value != self.owner.encode():
                        raise Fenced(
                            f"{self._journal.name} was claimed by owner {entry.value.decode('ascii', 'replace')} while"
                            f" {self.owner} worked on it: drop the partition's state and restore it when it is assigned"
                        )
        self._gaps = []
