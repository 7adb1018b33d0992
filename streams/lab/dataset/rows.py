"""What every table of a data set's features says of a row beside its features: place, account, label and part."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from siphonwatch.models.engine.patterns import detectors
from siphonwatch.models.learn.labels import Labelled
from siphonwatch.streams.lab.dataset.labels import NAMES, from_table
from siphonwatch.streams.lab.dataset.layout import DatasetError
from siphonwatch.streams.lab.dataset.read import Dataset

At = Literal["request", "hourly", "alert"]
ATS: tuple[At, ...] = get_args(At)
Tell = Callable[[str], None]
COMPUTED, LOGGED = "computed", "logged"
ROW_GROUP = 32_768
"""Rows that are gathered for one of a file, some 30 MB."""
DEFAULT = "extraction"
"""Whose labels a row has that is of no pattern, where none is asked for."""


def chosen(at: At | Sequence[At], possible: Sequence[At] = ATS) -> tuple[At, ...]:
    """Return the times that are asked for, each once.

    Raises
    ------
    DatasetError
        Where there is none, or one that is not possible.
    """
    asked = tuple(dict.fromkeys((at,) if isinstance(at, str) else at))
    for one in asked:
        if one not in possible:
            raise DatasetError(f"features are made at {', '.join(possible)}, not at {one!r}")
    if not asked:
        raise DatasetError(f"features are made at {', '.join(possible)}: name one")
    return asked


def check_pattern(pattern: str, patterns: Sequence[str]) -> None:
    """Refuse what is no pattern.

    Raises
    ------
    DatasetError
        Where it is none of them.
    """
    if pattern and pattern not in patterns:
        kind = "single accounts" if len(patterns) == len(detectors()) else "accounts or campaigns"
        raise DatasetError(f"{pattern!r} is no pattern of {kind}: {', '.join(patterns)}")


def field(name: str, type_: pa.DataType, unit: str, meaning: str) -> pa.Field:
    """Return a column with its unit and its meaning."""
    return pa.field(name, type_, metadata={"unit": unit, "meaning": meaning})


def facts(ats: Sequence[At]) -> list[pa.Field]:
    """Return the columns that stand before the features."""
    columns = [
        field("partition", pa.int32(), "", "of telemetry; of sightings, where the row is a campaign's"),
        field("offset", pa.int64(), "", "of the request in its partition"),
        field("time", pa.float64(), "s", "event time, since 1970"),
        field("account", pa.string(), "", "as telemetry names it"),
        field("origin", pa.string(), "", "computed: made again from the archive; logged: by the worker, when scored"),
        field("at", pa.string(), "", "request, hourly or alert"),
    ]
    if "hourly" in ats:
        columns.append(field("closed", pa.float64(), "s", "event time of the request that closed the hour; null: none"))
    if "alert" in ats:
        columns += [field("case", pa.string(), "", "of the alert"), field("pattern", pa.string(), "", "of the alert")]
    return [
        *columns,
        field("label", pa.string(), "", "attack, honest, out, or null where nobody said"),
        field("weight", pa.float64(), "share", "of the analysts who agree"),
        field("known_at", pa.float64(), "s", "when the label was known, since 1970; -inf: always"),
        field("part", pa.string(), "", "train, test, or empty"),
    ]


def write_parquet(path: Path | str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
    """Write rows as one Parquet file; return how many.

    The writer remembers every column of every row group until the end, so there are few of those.
    """
    rows = waiting = 0
    held: list[pa.RecordBatch] = []
    with pq.ParquetWriter(path, schema) as writer:
        for batch in batches:
            held.append(batch)
            waiting += len(batch)
            rows += len(batch)
            if waiting >= ROW_GROUP:
                writer.write_table(pa.Table.from_batches(held, schema))
                held, waiting = [], 0
        if held:
            writer.write_table(pa.Table.from_batches(held, schema))
    return rows


class ArrowRows:
    """Rows that speak Arrow: read anew from their source each time, in bounded memory."""

    schema: pa.Schema
    """The columns, with units and meanings in the fields' metadata."""

    def _batches(self) -> Iterator[pa.RecordBatch]:
        raise NotImplementedError

    def __arrow_c_schema__(self) -> Any:
        """Return the columns as Arrow's PyCapsule."""
        return self.schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """Return the rows as Arrow's PyCapsule."""
        return self.reader().__arrow_c_stream__(requested_schema)

    def reader(self) -> pa.RecordBatchReader:
        """Return the rows as a stream of Arrow record batches."""
        return pa.RecordBatchReader.from_batches(self.schema, self._batches())

    def write(self, path: Path | str) -> int:
        """Write the rows as one Parquet file; return how many."""
        return write_parquet(path, self.schema, self._batches())


class Judged:
    """Labels and parts of a data set's rows, as they were known at its moment.

    Parameters
    ----------
    dataset
        Which one.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        known = [row.label for row in from_table(dataset.labels())]
        self._said = Labelled(known)
        self._accounts = {label.account for label in known}

    def columns(
        self, accounts: Sequence[str], times: npt.NDArray[np.float64], patterns: Sequence[str]
    ) -> dict[str, list[Any]]:
        """Return `label`, `weight`, `known_at` and `part` of rows, given whose labels each one has."""
        found = [
            self._said.at(account, time, pattern) if account in self._accounts else None
            for account, time, pattern in zip(accounts, times.tolist(), patterns, strict=True)
        ]
        return {
            "label": [None if label is None else NAMES[label.value] for label in found],
            "weight": [None if label is None else label.weight for label in found],
            "known_at": [None if label is None else label.known_at for label in found],
            "part": self._dataset.parts(accounts, times),
        }
