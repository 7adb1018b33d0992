"""Takes accounts out of a data set: out of its labels, and of the archive's files that it names.

The data set is another one afterwards, with another id, which says what it was before. Killed in between, it is as
before or as after, or a second run finishes it.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Collection, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pyarrow.parquet as pq

from siphonwatch.streams.lab.archive.layout import KINDS, File
from siphonwatch.streams.lab.archive.reader import Archive
from siphonwatch.streams.lab.archive.store import StoreError
from siphonwatch.streams.lab.dataset.labels import from_table, to_bytes
from siphonwatch.streams.lab.dataset.layout import (
    LABELS,
    MANIFEST,
    PARTIAL,
    DatasetError,
    Manifest,
    Taken,
    identify,
    read_manifest,
)
from siphonwatch.streams.lab.dataset.make import inside


def erase(folder: Path, drop: Collection[str], why: str, *, dry_run: bool = False) -> int:
    """Take accounts out of a data set; return how many labels were theirs.

    Files of its archive that a rewriting put in the place of others are named in their place. Erase from the archive
    first, then here.

    Parameters
    ----------
    drop
        The accounts, as telemetry has them.
    why
        Kept in the manifest; it should name no account.
    dry_run
        Only count the labels.

    Raises
    ------
    DatasetError
        Where there is no data set, it was changed by others, or it cannot be written.
    """
    _finish(folder)
    manifest = read_manifest(folder)
    try:
        rows = from_table(pq.read_table(io.BytesIO((folder / LABELS).read_bytes())))
        kept = [row for row in rows if row.label.account not in drop]
        if dry_run:
            return len(rows) - len(kept)
        encoded = to_bytes(kept)
        files, ranges = _followed(manifest)
        if len(kept) == len(rows) and files == manifest.files:
            return 0
        made = msgspec.structs.replace(
            manifest, files=files, ranges=ranges, labels=len(kept), labels_sha256=hashlib.sha256(encoded).hexdigest(),
            formerly=[*manifest.formerly, manifest.id], erased=[*manifest.erased, why],
        )  # fmt: skip
        made = msgspec.structs.replace(made, id=identify(made))
        (folder / PARTIAL).write_bytes(msgspec.json.format(msgspec.json.encode(made), indent=1) + b"\n")
        part = folder / f"{LABELS}.partial"
        part.write_bytes(encoded)
        part.replace(folder / LABELS)
        (folder / PARTIAL).replace(folder / MANIFEST)
    except OSError as error:
        raise DatasetError(f"cannot write {folder}: {error.strerror}") from None
    return len(rows) - len(kept)


def _finish(folder: Path) -> None:
    """Put the manifest in its place where an erasure was cut off behind the labels."""
    try:
        waiting = (folder / PARTIAL).read_bytes()
        found = msgspec.json.decode(waiting, type=Manifest)
        labels = hashlib.sha256((folder / LABELS).read_bytes()).hexdigest()
        if found.formerly and found.labels_sha256 == labels and identify(found) == found.id:
            (folder / PARTIAL).replace(folder / MANIFEST)
    except (OSError, msgspec.DecodeError):
        return


def _followed(manifest: Manifest) -> tuple[list[File], list[Taken]]:
    """The files and ranges of a data set as its archive has them now; as they were where it cannot be read."""
    try:
        archive = Archive(manifest.archive)
        live = {file.path: file for kind in KINDS for file in archive.files(kind)}
        after = {file.of: file for step in archive.manifests for file in step.files if file.of}
        removed = {path for step in archive.manifests for path in step.removed}
        files, touched = [], set()
        for file in manifest.files:
            now: File | None = file
            while now is not None and now.path not in live and now.path in removed:
                now = after.get(now.path)
                touched.add((file.partition, file.incarnation))
            if now is not None:
                files.append(now)
        ranges = [
            _counted(archive, manifest, one, files) if (one.partition, one.incarnation) in touched else one
            for one in manifest.ranges
        ]
    except StoreError:  # the data set cannot be used, but its labels can go
        return manifest.files, manifest.ranges
    return files, ranges


def _counted(archive: Archive, manifest: Manifest, one: Taken, files: Sequence[File]) -> Taken:
    """What a data set has of a partition now."""
    own = [file for file in files if (file.partition, file.incarnation) == (one.partition, one.incarnation)]
    rows = 0
    for file in own:
        table = archive.table_of(file, ["time", "offset"])
        kept = inside(table["time"].to_numpy(), manifest.since, manifest.until)
        rows += int(np.sum(kept & (table["offset"].to_numpy() < one.next)))
    return msgspec.structs.replace(one, rows=rows, first=min((file.first for file in own), default=one.next))
