"""`siphonwatch evaluate`: what it writes, agreement with `replay` and with the judge's own script, bad files."""

from __future__ import annotations

import csv
import importlib.util
import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from eval_fakes import COLUMNS, Log, write_csv, write_log

from siphonwatch.streams.cli import cli
from siphonwatch.streams.lab.evaluate.baselines import PACKAGE

ROOT = Path(__file__).parents[2]
JUDGE = ROOT.parent / "shared" / "bench" / "score.py"
Evaluate = Callable[..., Result]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Log:
    return write_log(tmp_path_factory.mktemp("evaluate") / "first", seed=11)


@pytest.fixture(scope="module")
def made(log: Log, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The report on the log, as JSON."""
    out = tmp_path_factory.mktemp("made") / "report.json"
    done = CliRunner().invoke(
        cli, ["evaluate", *arguments(log), "--replicates", "50", "--quiet", "--json", str(out)], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    return json.loads(out.read_text())


@pytest.fixture
def evaluate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Evaluate:
    monkeypatch.chdir(tmp_path)

    def run(*args: object) -> Result:
        return CliRunner().invoke(cli, ["evaluate", "--replicates", "20", *map(str, args)], catch_exceptions=False)

    return run


def arguments(log: Log) -> list[str]:
    return [str(log.requests), "--labels", str(log.labels), "--attack-requests", str(log.attack_requests)]


def labels_of(log: Log) -> list[dict[str, str]]:
    with log.labels.open(newline="") as file:
        return list(csv.DictReader(file))


def replayed(log: Log, folder: Path) -> tuple[Path, Path]:
    """Alerts and scores of `siphonwatch replay`. A closing is no alert: it says that evidence stayed away."""
    args = ["replay", str(log.requests), "--plain-ids", "--alerts", str(folder / "all"), "--scores", str(folder / "s")]
    assert CliRunner().invoke(cli, args, catch_exceptions=False).exit_code == 0
    lines = (folder / "all").read_text().splitlines(keepends=True)
    (folder / "alerts").write_text("".join(line for line in lines if "case.closed" not in line))
    return folder / "alerts", folder / "s"


def test_it_prints_tables_and_writes_json_and_a_page(evaluate: Evaluate, log: Log, made: dict[str, Any]) -> None:
    done = evaluate(*arguments(log), "--json", "r.json", "--html", "r.html", "--left-out", "distil")
    assert done.exit_code == 0, done.output
    for heading in (
        "Data sets", "Attacks: ranking", "Attacks: alerts", "Honest accounts", "False discoveries", "Calibration",
        "Patterns left out", "Features", "left out of every fit",
    ):  # fmt: skip
        assert heading in done.stdout
    page = Path("r.html").read_text()
    assert page.startswith("<!doctype html>") and "left out of every fit" in page
    report = json.loads(Path("r.json").read_text())
    assert report["datasets"][0]["accounts"] == log.accounts == made["datasets"][0]["accounts"]
    assert report["datasets"][0]["name"] == "first"
    unseen = next(g for g in report["groups"] if g["name"] == "left out of every fit")
    known = [row for row in labels_of(log) if row["extracting"] == "1"]
    assert 0 < unseen["accounts"] == sum(row["archetype"].startswith("distil") for row in known) < len(known)


def test_two_runs_write_the_same_to_the_byte(evaluate: Evaluate, log: Log) -> None:
    for name in ("a", "b"):
        assert evaluate(*arguments(log), "--quiet", "--json", f"{name}.json", "--html", f"{name}.html").exit_code == 0
    assert Path("a.json").read_bytes() == Path("b.json").read_bytes()
    assert Path("a.html").read_bytes() == Path("b.html").read_bytes()


def test_it_measures_what_replay_scores_and_alerts(log: Log, made: dict[str, Any], tmp_path: Path) -> None:
    alerts, scores = replayed(log, tmp_path)
    with scores.open(newline="") as file:
        score = {row["account"]: float(row["score"]) for row in csv.DictReader(file)}
    attack = {row["account"] for row in labels_of(log) if row["extracting"] == "1"}
    pairs = [(score[a] > score[b]) + 0.5 * (score[a] == score[b]) for a in attack for b in score if b not in attack]
    # replay writes six digits
    assert made["groups"][0]["auc"]["value"] == pytest.approx(np.mean(pairs), abs=1e-3)
    told = [json.loads(line) for line in (tmp_path / "all").read_text().splitlines()]
    assert made["load"]["alerts"] == len(told) > 0
    assert made["load"]["cases"] == len({alert["subject"] for alert in told})
    own = [json.loads(line)["data"]["unmapped"]["siphonwatch"] for line in alerts.read_text().splitlines()]
    named = {account for one in own for account in one["accounts"]}
    assert made["false_alarms"][0]["alerted"]["hits"] == len(named - attack)


@pytest.mark.skipif(not JUDGE.exists(), reason="the judge's script, shared/bench/score.py, is not beside this project")
def test_it_agrees_with_the_script_that_judges_it(log: Log, made: dict[str, Any], tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("judge", JUDGE)
    assert spec and spec.loader
    judge = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(judge)
    alerts, scores = replayed(log, tmp_path)
    labels = judge.read_labels(log.labels)
    times = judge.read_request_times(log.gateway, log.attack_requests)
    by_alert = judge.alert_report(labels, judge.read_alerts(alerts), times, 1.0)
    by_score = judge.score_report(labels, scores)
    every, benign = made["groups"][0], made["false_alarms"][0]

    def rate(e: dict[str, Any]) -> tuple[int, int]:
        return e["hits"], e["of"]

    assert rate(every["alert_recall"]) == (by_alert["recall"]["hit"], by_alert["recall"]["of"])
    assert rate(benign["alerted"]) == (by_alert["fpr"]["hit"], by_alert["fpr"]["of"])
    assert made["load"]["early"] == by_alert["early"]
    delay = by_alert["delay_attack_requests"]["per_account"]
    assert delay, "the scenario's attacks raise alerts"
    own = every["delay_attack_requests"]
    assert (own["median"]["value"], own["p90"]["value"]) == pytest.approx((delay["median"], delay["p90"]))
    assert len(own["values"]) == delay["n"]
    per_campaign = by_alert["delay_attack_requests"]["per_campaign"]
    own = every["delay_campaign"]
    assert (own["median"]["value"], len(own["values"])) == (pytest.approx(per_campaign["median"]), per_campaign["n"])
    assert every["auc"]["value"] == pytest.approx(by_score["overall"]["auc"], abs=1e-4)
    for k, name in enumerate(("0.1%", "1%")):
        assert every["recall_at_fpr"][k]["value"] == pytest.approx(
            by_score["overall"][f"recall_at_fpr_{name}"], abs=1e-4
        )
    for g in made["groups"]:
        if g["by"] == "type":
            assert rate(g["alert_recall"])[0] == by_alert["recall_by_type"][g["name"]]["hit"]
            assert g["auc"]["value"] == pytest.approx(by_score["by_type"][g["name"]]["auc"], abs=1e-4)
    for b in made["false_alarms"][1:]:
        assert rate(b["alerted"])[0] == by_alert["fpr_by_archetype"][b["archetype"]]["hit"]
    shares = {g["name"]: g for g in made["groups"] if g["by"] == "share"}
    for share, expected in by_alert["recall_by_attack_share"].items():
        assert rate(shares[f"share {float(share):.0%}"]["alert_recall"]) == (expected["hit"], expected["of"])
    assert every["campaigns_found"] == by_alert["campaigns"]["recall"]["hit"]


def test_several_data_sets_are_scored_each_for_itself(
    evaluate: Evaluate, log: Log, made: dict[str, Any], tmp_path: Path
) -> None:
    other = write_log(tmp_path / "second", seed=12)
    done = evaluate(*arguments(log), *arguments(other), "--quiet", "--json", "r.json")
    assert done.exit_code == 0, done.output
    report = json.loads(Path("r.json").read_text())
    first = dict(report["datasets"][0], name="first")
    assert first == made["datasets"][0]
    assert [d["accounts"] for d in report["datasets"]] == [log.accounts, other.accounts]
    assert report["direction_parts"] == ["1 first", "2 second"]


def test_labels_of_two_columns_and_no_attack_requests_will_do(evaluate: Evaluate, log: Log) -> None:
    write_csv(Path("l.csv"), ("account", "extracting"), labels_of(log))
    done = evaluate(log.requests, "--labels", "l.csv", "--json", "r.json")
    assert done.exit_code == 0, done.output
    assert "requests from onset" in done.stdout
    report = json.loads(Path("r.json").read_text())
    assert [g["name"] for g in report["groups"]] == ["all attacks"]
    assert report["groups"][0]["delay_attack_requests"] is None


def test_attack_requests_tell_the_onset_where_the_labels_do_not(
    evaluate: Evaluate, log: Log, made: dict[str, Any]
) -> None:
    columns = tuple(name for name in COLUMNS if name != "onset")
    write_csv(Path("l.csv"), columns, labels_of(log))
    done = evaluate(
        log.requests, "--labels", "l.csv", "--attack-requests", log.attack_requests, "--quiet", "--json", "r"
    )
    assert done.exit_code == 0, done.output
    report = json.loads(Path("r").read_text())
    for g, expected in zip(report["groups"], made["groups"], strict=True):
        assert g["delay_attack_requests"]["values"] == expected["delay_attack_requests"]["values"]


def test_labels_by_name_fit_telemetry_whose_accounts_are_hashed(
    evaluate: Evaluate, log: Log, made: dict[str, Any]
) -> None:
    wrote = CliRunner().invoke(cli, ["replay", str(log.gateway), "--telemetry", "t.ndjson", "--quiet"])
    assert wrote.exit_code == 0, wrote.output
    hashed = {json.loads(line)["account"] for line in Path("t.ndjson").read_text().splitlines()}
    assert len(hashed) == log.accounts and hashed.isdisjoint(row["account"] for row in labels_of(log))
    done = evaluate("t.ndjson", "--labels", log.labels, "--quiet", "--json", "r.json")
    assert done.exit_code == 0, done.output
    found = json.loads(Path("r.json").read_text())["groups"]
    assert [(g["name"], g["auc"]["value"]) for g in found] == [(g["name"], g["auc"]["value"]) for g in made["groups"]]


def test_accounts_that_do_not_fit_are_named_and_left_out_when_asked(evaluate: Evaluate, log: Log) -> None:
    rows = labels_of(log)
    write_csv(Path("less.csv"), COLUMNS, rows[1:])
    write_csv(Path("more.csv"), COLUMNS, [*rows, dict(rows[0], account="nobody")])
    write_csv(Path("other.csv"), COLUMNS, [dict(row, account=row["account"] + "-x") for row in rows])
    less = evaluate(log.requests, "--labels", "less.csv")
    assert less.exit_code == 1
    assert "1 accounts have no label, such as" in less.stderr and "--partial" in less.stderr
    more = evaluate(log.requests, "--labels", "more.csv")
    assert more.exit_code == 1 and "1 labelled accounts made no request, such as nobody" in more.stderr
    other = evaluate(log.requests, "--labels", "other.csv", "--partial")
    assert other.exit_code == 1 and "no account of the log has a label" in other.stderr
    assert "identity.key" in other.stderr
    for name, left_out in (("less.csv", "left out 1 accounts without"), ("more.csv", "and 1 labels without")):
        done = evaluate(log.requests, "--labels", name, "--partial", "--quiet", "--json", "r.json")
        assert done.exit_code == 0 and left_out in done.stderr
    assert json.loads(Path("r.json").read_text())["datasets"][0]["accounts"] == log.accounts


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["absent.ndjson", "--labels", "{labels}"], "absent.ndjson"),
        (["{requests}", "--labels", "absent.csv"], "cannot read absent.csv"),
        (["{labels}", "--labels", "{labels}"], "labels.csv"),
        (["empty", "--labels", "{labels}"], "no request could be read"),
        (["{requests}", "--labels", "{labels}", "--attack-requests", "ids.csv"], "none of the 1 attack request ids"),
        (["{requests}", "--labels", "{labels}", "--json", "no/where.json"], "cannot write no/where.json"),
        (["{requests}", "--labels", "{labels}", "--html", "no/where.html"], "cannot write no/where.html"),
    ],
)
def test_what_cannot_be_done_is_said_and_exits_1(evaluate: Evaluate, log: Log, args: list[str], says: str) -> None:
    Path("empty").write_text("")
    Path("ids.csv").write_text("id,campaign\nof-another-log,A\n")
    done = evaluate(*(arg.format(labels=log.labels, requests=log.requests) for arg in args))
    assert done.exit_code == 1
    assert says in done.stderr and "Traceback" not in done.output


@pytest.mark.parametrize(
    "args",
    [[], ["x"], ["x", "y", "z", "--labels", "a", "--labels", "b"], ["x", "--labels", "a", "--replicates", "-1"],
     ["x", "y", "--labels", "a", "--labels", "b", "--attack-requests", "c"]],
)  # fmt: skip
def test_bad_usage_exits_2(evaluate: Evaluate, args: list[str]) -> None:
    assert evaluate(*args).exit_code == 2


class Volume:
    """The number of requests, as a baseline."""

    name = "request volume"

    def score(self, requests: np.ndarray, account_index: np.ndarray, n_accounts: int) -> np.ndarray:
        assert len(requests) == len(account_index)
        return np.bincount(account_index, minlength=n_accounts).astype(np.float64)


class Broken(Volume):
    name = "broken"

    def score(self, requests: np.ndarray, account_index: np.ndarray, n_accounts: int) -> np.ndarray:
        return np.full(n_accounts, np.nan)


def test_baselines_are_ranked_on_the_same_accounts(
    evaluate: Evaluate, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = types.ModuleType(PACKAGE)
    monkeypatch.setitem(sys.modules, PACKAGE, package)
    package.baselines = lambda: [Volume()]
    done = evaluate(*arguments(log), "--baselines", "--json", "r.json")
    assert done.exit_code == 0, done.output
    assert "request volume" in done.stdout
    ours, volume = json.loads(Path("r.json").read_text())["rivals"]
    assert (ours["name"], volume["name"]) == ("siphonwatch", "request volume")
    made = {row["account"]: int(row["n_requests"]) for row in labels_of(log)}
    attack = {row["account"] for row in labels_of(log) if row["extracting"] == "1"}
    pairs = [(made[a] > made[b]) + 0.5 * (made[a] == made[b]) for a in attack for b in made if b not in attack]
    assert volume["auc"][0]["value"] == pytest.approx(np.mean(pairs))
    package.baselines = lambda: [Broken()]
    done = evaluate(*arguments(log), "--baselines")
    assert done.exit_code == 1 and "baseline broken" in done.stderr


def test_without_the_package_of_baselines_that_is_said(
    evaluate: Evaluate, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, PACKAGE, None)
    done = evaluate(*arguments(log), "--baselines")
    assert done.exit_code == 1
    assert (
        "--baselines: this installation has no siphonwatch.models.evaluate.baselines; leave the option out"
        in done.stderr
    )


def test_a_gateways_packed_log_gives_the_report_of_its_telemetry(
    evaluate: Evaluate, log: Log, made: dict[str, Any]
) -> None:
    options = ["--labels", log.labels, "--attack-requests", log.attack_requests, "--replicates", "50", "--quiet"]
    assert evaluate(log.gateway, *options, "--json", "r.json").exit_code == 0
    assert json.loads(Path("r.json").read_text()) == made
