"""Exports are read by others' tools as they are meant, whatever an account is called, and name no actor."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import msgspec
import pytest
import stix2
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from sink_samples import grows_graver, life, records, told

from siphonwatch.streams.cli import cli
from siphonwatch.streams.contracts.verdict import encode, judge
from siphonwatch.streams.deliver.export import sheet, stix
from siphonwatch.streams.deliver.export.case import Case

HOSTILE = ['=cmd|"/c calc"!A1', "+1", "-2+3", "@SUM(A1)", "\t=1", "\r\n=1", " =1", '"=1', "a,b\n=2", "%0A", "<script>"]
any_text = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=60) | st.sampled_from(HOSTILE)


def case(decision: str = "", closed: bool = False, **own: object) -> Case:
    return Case(told(life("org-7")[1], **own), closed, decision, 1.8e9 if decision else 0.0)


def parsed(*cases: Case) -> list[object]:
    """The objects as the stix2 package reads them, with nothing that STIX does not have."""
    read = stix2.parse(msgspec.json.encode(stix.bundle(cases)).decode(), allow_custom=False)
    return list(read.objects)


def test_a_bundle_says_what_was_observed_and_what_analysts_think_of_it() -> None:
    objects = parsed(case("true-positive", closed=True, accounts=["org-7", "org-8"]))
    kinds = [one["type"] for one in objects]
    assert set(kinds) == {
        "identity", "user-account", "observed-data", "attack-pattern", "sighting", "grouping", "opinion",
    }  # fmt: skip
    assert kinds.count("user-account") == 2 and kinds.count("sighting") == kinds.count("attack-pattern")
    found = {one["type"]: one for one in objects}
    assert found["observed-data"]["number_observed"] == 321
    assert [one["user_id"] for one in objects if one["type"] == "user-account"] == ["org-7", "org-8"]
    techniques = {one["external_references"][0]["external_id"] for one in objects if one["type"] == "attack-pattern"}
    assert techniques == set(case().newest.own.atlas)
    assert found["opinion"]["opinion"] == "agree" and "closed" in found["grouping"]["labels"]
    assert found["sighting"]["sighting_of_ref"] == found["attack-pattern"]["id"]
    assert not set(kinds) & {"threat-actor", "intrusion-set", "campaign"}


def test_a_repeated_export_has_the_same_ids_and_shared_objects_stand_once() -> None:
    one, other = case(), Case(told(life("org-8")[0], accounts=["org-7"]), False, "", 0.0)
    assert stix.bundle([one, other]) == stix.bundle([one, other])
    ids = [found["id"] for found in parsed(one, other)]
    assert len(ids) == len(set(ids))
    before = {found["id"] for found in parsed(one)}
    assert before <= set(ids), "a later export goes on with what was imported before"
    account = next(found for found in parsed(one) if found["type"] == "user-account")
    assert stix2.UserAccount(user_id="org-7")["id"] == account["id"], "as STIX makes ids of observables"


@given(name=any_text, text=any_text)
def test_any_text_is_valid_stix(name: str, text: str) -> None:
    objects = parsed(case(accounts=[name], pattern=text))
    assert name in [one["user_id"] for one in objects if one["type"] == "user-account"]


@given(name=any_text, text=any_text)
def test_no_cell_of_a_sheet_begins_a_formula_and_no_text_breaks_out_of_its_cell(name: str, text: str) -> None:
    out = io.StringIO()
    assert sheet.write([case(accounts=[name], pattern=text, sample_requests=[name])] * 2, out) == 2
    rows = list(csv.reader(io.StringIO(out.getvalue())))
    assert len(rows) == 3 and all(len(row) == len(sheet.COLUMNS) for row in rows)
    for found in rows[1]:
        assert found.strip().lstrip('"')[:1] not in tuple("=+-@\t\r|%"), found
        assert "\n" not in found and "\r" not in found


@pytest.mark.parametrize(
    "text",
    ["\uff1d1+1", "\uff0b1", "\uff0d1", "\uff20SUM(A1)", "\u2003=1", "\u200b=1", "\u3000\u2060\uff1d1", "\u22121"],
)
def test_what_a_spreadsheet_reads_as_a_formula_at_full_width_or_behind_what_is_not_seen_is_text(text: str) -> None:
    assert sheet.cell(text) == "'" + text


def test_a_file_that_is_there_is_kept_where_nothing_could_be_written(tmp_path: Path) -> None:
    (tmp_path / "alerts").write_bytes(b"".join(value for _, value in records(life("org-7"))[:1]))
    (tmp_path / "verdicts").write_bytes(b"junk\n")
    (tmp_path / "out").write_text("of yesterday")
    files = ["--alerts", str(tmp_path / "alerts"), "--verdicts", str(tmp_path / "verdicts")]
    result = CliRunner().invoke(cli, ["export", "--csv", *files, "--to", str(tmp_path / "out")])
    assert result.exit_code == 1 and (tmp_path / "out").read_text() == "of yesterday"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["alerts", "out", "verdicts"]


def test_the_command_writes_the_newest_of_each_case_with_its_verdict_and_nobody_s_name(tmp_path: Path) -> None:
    lives = [grows_graver("org-7"), life("org-8", 1)]
    (tmp_path / "alerts").write_bytes(
        b"\n".join(value for findings in lives for _, value in records(findings)) + b"\nx"
    )
    verdict = judge(told(lives[0][0]).event, "false-positive", by="alice", time=1.8e9, note="acme, their crawler")
    (tmp_path / "verdicts").write_bytes(encode(verdict))
    files = ["--alerts", str(tmp_path / "alerts"), "--verdicts", str(tmp_path / "verdicts")]
    out = tmp_path / "cases"
    result = CliRunner().invoke(cli, ["export", "--csv", *files, "--to", str(out)])
    assert result.exit_code == 0 and "2 cases" in result.output
    rows = {row["case"]: row for row in csv.DictReader(io.StringIO(out.read_text()))}
    graver = rows[lives[0][0].case]
    assert (graver["severity"], graver["state"], graver["verdict"]) == ("high", "closed", "false-positive")
    assert graver["alert"] == lives[0][1].id, "the closing repeats it"
    assert rows[lives[1][0].case]["state"] == "open" and "alice" not in out.read_text()
    result = CliRunner().invoke(cli, ["export", "--stix", *files, "--to", str(out), "--severity", "high+"])
    assert result.exit_code == 0 and "1 case" in result.output
    assert stix2.parse(out.read_text()) and "alice" not in out.read_text() and "acme" not in out.read_text()
    assert CliRunner().invoke(cli, ["export", *files]).exit_code == 2
