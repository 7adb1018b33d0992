"""Writes an archive: takes records as they are read, and closes steps. A step is its files, then its manifest, which
says where to read on: there is no other state, so that a step counts once or not at all.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from siphonwatch.models.engine.patterns import patterns
from siphonwatch.models.learn.version import table_id
from siphonwatch.streams.common.release import release
from siphonwatch.streams.contracts.telemetry import Malformed
from siphonwatch.streams.lab.archive import events, features, telemetry
from siphonwatch.streams.lab.archive.layout import (
    FORMAT,
    HOUR,
    MANIFESTS,
    PARQUET,
    File,
    Gap,
    Kind,
    Manifest,
    Position,
    Range,
    file_path,
    manifest_path,
)
from siphonwatch.streams.lab.archive.store import Store, StoreError
from siphonwatch.streams.worker.orders import Orders

STEP_ROWS = 131_072
"""Rows of a step, some 100 MB of memory: 712 bytes each as records, and once more as columns of the file at hand."""
MAX_HOURS = 1000
"""Hours of a partition in one step that get a file each. A month of logs has fewer; clocks gone mad have more."""
ROW_GROUP = 65_536
AT_ONCE = 256
"""Manifests that are asked for together: of an object store each takes a round trip, and a month has thousands."""
COMPRESSION = "zstd"

Part = telemetry.Requests | events.Events
Key = tuple[Kind, int]


def read_manifests(store: Store, known: list[Manifest] | None = None) -> list[Manifest]:
    """Return an archive's manifests by number, those that are `known` already as they are.

    Raises
    ------
    StoreError
        Where one is missing, or was written by a newer version.
    """
    found = list(known or ())
    names = [name for name in store.names(MANIFESTS) if name.endswith(".json")]
    paths = [manifest_path(number) for number in range(len(names))]
    for name, path in zip(names, paths, strict=True):
        if f"{MANIFESTS}/{name}" != path:
            raise StoreError(f"{store.url}/{path} is missing: the archive cannot be trusted behind it")
    for start in range(len(found), len(paths), AT_ONCE):
        asked = paths[start : start + AT_ONCE]
        for path, data in zip(asked, store.read_all(asked), strict=True):
            try:
                manifest = msgspec.json.decode(data, type=Manifest)
            except msgspec.DecodeError as error:
                raise StoreError(f"{store.url}/{path} is no manifest: {error}") from None
            if manifest.format != FORMAT:
                raise StoreError(f"{store.url}/{path} has format {manifest.format}, this version reads {FORMAT}")
            found.append(manifest)
    return found


def to_bytes(table: pa.Table, dictionaries: list[str] | bool = True) -> pa.Buffer:
    """Return a table as a Parquet file; the same rows give the same bytes by one release of pyarrow."""
    sink = pa.BufferOutputStream()
    pq.write_table(
        table, sink, compression=COMPRESSION, use_dictionary=dictionaries, row_group_size=ROW_GROUP,
        write_page_index=False,
    )  # fmt: skip
    return sink.getvalue()


def encode(kind: Kind, table: pa.Table) -> pa.Buffer:
    """Return a table of one kind as the archive keeps it."""
    return to_bytes(table, telemetry.DICTIONARIES if kind == "telemetry" else True)


@dataclass
class _Open:
    """What the step at hand has of a partition."""

    incarnation: str
    first: int
    next: int
    parts: list[Any] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)
    gaps: list[Gap] = field(default_factory=list)
    mark: str = ""
    sources: dict[str, list[int]] = field(default_factory=dict)
    log: bool = False
    oldest: float | None = None
    """When the broker had the first record that was taken, seconds since 1970."""


class Writer:
    """Adds steps to an archive.

    Parameters
    ----------
    store
        Where it is.
    now
        Seconds since 1970.

    Attributes
    ----------
    positions
        Where to read on, by kind and partition, as of the last step.

    Raises
    ------
    StoreError
        Where the archive cannot be read.
    """

    def __init__(self, store: Store, now: Callable[[], float] = time.time) -> None:
        self._store = store
        self._now = now
        self.manifests = read_manifests(store)
        newest = self.manifests[-1].positions if self.manifests else []
        self.positions: dict[Key, Position] = {(p.kind, p.partition): p for p in newest}
        self._open: dict[Key, _Open] = {}
        self.decoder = telemetry.KeepingDecoder()
        self.waiting = 0
        """Rows that no step holds yet."""
        self.since: float | None = None
        """When the first of them was taken, seconds since 1970."""
        self.orders = Orders()
        """To erase accounts: what is about one, from before its order, is dropped with reason `erased`."""

    def begin(
        self,
        kind: Kind,
        partition: int,
        incarnation: str,
        first: int,
        gap: Gap | None = None,
        *,
        log: bool = False,
    ) -> None:
        """Say that a partition is read from an offset on, in an incarnation of its topic, or in a log.

        Raises
        ------
        StoreError
            Where the archive is of topics and this is a log, or the other way: their positions would mix.
        """
        if any(known.log != log for known in self.positions.values()):
            raise StoreError(
                f"{self._store.url} is an archive of {'topics' if log else 'logs'}: archive "
                f"{'logs' if log else 'topics'} into another place"
            )
        opened = self._open[kind, partition] = _Open(incarnation, first, first, log=log)
        if (known := self.positions.get((kind, partition))) is not None:
            opened.sources = {name: list(place) for name, place in known.sources.items()}
        if gap is not None:
            opened.gaps.append(gap)

    def next(self, kind: Kind, partition: int) -> int:
        """Return the offset that is due in a partition that was begun."""
        return self._open[kind, partition].next

    def held(self, kind: Kind, partition: int) -> int:
        """Return the offset behind what steps hold of a partition that was begun."""
        return self._open[kind, partition].first

    def oldest(self, kind: Kind, partition: int) -> float | None:
        """Return when the broker had the oldest record that was taken and is in no step; None without one."""
        return self._open[kind, partition].oldest

    def sources(self, kind: Kind, partition: int) -> dict[str, list[int]]:
        """Return what was ingested last of each source, to be changed in place."""
        return self._open[kind, partition].sources

    def take(
        self,
        kind: Kind,
        partition: int,
        values: Sequence[bytes | Malformed | None],
        offsets: npt.NDArray[np.int64],
        arrived: npt.NDArray[np.int64],
        *,
        repeated: npt.NDArray[np.bool_] | None = None,
        mark: str = "",
    ) -> None:
        """Take records of one partition, in the order of their increasing offsets.

        Parameters
        ----------
        values
            One a record; None for a tombstone, a reason for what could not be read.
        arrived
            Milliseconds since 1970; -1 where no broker had them.
        repeated
            Which of them were archived before, under another offset.
        mark
            Tells the last one, where the broker gives topics no ids.
        """
        if not len(offsets):
            return
        opened = self._open[kind, partition]
        self._gaps(opened, offsets)
        opened.next, opened.mark = int(offsets[-1]) + 1, mark
        if opened.oldest is None and arrived[0] >= 0:
            opened.oldest = float(arrived[0]) / 1000.0
        keep = np.array([isinstance(value, bytes) for value in values], np.bool_)
        for i in np.flatnonzero(~keep).tolist():
            bad = values[i]
            _count(opened.dropped, bad.reason if isinstance(bad, Malformed) else "tombstone", 1)
        if repeated is not None:
            _count(opened.dropped, "repeated", int((keep & repeated).sum()))
            keep &= ~repeated
        chosen = np.flatnonzero(keep)
        sound = [value for value, kept in zip(values, keep.tolist(), strict=True) if kept and isinstance(value, bytes)]
        part, rejected = self._parse(kind, sound, offsets[chosen], arrived[chosen])
        for error in rejected:
            _count(opened.dropped, error.reason, 1)
        if self.since is None:
            self.since = self._now()
        if n := len(part.offsets):
            opened.parts.append(part)
            self.waiting += n

    def expired(self, kind: Kind, partition: int, next: int) -> None:
        """Say that the offsets before one left the topic before they were read."""
        opened = self._open[kind, partition]
        if next > opened.next:
            opened.gaps.append(Gap(opened.next, next, "expired"))
            opened.next = next

    @staticmethod
    def _gaps(opened: _Open, offsets: npt.NDArray[np.int64]) -> None:
        before = np.concatenate([[opened.next - 1], offsets[:-1]])
        for i in np.flatnonzero(offsets - before > 1).tolist():
            opened.gaps.append(Gap(int(before[i]) + 1, int(offsets[i]), "absent"))

    def _parse(
        self, kind: Kind, values: list[bytes], offsets: npt.NDArray[np.int64], arrived: npt.NDArray[np.int64]
    ) -> tuple[Part, Iterable[Malformed]]:
        if kind == "telemetry":
            rows, rejected = self.decoder.take(values, offsets, arrived)
            return rows, [error for _, error in rejected]
        parsed, good, bad = [], [], []
        for i, value in enumerate(values):
            try:
                parsed.append(events.parse(kind, value))
                good.append(i)
            except Malformed as error:
                bad.append(error)
        return events.Events(parsed, offsets[good], arrived[good]), bad

    def close(self) -> Manifest | None:
        """Write what was taken as a step; return its manifest, None where nothing was taken.

        Raises
        ------
        TakenError
            Where another archiver wrote a step meanwhile: begin again from its positions, with another writer.
        StoreError
            Where it cannot be written: nothing of it counts.
        """
        moved = {key: o for key, o in self._open.items() if o.next > o.first or o.gaps or o.dropped}
        if not moved:
            return None
        number = len(self.manifests)
        files: list[File] = []
        ranges: list[Range] = []
        positions = dict(self.positions)
        for (kind, partition), opened in sorted(moved.items()):
            newest = positions[kind, partition].hour if (kind, partition) in positions else 0
            written, late, newest = self._write(kind, partition, opened, number, newest)
            files += written
            ranges.append(
                Range(
                    kind=kind, partition=partition, incarnation=opened.incarnation, first=opened.first,
                    next=opened.next, rows=sum(file.rows for file in written), late=late, dropped=opened.dropped,
                    gaps=opened.gaps,
                )
            )  # fmt: skip
            positions[kind, partition] = Position(
                kind=kind, partition=partition, incarnation=opened.incarnation, next=opened.next, hour=newest,
                mark=opened.mark, sources={name: list(place) for name, place in opened.sources.items()},
                log=opened.log,
            )  # fmt: skip
        manifest = self.commit(number, ranges=ranges, files=files, positions=list(positions.values()))
        self.positions = positions
        for key, opened in moved.items():
            self._open[key] = _Open(
                opened.incarnation, opened.next, opened.next, sources=opened.sources, log=opened.log
            )  # fmt: skip
        self.waiting, self.since = 0, None
        self.decoder.forget()
        return manifest

    def commit(self, number: int, **content: Any) -> Manifest:
        """Write a manifest, by which what it names counts; raises as `close`."""
        manifest = Manifest(
            number=number, at=self._now(), release=release(), layout=telemetry.LAYOUT, features=table_id(),
            cards={found.pattern: found.id for found in patterns()}, **content,
        )  # fmt: skip
        self._store.create(manifest_path(number), msgspec.json.encode(manifest))
        self.manifests.append(manifest)
        return manifest

    def _write(self, kind: Kind, partition: int, opened: _Open, step: int, newest: int) -> tuple[list[File], int, int]:
        """Write a partition's files; return them, how many rows were late, and the newest hour."""
        if not opened.parts:
            return [], 0, newest
        rows: Any = (telemetry.join if kind == "telemetry" else events.join)(opened.parts)
        opened.parts = []
        gone = self.orders.erased(rows.requests) if kind == "telemetry" else events.erased(rows.rows, self.orders)
        if gone.any():
            _count(opened.dropped, "erased", int(gone.sum()))
            rows = rows.at(np.flatnonzero(~gone))
            if not len(rows.offsets):
                return [], 0, newest
        times = rows.requests["time"] if kind == "telemetry" else np.array([row["time"] for row in rows.rows])
        hours = np.floor(times / HOUR).astype(np.int64)
        reached = np.maximum.accumulate(np.concatenate([[newest], hours]))
        late = int((hours < reached[:-1]).sum())
        groups, counts = np.unique(hours, return_counts=True)
        own = set(groups[np.argsort(-counts, kind="stable")[:MAX_HOURS]].tolist())
        files = [
            self._file(kind, partition, rows.at(np.flatnonzero(hours == hour)), hour, opened.incarnation, step)
            for hour in sorted(own)
        ]
        if len(own) < len(groups):
            mixed = np.flatnonzero(~np.isin(hours, list(own)))
            files.append(self._file(kind, partition, rows.at(mixed), None, opened.incarnation, step))
        return files, late, int(reached[-1])

    def _file(self, kind: Kind, partition: int, rows: Any, hour: int | None, incarnation: str, step: int) -> File:
        if kind == "telemetry":
            table = telemetry.to_table(partition, rows, self.decoder.texts)
        else:
            table = events.to_table(kind, partition, rows)
        first, last = int(rows.offsets[0]), int(rows.offsets[-1])
        path = file_path(kind, hour, partition, first, last, incarnation)
        return write_file(self._store, path, table, kind=kind, partition=partition, incarnation=incarnation, step=step)


def write_file(store: Store, path: str, table: pa.Table, **known: Any) -> File:
    """Write a table as a file of the archive; return what a manifest says of it.

    Its name ends with its hash: another archiver that comes too late with its step, and has other rows of the same
    offsets, as an account was erased meanwhile, or another release, puts nothing in the place of what a manifest names.
    """
    data = encode(known["kind"], table)
    digest = hashlib.sha256(data).hexdigest()
    path = f"{path.removesuffix(PARQUET)}-{digest[:8]}{PARQUET}"
    store.write(path, data)
    offsets = table.column(features.OFFSET if known["kind"] == "features" else "offset")
    times = table.column("time").to_numpy()
    return File(
        path=path, first=offsets[0].as_py(), last=offsets[-1].as_py(), rows=table.num_rows, size=data.size,
        sha256=digest, low=float(times.min()), high=float(times.max()), **known,
    )  # fmt: skip


def _count(counts: dict[str, int], reason: str, n: int) -> None:
    if n:
        counts[reason] = counts.get(reason, 0) + n
