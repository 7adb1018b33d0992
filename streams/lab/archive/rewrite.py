"""Takes the rows of accounts out of an archive: new files, then a manifest that puts them in place of the old ones,
then the old ones are removed. Killed in between, the archive is as before or as after; a second run finishes.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from siphonwatch.streams.lab.archive.layout import KINDS, File, Kind
from siphonwatch.streams.lab.archive.reader import Archive
from siphonwatch.streams.lab.archive.store import Store
from siphonwatch.streams.lab.archive.writer import Writer, write_file

UNDER_WAY = 3600.0
"""Files that no manifest names are left alone for so long: an archiver may be about to name them."""


class Rewritten(NamedTuple):
    """What a rewriting did."""

    rows: dict[Kind, int]
    """Rows that were taken out, by kind."""
    files: int
    """Files that were put in the place of others, or went without one."""
    left: int
    """Files that no manifest named, of steps that were never finished, which were removed."""


def rewrite(url: str, drop: Collection[str], why: str, *, now: float | None = None, dry_run: bool = False) -> Rewritten:
    """Take the rows of accounts out of an archive; an alert goes where one of them is among its accounts.

    Parameters
    ----------
    url
        Of the archive.
    drop
        The accounts, as telemetry has them.
    why
        Kept in the manifest; it should name no account.
    now
        Seconds since 1970.
    dry_run
        Only count the rows.

    Raises
    ------
    TakenError
        Where an archiver wrote a step meanwhile: nothing was changed, run it again.
    StoreError
        Where the archive cannot be read or written.
    """
    archive, store = Archive(url), Store(url)
    writer = Writer(store)
    # Of the manifests that were read: what an archiver wrote since makes this number taken.
    number, rows = len(archive.manifests), dict.fromkeys(KINDS, 0)
    new: list[File] = []
    removed: list[str] = []
    wanted = pa.array(sorted(drop), pa.string())
    for kind in KINDS:
        for file in archive.files(kind):
            table = archive.table_of(file)
            keep = _others(table, wanted)
            gone = table.num_rows - pc.sum(keep).as_py()
            if not gone:
                continue
            rows[kind] += gone
            removed.append(file.path)
            if dry_run:
                continue
            left = table.filter(keep)
            if kind != "features":  # whose columns are those of the release that wrote them
                left = left.cast(archive.schema(kind))
            if left.num_rows:
                path = f"{file.path.removesuffix('.parquet').partition('~')[0]}~{number}.parquet"
                new.append(
                    write_file(
                        store, path, left, kind=kind, partition=file.partition, incarnation=file.incarnation,
                        step=file.step, of=file.path,
                    )
                )  # fmt: skip
    if dry_run:
        return Rewritten(rows, len(removed), 0)
    if removed:
        writer.commit(number, files=new, removed=removed, why=why, positions=list(writer.positions.values()))
    return Rewritten(rows, len(removed), _sweep(Archive(url), time.time() if now is None else now))


def _others(table: pa.Table, accounts: pa.Array) -> pa.ChunkedArray:
    """Which rows are about none of some accounts."""
    if "account" in table.column_names:
        return pc.invert(pc.is_in(table.column("account").cast(pa.string()), accounts))
    lists = table.column("accounts").combine_chunks()
    lists = lists.chunk(0) if isinstance(lists, pa.ChunkedArray) else lists
    parents = pc.list_parent_indices(lists).filter(pc.is_in(lists.flatten(), accounts))
    return pc.invert(pc.is_in(pa.array(range(table.num_rows), pa.int64()), parents.cast(pa.int64())))


def _sweep(archive: Archive, now: float) -> int:
    """Remove the files that belong to the archive no more, and those that never did and are old."""
    named = {file.path for kind in KINDS for file in archive.files(kind)}
    superseded = {path for manifest in archive.manifests for path in manifest.removed}
    left = 0
    for kind in KINDS:
        for path, written in archive.store.walk(kind).items():
            if path in superseded - named or (path not in named and now - written > UNDER_WAY):
                archive.store.remove(path)
                left += path not in superseded
    return left
