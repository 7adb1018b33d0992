"""Reads an archive: telemetry as records in bulk, in the order in which a worker would have had it, and tables.

A file counts where its hash is what the manifest says; nothing is read past one that differs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from siphonwatch.models.account.request import Array
from siphonwatch.streams.contracts.sealed import Words
from siphonwatch.streams.lab.archive import features, telemetry
from siphonwatch.streams.lab.archive.events import SCHEMAS
from siphonwatch.streams.lab.archive.layout import File, Kind, Manifest, live
from siphonwatch.streams.lab.archive.store import Store, StoreError
from siphonwatch.streams.lab.archive.writer import read_manifests

ENCODED = ("account", "client", "provider", "model", "op", "finish", "lang", "plan", "country")
"""Columns that are read as dictionaries: what follows of a text is worked out once a file."""


LAST = 2**63 - 1
"""An offset behind every one."""


class Batch(NamedTuple):
    """Requests of an archive, those of each partition in the order of their offsets."""

    requests: Array
    """`(n,) REQUEST`, the caller's own."""
    sequence: npt.NDArray[np.int64]
    """`(n,)` places in the archive, increasing from 0 on over all batches: offsets for a scorer."""
    partition: npt.NDArray[np.int32]
    offset: npt.NDArray[np.int64]
    arrived: npt.NDArray[np.float64]
    """`(n,)` when the broker had each one, seconds since 1970; NaN for a log's."""
    unopened: int
    """How many have sealed parts that no key opens."""


class Archive:
    """An archive as it is now.

    Parameters
    ----------
    url
        A folder, or a URL that fsspec knows.

    Raises
    ------
    StoreError
        Where none is there, or it cannot be read.
    """

    def __init__(self, url: str) -> None:
        self.store = Store(url)
        self.manifests: list[Manifest] = []
        self.refresh()
        if not self.manifests:
            raise StoreError(f"{url} holds no archive: `siphonwatch archive --to {url}` writes one")

    def refresh(self) -> None:
        """Take in the steps that were written since."""
        self.manifests = read_manifests(self.store, self.manifests)
        self._live = live(self.manifests)

    def files(self, kind: Kind) -> list[File]:
        """Return the files of one kind, in the order in which they were written."""
        return [file for file in self._live.values() if file.kind == kind]

    def table_of(self, file: File, columns: Sequence[str] | None = None) -> pa.Table:
        """Return one file as a table.

        Raises
        ------
        StoreError
            Where its bytes are not those that the manifest names.
        """
        data = self.store.read(file.path)
        if hashlib.sha256(data).hexdigest() != file.sha256:
            raise StoreError(f"{self.store.url}/{file.path} is not what its manifest says: its sha256 differs")
        encoded = list(ENCODED) if file.kind == "telemetry" else []
        return pq.read_table(pa.BufferReader(data), columns=columns, read_dictionary=encoded, use_threads=False)

    def tables(self, kind: Kind, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Give one kind's rows, a file at a time, in the order of writing."""
        for file in self.files(kind):
            if kind == "features":
                yield features.conform(self.table_of(file), list(columns or self.schema(kind).names))
            else:
                yield self.table_of(file, columns)

    def schema(self, kind: Kind) -> pa.Schema:
        """Return the columns of one kind."""
        return telemetry.SCHEMA if kind == "telemetry" else SCHEMAS[kind]

    def batches(
        self,
        keys: Words | None = None,
        files: Sequence[File] | None = None,
        before: Mapping[tuple[int, str], int] | None = None,
    ) -> Iterator[Batch]:
        """Give telemetry as records, a step of the archive at a time.

        Parameters
        ----------
        keys
            That sealed parts are opened with, see `siphonwatch.streams.worker.opening.keys_of`.
        files
            Those to read; all of the archive's by default.
        before
            Of partitions and their incarnations, the offset at which to stop; the end where it says none.

        Raises
        ------
        StoreError
            Where a file is not what its manifest says, or has the columns of another release.
        """
        sequence = 0
        chosen = self.files("telemetry") if files is None else files
        for _, step in groupby(chosen, key=lambda file: file.step):
            parts, numbers = [], []
            of_step = sorted(step, key=lambda file: (file.partition, file.incarnation, file.path))
            for place, group in groupby(of_step, key=lambda file: (file.partition, file.incarnation)):
                rows = telemetry.join([self._requests(file, keys) for file in group])
                order = np.argsort(rows.offsets, kind="stable")
                parts.append(rows.at(order[rows.offsets[order] < (before or {}).get(place, LAST)]))
                partition, rows = place[0], parts[-1]
                numbers.append(np.full(len(rows.offsets), partition, np.int32))
            rows, partitions = telemetry.join(parts), np.concatenate(numbers)
            if len(parts) > 1:
                order = _together([part.arrived for part in parts])
                rows, partitions = rows.at(order), partitions[order]
            n = len(rows.offsets)
            arrived = np.where(rows.arrived < 0, np.nan, rows.arrived / 1000.0)
            unopened = 0 if rows.sealed is None else int((rows.sealed.lengths > 0).sum())
            yield Batch(rows.requests, np.arange(sequence, sequence + n), partitions, rows.offsets, arrived, unopened)
            sequence += n

    def _requests(self, file: File, keys: Words | None) -> telemetry.Requests:
        step = self.manifests[file.step]
        if step.layout != telemetry.LAYOUT:
            raise StoreError(
                f"{self.store.url}/{file.path} was written by release {step.release} with other columns than this one "
                "reads (`tables` reads them as they are): archive anew with this release"
            )
        return telemetry.from_table(self.table_of(file), keys)


def _together(arrived: Sequence[npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
    """The order of several partitions' records by when the broker had them, none overtaking one of its partition."""
    return np.argsort(np.concatenate([np.maximum.accumulate(part) for part in arrived]), kind="stable")
