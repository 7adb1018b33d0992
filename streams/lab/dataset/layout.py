"""What a data set is on disk: a folder with `labels.parquet` and `dataset.json`, which is written last.

It copies no telemetry: it names the archive's files with their hashes, so that it is what it was or is refused.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

import msgspec

from siphonwatch.streams.lab.archive.layout import File, Gap

FORMAT = 1
MANIFEST, LABELS = "dataset.json", "labels.parquet"
PARTIAL = f"{MANIFEST}.partial"
By = Literal["time", "account", "campaign"]
ID_DIGITS = 12
LATER = ("formerly", "erased")
"""What manifests did not say at first: where it is empty it is not in the id."""


class DatasetError(ValueError):
    """A data set cannot be made or read; the message says why and what to do."""


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """What a data set has of one partition of telemetry."""

    partition: int
    incarnation: str
    first: int
    """The lowest offset of its files."""
    next: int
    """The offset behind the last one that was known at its moment."""
    rows: int
    """Of its time."""
    dropped: dict[str, int] = {}
    """Records that hold nothing to keep, by reason, over the steps that these files are of."""
    gaps: list[Gap] = []


class Split(msgspec.Struct, frozen=True, kw_only=True):
    """How it is parted into `train` and `test`; what is in neither has no part."""

    by: list[By] = []
    at: float | None = None
    """Event time: earlier requests may be trained on, later ones tested on."""
    embargo: float = 0.0
    """Seconds behind `at` whose requests are in no part, as features still hold what was before."""
    test: float = 0.0
    """Share of accounts or campaigns that are tested on."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a data set is; times are seconds since 1970."""

    id: str = ""
    """The first digits of the sha256 of all below but `archive` and `release`: the same contents have the same id."""
    archive: str
    """Folder or URL."""
    release: str
    since: float | None
    """Event time of its first requests; earlier ones of the archive only warm features up."""
    until: float | None
    """Event time before which its requests are."""
    as_of: float | None
    """Nothing that was known later is in it."""
    files: list[File]
    """Of telemetry, in the order of writing."""
    ranges: list[Taken]
    layout: str
    """Id of the columns of telemetry."""
    features: str
    """Id of the table of features."""
    cards: dict[str, str]
    """Id of each pattern's card, as the newest of its steps was written with."""
    split: Split = Split()
    labels: int = 0
    sources: list[str] = []
    """Where labels come from."""
    labels_sha256: str = ""
    formerly: list[str] = []
    """Ids that it had before accounts were erased from it, the first one first."""
    erased: list[str] = []
    """Why each of these erasures was: the orders."""
    format: int = FORMAT


def identify(manifest: Manifest) -> str:
    """Return the id of a data set: of what it holds, wherever it stands."""
    whole = msgspec.structs.replace(manifest, id="", archive="", release="")
    held = msgspec.to_builtins(whole)
    for name in LATER:
        if not held[name]:
            del held[name]
    encoded = msgspec.json.encode(held, order="sorted")
    return hashlib.sha256(encoded).hexdigest()[:ID_DIGITS]


def is_dataset(path: Path | str) -> bool:
    """Whether a data set stands there."""
    return "://" not in str(path) and (Path(path) / MANIFEST).is_file()


def read_manifest(folder: Path) -> Manifest:
    """Read what a data set is, and check that it is that.

    Raises
    ------
    DatasetError
        Where there is none, it cannot be read, or its labels are other ones.
    """
    try:
        found = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
        labels = (folder / LABELS).read_bytes()
    except OSError as error:
        raise DatasetError(f"{folder} is no data set: {error.strerror}; `siphonwatch dataset` makes one") from None
    except msgspec.DecodeError as error:
        raise DatasetError(f"{folder}/{MANIFEST} cannot be read: {error}") from None
    if found.format != FORMAT:
        raise DatasetError(f"{folder} has format {found.format}, this release reads {FORMAT}: make it anew")
    if identify(found) != found.id:
        raise DatasetError(f"{folder}/{MANIFEST} was changed: its contents are not those of its id {found.id}")
    if hashlib.sha256(labels).hexdigest() != found.labels_sha256:
        raise DatasetError(f"{folder}/{LABELS} was changed: its sha256 is not the manifest's; make it anew")
    return found
