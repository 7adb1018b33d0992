"""Reads a data set: its requests in the order in which they were archived, as known at its moment, and its labels."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from siphonwatch.models.account.request import Array
from siphonwatch.models.evaluate.data import Truth
from siphonwatch.streams.contracts.sealed import Words
from siphonwatch.streams.lab.archive.reader import Archive
from siphonwatch.streams.lab.archive.rows import plain
from siphonwatch.streams.lab.dataset.labels import from_table, truth_of
from siphonwatch.streams.lab.dataset.layout import LABELS, DatasetError, read_manifest
from siphonwatch.streams.lab.dataset.make import inside as between
from siphonwatch.streams.lab.dataset.split import part


class Known(NamedTuple):
    """Requests of a data set, `n` of them."""

    requests: Array
    sequence: npt.NDArray[np.int64]
    partition: npt.NDArray[np.int32]
    offset: npt.NDArray[np.int64]
    inside: npt.NDArray[np.bool_]
    """Which are of its time; the others warm features up."""
    unopened: int
    """How many have sealed parts that no key opens."""


class Dataset:
    """A data set that `siphonwatch dataset` made.

    Parameters
    ----------
    folder
        Where it is.

    Raises
    ------
    DatasetError
        Where none is there, it was changed, or the archive has not its files any more.
    StoreError
        Where the archive cannot be read.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.manifest = read_manifest(self.folder)
        self.archive = Archive(self.manifest.archive)
        self.before = {(one.partition, one.incarnation): one.next for one in self.manifest.ranges}
        self._check()

    @property
    def id(self) -> str:
        """The same for the same contents, wherever it stands."""
        return self.manifest.id

    def __repr__(self) -> str:
        return f"<Dataset {self.id} of {self.manifest.archive}: {self.manifest.labels:,} labels>"

    def labels(self) -> pa.Table:
        """Return its labels, with units and meanings in the fields' metadata."""
        return pq.read_table(io.BytesIO((self.folder / LABELS).read_bytes()))

    def counts(self) -> dict[str, int]:
        """Return how many labels there are of each kind, such as `attack`."""
        return dict(sorted(Counter(self.labels()["label"].to_pylist()).items()))

    def truth(self, pattern: str = "") -> Truth:
        """Return its labels as one for each account, see `siphonwatch.streams.lab.dataset.labels.truth_of`."""
        return truth_of(from_table(self.labels()), pattern)

    def requests(self, columns: Sequence[str] | None = None) -> Requests:
        """Return its requests as Arrow's PyCapsule interface has them: those of its time, as known at its moment."""
        return Requests(self, columns)

    def batches(self, keys: Words | None = None) -> Iterator[Known]:
        """Give its requests as records, in the order of the archive, those before its time too.

        Parameters
        ----------
        keys
            That sealed parts are opened with.

        Raises
        ------
        StoreError
            As `siphonwatch.streams.lab.archive.reader.Archive.batches`.
        """
        for batch in self.archive.batches(keys, self.manifest.files, self.before):
            yield Known(
                batch.requests, batch.sequence, batch.partition, batch.offset, self.inside(batch.requests["time"]),
                batch.unopened,
            )  # fmt: skip

    def groups(self) -> dict[str, str]:
        """Return what each labelled account is split by: itself, or its campaign where those are split."""
        by_campaign = "campaign" in self.manifest.split.by
        rows = from_table(self.labels())
        return {row.label.account: (row.campaign if by_campaign else "") or row.label.account for row in rows}

    @cached_property
    def _groups(self) -> dict[str, str]:
        """As `groups`, read once: parts are asked for block by block."""
        return self.groups()

    def parts(self, accounts: Sequence[str], times: npt.NDArray[np.float64]) -> list[str]:
        """Return the part, `train`, `test` or none, that each account is in at each time."""
        groups = self._groups
        return part(self.manifest.split, [groups.get(account, account) for account in accounts], times)

    def inside(self, time: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """Return which event times, `(n,)`, are of its time."""
        return between(time, self.manifest.since, self.manifest.until)

    def _check(self) -> None:
        """Refuse a data set whose files were taken out of the archive."""
        live = {file.path for file in self.archive.files("telemetry")}
        for file in self.manifest.files:
            if file.path in live:
                continue
            gone = [step for step in self.archive.manifests if file.path in step.removed]
            why = f"was taken out ({gone[0].why})" if gone else "is not in the archive"
            remedy = f"erase with --dataset {self.folder}, or make it anew" if gone else "make it anew"
            raise DatasetError(f"{self.folder}: {file.path} {why}, so that this data set is not what it was: {remedy}")


class Requests:
    """Requests of a data set for data scientists' tools; it can be read any number of times."""

    def __init__(self, dataset: Dataset, columns: Sequence[str] | None = None) -> None:
        whole = dataset.archive.schema("telemetry")
        self._dataset = dataset
        self._columns = list(whole.names if columns is None else columns)
        if unknown := [name for name in self._columns if name not in whole.names]:
            raise DatasetError(f"{unknown[0]!r} is no column of telemetry: {', '.join(whole.names)}")
        self.schema = pa.schema([plain(whole.field(name)) for name in self._columns])
        """The columns, with units and meanings in the fields' metadata."""

    def __arrow_c_schema__(self) -> Any:
        """Return the columns as Arrow's PyCapsule."""
        return self.schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """Return the rows as Arrow's PyCapsule, a file at a time."""
        return pa.RecordBatchReader.from_batches(self.schema, self._batches()).__arrow_c_stream__(requested_schema)

    def _batches(self) -> Iterator[pa.RecordBatch]:
        dataset = self._dataset
        needed = [*dict.fromkeys([*self._columns, "time", "offset"])]
        for file in dataset.manifest.files:
            table = dataset.archive.table_of(file, needed)
            before = dataset.before[file.partition, file.incarnation]
            kept = (table["offset"].to_numpy() < before) & dataset.inside(table["time"].to_numpy())
            yield from table.filter(pa.array(kept)).select(self._columns).cast(self.schema).to_batches()
