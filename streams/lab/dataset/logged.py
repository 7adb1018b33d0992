"""Features as workers logged them when they scored, with the labels and the split of a data set.

A row belongs to a data set where its request does, and where the broker had the row by the data set's moment.
"""

from __future__ import annotations

import math
import time as clock
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from siphonwatch.models.engine.patterns import patterns
from siphonwatch.streams.lab.archive import features as columns_of
from siphonwatch.streams.lab.dataset.layout import DatasetError
from siphonwatch.streams.lab.dataset.read import Dataset
from siphonwatch.streams.lab.dataset.rows import (
    DEFAULT,
    LOGGED,
    ArrowRows,
    At,
    Judged,
    Tell,
    check_pattern,
    chosen,
    facts,
)

POSSIBLE: tuple[At, ...] = ("hourly", "alert")
KEY = ("over", "incarnation", "partition", "offset", "row", "fingerprint")
"""The same of a row that was sent again after a crash."""
OWN = ("over", "row", "fingerprint", "incarnation", "version", "table")
"""What the log alone says of a row."""


class LoggedFeatures(ArrowRows):
    """The features of a data set's alerts and account-hours as they were logged; of campaigns' alerts too.

    It speaks Arrow's PyCapsule interface; memory holds a step of the archive, and 8 bytes for each row.

    Parameters
    ----------
    dataset
        Which one.
    at
        `alert`: a row for each alert, with case and pattern; `hourly`: the request that closed an hour of its account,
        whose features still hold that hour; or both.
    pattern
        Whose alerts and labels; where it is empty all alerts, with the labels of `extraction` for accounts, and of its
        own pattern for a campaign.
    tell
        Told now and then how far it has come.

    Raises
    ------
    DatasetError
        Where there is no such time or pattern, or the archive has no logged features.
    """

    def __init__(
        self, dataset: Dataset, at: At | Sequence[At] = "alert", pattern: str = "", tell: Tell = lambda text: None
    ) -> None:
        self._ats = chosen(at, POSSIBLE)
        check_pattern(pattern, [detector.pattern for detector in patterns()])
        self._dataset, self._pattern, self._tell = dataset, pattern, tell
        self._judged = Judged(dataset)
        if not dataset.archive.files("features"):
            raise DatasetError(
                f"{dataset.manifest.archive} has no logged features: workers log them with features.log, and "
                "`siphonwatch archive` keeps them; without, leave --origin logged out"
            )
        whole = columns_of.schema()
        first = facts(self._ats)
        taken = {one.name for one in first}
        own = [whole.field(name) for name in OWN]
        said = [one for one in whole if one.name not in taken | set(OWN) and pa.types.is_float32(one.type)]
        self.schema = pa.schema([*first[:6], *own, *first[6:], *said])
        self.unopened = 0
        """None: what a worker could not open it said nothing of."""

    def _batches(self) -> Iterator[pa.RecordBatch]:
        begun, done = clock.monotonic(), 0
        seen = np.zeros(0, np.int64)
        reached: dict[int, float] = {}
        files = self._dataset.archive.files("features")
        order = sorted(files, key=lambda file: (file.step, file.partition, file.path))
        for (_, partition), group in groupby(order, key=lambda file: (file.step, file.partition)):
            parts = [
                columns_of.conform(self._dataset.archive.table_of(file), columns_of.schema().names) for file in group
            ]
            table = pa.concat_tables(parts).sort_by(columns_of.OFFSET)
            done += table.num_rows
            known, reached[partition] = _known(table, reached.get(partition, -math.inf))
            keys = _keys(table)
            kept = self._within(table) & (known <= self._as_of) & _first(keys) & ~np.isin(keys, seen)
            seen = np.union1d(seen, keys[kept])
            table = table.filter(pa.array(kept))
            for at in self._ats:
                yield from (self._alerts if at == "alert" else self._hours)(table)
            self._tell(f"{done:,} logged rows, {done / (clock.monotonic() - begun):,.0f}/s")

    @property
    def _as_of(self) -> float:
        moment = self._dataset.manifest.as_of
        return math.inf if moment is None else moment

    def _within(self, table: pa.Table) -> npt.NDArray[np.bool_]:
        """Which rows are of the data set's time, and of requests that it has."""
        wanted = self._dataset.inside(table["time"].to_numpy())
        before = self._dataset.before
        for i, (over, partition, incarnation, offset) in enumerate(
            zip(*(table[name].to_pylist() for name in ("over", "partition", "incarnation", "offset")), strict=True)
        ):
            if over == columns_of.ACCOUNT:
                wanted[i] &= offset < before.get((partition, incarnation), -1)
        return wanted

    def _alerts(self, table: pa.Table) -> Iterator[pa.RecordBatch]:
        """A row for each alert."""
        rows, cases, told = [], [], []
        for i, (ids, names) in enumerate(zip(table["alerts"].to_pylist(), table["patterns"].to_pylist(), strict=True)):
            for k, id_ in enumerate(ids):
                pattern = names[k] if k < len(names) else None
                if not self._pattern or pattern == self._pattern:
                    rows.append(i)
                    cases.append(id_.rpartition("-")[0])
                    told.append(pattern)
        yield from self._made(table.take(pa.array(rows, pa.int64())), "alert", {"case": cases, "pattern": told})

    def _hours(self, table: pa.Table) -> Iterator[pa.RecordBatch]:
        table = table.filter(pa.array(["hourly" in at for at in table["at"].to_pylist()], pa.bool_()))
        yield from self._made(table, "hourly", {"closed": table["time"]})

    def _made(self, table: pa.Table, at: At, more: dict[str, Any]) -> Iterator[pa.RecordBatch]:
        n = table.num_rows
        if not n:
            return
        accounts, told = table["account"].to_pylist(), more.get("pattern") or [None] * n
        whose = [
            self._pattern or (own if over == columns_of.CAMPAIGN and own else DEFAULT)
            for over, own in zip(table["over"].to_pylist(), told, strict=True)
        ]
        columns: dict[str, Any] = {"origin": [LOGGED] * n, "at": [at] * n} | more
        columns |= self._judged.columns(accounts, table["time"].to_numpy(), whose)
        columns |= {name: table[name] for name in table.column_names if name not in columns}
        found = [columns.get(one.name, pa.nulls(n, one.type)) for one in self.schema]
        arrays = [one if isinstance(one, pa.ChunkedArray | pa.Array) else pa.array(one) for one in found]
        yield from pa.table(arrays, self.schema.names).cast(self.schema).combine_chunks().to_batches()


def _known(table: pa.Table, reached: float) -> tuple[npt.NDArray[np.float64], float]:
    """When each row was known, no earlier than those before it; and when the last one was."""
    stamps = pc.fill_null(table["arrived"].cast(pa.int64()), -(2**53)).to_numpy().astype(np.float64) / 1000.0
    known = np.maximum.accumulate(np.concatenate([[reached], stamps]))[1:]
    return known, float(known[-1]) if len(known) else reached


def _keys(table: pa.Table) -> npt.NDArray[np.int64]:
    """A hash of 64 bits of each row's key."""
    columns = [table[name].to_pylist() for name in KEY]
    return np.fromiter((hash(key) for key in zip(*columns, strict=True)), np.int64, table.num_rows)


def _first(keys: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which rows are the first ones of their key."""
    first = np.zeros(len(keys), np.bool_)
    first[np.unique(keys, return_index=True)[1]] = True
    return first
