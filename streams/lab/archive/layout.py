"""How an archive is laid out: names of files and what a manifest says. Reads and writes nothing.

An archive is a folder of immutable Parquet files and of numbered manifests. A file belongs to it once a manifest names
it; what no manifest names was left by a crash, and is nothing.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Literal

import msgspec

FORMAT = 1
MANIFESTS = "_manifests"
PARQUET = ".parquet"
Kind = Literal["telemetry", "alerts", "verdicts", "features"]
KINDS: tuple[Kind, ...] = ("telemetry", "alerts", "verdicts", "features")
"""Our topics that are archived, by name without prefix."""
HOUR = 3600
MIXED = "dt=1970-01-01/hr=00"
"""Where rows stand whose hours are too many for a file each."""


class Gap(msgspec.Struct, frozen=True):
    """Offsets of a topic that were never read."""

    first: int
    next: int
    """The offset behind the last one; -1 where nobody knows."""
    reason: Literal["expired", "anew", "absent"]
    """They left the topic before they were read; the topic was made anew; the log has no records of these offsets, as
    compaction and transactions leave it."""


class Range(msgspec.Struct, frozen=True, kw_only=True):
    """What one step took of a partition."""

    kind: Kind
    partition: int
    incarnation: str
    first: int
    next: int
    rows: int
    late: int = 0
    """Rows that stand in an hour before the newest one that was archived of the partition."""
    dropped: dict[str, int] = {}
    """Records that hold nothing to keep, by reason."""
    gaps: list[Gap] = []


class File(msgspec.Struct, frozen=True, kw_only=True):
    """One file of the archive."""

    path: str
    """From the archive's root on, `/` between folders."""
    kind: Kind
    partition: int
    incarnation: str
    first: int
    """Offset of its first row."""
    last: int
    rows: int
    size: int
    """Bytes."""
    sha256: str
    low: float
    """Event time of its oldest row, seconds since 1970."""
    high: float
    step: int
    """Number of the step that wrote its rows first."""
    of: str = ""
    """The file in whose place it stands, which held more rows; empty for none."""


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """Where to read on in a partition."""

    kind: Kind
    partition: int
    incarnation: str
    next: int
    hour: int = 0
    """The newest hour archived, hours since 1970."""
    mark: str = ""
    """Tells the record before `next`, where the broker gives topics no ids."""
    sources: dict[str, list[int]] = {}
    """What was ingested last of each source, see `siphonwatch.streams.worker.agents.sources`."""
    log: bool = False
    """Whether it is in a log file, not in a topic."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """One step of writing, whole or not at all."""

    number: int
    at: float
    """When it was written, seconds since 1970."""
    release: str
    layout: str
    """Id of the columns."""
    features: str
    """Id of the tables of features, as a version of the detectors has it."""
    cards: dict[str, str]
    """Id of the card of each pattern, as this installation has them."""
    ranges: list[Range] = []
    files: list[File] = []
    removed: list[str] = []
    """Paths that belong to the archive no more."""
    why: str = ""
    """Why they were removed."""
    positions: list[Position] = []
    """Of all partitions after this step."""
    format: int = FORMAT


def manifest_path(number: int) -> str:
    """Return where a manifest stands."""
    return f"{MANIFESTS}/{number:012d}.json"


def file_path(kind: Kind, hour: int | None, partition: int, first: int, last: int, incarnation: str) -> str:
    """Return where a file stands: by its hour, hours since 1970, and named by the offsets it holds.

    Before `PARQUET` whoever writes it puts the beginning of its hash.

    Examples
    --------
    >>> file_path("telemetry", 490_000, 3, 17, 90, "1KPPEi0JSUu7YvDyeu1Glg")
    'telemetry/dt=2025-11-24/hr=16/p0003-o000000000017-000000000090-1KPPEi0J.parquet'
    """
    if hour is None:
        folder = MIXED
    else:
        moment = datetime.fromtimestamp(hour * HOUR, UTC)
        folder = f"dt={moment:%Y-%m-%d}/hr={moment:%H}"
    return f"{kind}/{folder}/p{partition:04d}-o{first:012d}-{last:012d}-{incarnation[:8]}{PARQUET}"


def hour_of(time: float) -> int:
    """Return the hour of a time, hours since 1970."""
    return math.floor(time / HOUR)


def live(manifests: list[Manifest]) -> dict[str, File]:
    """Return the files that belong to the archive, by path, in the order in which their rows were archived."""
    files: dict[str, File] = {}
    for manifest in manifests:
        for path in manifest.removed:
            files.pop(path, None)
        for file in manifest.files:
            files[file.path] = file
    return dict(sorted(files.items(), key=lambda item: (item[1].step, item[0])))
