"""`siphonwatch drift` replays a log, names what moved and the cards that read it, and proposes a training."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zlib import crc32

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result

from siphonwatch.models.engine.patterns import detectors
from siphonwatch.models.learn.drift import DriftWatch
from siphonwatch.streams.cli import cli
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.lab.dataset.layout import MANIFEST, is_dataset
from siphonwatch.streams.lab.drift.run import SLOW, WARM_UP, MovedRate, _proposals, _Watch
from siphonwatch.streams.lab.scenario import EPOCH, Scenario

DAYS = 6.0
CHANGED = EPOCH + 5 * 86_400
RUNBOOK = Path(__file__).parents[2] / "deploy" / "runbook.md"
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
    assert report["filling"] == list(SLOW) and not {name for name, _ in moved} & set(SLOW), "after a short warm-up"
    assert any(line.startswith(f"siphonwatch train extraction --data {logs[1]} ") for line in report["propose"])


def parsed(line: str) -> tuple[str, dict[str, Any]]:
    """A printed command as click takes it, and as the command itself checks it: logs, and labels for each of them."""
    ours, name, *words = shlex.split(line)
    command = cli.get_command(click.Context(cli), name)
    assert ours == "siphonwatch" and command is not None
    given = command.make_context(name, words).params
    if name == "train":
        assert len(given["labels"]) == sum(not is_dataset(path) for path in given["data"])
    return name, given


def test_the_training_of_a_data_set_is_printed_as_it_runs(
    logs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "labels.csv").write_text("account,extracting\norg-1,0\norg-2,1\n")
    for words in (
        ["archive", "--to", "archive", "--from", str(logs[1])],
        ["dataset", "may", "--data", "archive", "--labels", "labels.csv"],
    ):
        made = CliRunner().invoke(cli, words)
        assert made.exit_code == 0, made.output
    report = json.loads(drift("--data", "may", *GIVEN, "--json").stdout)
    assert "logprobs_1d" in {one["name"] for one in report["moved"]}
    for line in report["propose"]:
        name, given = parsed(line)
        assert (name, given["data"], given["labels"]) == ("train", (Path("may"),), ())


def test_of_an_archive_a_data_set_with_its_verdicts_comes_first_and_a_log_has_labels_of_yours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old archive").mkdir()
    rates = [MovedRate("extraction", "program", 1.0, 9.0, "2026-01-05")]
    first, second = _proposals([], rates, ["old archive"])
    assert first == "siphonwatch dataset recent --data 'old archive' --labels verdicts"
    assert parsed(first)[1]["labels"] == ("verdicts",)
    assert second == "siphonwatch train extraction --data recent --out extraction-next"
    (tmp_path / "recent").mkdir()
    (tmp_path / "recent" / MANIFEST).write_text("{}")
    assert parsed(second)[1]["data"] == (Path("recent"),)
    (tmp_path / "log.ndjson").touch()
    (tmp_path / "LABELS.csv").touch()
    (line,) = _proposals([], rates, ["log.ndjson"])
    assert parsed(line)[1]["labels"] == (Path("LABELS.csv"),)
    assert not _proposals([], [], ["old archive"])


def test_the_commands_of_the_runbook_are_those(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("ARCHIVE", "recent", "PATTERN-next"):
        (tmp_path / name).mkdir()
    (tmp_path / "recent" / MANIFEST).write_text("{}")
    said = [" ".join(span.split()) for span in re.findall(r"`(siphonwatch [^`]+)`", RUNBOOK.read_text())]
    for line in (
        "drift --data ARCHIVE",
        "dataset recent --data ARCHIVE --since 30d --labels verdicts",
        "train PATTERN --data recent --out PATTERN-next",
        "backtest shipped PATTERN-next --data recent",
    ):
        assert f"siphonwatch {line}" in said
        parsed(f"siphonwatch {line}")


def test_cases_of_campaigns_count_by_their_first_account_and_name_no_training() -> None:
    watch = _Watch(Settings(), 1.0, 3 * 86_400.0, None)
    watch.drift = DriftWatch(len(watch.names), len(watch.patterns), 0.0, 3 * 86_400.0)
    campaign = detectors("campaign")[0].pattern
    for day in range(10):
        nothing = [np.zeros((1, len(names)), np.float32) for names in (watch.names, watch.patterns)]
        one = np.zeros(1, np.int64)
        watch.drift.take(one, one, np.array([86_400.0 * day + 60.0]), *nothing)
        for k in range(40 if day >= 6 else 2):
            name = f"{day}-{k}"
            watch.accounts[name], watch._last[name] = len(watch.accounts), 1
            found = SimpleNamespace(pattern=campaign, accounts=[name, "a"], time=86_400.0 * day + 2100.0 * k)
            watch._opened(found)  # type: ignore[arg-type]
    (rate,) = watch.drift.result().rates
    assert (watch.rated[rate.pattern], rate.cohort, rate.before, rate.since) == (campaign, "program", 2.0, 6 * 86_400.0)
    assert not _proposals([], [MovedRate(campaign, "program", 2.0, 40.0, "1970-01-07")], ["log.ndjson"])


def test_a_whole_warm_up_leaves_nothing_out() -> None:
    assert set(SLOW) < set(_Watch(Settings(), WARM_UP, None, 0.0).names)


def test_the_same_traffic_without_the_change_moves_no_such_feature(logs: tuple[Path, Path]) -> None:
    result = drift("--data", str(logs[0]), *GIVEN)
    assert "logprobs" not in result.output and " of features and references moved" in result.output
    assert "warm-up under 14 days: job_days, new_ip_1d." in result.output


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
