"""Labels: what may be absent is absent, and whatever is wrong is named with its file and line."""

from __future__ import annotations

import csv
import gzip
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siphonwatch.streams.lab.evaluate.labels import LabelsError, read_attack_requests, read_labels


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_two_columns_are_enough(tmp_path: Path) -> None:
    truth = read_labels(written(tmp_path / "l.csv", "account,extracting\na,1\nb,0\n"))
    assert truth.account == ["a", "b"]
    assert truth.attack.tolist() == [True, False]
    assert truth.archetype == truth.campaign == truth.family == ["", ""]
    assert all(math.isnan(x) for x in (*truth.share, *truth.onset))
    assert truth.desensitised.tolist() == [-1, -1]


def test_every_column_is_read_from_plain_or_packed_files(tmp_path: Path) -> None:
    text = (
        "account,campaign,archetype,extracting,desensitised,attack_share,onset,n_requests,n_attack_requests\n"
        "a,A-10-alpaca,A_single,1,1,,2026-01-05T00:00:10Z,50,10\n"
        "b,A-25-alpaca,A_single,true,0,0.25,1767571210.5,4,1\n"
        "c,,chat,0,0,0.0,,5,0\n"
    )
    (tmp_path / "l.csv.gz").write_bytes(gzip.compress(b"\xef\xbb\xbf" + text.encode()))
    for path in (written(tmp_path / "l.csv", text), tmp_path / "l.csv.gz"):
        truth = read_labels(path)
        assert truth.attack.tolist() == [True, True, False]
        assert truth.share.tolist() == [0.2, 0.25, 0.0]
        assert truth.onset.tolist()[:2] == [1767571210.0, 1767571210.5] and math.isnan(truth.onset[2])
        assert truth.family == ["A-alpaca", "A-alpaca", ""]
        assert truth.desensitised.tolist() == [1, 0, 0]


def test_a_family_column_goes_before_the_campaigns_name(tmp_path: Path) -> None:
    text = "account,extracting,campaign,family\na,1,A-1,rubric\nb,1,A-1,\nc,0,,x\n"
    assert read_labels(written(tmp_path / "l.csv", text)).family == ["rubric", "A", ""]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no column account and no column extracting"),
        ("account,attack\na,1\n", "no column extracting; its first line has account, attack"),
        ("account,extracting\na,maybe\nb,0\n", "line 2: extracting is 'maybe'; write 1 or 0"),
        ("account,extracting\na,1\nb,\n", "line 3: extracting is ''"),
        ("account,extracting\na,1\nb,0\na,0\n", "line 4: account a is on line 2 too"),
        ("account,extracting\na,1\n,0\n", "line 3: no account"),
        ("account,extracting\na,0\nb,0\n", "no attack account (extracting 1)"),
        ("account,extracting\na,1\nb,1\n", "no benign account (extracting 0)"),
        ("account,extracting,onset\na,1,soon\nb,0,\n", "line 2: onset is 'soon'; write a number"),
        ("account,extracting,onset\na,1,2026-13-05\nb,0,\n", "line 2: onset is '2026-13-05'; write epoch seconds"),
        ("account,extracting,attack_share\na,1,12\nb,0,\n", "line 2: the attack share is 12"),
        ("account,extracting,attack_share\na,1,inf\nb,0,\n", "line 2: attack_share is 'inf'"),
        ("account,extracting,desensitised\na,1,2\nb,0,\n", "line 2: desensitised is '2'"),
    ],
)
def test_a_bad_file_is_refused_with_its_name_and_what_to_do(tmp_path: Path, text: str, says: str) -> None:
    path = written(tmp_path / "labels.csv", text)
    with pytest.raises(LabelsError) as error:
        read_labels(path)
    assert str(path) in str(error.value) and says in str(error.value)


def test_what_cannot_be_read_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(b"account,extracting\n" * 99)[:40])
    (tmp_path / "latin.csv").write_bytes(b"account,extracting\n\xe9,1\n")
    for name in ("absent.csv", "cut.csv.gz", "latin.csv", "."):
        with pytest.raises(LabelsError, match="cannot read"):
            read_labels(tmp_path / name)


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=120))
def test_no_bytes_crash_the_reader(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("l") / "l.csv"
    for content in (data, b"account,extracting,onset,attack_share\n" + data):
        path.write_bytes(content)
        for read in (read_labels, read_attack_requests):
            try:
                read(path)
            except LabelsError as error:
                assert str(path) in str(error)


def test_attack_requests_are_ids_as_the_scorer_keeps_them(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "a.csv.gz", "wt", newline="") as file:
        csv.writer(file).writerows([["id", "campaign"], ["r-1", "A"], ["x" * 80, "B"]])
    assert read_attack_requests(tmp_path / "a.csv.gz") == {b"r-1", b"x" * 64}
    for text, says in (("request,campaign\nr,A\n", "no column id"), ("id,campaign\n", "no request id")):
        with pytest.raises(LabelsError, match=says):
            read_attack_requests(written(tmp_path / "a.csv", text))
