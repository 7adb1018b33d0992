"""One kind's rows of an archive for data scientists' tools: pandas, Polars and DuckDB read it as it is.

It speaks Arrow's PyCapsule interface (`__arrow_c_stream__`), a file at a time, so that memory holds one file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from siphonwatch.streams.lab.archive.layout import Kind
from siphonwatch.streams.lab.archive.reader import Archive


class Rows:
    """The rows of one kind, in the order of writing.

    Parameters
    ----------
    archive
        Which one.
    kind
        `telemetry`, `alerts`, `verdicts` or `features`.
    columns
        Those wanted, in this order; all by default.
    """

    def __init__(self, archive: Archive, kind: Kind, columns: Sequence[str] | None = None) -> None:
        whole = archive.schema(kind)
        self._archive = archive
        self._kind = kind
        self._columns = list(whole.names if columns is None else columns)
        self.schema = pa.schema([plain(whole.field(name)) for name in self._columns])
        """The columns, with units and meanings in the fields' metadata."""

    def __len__(self) -> int:
        return sum(file.rows for file in self._archive.files(self._kind))

    def __arrow_c_schema__(self) -> Any:
        """Return the columns as Arrow's PyCapsule."""
        return self.schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """Return the rows as Arrow's PyCapsule; they can be asked for any number of times."""
        return pa.RecordBatchReader.from_batches(self.schema, self._batches()).__arrow_c_stream__(requested_schema)

    def _batches(self) -> Iterator[pa.RecordBatch]:
        for table in self._archive.tables(self._kind, self._columns):
            yield from table.select(self._columns).cast(self.schema).to_batches()


def plain(field: pa.Field) -> pa.Field:
    """Labels as texts: a dictionary a file is more than some tools take."""
    return field.with_type(pa.string()) if pa.types.is_dictionary(field.type) else field
