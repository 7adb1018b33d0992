"""The REST scenario holds every way of scraping and its look-alikes, and its files say truly which is which."""

from __future__ import annotations

import csv
import gzip
import itertools
import json
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from siphonwatch.streams.cli import cli
from siphonwatch.streams.common.settings import load
from siphonwatch.streams.lab.replay import Replay
from siphonwatch.streams.lab.scenario import Scenario, rest_scrapers, rest_world, write
from siphonwatch.streams.lab.scenario.write import COLUMNS
from siphonwatch.streams.worker.scoring import make_scorer

SMALL = ("--seed", "3", "--accounts", "60", "--days", "1")


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return Scenario(seed=3, accounts=60, days=1.0, kind="rest")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, scenario: Scenario) -> Path:
    folder = tmp_path_factory.mktemp("rest")
    write(folder, scenario)
    return folder


def log(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "nginx.ndjson").read_bytes().splitlines()]


def labels(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "labels.csv").open(newline="") as file:
        return {row["account"]: row for row in csv.DictReader(file)}


def test_every_way_and_every_look_alike_is_there_at_the_smallest_size(folder: Path) -> None:
    kinds = {row["archetype"]: row["extracting"] for row in labels(folder).values()}
    assert {kind for kind, bad in kinds.items() if bad == "1"} == {f"scrape-{way}" for way in rest_scrapers.WAYS}
    honest = {row[0] for row in rest_world.HONEST} | {rest_world.ALLOWED[0]}
    assert honest <= {kind for kind, bad in kinds.items() if bad == "0"}
    assert len(rest_world.HONEST) >= 10


def test_labels_count_what_the_log_says(folder: Path) -> None:
    requests = Counter(str(record["account"]) for record in log(folder))
    with gzip.open(folder / "attack_requests.csv.gz", "rt") as file:
        attacks = {row["id"]: row["campaign"] for row in csv.DictReader(file)}
    bad: Counter[str] = Counter()
    onset: dict[str, float] = {}
    for record in log(folder):
        if record["request_id"] in attacks:
            name = str(record["account"])
            bad[name] += 1
            onset.setdefault(name, float(str(record["msec"])))
            assert attacks[str(record["request_id"])] == labels(folder)[name]["campaign"] if bad[name] == 1 else True
    assert sum(bad.values()) == len(attacks)
    for name, row in labels(folder).items():
        assert tuple(row) == COLUMNS
        assert (int(row["n_requests"]), int(row["n_attack_requests"])) == (requests[name], bad[name])
        assert float(row["attack_share"]) == pytest.approx(bad[name] / requests[name], abs=1e-4)
        assert (row["onset"] == "") == (row["extracting"] == "0") == (row["campaign"] == "")
        if row["onset"]:
            assert float(row["onset"]) == pytest.approx(onset[name], abs=0.002)


def test_campaigns_come_at_every_share_and_pace() -> None:
    made = rest_world.campaigns(162)
    assert len(set(made)) > 100
    assert {(way, share) for way, _, share in made} == set(itertools.product(rest_scrapers.WAYS, rest_world.SHARES))
    assert {(way, pace) for way, pace, _ in made} == set(itertools.product(rest_scrapers.WAYS, rest_world.PACES))


def test_honest_accounts_have_heavy_tails_so_that_volume_does_not_tell() -> None:
    made = Scenario(seed=4, accounts=150, days=1.0, kind="rest").labels()
    honest = np.array([label.requests for label in made if not label.pattern])
    attacks = np.array([label.requests for label in made if label.pattern])
    assert honest.max() > 2 * np.median(attacks)
    assert honest.max() > 20 * np.median(honest)


def test_a_campaign_over_addresses_and_one_over_keys_use_many(folder: Path) -> None:
    seen: dict[str, dict[str, set[object]]] = defaultdict(lambda: {"remote_addr": set(), "api_key": set()})
    for record in log(folder):
        for field, values in seen[str(record["account"])].items():
            values.add(record[field])
    by_pace = defaultdict(list)
    for name, row in labels(folder).items():
        if row["campaign"]:
            by_pace[row["campaign"].split("-")[-2]].append(seen[name])
    assert all(len(found["remote_addr"]) > 30 for found in by_pace["addresses"])
    assert all(len(found["api_key"]) >= 2 for found in by_pace["keys"])


def test_the_command_writes_the_same_bytes_for_the_same_seed(folder: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["scenario", str(tmp_path / "new"), *SMALL, "--kind", "rest"])
    assert done.exit_code == 0, done.output
    assert "9 campaigns" in done.output and "attack_requests.csv.gz" in done.output
    for path in folder.iterdir():
        assert (tmp_path / "new" / path.name).read_bytes() == path.read_bytes()
    assert not (tmp_path / "new" / "litellm.ndjson").exists()


def test_llm_traffic_alone_has_no_rest_record(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["scenario", str(tmp_path), "--accounts", "25", "--days", "0.5", "--kind", "llm"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "litellm.ndjson").stat().st_size
    assert not (tmp_path / "nginx.ndjson").exists() and not (tmp_path / "settings.toml").exists()
    assert not any(row["archetype"].startswith("scrape") for row in labels(tmp_path).values())


def test_too_small_a_scenario_is_bad_usage_and_an_unwritable_folder_a_failure(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["scenario", str(tmp_path), "--accounts", "3"])
    assert done.exit_code == 2 and "at least 20 accounts" in done.output
    (tmp_path / "file").touch()
    done = CliRunner().invoke(cli, ["scenario", str(tmp_path / "file" / "x"), *SMALL, "--kind", "rest"])
    assert done.exit_code == 1 and "cannot write" in done.output


def test_an_allowed_crawler_is_scored_and_counted_and_raises_no_alert(folder: Path, scenario: Scenario) -> None:
    told: dict[bool, list[str]] = {}
    scores: dict[bool, dict[str, float]] = {}
    counted = {}
    for allow in (False, True):
        env = {"SIPHONWATCH_IDENTITY_KEY": "a-key-for-this-test", "SIPHONWATCH_IDENTITY_PLAIN_IDS": "true"}
        settings = load(env, folder / "settings.toml" if allow else None).settings
        scorer = make_scorer(settings)
        told[allow] = []
        replay = Replay(settings, scorer, lambda finding, out=told[allow]: out.extend(finding.accounts))
        replay.run(folder / "nginx.ndjson")
        scores[allow] = scorer.suspicion()
        counted[allow] = replay.totals.allowed
    (crawler,) = scenario.allowed()
    assert not counted[False] and scores[True] == scores[False]
    assert crawler not in told[True]
    assert told[True] == [name for name in told[False] if name != crawler]
    assert counted[True] == told[False].count(crawler)
