"""Logged features in the archive: a column a feature, to the last bit; what has no column is kept whole; erasable."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from siphonwatch.models.account.features import FEATURES, WIDTH
from siphonwatch.models.engine.patterns import detectors
from siphonwatch.models.learn.version import table_id
from siphonwatch.streams.contracts.features import Logged, encode
from siphonwatch.streams.lab import notebook as lab
from siphonwatch.streams.lab.archive.reader import Archive
from siphonwatch.streams.lab.archive.rewrite import rewrite
from siphonwatch.streams.lab.archive.rows import Rows
from siphonwatch.streams.lab.archive.store import Store
from siphonwatch.streams.lab.archive.writer import Writer

PATTERNS = [detector.pattern for detector in detectors()]
TIME = 1.8e9


def logged(offset: int, account: str = "ann", **facts: object) -> Logged:
    values = np.random.default_rng(offset).standard_normal(WIDTH).astype("<f4")
    made = Logged(
        partition=3, offset=offset, incarnation="one", account=account, time=TIME + offset, at=["alert"],
        alerts=["0123456789abcdef-0"], version="0" * 12, cards={}, table=table_id(), features=values.tobytes(),
        scores={pattern: 0.25 for pattern in PATTERNS}, log_e={PATTERNS[0]: 0.1},
    )  # fmt: skip
    return msgspec.structs.replace(made, **facts)


def archived(folder: Path, records: list[bytes]) -> Archive:
    writer = Writer(Store(str(folder)))
    writer.begin("features", 1, "log", 40)
    n = len(records)
    writer.take("features", 1, records, np.arange(40, 40 + n), np.full(n, 1000 * int(TIME)))
    writer.close()
    return Archive(str(folder))


def test_a_record_comes_back_by_its_columns_to_the_last_bit(tmp_path: Path) -> None:
    sent = [logged(offset) for offset in (900, 17, 5000)]
    archive = archived(tmp_path, [*map(encode, sent), b"{}"])
    (file,) = {file.path: file for file in archive.files("features") if file.first == 40}.values()
    assert archive.manifests[-1].ranges[0].dropped == {"schema": 1}
    table = pa.concat_tables(archive.tables("features"))
    rows = {row["offset"]: row for row in table.to_pylist()}
    assert rows.keys() == {900, 17, 5000} and file.path.startswith("features/dt=2027-01-15/")
    for place, one in enumerate(sent):
        row = rows[one.offset]
        made = np.array([row[feature.name] for feature in FEATURES], np.float32)
        assert made.tobytes() == one.features
        assert (row["partition"], row["time"], row["account"], row["version"]) == (3, one.time, "ann", "0" * 12)
        assert (row["log_partition"], row["log_offset"]) == (1, 40 + place)
        assert (row["at"], row["alerts"], row["value"]) == (["alert"], one.alerts, None)
        assert {row[f"score_{pattern}"] for pattern in PATTERNS} == {0.25}
        assert row[f"log_e_{PATTERNS[0]}"] == np.float32(0.1) and row[f"log_e_{PATTERNS[1]}"] is None
    for feature in FEATURES:
        told = archive.schema("features").field(feature.name).metadata
        assert told[b"meaning"].decode() == feature.meaning and told.get(b"unit", b"").decode() == feature.unit
    assert pa.table(Rows(archive, "features", ["offset", "seen"])).num_rows == 3
    assert pa.table(lab.rows(str(tmp_path), "features")).equals(table)


def test_what_another_release_or_card_wrote_is_kept_whole(tmp_path: Path) -> None:
    other = logged(1, table="f" * 12)
    card = logged(2, scores={"acme": 0.5})
    table = pa.concat_tables(archived(tmp_path, [encode(other), encode(card)]).tables("features"))
    first, second = sorted(table.to_pylist(), key=lambda row: row["offset"])
    assert first["seen"] is None and first["value"] == encode(other).decode()
    assert second["seen"] is not None and second["value"] == encode(card).decode()


@pytest.mark.parametrize(
    "facts", [{"partition": 2**31}, {"offset": 2**63}, {"time": 1e300}, {"time": -5e12}], ids=lambda facts: str(facts)
)
def test_what_no_column_or_folder_takes_is_dropped_and_stops_nothing(tmp_path: Path, facts: dict[str, float]) -> None:
    archive = archived(tmp_path, [encode(msgspec.structs.replace(logged(1), **facts)), encode(logged(2))])
    (taken,) = archive.manifests[-1].ranges
    assert (taken.rows, taken.dropped) == (1, {"schema": 1})


def test_a_file_with_other_columns_is_read_with_nulls_for_those_it_has_not(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    archive = archived(tmp_path, [encode(logged(1))])
    whole = archive.table_of
    monkeypatch.setattr(archive, "table_of", lambda file, columns=None: whole(file).drop_columns(["seen"]))
    (table,) = archive.tables("features", ["seen", "offset"])
    assert table.to_pylist() == [{"seen": None, "offset": 1}]


def test_an_account_that_is_erased_is_gone_and_others_stay_as_they_were(tmp_path: Path) -> None:
    archive = archived(tmp_path, [encode(logged(offset, name)) for offset, name in enumerate(["ann", "bob", "ann"])])
    before = pa.concat_tables(archive.tables("features")).to_pylist()
    done = rewrite(str(tmp_path), ["ann"], "order", now=0.0)
    assert done.rows["features"] == 2
    left = pa.concat_tables(Archive(str(tmp_path)).tables("features")).to_pylist()
    assert left == [row for row in before if row["account"] == "bob"]
    assert rewrite(str(tmp_path), ["ann"], "order", now=0.0).rows["features"] == 0
