"""An archive's rows in the tools that data scientists have."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from worker_tools import traffic

from siphonwatch.streams.contracts.telemetry import encode
from siphonwatch.streams.lab.archive.reader import Archive
from siphonwatch.streams.lab.archive.rows import Rows
from siphonwatch.streams.lab.archive.store import Store
from siphonwatch.streams.lab.archive.writer import Writer

COLUMNS = ["account", "time", "model", "said", "tokens_in"]


@pytest.fixture
def rows(tmp_path: Path) -> Rows:
    writer = Writer(Store(str(tmp_path)))
    writer.begin("telemetry", 0, "one", 0)
    for start in (0, 100, 200):
        values = [encode(record) for record in traffic()[start : start + 100]]
        writer.take("telemetry", 0, values, np.arange(start, start + 100), np.zeros(100, np.int64))
        writer.close()
    return Rows(Archive(str(tmp_path)), "telemetry", COLUMNS)


WANTED = [(r.account, r.time, r.model, int(r.said or "0", 16), r.tokens_in) for r in traffic()[:300]]


def test_polars_reads_them(rows: Rows) -> None:
    assert sorted(pl.DataFrame(rows).rows()) == sorted(WANTED)


def test_duckdb_reads_them(rows: Rows) -> None:
    with duckdb.connect() as connection:
        connection.register("requests", pa.RecordBatchReader.from_stream(rows))
        found = connection.sql("select * from requests").fetchall()
    assert sorted(found) == sorted(WANTED)


def test_pandas_reads_them(rows: Rows) -> None:
    frame = pa.RecordBatchReader.from_stream(rows).read_pandas()
    assert isinstance(frame, pd.DataFrame)
    assert sorted(frame.itertuples(index=False, name=None)) == sorted(WANTED)


def test_units_and_meanings_are_in_the_columns(rows: Rows) -> None:
    read = pa.RecordBatchReader.from_stream(rows).read_all()
    assert read.schema.field("time").metadata[b"unit"] == b"s"
    assert read.num_rows == len(rows) == 300
