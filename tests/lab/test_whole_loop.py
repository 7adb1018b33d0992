"""The data scientist's whole loop on Apache Kafka, by commands alone: traffic, verdicts, archive, data set, a better
card, its backtest, shadow and promotion, a worker that is killed, the way back, an alert made again, an account erased.
"""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from worker_tools import Worker, prepare, scored, until

from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.lab import notebook as lab

pytestmark = [pytest.mark.broker, pytest.mark.kafka, pytest.mark.timeout(1200)]
PARTITIONS = 2
SHADOWED = 0.6
"""Share of the traffic after which the challenger begins beside the champion."""


class Desk:
    """Runs commands as a data scientist does, with the settings of the deployment in the environment."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.folder = folder
        self.environ = os.environ | {
            "SIPHONWATCH_KAFKA_BOOTSTRAP": settings.kafka.bootstrap,
            "SIPHONWATCH_KAFKA_GROUP": settings.kafka.group,
            "SIPHONWATCH_TOPICS_PREFIX": settings.topics.prefix,
            "SIPHONWATCH_TOPICS_PARTITIONS": str(settings.topics.partitions),
            "SIPHONWATCH_IDENTITY_KEY": settings.identity.key,
            "SIPHONWATCH_MODELS_REGISTRY": str(folder / "models"),
            "COLUMNS": "200",
        }

    def run(self, *arguments: object, code: int = 0) -> str:
        """Run `siphonwatch` with these arguments; return what it printed on standard output."""
        command = [sys.executable, "-c", "from siphonwatch.streams.cli import main; main()", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, env=self.environ, cwd=self.folder, check=False)
        assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout if not code else done.stderr

    def alerts(self, *arguments: object) -> list[dict[str, Any]]:
        lines = self.run("alerts", "--json", *arguments).splitlines()
        return [json.loads(line)["data"]["unmapped"]["siphonwatch"] | {"id": json.loads(line)["id"]} for line in lines]


@pytest.fixture
def settings(kafka: str, prefix: str) -> Settings:
    made = Settings()
    made.kafka.bootstrap = kafka
    made.kafka.group = made.topics.prefix = prefix
    prepare(made, PARTITIONS)
    return made


async def test_from_traffic_to_a_better_detector_and_back(settings: Settings, tmp_path: Path) -> None:
    desk = Desk(settings, tmp_path)
    desk.run("scenario", "traffic", "--seed", 5, "--accounts", 300, "--days", 2, "--kind", "llm")
    desk.run("replay", "traffic/litellm.ndjson", "--telemetry", "all.ndjson", "--quiet")
    lines = (tmp_path / "all.ndjson").read_text().splitlines(keepends=True)
    cut = int(len(lines) * SHADOWED)
    (tmp_path / "first.ndjson").write_text("".join(lines[:cut]))
    (tmp_path / "rest.ndjson").write_text("".join(lines[cut:]))
    named = Identity(settings.identity.key).account
    with (tmp_path / "traffic" / "labels.csv").open(newline="") as file:
        attack = {named(row["account"]): row["extracting"] == "1" for row in csv.DictReader(file)}

    with Worker(settings, tmp_path) as worker:
        desk.run("produce", "first.ndjson")
        await worker.works()
        await scored(settings, cut)
        opened = desk.alerts("--kind", "opened")
        assert opened, "the traffic was to raise alerts"
        verdicts = [
            (one["case"], "true-positive" if any(attack[a] for a in one["accounts"]) else "false-positive")
            for one in opened
        ]
        (tmp_path / "verdicts.csv").write_text("case,decision\n" + "".join(f"{c},{d}\n" for c, d in verdicts))
        desk.run("verdict", "--file", "verdicts.csv", "--by", "Ann")
        desk.run("archive", "--to", "archive", "--once")

        told = desk.run("dataset", "may", "--data", "archive", "--labels", "verdicts", "--labels", "traffic/labels.csv")
        assert re.fullmatch(r"[0-9a-f]{12}", told.split()[-1]) and "attack:" in told and "honest:" in told
        assert set(_labels(desk.folder / "may")) == {"verdicts", "labels.csv"}
        assert "rows of" in desk.run("features", "may", "--at", "alert", "--out", "alerts.parquet")

        told = desk.run("train", "extraction", "--data", "may", "--no-families", "--out", "ext-2")
        version = re.search(r"^version ([0-9a-f]{12}) ", told, re.MULTILINE)
        assert version and "Held out" in told and (tmp_path / "ext-2" / "MODEL_CARD.md").is_file()
        assert desk.run("models", "add", "ext-2").strip() == version[1]
        assert "extraction:" in desk.run("models", "diff", "shipped", "ext-2")
        answer = desk.run(
            "backtest", "shipped", "ext-2", "--data", "may", "--partitions", 2, "--html", "diff.html", "--quiet"
        )  # fmt: skip
        assert "analyst minutes a day" in answer and "ext-2" in (tmp_path / "diff.html").read_text()

        desk.run("models", "shadow", "ext-2", "--by", "Ann")
        await until(lambda: desk.run("models", "at", "--told").count(version[1]) == 2 * PARTITIONS, 300)
        before = {one["id"] for one in desk.alerts()}
        desk.run("produce", "rest.ndjson")
        await scored(settings, len(lines))
        told = desk.run("models", "report", "ext-2")
        assert "in the shadow" in told and not re.search(r"cases: .* 0 by both", told)
        after = desk.alerts()
        assert {one["id"] for one in after} > before
        assert not {one["card"] for one in after} & _own_cards(desk, "ext-2"), "the challenger tells nobody"

        refused = desk.run("models", "promote", "ext-2", code=1)
        assert "days" in refused and "Nothing was sent" in refused
        desk.run("models", "promote", "ext-2", "--force", "--by", "Ann", "--why", "a trial")
        worker.kill()

    with Worker(settings, tmp_path) as worker:
        await worker.works()
        await until(lambda: _champions(desk, version[1]) == 2 * PARTITIONS, 300)
        assert "by Ann, forced" in desk.run("models", "at", "--told")
        desk.run("models", "rollback", "--by", "Ann", "--why", "the trial is over")
        await until(lambda: _champions(desk, version[1]) == 0, 300)

        desk.run("archive", "--to", "archive", "--once")
        chosen = opened[0]
        said = desk.run(
            "explain", chosen["id"], "--exact", "--data", "archive", "--partitions", PARTITIONS, "--version", "shipped"
        )
        assert "identical" in said

        account = str(chosen["accounts"][0])
        counts = json.loads(desk.run("erase", account, "--archive", "archive", "--by", "Ann", "--json"))["counts"]
        assert counts["archive"] > 0 and counts["rows"] > 0 and counts["verdicts"] > 0
        again = json.loads(desk.run("erase", account, "--archive", "archive", "--by", "Ann", "--json"))["counts"]
        assert set(again.values()) == {0}, again
        worker.stop()


def _labels(folder: Path) -> list[str]:
    """Where the labels of a data set come from."""
    return [str(source) for source in lab.dataset(folder).labels()["source"].to_pylist()]


def _champions(desk: Desk, version: str) -> int:
    """In how many partitions of both streams a version is the champion."""
    return len(re.findall(rf" champion: {version} ", desk.run("models", "at", "--told")))


def _own_cards(desk: Desk, version: str) -> set[object]:
    """Cards that a version has and the shipped one has not."""
    return set(re.findall(r"^\w+: \S+ -> (\S+)$", desk.run("models", "diff", "shipped", version), re.MULTILINE))
