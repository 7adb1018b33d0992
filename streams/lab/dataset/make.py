"""Makes a data set of an archive."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from siphonwatch.streams.common.release import release
from siphonwatch.streams.lab.archive.layout import File, Gap
from siphonwatch.streams.lab.archive.reader import Archive
from siphonwatch.streams.lab.dataset.labels import VERDICTS, Row, from_file, from_verdicts, to_bytes
from siphonwatch.streams.lab.dataset.layout import (
    LABELS,
    MANIFEST,
    PARTIAL,
    By,
    DatasetError,
    Manifest,
    Split,
    Taken,
    identify,
    is_dataset,
)
from siphonwatch.streams.lab.dataset.split import LONGEST, TEST, cut


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What a data set is to hold; times are seconds since 1970, None for no bound."""

    since: float | None = None
    until: float | None = None
    as_of: float | None = None
    labels: list[str] = []
    """`verdicts` for those of the archive, or paths of CSV files."""
    by: list[By] = []
    embargo: float = LONGEST
    test: float = TEST


def make(
    folder: Path, url: str, wish: Wish, *, key: str = "", tell: Callable[[str], None] = lambda text: None
) -> Manifest:
    """Write a data set into a folder that is not there yet; return what it is.

    Parameters
    ----------
    url
        Of the archive.
    key
        `identity.key`, with which labels by name fit hashed accounts.

    Raises
    ------
    DatasetError
        Where the folder exists, no request is asked for, or the split leaves a part empty.
    StoreError
        Where the archive cannot be read.
    LabelsError
        Where a file of labels cannot be used.
    """
    if folder.exists() and (is_dataset(folder) or not folder.is_dir() or any(folder.iterdir())):
        raise DatasetError(f"{folder} is there already: a data set does not change, give another name or remove it")
    archive = Archive(url)
    as_of = math.inf if wish.as_of is None else wish.as_of
    files = _wanted(archive, wish.until)
    survey = _survey(archive, files, wish, tell)
    files = [file for file in files if file.first < survey.next.get((file.partition, file.incarnation), -1)]
    rows: list[Row] = []
    for source in dict.fromkeys(wish.labels):
        if source == VERDICTS:
            rows += [row for row in from_verdicts(archive, as_of) if row.label.account in survey.accounts]
        else:
            rows += from_file(Path(source), survey.accounts, key, as_of)
    split = Split()
    if wish.by:
        at = cut(survey.low, survey.high, wish.test, wish.embargo) if "time" in wish.by else None
        split = Split(by=wish.by, at=at, embargo=wish.embargo if at is not None else 0.0, test=wish.test)
    encoded = to_bytes(rows)
    newest = archive.manifests[max((file.step for file in files), default=0)]
    made = Manifest(
        archive=url if "://" in url else str(Path(url).resolve()), release=release(), since=wish.since,
        until=wish.until, as_of=wish.as_of, files=files,
        ranges=_ranges(archive, files, survey), layout=newest.layout, features=newest.features, cards=newest.cards,
        split=split, labels=len(rows), sources=[Path(source).name for source in dict.fromkeys(wish.labels)],
        labels_sha256=hashlib.sha256(encoded).hexdigest(),
    )  # fmt: skip
    made = msgspec.structs.replace(made, id=identify(made))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / LABELS).write_bytes(encoded)
        partial = folder / PARTIAL
        partial.write_bytes(msgspec.json.format(msgspec.json.encode(made), indent=1) + b"\n")
        partial.replace(folder / MANIFEST)
    except OSError as error:
        raise DatasetError(f"cannot write {folder}: {error.strerror}") from None
    return made


def _wanted(archive: Archive, until: float | None) -> list[File]:
    """The files that may hold what is asked for, or what warms features up for it.

    A request that was archived before one that is asked for has changed the features of that one, whatever its own
    event time says: files are left out from the step on after which nothing of the time comes.
    """
    files = archive.files("telemetry")
    if until is None:
        return files
    last = max((file.step for file in files if file.low < until), default=-1)
    return [file for file in files if file.step <= last]


class _Survey:
    """What the chosen files have of a data set's time and moment."""

    def __init__(self, wish: Wish) -> None:
        self.low, self.high = math.inf, -math.inf
        self.accounts: set[str] = set()
        self.next: dict[tuple[int, str], int] = {}
        """Of partitions and their incarnations, the offset behind the last one that was known."""
        self.rows: Counter[tuple[int, str]] = Counter()
        self._wish = wish
        self._reached: dict[tuple[int, str], float] = {}

    def take(self, place: tuple[int, str], table: pa.Table) -> None:
        """Take the next rows of a partition, in the order of their offsets.

        The broker's stamps say when rows were known; of a log, how far it had come. Producers may stamp records
        themselves, so a row counts as known no earlier than those before it.
        """
        time, offset = table["time"].to_numpy(), table["offset"].to_numpy()
        stamps = table["arrived"].cast(pa.int64()).to_numpy(zero_copy_only=False).astype(np.float64) / 1000.0
        known = np.concatenate([[self._reached.get(place, -math.inf)], np.where(np.isnan(stamps), time, stamps)])
        known = np.maximum.accumulate(known)[1:]
        self._reached[place] = float(known[-1])
        kept = known <= (math.inf if self._wish.as_of is None else self._wish.as_of)
        if kept.any():
            self.next[place] = int(offset[kept][-1]) + 1
        kept &= inside(time, self._wish.since, self._wish.until)
        if kept.any():
            self.rows[place] += int(kept.sum())
            self.low, self.high = min(self.low, float(time[kept].min())), max(self.high, float(time[kept].max()))
            self.accounts.update(table["account"].filter(pa.array(kept)).unique().to_pylist())


def _survey(archive: Archive, files: Sequence[File], wish: Wish, tell: Callable[[str], None]) -> _Survey:
    found = _Survey(wish)
    done = 0
    order = sorted(files, key=lambda file: (file.step, file.partition, file.incarnation, file.path))
    for (_, partition, incarnation), group in groupby(order, key=lambda f: (f.step, f.partition, f.incarnation)):
        own = list(group)
        tables = [archive.table_of(file, ["time", "arrived", "account", "offset"]) for file in own]
        whole = pa.concat_tables(tables, promote_options="permissive").sort_by("offset")
        found.take((partition, incarnation), whole)
        done += len(own)
        tell(f"{done:,} of {len(files):,} files")
    if not found.accounts:
        raise DatasetError("no request of the archive is in this time")
    return found


def inside(time: npt.NDArray[np.float64], since: float | None, until: float | None) -> npt.NDArray[np.bool_]:
    """Return which event times, `(n,)`, are from one moment on and before another; None for no bound."""
    return (time >= (-math.inf if since is None else since)) & (time < (math.inf if until is None else until))


def _ranges(archive: Archive, files: Sequence[File], survey: _Survey) -> list[Taken]:
    places: dict[tuple[int, str], list[File]] = {}
    for file in files:
        places.setdefault((file.partition, file.incarnation), []).append(file)
    taken = []
    for place, own in sorted(places.items()):
        dropped: Counter[str] = Counter()
        gaps: list[Gap] = []
        for step in sorted({file.step for file in own}):
            for one in archive.manifests[step].ranges:
                if (one.kind, one.partition, one.incarnation) == ("telemetry", *place):
                    dropped.update(one.dropped)
                    gaps += one.gaps
        first = min(file.first for file in own)
        taken.append(
            Taken(
                partition=place[0], incarnation=place[1], first=first, next=survey.next.get(place, first),
                rows=survey.rows[place], dropped=dict(dropped), gaps=gaps,
            )
        )  # fmt: skip
    return taken
