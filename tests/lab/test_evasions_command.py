"""`siphonwatch evaluate --evasions`: from a scenario's log to the table, JSON and page; what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from eval_fakes import Log, write_log

from siphonwatch.streams.cli import cli
from siphonwatch.streams.lab.evasions import variants


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Log:
    return write_log(tmp_path_factory.mktemp("evasions") / "first", seed=11)


def evaluate(*args: object) -> Result:
    return CliRunner().invoke(cli, ["evaluate", "--replicates", "0", *map(str, args)], catch_exceptions=False)


def arguments(log: Log) -> list[object]:
    return [log.gateway, "--labels", log.labels, "--attack-requests", log.attack_requests]


def report(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_it_says_what_is_found_before_and_after_and_what_the_trick_costs(log: Log, tmp_path: Path) -> None:
    out, page = tmp_path / "r.json", tmp_path / "r.html"
    done = evaluate(*arguments(log), "--json", out, "--html", page, "--evasions", "dummy-turns", "split-2")
    assert done.exit_code == 0, done.output
    assert "Evasions" in done.stdout and "dummy-turns" in done.stdout
    assert "<h2>Evasions</h2>" in page.read_text() and variants()["split-2"].says in page.read_text()
    first, second = report(out)["evasions"]
    every = report(out)["groups"][0]
    assert (first["name"], second["name"]) == ("dummy-turns", "split-2")
    assert first["before"] == second["before"]
    assert first["before"]["all"]["alerted"] == every["alert_recall"]["hits"]
    assert first["before"]["all"]["above"] == every["recall_at_fpr"][0]["hits"]
    assert first["after"]["all"]["accounts"] == first["before"]["all"]["accounts"] < second["after"]["all"]["accounts"]
    assert first["after"]["all"]["campaigns"] == second["after"]["all"]["campaigns"] == every["campaigns"]
    assert first["cost"]["tokens_in"] > 1.0
    assert {first["cost"][what] for what in ("tokens_out", "requests", "accounts", "days")} == {1.0}
    assert second["cost"]["accounts"] == pytest.approx(
        second["after"]["all"]["accounts"] / second["before"]["all"]["accounts"]
    )


def test_beside_tricks_every_other_figure_is_the_one_of_the_ordinary_command(log: Log, tmp_path: Path) -> None:
    with_tricks, without = tmp_path / "with.json", tmp_path / "without.json"
    assert evaluate(*arguments(log), "--quiet", "--json", with_tricks, "--evasions", "jitter").exit_code == 0
    assert evaluate(*arguments(log), "--quiet", "--json", without).exit_code == 0
    assert report(with_tricks) | {"evasions": []} == report(without)


def test_list_prints_every_trick_and_needs_no_log() -> None:
    done = evaluate("--evasions", "list")
    assert done.exit_code == 0
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == list(variants())


def test_an_unknown_trick_is_bad_usage_that_names_the_known_ones(log: Log) -> None:
    done = evaluate(*arguments(log), "--evasions", "jitter", "invisibility")
    assert done.exit_code == 2
    assert "no evasion is named 'invisibility'" in done.output and "constant-tail" in done.output


def test_telemetry_cannot_be_rewritten(log: Log) -> None:
    done = evaluate(log.requests, "--labels", log.labels, "--evasions", "jitter")
    assert done.exit_code == 1
    assert "rewrites a gateway's own log" in done.output


def test_a_trick_that_fits_no_format_of_the_log_is_left_out_and_said_so(tmp_path: Path) -> None:
    folder = tmp_path / "rest"
    assert CliRunner().invoke(
        cli, ["scenario", str(folder), "--kind", "rest", "--accounts", "40", "--days", "0.5"], catch_exceptions=False
    ).exit_code == 0  # fmt: skip
    done = evaluate(
        folder / "nginx.ndjson", "--labels", folder / "labels.csv", "--attack-requests",
        folder / "attack_requests.csv.gz", "--quiet", "--json", tmp_path / "r.json", "--evasions", "jitter", "rotate",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "left out, as they rewrite no nginx record: jitter" in done.output
    assert [one["name"] for one in report(tmp_path / "r.json")["evasions"]] == ["rotate"]


def test_names_end_at_a_file_so_that_the_option_may_stand_first(log: Log, tmp_path: Path) -> None:
    done = evaluate("--evasions", "jitter", log.gateway, "--labels", tmp_path / "none.csv")
    assert done.exit_code == 1
    assert "cannot read" in done.output and "none.csv" in done.output
