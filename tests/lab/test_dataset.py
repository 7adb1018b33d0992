"""Data sets of an archive: the past knows no future, train and test share nobody, and what was changed is refused."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import numpy as np
import polars
import pyarrow as pa
import pytest
from alert_samples import alerts, findings
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from worker_tools import traffic

from siphonwatch.models.account.features import FEATURES
from siphonwatch.streams.cli import cli
from siphonwatch.streams.contracts.alert import encode as encode_alert
from siphonwatch.streams.contracts.sealed import Sealer
from siphonwatch.streams.contracts.telemetry import encode
from siphonwatch.streams.contracts.verdict import encode as encode_verdict
from siphonwatch.streams.contracts.verdict import judge
from siphonwatch.streams.lab import notebook as lab
from siphonwatch.streams.lab.archive.rewrite import rewrite
from siphonwatch.streams.lab.dataset.labels import from_verdicts
from siphonwatch.streams.lab.dataset.layout import DatasetError, Split
from siphonwatch.streams.lab.dataset.make import Wish, make
from siphonwatch.streams.lab.dataset.read import Dataset
from siphonwatch.streams.lab.dataset.split import LONGEST, cut, part

LATE = 7
"""Every so-many-th record is told of some records after its turn, so that the log is not in the order of its times."""


def run(*arguments: object, code: int = 0) -> str:
    done = CliRunner().invoke(cli, list(map(str, arguments)))
    assert done.exit_code == code, done.output
    return done.output


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An archive in several steps of a log in which records come late."""
    folder = tmp_path_factory.mktemp("dataset")
    records = list(traffic())
    for i in range(0, len(records) - 40, LATE):
        records.insert(i + 40, records.pop(i))
    (folder / "log.ndjson").write_bytes(b"\n".join(map(encode, records)) + b"\n")
    run("archive", "--from", folder / "log.ndjson", "--to", folder / "archive", "--step-rows", 400)
    return str(folder / "archive")


