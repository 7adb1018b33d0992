"""Tables of features lose the rows of an account that is erased, wherever a data set noted that they were written."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from siphonwatch.streams.cli import Failure, cli
from siphonwatch.streams.cli import erase as erase_command
from siphonwatch.streams.contracts.control import Erase
from siphonwatch.streams.lab.dataset.layout import DatasetError
from siphonwatch.streams.lab.dataset.tables import NOTED, erase_rows, found, note, noted

GONE = "0123456789abcdef" * 2
ORDER = Erase(id="12ab", account=GONE, by="Ann", time=1.0)


def table(path: Path, *, groups: int = 3) -> pa.Table:
    """A table in several row groups, one of which is the account's alone."""
    schema = pa.schema([pa.field("account", pa.string(), metadata={"meaning": "whose"}), pa.field("x", pa.float32())])
    with pq.ParquetWriter(path, schema) as writer:
        for i in range(groups):
            names = [GONE] * 4 if i == 1 else ["a", GONE, "b", "a"]
            writer.write_table(pa.table({"account": names, "x": pa.array([i, 1, 2, 3], pa.float32())}, schema=schema))
    return pq.read_table(path)


def test_rows_of_others_stay_as_they_were_and_a_second_run_finds_none(tmp_path: Path) -> None:
    path = tmp_path / "f.parquet"
    before = table(path)
    assert erase_rows(path, [GONE], dry_run=True) == 6 and pq.read_table(path).equals(before)
    assert erase_rows(path, [GONE]) == 6
    left = pq.read_table(path)
    assert left.equals(before.filter(pa.compute.not_equal(before["account"], GONE))) and left.num_rows == 6
    assert left.schema.equals(before.schema, check_metadata=True)
    assert GONE.encode() not in path.read_bytes() and [file.name for file in tmp_path.iterdir()] == ["f.parquet"]
    assert erase_rows(path, [GONE]) == 0


def test_accounts_that_a_tool_wrote_as_categories_are_found(tmp_path: Path) -> None:
    path = tmp_path / "f.parquet"
    pq.write_table(pa.table({"account": pa.array(["a", GONE, None]).dictionary_encode()}), path)
    assert erase_rows(path, [GONE]) == 1
    assert pq.read_table(path)["account"].to_pylist() == ["a", None]


def test_a_data_set_notes_each_place_once(tmp_path: Path) -> None:
    assert noted(tmp_path) == []
    for name in ("f.parquet", "g.parquet", "f.parquet"):
        note(tmp_path, tmp_path / name)
    assert noted(tmp_path) == [str(tmp_path / "f.parquet"), str(tmp_path / "g.parquet")]
    (tmp_path / NOTED).write_text("{}")
    with pytest.raises(DatasetError, match=r"tables\.json cannot be read"):
        noted(tmp_path)


def test_noted_tables_and_folders_are_reached_and_one_that_was_moved_is_told_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "may").mkdir()
    (tmp_path / "moved").mkdir()
    table(tmp_path / "f.parquet")
    table(tmp_path / "moved" / "g.parquet")
    note(tmp_path / "may", tmp_path / "f.parquet")
    note(tmp_path / "may", tmp_path / "g.parquet")
    places = [tmp_path / "moved", tmp_path / "f.parquet"]  # the second is noted too: its rows count once
    assert erase_command._tabled([tmp_path / "may"], places, ORDER) == 12
    assert "g.parquet, a table of" in capsys.readouterr().err
    assert erase_command._tabled([tmp_path / "may"], places, ORDER) == 0
    assert found([tmp_path / "moved"]) == [tmp_path / "moved" / "g.parquet"]


def test_what_is_no_table_is_named_before_anything_is_sent(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.parquet").write_text("no Parquet")
    pq.write_table(pa.table({"x": [1]}), tmp_path / "x.parquet")
    for name, said in (
        ("empty", "holds no table of features"), ("absent", "holds no table of features"),
        ("text.parquet", "cannot be read as Parquet"), ("x.parquet", "has no column 'account'"),
    ):  # fmt: skip
        with pytest.raises(Failure, match=said):
            erase_command._tabled([], [tmp_path / name], ORDER)
        result = CliRunner().invoke(cli, ["erase", GONE, "--features", str(tmp_path / name)])
        assert result.exit_code == 1 and said in result.stderr and "Nothing was sent" in result.stderr
