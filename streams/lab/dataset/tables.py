"""Tables of features as files: a data set notes where they were written, so that accounts can be taken out of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from siphonwatch.streams.lab.dataset.layout import DatasetError

NOTED = "tables.json"
"""In a data set's folder, and no part of its id: where tables stand is not what the data set holds."""
ACCOUNT = "account"
PARTIAL = ".partial"


def note(folder: Path, table: Path) -> None:
    """Note that a table of a data set is being written to a file; noted before it is there, so that none is missed.

    Raises
    ------
    DatasetError
        Where it cannot be noted.
    """
    place = str(table.resolve())
    known = noted(folder)
    if place in known:
        return
    try:
        partial = folder / f"{NOTED}{PARTIAL}"
        partial.write_bytes(msgspec.json.format(msgspec.json.encode([*known, place]), indent=1) + b"\n")
        partial.replace(folder / NOTED)
    except OSError as error:
        raise DatasetError(f"cannot write {folder / NOTED}: {error.strerror}") from None


def noted(folder: Path) -> list[str]:
    """Return where tables of a data set were written, the first one first; some may stand there no more.

    Raises
    ------
    DatasetError
        Where the note cannot be read.
    """
    try:
        return msgspec.json.decode((folder / NOTED).read_bytes(), type=list[str])
    except FileNotFoundError:
        return []
    except (OSError, msgspec.DecodeError) as error:
        raise DatasetError(f"{folder / NOTED} cannot be read: {error}; write it anew, a JSON list of paths") from None


def found(places: Sequence[Path]) -> list[Path]:
    """Return the Parquet files that stand at some places, files or folders, each once.

    Raises
    ------
    DatasetError
        Where nothing is at one of them, or a folder holds none.
    """
    files: dict[Path, None] = {}
    for place in places:
        inside = sorted(place.rglob("*.parquet")) if place.is_dir() else [place]
        if not inside or not inside[0].is_file():
            raise DatasetError(f"{place} holds no table of features: a Parquet file, or a folder of such")
        files |= dict.fromkeys(path.resolve() for path in inside)
    return list(files)


def erase_rows(table: Path, drop: Collection[str], *, dry_run: bool = False) -> int:
    """Take the rows of accounts out of a table; return how many those were. Memory holds a group of rows at a time.

    The file is replaced as a whole: killed in between, it is as before, and a second run finishes.

    Parameters
    ----------
    drop
        The accounts, as the table has them.
    dry_run
        Only count the rows.

    Raises
    ------
    DatasetError
        Where it is no Parquet file, has no column of accounts, or cannot be written.
    """
    partial = table.with_name(f"{table.name}{PARTIAL}")
    wanted = pa.array(sorted(drop), pa.string())
    try:
        with pq.ParquetFile(table) as file:
            if ACCOUNT not in file.schema_arrow.names:
                raise DatasetError(f"{table} has no column {ACCOUNT!r}: it is no table of features")
            gone = sum(
                pc.sum(_theirs(file.read_row_group(i, [ACCOUNT]), wanted)).as_py() or 0
                for i in range(file.num_row_groups)
            )
            if not gone or dry_run:
                return int(gone)
            with pq.ParquetWriter(partial, file.schema_arrow, compression="zstd") as writer:
                for i in range(file.num_row_groups):
                    rows = file.read_row_group(i)
                    writer.write_table(rows.filter(pc.invert(_theirs(rows, wanted))))
        partial.replace(table)
    except pa.ArrowException as error:
        raise DatasetError(f"{table} cannot be read as Parquet: {error}") from None
    except OSError as error:
        raise DatasetError(f"cannot rewrite {table}: {error.strerror or error}") from None
    finally:
        partial.unlink(missing_ok=True)
    return int(gone)


def _theirs(rows: pa.Table, accounts: pa.Array) -> pa.ChunkedArray:
    return pc.is_in(rows[ACCOUNT].cast(pa.string()), accounts)