@pytest.fixture(scope="module")
def labels(archive: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that says of every third account that it attacks, in pairs to a campaign, known an hour apart."""
    path = tmp_path_factory.mktemp("labels") / "labels.csv"
    accounts = sorted(set(_column(lab.rows(archive, "telemetry", ["account"]), "account")))
    lines = ["account,extracting,campaign,known_at"]
    for i, account in enumerate(accounts):
        lines.append(f"{account},{int(i % 3 == 0)},{f'c{i // 6}' if i % 3 == 0 else ''},{1_000_000 + 3600 * i}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def whole(archive: str, labels: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("whole") / "whole"
    make(folder, archive, Wish(labels=[str(labels)], by=["campaign"]))
    return lab.dataset(folder)


@cache
def table(folder: Path, at: str) -> pa.Table:
    return lab.features(lab.dataset(folder), at).reader().read_all()  # type: ignore[arg-type]


def _column(source: Any, name: str) -> list[Any]:
    return pa.table(source)[name].to_pylist()


def same(one: pa.Table, other: pa.Table) -> bool:
    """Whether two tables are equal to the bit; NaN equals itself."""
    if one.num_rows != other.num_rows or one.schema != other.schema:
        return False
    for name in one.schema.names:
        a, b = one[name].combine_chunks(), other[name].combine_chunks()
        if pa.types.is_floating(a.type):
            x, y = (c.fill_null(-1.5).to_numpy(zero_copy_only=False).tobytes() for c in (a, b))
            if x != y or not a.is_null().equals(b.is_null()):
                return False
        elif not a.equals(b):
            return False
    return True


@settings(max_examples=6)
@given(share=st.floats(0.05, 0.98))
def test_the_export_of_a_prefix_is_that_of_the_whole_filtered_bit_for_bit(
    archive: str, whole: Dataset, tmp_path_factory: pytest.TempPathFactory, share: float
) -> None:
    every = table(whole.folder, "request")
    times = np.sort(every["time"].to_numpy())
    until = float(times[int(share * (len(times) - 1))])
    folder = tmp_path_factory.mktemp("prefix") / "prefix"
    made = make(folder, archive, Wish(until=until))
    prefix = table(folder, "request").drop(["label", "weight", "known_at", "part"])
    wanted = every.filter(pa.compute.less(every["time"], until)).drop(["label", "weight", "known_at", "part"])
    assert same(prefix, wanted)
    assert prefix.num_rows == sum(one.rows for one in made.ranges) > 0


@settings(max_examples=4)
@given(share=st.floats(0.1, 0.95))
def test_as_of_a_moment_are_the_requests_that_had_come_by_then(
    archive: str, whole: Dataset, tmp_path_factory: pytest.TempPathFactory, share: float
) -> None:
    every = table(whole.folder, "request").drop(["label", "weight", "known_at", "part"])
    known = np.maximum.accumulate(every["time"].to_numpy())
    as_of = float(known[int(share * (len(known) - 1))])
    folder = tmp_path_factory.mktemp("as-of") / "as-of"
    make(folder, archive, Wish(as_of=as_of))
    assert same(
        table(folder, "request").drop(["label", "weight", "known_at", "part"]), every.filter(pa.array(known <= as_of))
    )
    offsets = _column(lab.dataset(folder).requests(["offset"]), "offset")
    assert sorted(offsets) == every.filter(pa.array(known <= as_of))["offset"].to_pylist()


def test_closed_hours_of_a_prefix_are_rows_of_the_whole(archive: str, whole: Dataset, tmp_path: Path) -> None:
    every = {(row["offset"], row["closed"]) for row in table(whole.folder, "hourly").to_pylist()}
    until = float(np.median(table(whole.folder, "request")["time"].to_numpy()))
    make(tmp_path / "half", archive, Wish(until=until))
    half = [(row["offset"], row["closed"]) for row in table(tmp_path / "half", "hourly").to_pylist()]
    closed = [one for one in half if one[1] is not None]
    assert len(closed) > 20 and set(closed) <= every
    accounts = table(whole.folder, "hourly").group_by("account").aggregate([("closed", "count"), ("time", "count")])
    assert all(row["time_count"] - row["closed_count"] == 1 for row in accounts.to_pylist()), "one open hour each"


def test_rows_at_alerts_are_the_requests_that_replay_alerts_at(archive: str, tmp_path: Path) -> None:
    make(tmp_path / "d", archive, Wish())
    run("replay", archive, "--alerts", tmp_path / "alerts.ndjson", "--quiet")
    told = [json.loads(line) for line in (tmp_path / "alerts.ndjson").read_text().splitlines()]
    rows = table(tmp_path / "d", "alert").to_pylist()
    own = [a["data"]["unmapped"]["siphonwatch"] for a in told if "case.closed" not in a["type"]]
    patterns = set(lab.features(lab.dataset(tmp_path / "d")).patterns)
    wanted = [(o["case"], o["model"]["offset"], round(o["score"], 5)) for o in own if o["pattern"] in patterns]
    assert wanted
    found = [(row["case"], row["offset"], round(row[f"score_{row['pattern']}"], 5)) for row in rows]
    assert sorted(found) == sorted(wanted)


def test_no_account_and_no_campaign_is_on_both_sides_of_a_split(whole: Dataset) -> None:
    rows = table(whole.folder, "request")
    sides: dict[str, set[str]] = {}
    groups = whole.groups()
    for account, side in zip(rows["account"].to_pylist(), rows["part"].to_pylist(), strict=True):
        sides.setdefault(groups[account], set()).add(side)
    assert all(len(side) == 1 for side in sides.values())
    assert {side for one in sides.values() for side in one} == {"train", "test"}
    assert len(set(groups.values())) < len(groups), "campaigns have several accounts"


@given(times=st.lists(st.floats(0, 1e6), min_size=2, max_size=30), at=st.floats(0, 1e6), embargo=st.floats(0, 1e5))
def test_the_embargo_lies_between_what_is_trained_and_tested_on(times: list[float], at: float, embargo: float) -> None:
    sides = part(Split(by=["time"], at=at, embargo=embargo), ["a"] * len(times), np.array(times))
    trained = [time for time, side in zip(times, sides, strict=True) if side == "train"]
    tested = [time for time, side in zip(times, sides, strict=True) if side == "test"]
    assert all(time < at for time in trained) and all(time >= at + embargo for time in tested)
    assert all(side or at <= time < at + embargo for time, side in zip(times, sides, strict=True))


def test_an_embargo_of_the_longest_window_needs_more_than_that(archive: str, tmp_path: Path) -> None:
    assert LONGEST == 7 * 86400
    told = run("dataset", tmp_path / "d", "--data", archive, "--split", "time", code=1)
    assert "embargo of 7.0 days" in told and "--embargo" in told and not (tmp_path / "d").exists()
    assert cut(0.0, 100 * 86400.0, 0.3, LONGEST) == 63 * 86400.0
    run("dataset", tmp_path / "e", "--data", archive, "--split", "time", "--embargo", "1h")
    assert lab.dataset(tmp_path / "e").manifest.split.embargo == 3600


def test_labels_of_a_moment_are_those_that_were_known(archive: str, labels: Path, tmp_path: Path) -> None:
    known = [float(line.rpartition(",")[2]) for line in labels.read_text().splitlines()[1:]]
    late = 2_000_000_000.0
    (tmp_path / "late.csv").write_text(labels.read_text().replace(f",{int(known[-1])}\n", f",{late:.0f}\n"))
    made = make(tmp_path / "d", archive, Wish(as_of=late - 1, labels=[str(tmp_path / "late.csv")]))
    assert made.labels == len(known) - 1
    assert max(_column(lab.dataset(tmp_path / "d").labels(), "known_at")) < late
    (tmp_path / "mute.csv").write_text("account,extracting\na,1\nb,0\n")
    told = run("dataset", tmp_path / "m", "--data", archive, "--labels", tmp_path / "mute.csv", "--as-of", "1d", code=1)
    assert "does not say when the label of a was known" in told


class Topics:
    """What an archive has of alerts and verdicts."""

    def __init__(self, alerts: Sequence[tuple[bytes, float]], verdicts: Sequence[tuple[bytes, float]]) -> None:
        self._values = {"alerts": alerts, "verdicts": verdicts}

    def tables(self, kind: str, columns: Sequence[str]) -> list[pa.Table]:
        rows = self._values[kind]
        stamps = [datetime.datetime.fromtimestamp(at, datetime.UTC) for _, at in rows]
        return [
            pa.table({"value": [v.decode() for v, _ in rows], "arrived": pa.array(stamps, pa.timestamp("ms", "UTC"))})
        ]


def test_verdicts_of_an_archive_are_labels_from_when_the_broker_had_them() -> None:
    [alert] = alerts(findings(1))
    at = alert.data.time / 1000 + 10
    word = encode_verdict(judge(alert, "true-positive", by="Ann", time=at + 100))
    topics: Any = Topics([(encode_alert(alert), at)], [(word, at + 200), (b"{}", at)])
    [row] = from_verdicts(topics, np.inf)
    assert row.label.account == alert.own.accounts[0] and row.label.known_at == at + 200
    assert (row.label.decided_at, row.label.by, row.label.source) == (at + 100, "Ann", "verdicts")
    assert from_verdicts(topics, at + 199) == []


def test_the_same_contents_have_one_id_and_others_another(archive: str, labels: Path, tmp_path: Path) -> None:
    ids = [
        run("dataset", tmp_path / name, "--data", archive, "--labels", labels, "--quiet", *more).strip()
        for name, more in (("a", ()), ("b", ()), ("c", ("--split", "campaign")))
    ]
    assert ids[0] == ids[1] != ids[2]
    assert lab.dataset(tmp_path / "a").id == ids[0]
    told = run("dataset", tmp_path / "a", "--data", archive, code=1)
    assert "a data set does not change" in told


def test_what_was_changed_is_refused(archive: str, labels: Path, tmp_path: Path) -> None:
    make(tmp_path / "d", archive, Wish(labels=[str(labels)]))
    path = tmp_path / "d" / "labels.parquet"
    kept = path.read_bytes()
    path.write_bytes(kept[:-1] + b"x")
    with pytest.raises(DatasetError, match=r"labels\.parquet was changed"):
        lab.dataset(tmp_path / "d")
    path.write_bytes(kept)
    manifest = tmp_path / "d" / "dataset.json"
    manifest.write_text(manifest.read_text().replace('"labels": ', '"labels": 1'))
    with pytest.raises(DatasetError, match="its contents are not those of its id"):
        lab.dataset(tmp_path / "d")
    with pytest.raises(DatasetError, match="is no data set"):
        lab.dataset(tmp_path / "nowhere")


def test_a_data_set_whose_account_was_erased_says_so(tmp_path: Path) -> None:
    log, archive = tmp_path / "log.ndjson", str(tmp_path / "archive")
    log.write_bytes(b"\n".join(encode(record) for record in traffic()[:200]) + b"\n")
    run("archive", "--from", log, "--to", archive)
    make(tmp_path / "d", archive, Wish())
    account = _column(lab.dataset(tmp_path / "d").requests(["account"]), "account")[0]
    rewrite(archive, [account], "erase 12ab")
    with pytest.raises(DatasetError, match=r"was taken out \(erase 12ab\), .* make it anew"):
        lab.dataset(tmp_path / "d")
    make(tmp_path / "e", archive, Wish())
    assert account not in _column(lab.dataset(tmp_path / "e").requests(["account"]), "account")


def test_features_say_how_many_requests_no_key_opens(tmp_path: Path) -> None:
    sealer = Sealer(bytes(range(32)))
    records = [sealer.seal(record) for record in traffic()[:100]]
    (tmp_path / "log.ndjson").write_bytes(b"\n".join(map(encode, records)) + b"\n")
    run("archive", "--from", tmp_path / "log.ndjson", "--to", tmp_path / "archive")
    make(tmp_path / "d", str(tmp_path / "archive"), Wish())
    told = run("features", tmp_path / "d", "--at", "request", "--out", tmp_path / "f.parquet")
    sealed = sum(bool(record.sealed) for record in records)
    assert sealed and f"{sealed} requests with sealed parts that no key opens" in told and "100 rows" in told


def test_nothing_in_a_time_is_said(archive: str, tmp_path: Path) -> None:
    told = run("dataset", tmp_path / "d", "--data", archive, "--until", "2001-01-01", code=1)
    assert "no request of the archive is in this time" in told and not (tmp_path / "d").exists()
    told = run("dataset", tmp_path / "d", "--data", tmp_path, code=1)
    assert "holds no archive" in told
    told = run("features", tmp_path / "d", "--out", tmp_path / "f.parquet", code=1)
    assert "is no data set" in told and not list(tmp_path.glob("f.parquet*"))


def test_data_scientists_tools_read_all_of_it(whole: Dataset, tmp_path: Path) -> None:
    told = run("features", whole.folder, "--at", "hourly", "--out", tmp_path / "f.parquet")
    rows = polars.read_parquet(tmp_path / "f.parquet")
    assert f"{len(rows):,} rows" in told and rows["label"].unique().sort().to_list() == ["attack", "honest"]
    made = pa.table(lab.features(whole, "hourly"))
    assert polars.DataFrame(lab.features(whole, "hourly")).equals(rows, null_equal=True)
    assert len(made.to_pandas()) == len(rows)
    asked = whole.requests(["account", "time"])
    found = duckdb.sql("select count(*), count(distinct account) from asked").fetchall()[0]
    assert found == (len(traffic()), len(set(_column(asked, "account"))))
    for feature in FEATURES:
        field = made.schema.field(feature.name)
        assert field.metadata == {b"unit": feature.unit.encode(), b"meaning": feature.meaning.encode()}
    with pytest.raises(DatasetError, match="'colour' is no column of telemetry"):
        whole.requests(["colour"])
    with pytest.raises(DatasetError, match="is no pattern of single accounts"):
        lab.features(whole, "alert", "nothing")
    figure = lab.plot_scores(lab.features(whole, "hourly"), "extraction")
    assert len(figure.axes[0].lines) >= 3


def test_backtest_and_train_take_a_data_set_with_its_labels(whole: Dataset, tmp_path: Path) -> None:
    done = run("backtest", "shipped", "shipped", "--data", whole.folder, "--quiet", "--json", tmp_path / "r.json")
    assert "analyst minutes" in done
    compared = lab.backtest("shipped", "shipped", whole, replicates=0)
    assert msgspec.to_builtins(compared)["accounts"] == json.loads((tmp_path / "r.json").read_text())["accounts"]
    told = run("train", "extraction", "--data", whole.folder, "--split", "none", "--no-families")
    assert "Data left out" in told, "its test part takes part in no fit"
    assert "give --labels" in run("backtest", "shipped", "shipped", "--data", whole.manifest.archive, code=2)
    assert "no data set" in run("train", "extraction", "--data", whole.manifest.archive, code=2)


def test_lab_names_what_an_archive_has(archive: str) -> None:
    assert len(lab.archive(archive).files("telemetry")) > 3
    with pytest.raises(ValueError, match="telemetry, alerts"):
        lab.rows(archive, "spans")
    assert lab.version("shipped").name == "shipped"
