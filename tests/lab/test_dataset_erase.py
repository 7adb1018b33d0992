"""An account that is erased leaves a data set: labels, and the archive's files that it names; nobody else does."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest
from test_dataset import run, same
from worker_tools import traffic

from siphonwatch.streams.contracts.telemetry import encode
from siphonwatch.streams.lab import notebook as lab
from siphonwatch.streams.lab.archive.rewrite import rewrite
from siphonwatch.streams.lab.dataset.erase import erase
from siphonwatch.streams.lab.dataset.layout import (
    LABELS,
    MANIFEST,
    PARTIAL,
    DatasetError,
    Manifest,
    Split,
    Taken,
    identify,
)
from siphonwatch.streams.lab.dataset.make import Wish, make

ACCOUNTS = sorted({record.account for record in traffic()[:600]})
GONE = ACCOUNTS[0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data set of an archive in several steps, with a label of every account."""
    log, labels = tmp_path / "log.ndjson", tmp_path / "labels.csv"
    log.write_bytes(b"\n".join(encode(record) for record in traffic()[:600]) + b"\n")
    run("archive", "--from", log, "--to", tmp_path / "archive", "--step-rows", 200)
    labels.write_text("account,extracting\n" + "".join(f"{name},{i % 2}\n" for i, name in enumerate(ACCOUNTS)))
    make(tmp_path / "may", str(tmp_path / "archive"), Wish(labels=[str(labels)], by=["account"]))
    return tmp_path / "may"


def others(table: pa.Table) -> pa.Table:
    return table.filter(pa.compute.not_equal(table["account"], GONE))


def test_its_labels_and_its_requests_leave_and_all_others_stay_as_they_were(folder: Path) -> None:
    before = lab.dataset(folder)
    labels, requests = before.labels(), pa.table(before.requests(["account", "offset", "time"]))
    assert erase(folder, [GONE], "erase 12ab", dry_run=True) == 1 and lab.dataset(folder).id == before.id
    rewrite(str(folder.parent / "archive"), [GONE], "erase 12ab")
    with pytest.raises(DatasetError, match=r"was taken out \(erase 12ab\)"):
        lab.dataset(folder)
    assert erase(folder, [GONE], "erase 12ab") == 1
    after = lab.dataset(folder)
    assert same(after.labels(), others(labels)) and after.labels().num_rows == len(ACCOUNTS) - 1
    left = pa.table(after.requests(["account", "offset", "time"]))
    assert same(left, others(requests)) and left.num_rows == sum(one.rows for one in after.manifest.ranges)
    assert (after.manifest.formerly, after.manifest.erased) == ([before.id], ["erase 12ab"])
    assert after.id != before.id and after.manifest.split == Split(by=["account"], test=0.3)
    assert erase(folder, [GONE], "erase 34cd") == 0 and lab.dataset(folder).id == after.id
    assert GONE.encode() not in (folder / LABELS).read_bytes() + (folder / MANIFEST).read_bytes()


def test_labels_leave_though_the_archive_stays_as_it_was_or_is_gone(folder: Path) -> None:
    assert erase(folder, [GONE], "erase 12ab") == 1
    assert GONE not in lab.dataset(folder).labels()["account"].to_pylist()
    shutil.rmtree(folder.parent / "archive")
    assert erase(folder, ACCOUNTS[1:3], "erase 34cd") == 2
    assert erase(folder, ACCOUNTS[1:3], "erase 34cd", dry_run=True) == 0


def test_an_erasure_that_is_killed_is_finished_by_the_next_one(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "done")
    assert erase(tmp_path / "done", [GONE], "erase 12ab") == 1
    made = (tmp_path / "done" / MANIFEST).read_bytes()
    (folder / PARTIAL).write_bytes(made)  # killed before the labels were written
    assert lab.dataset(folder).id in lab.dataset(tmp_path / "done").manifest.formerly
    shutil.copy(tmp_path / "done" / LABELS, folder / LABELS)  # and behind them
    with pytest.raises(DatasetError, match=r"labels\.parquet was changed"):
        lab.dataset(folder)
    assert erase(folder, [GONE], "erase 12ab") == 0
    assert (folder / MANIFEST).read_bytes() == made and not (folder / PARTIAL).exists()
    assert lab.dataset(folder).id == lab.dataset(tmp_path / "done").id


def test_an_erasure_that_is_killed_before_the_labels_leaves_them_to_the_next_one(folder: Path) -> None:
    (folder / PARTIAL).write_bytes(b"half a manif")
    assert erase(folder, [GONE], "erase 12ab") == 1
    assert GONE not in lab.dataset(folder).labels()["account"].to_pylist() and not (folder / PARTIAL).exists()


def test_what_others_changed_is_refused(folder: Path) -> None:
    (folder / LABELS).write_bytes((folder / LABELS).read_bytes() + b"x")
    with pytest.raises(DatasetError, match=r"labels\.parquet was changed"):
        erase(folder, [GONE], "erase 12ab")
    with pytest.raises(DatasetError, match="is no data set"):
        erase(folder.parent, [GONE], "erase 12ab")


def test_a_data_set_from_which_nobody_was_erased_keeps_the_id_that_earlier_releases_gave_it() -> None:
    made = Manifest(
        archive="a", release="1", since=1.5, until=None, as_of=None, files=[], layout="l", features="f",
        ranges=[Taken(partition=0, incarnation="one", first=0, next=9, rows=9)], cards={"b": "2", "a": "1"},
        split=Split(by=["time"], at=3.0), labels=1, sources=["x.csv"], labels_sha256="0",
    )  # fmt: skip
    assert identify(made) == "8575ae63becb"
    assert identify(msgspec.structs.replace(made, erased=["erase 12ab"])) != identify(made)
