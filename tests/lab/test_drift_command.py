"""`siphonwatch drift` replays a log, names what moved and the cards that read it, and proposes a training."""

from __future__ import annotations

import json
from pathlib import Path
from zlib import crc32

import pytest
from click.testing import CliRunner, Result

from siphonwatch.streams.cli import cli
from siphonwatch.streams.lab.scenario import EPOCH, Scenario

DAYS = 6.0
CHANGED = EPOCH + 5 * 86_400
GIVEN = ("--baseline", "3d", "--warm-up", "1")


def drift(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["drift", *arguments])


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Honest traffic of 200 accounts; the same, but everyone asks for log-probabilities on the last day."""
    scenario = Scenario(5, 200, DAYS, kind="llm")
    attacking = {label.account for label in scenario.labels() if label.pattern}
    folder = tmp_path_factory.mktemp("drift")
    with (folder / "same.ndjson").open("w") as same, (folder / "moved.ndjson").open("w") as moved:
        for event in scenario:
            record = event.record
            if record["metadata"]["user_api_key_org_id"] in attacking:
                continue
            same.write(json.dumps(record) + "\n")
            if record["startTime"] >= CHANGED:
                record["model_parameters"] = record["model_parameters"] | {"logprobs": True}
            moved.write(json.dumps(record) + "\n")
    return folder / "same.ndjson", folder / "moved.ndjson"


def test_a_change_of_all_customers_is_named_with_its_cards_and_a_command(logs: tuple[Path, Path]) -> None:
    result = drift("--data", str(logs[1]), *GIVEN, "--json")
    assert result.exit_code == 1, result.output
    report = json.loads(result.stdout)
    moved = {(one["name"], one["cohort"]): one for one in report["moved"]}
    one = moved["logprobs_1d", "program"]
    assert (one["direction"], one["kind"]) == ("up", "feature") and one["since"] == report["baseline"][1]
    assert one["psi"] > 1 and "extraction" in one["read_by"]
    assert any(line.startswith(f"siphonwatch train extraction --data {logs[1]} ") for line in report["propose"])


def test_the_same_traffic_without_the_change_moves_no_such_feature(logs: tuple[Path, Path]) -> None:
    result = drift("--data", str(logs[0]), *GIVEN)
    assert "logprobs" not in result.output and " of features and references moved" in result.output


def test_accounts_of_wrong_clocks_hide_no_change(logs: tuple[Path, Path], tmp_path: Path) -> None:
    lines = logs[1].read_text().splitlines()
    wrong = json.loads(lines[0])
    for line, years in ((len(lines) // 2, 15), (0, -15)):
        moment = EPOCH + years * 365.25 * 86_400
        lines.insert(line, json.dumps(wrong | {"id": f"wrong-{years}", "startTime": moment, "endTime": moment + 1}))
    (tmp_path / "log.ndjson").write_text("\n".join(lines) + "\n")
    report = json.loads(drift("--data", str(tmp_path / "log.ndjson"), *GIVEN, "--json").stdout)
    without = json.loads(drift("--data", str(logs[1]), *GIVEN, "--json").stdout)
    assert report["requests"] == without["requests"] + 2
    assert (report["baseline"], report["until"]) == (without["baseline"], without["until"])
    assert "logprobs_1d" in {one["name"] for one in report["moved"]}


def test_where_no_cohort_can_be_compared_the_command_fails(logs: tuple[Path, Path], tmp_path: Path) -> None:
    few = [line for line in logs[0].read_text().splitlines() if hash_of(line) % 16 == 0]
    (tmp_path / "log.ndjson").write_text("\n".join(few) + "\n")
    result = drift("--data", str(tmp_path / "log.ndjson"), "--baseline", "2d", "--warm-up", "1")
    assert result.exit_code == 1 and "nothing was compared: no cohort has 30 accounts" in result.output


def hash_of(line: str) -> int:
    """A number that is the same for all records of an account."""
    return crc32(json.loads(line)["metadata"]["user_api_key_org_id"].encode())


def test_data_that_are_too_short_are_refused_with_the_remedy(logs: tuple[Path, Path]) -> None:
    result = drift("--data", str(logs[0]))
    assert result.exit_code == 1 and "give a shorter baseline or warm-up, or more data" in result.output


def test_a_baseline_that_ends_in_the_warm_up_is_refused(logs: tuple[Path, Path]) -> None:
    result = drift("--data", str(logs[0]), "--baseline", "2026-01-06")
    assert result.exit_code == 1 and "ends before its first whole day" in result.output


@pytest.mark.parametrize("said", ["7", "0d", "soon"])
def test_a_baseline_is_days_or_a_moment(said: str) -> None:
    result = drift("--data", "log.ndjson", "--baseline", said)
    assert result.exit_code == 2 and "neither days, such as 7d, nor a moment" in result.output
