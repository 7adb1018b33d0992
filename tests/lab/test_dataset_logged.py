"""Logged features with a data set's labels: nothing of them was known later than its moment, and none stands twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_dataset import run, same
from worker_tools import traffic

from siphonwatch.models.account.features import FEATURES, WIDTH
from siphonwatch.models.account.murmur import partitions_of
from siphonwatch.models.campaign import features as shared
from siphonwatch.models.learn.version import table_id
from siphonwatch.streams.contracts.features import Logged
from siphonwatch.streams.contracts.features import encode as encode_logged
from siphonwatch.streams.contracts.telemetry import encode
from siphonwatch.streams.lab import notebook as lab
from siphonwatch.streams.lab.archive.store import Store
from siphonwatch.streams.lab.archive.writer import Writer
from siphonwatch.streams.lab.dataset.layout import DatasetError
from siphonwatch.streams.lab.dataset.make import Wish, make
from siphonwatch.streams.lab.dataset.read import Dataset
from siphonwatch.streams.worker.decode import Decoder

DELAY = 30.0
"""Seconds from a request to when the broker had its features."""
EVERY = 10
STEP = 300


def vector(offset: int, width: int) -> bytes:
    return np.random.default_rng(offset).standard_normal(width).astype("<f4").tobytes()


def logged(offset: int, account: str, time: float, **facts: Any) -> Logged:
    made: dict[str, Any] = {
        "partition": 0, "offset": offset, "incarnation": "one", "account": account, "time": time, "at": ["alert"],
        "alerts": [f"{offset:016x}-0"], "patterns": ["extraction"], "version": "0" * 12, "cards": {},
        "table": table_id(), "features": vector(offset, WIDTH), "scores": {"extraction": 0.25}, "log_e": {},
    }  # fmt: skip
    return Logged(**made | facts)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Requests as they came, and the features of some of them a while later; some steps' features were sent twice."""
    records = sorted(traffic(), key=lambda record: record.time)
    folder = str(tmp_path_factory.mktemp("logged") / "archive")
    writer = Writer(Store(folder))
    writer.begin("telemetry", 0, "one", 0)
    writer.begin("features", 0, "log", 0)
    at = 0
    for start in range(0, len(records), STEP):
        part = records[start : start + STEP]
        stamps = np.array([int(record.time * 1000) for record in part])
        writer.take("telemetry", 0, [encode(record) for record in part], np.arange(start, start + len(part)), stamps)
        sent = [
            logged(start + i, record.account, record.time, at=["alert", "hourly"] if i % 20 == 0 else ["alert"])
            for i, record in enumerate(part)
            if i % EVERY == 0
        ]
        sent += [
            logged(
                start + 5, part[5].account, part[5].time, over="campaign", row=row, fingerprint=f"{row:016x}",
                patterns=["campaign"], features=vector(row, shared.WIDTH), scores={"campaign": 0.5},
            )
            for row in (1, 2)
        ]  # fmt: skip
        sent.sort(key=lambda one: one.time)
        twice = [*sent, *sent] if start // STEP % 2 else sent
        stamps = np.array([int((one.time + DELAY) * 1000) for one in twice])
        writer.take("features", 0, [encode_logged(one) for one in twice], np.arange(at, at + len(twice)), stamps)
        at += len(twice)
        writer.close()
    return folder


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("labels") / "labels.csv"
    records = sorted(traffic(), key=lambda record: record.time)
    first, last = records[0].time, records[-1].time
    accounts = sorted({record.account for record in records})
    lines = ["account,extracting,known_at"]
    for i, account in enumerate(accounts):  # known evenly over the time of the log
        lines.append(f"{account},{i % 2},{first + (last - first) * i / len(accounts)}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def whole(archive: str, labels: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("whole") / "whole"
    make(folder, archive, Wish(labels=[str(labels)], by=["account"]))
    return lab.dataset(folder)


def table(dataset: Dataset, *at: Any, pattern: str = "") -> pa.Table:
    return lab.logged(dataset, at, pattern).reader().read_all()


def facts(rows: pa.Table) -> pa.Table:
    """What a row says but of labels, which later moments know more of."""
    return rows.drop(["label", "weight", "known_at"])


def test_each_alert_and_hour_is_a_row_once_with_its_request_s_label(whole: Dataset) -> None:
    rows = table(whole, "alert", "hourly").to_pylist()
    offsets = [i for i in range(len(traffic())) if i % STEP % EVERY == 0]
    own = [row for row in rows if row["over"] == "account"]
    assert sorted(row["offset"] for row in own if row["at"] == "alert") == offsets
    assert sorted(row["offset"] for row in own if row["at"] == "hourly") == [i for i in offsets if i % STEP % 20 == 0]
    assert all(row["closed"] == (row["time"] if row["at"] == "hourly" else None) for row in own)
    said = {row["account"]: row for row in whole.labels().to_pylist()}
    for row in rows:
        label = said[row["account"]]
        assert (row["label"], row["weight"], row["known_at"]) == (label["label"], 1.0, label["known_at"])
        assert row["origin"] == "logged" and row["part"] in ("train", "test")
    one = next(row for row in own if row["at"] == "alert")
    made = np.array([one[feature.name] for feature in FEATURES], np.float32)
    assert made.tobytes() == vector(one["offset"], WIDTH)
    assert (one["case"], one["pattern"], one["score_extraction"]) == (f"{one['offset']:016x}", "extraction", 0.25)
    campaigns = [row for row in rows if row["over"] == "campaign"]
    assert [(row["row"], row["pattern"], row["score_campaign"]) for row in campaigns[:2]] == [
        (1, "campaign", 0.5), (2, "campaign", 0.5),
    ]  # fmt: skip
    assert len(campaigns) == 2 * -(-len(traffic()) // STEP)
    made = np.array([campaigns[0][f"campaign_{name}"] for name in shared.NAMES], np.float32)
    assert made.tobytes() == vector(1, shared.WIDTH) and campaigns[0]["seen"] is None
    alone = table(whole, "alert", pattern="campaign").to_pylist()
    assert {row["over"] for row in alone} == {"campaign"} and len(alone) == len(campaigns)


@settings(max_examples=8)
@given(share=st.floats(0.02, 0.99))
def test_as_of_a_moment_are_the_rows_and_labels_that_were_known_then(
    archive: str, labels: Path, whole: Dataset, tmp_path_factory: pytest.TempPathFactory, share: float
) -> None:
    every = table(whole, "alert", "hourly")
    times = np.sort(every["time"].to_numpy())
    as_of = float(times[int(share * (len(times) - 1))]) + DELAY
    folder = tmp_path_factory.mktemp("as-of") / "d"
    make(folder, archive, Wish(as_of=as_of, labels=[str(labels)], by=["account"]))
    then = table(lab.dataset(folder), "alert", "hourly")
    order = [(name, "ascending") for name in ("time", "offset", "row", "at")]
    sent = np.floor((every["time"].to_numpy() + DELAY) * 1000) / 1000
    assert same(facts(then).sort_by(order), facts(every.filter(pa.array(sent <= as_of))).sort_by(order))
    known = every["known_at"].to_numpy()
    assert len(then) and not np.any(then["known_at"].drop_null().to_numpy() > as_of)
    expected = [label if at <= as_of else None for label, at in zip(every["label"].to_pylist(), known, strict=True)]
    wanted = every.set_column(every.schema.get_field_index("label"), "label", pa.array(expected, pa.string()))
    assert then.sort_by(order)["label"].to_pylist() == (
        wanted.filter(pa.array(sent <= as_of)).sort_by(order)["label"].to_pylist()
    )


@settings(max_examples=4)
@given(share=st.floats(0.05, 0.98))
def test_the_rows_of_a_prefix_are_those_of_the_whole_filtered(
    archive: str, whole: Dataset, tmp_path_factory: pytest.TempPathFactory, share: float
) -> None:
    every = table(whole, "alert")
    until = float(np.sort(every["time"].to_numpy())[int(share * (len(every) - 1))])
    folder = tmp_path_factory.mktemp("prefix") / "d"
    make(folder, archive, Wish(until=until))
    prefix = facts(table(lab.dataset(folder), "alert")).drop(["part"])
    assert same(prefix, facts(every.filter(pa.compute.less(every["time"], until))).drop(["part"]))


def test_the_command_writes_them_and_says_where_nothing_was_logged(whole: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "f.parquet"
    told = run("features", whole.folder, "--at", "alert,hourly", "--origin", "logged", "--out", out)
    rows = polars.read_parquet(out)
    assert f"{len(rows):,} rows" in told and set(rows["at"]) == {"alert", "hourly"}
    told = run("features", whole.folder, "--at", "request", "--origin", "logged", "--out", out, code=1)
    assert "features are made at hourly, alert, not at 'request'" in told
    log = tmp_path / "log.ndjson"
    log.write_bytes(b"\n".join(encode(record) for record in traffic()[:100]) + b"\n")
    run("archive", "--from", log, "--to", tmp_path / "bare")
    make(tmp_path / "d", str(tmp_path / "bare"), Wish())
    with pytest.raises(DatasetError, match="has no logged features: workers log them"):
        lab.logged(lab.dataset(tmp_path / "d"))
    with pytest.raises(DatasetError, match="is no pattern of accounts or campaigns"):
        lab.logged(whole, "alert", "nothing")


def test_each_partition_scores_its_accounts_as_if_alone_and_knows_no_future(
    archive: str, whole: Dataset, tmp_path: Path
) -> None:
    every = pa.table(lab.features(whole, ("request", "alert"), partitions=3))
    named = [name for name in every.schema.names if name not in ("offset", "label", "weight", "known_at", "part")]
    until = float(np.median(every["time"].to_numpy()))
    make(tmp_path / "half", archive, Wish(until=until))
    half = pa.table(lab.features(lab.dataset(tmp_path / "half"), ("request", "alert"), partitions=3))
    assert half.num_rows and same(half.select(named), every.filter(before(every, until)).select(named))
    records = sorted(traffic(), key=lambda record: record.time)
    requests = Decoder().decode([encode(record) for record in records]).requests
    mine = np.flatnonzero(partitions_of(requests["account"], 3) == 1)
    writer = Writer(Store(str(tmp_path / "alone")))
    writer.begin("telemetry", 0, "one", 0)
    writer.take(
        "telemetry", 0, [encode(records[i]) for i in mine.tolist()], np.arange(len(mine)), np.zeros(len(mine), np.int64)
    )
    writer.close()
    make(tmp_path / "d", str(tmp_path / "alone"), Wish())
    alone = pa.table(lab.features(lab.dataset(tmp_path / "d"), ("request", "alert")))
    accounts = pa.array(sorted({records[i].account for i in mine.tolist()}))
    theirs = every.filter(pa.compute.is_in(every["account"], accounts))
    for at in ("request", "alert"):
        one, other = (rows.filter(pa.compute.equal(rows["at"], at)).select(named) for rows in (alone, theirs))
        assert same(one, other) and (at == "alert" or one.num_rows == len(mine) > 0)


def before(rows: pa.Table, until: float) -> pa.ChunkedArray:
    return pa.compute.less(rows["time"], until)
