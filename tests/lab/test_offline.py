"""Partitions of one process: bounded by the settings, the same whatever the batches, with every account's score."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from core_fakes import START, requests, traffic

from siphonwatch.models.account.request import Array
from siphonwatch.models.evidence.cases import Finding
from siphonwatch.streams.cli import cli
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts.telemetry import Telemetry, encode
from siphonwatch.streams.lab import offline
from siphonwatch.streams.lab.offline import Offline
from siphonwatch.streams.worker.scoring import make_together

TRAFFIC = traffic(seed=3, accounts=60, each=12)


def play(scorer: Offline, q: Array, *, cut: int = 100_000) -> list[Finding]:
    found = []
    for start in range(0, len(q), cut):
        found += scorer.score(q[start : start + cut], np.arange(start, min(start + cut, len(q))))
    return found


def limited(hot: int) -> Settings:
    settings = Settings()
    settings.scoring.budget = 1.0
    settings.state.hot_accounts = hot
    return settings


def test_one_partition_is_a_scorer_with_its_coordinator() -> None:
    alone = make_together(limited(1000))
    expected = alone.score(TRAFFIC, np.arange(len(TRAFFIC)))
    with Offline(limited(1000), suspicions=True) as scorer:
        assert play(scorer, TRAFFIC) == expected != []
        assert scorer.suspicion() == alone.suspicion()
        assert scorer.accounts == len(alone.table)


@pytest.mark.parametrize("partitions", [1, 3])
def test_how_many_accounts_stay_in_memory_changes_nothing(partitions: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with Offline(limited(1000), partitions, suspicions=True) as scorer:
        expected, suspicion = play(scorer, TRAFFIC), scorer.suspicion()
    monkeypatch.setattr(offline, "SLICE", 64)
    with Offline(limited(5), partitions, suspicions=True) as scorer:
        found = play(scorer, TRAFFIC, cut=100)
        assert sorted(f.id for f in found) == sorted(f.id for f in expected)
        assert scorer.suspicion() == suspicion
        assert sum(len(s.table) for s in scorer._scorers) <= 5 * partitions < scorer.accounts


def test_accounts_that_were_idle_for_too_long_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offline, "FORGET", 1)
    settings = limited(3)
    settings.state.forget_after = 3600.0
    early = np.concatenate([requests(f"a{i}", [START + i]) for i in range(100)])
    others = [requests(f"z{i}", START + 300.0 + i + np.arange(160) * 125.0) for i in range(40)]
    late = np.concatenate(others)
    late = late[np.argsort(late["time"], kind="stable")]
    with Offline(settings, suspicions=True) as scorer:
        play(scorer, early)
        assert scorer.accounts == 100
        scorer.score(late, 100 + np.arange(len(late)))
        assert 40 <= scorer.accounts < 45, "a page goes whole, with the last of those on it"
        assert len(scorer.suspicion()) == 140, "their scores are kept"


def test_the_command_takes_partitions_and_the_settings_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "telemetry.ndjson"
    with log.open("wb") as file:
        for i, account in itertools.product(range(20), range(30)):
            record = Telemetry(id=f"{account}-{i}", time=START + i * 60.0 + account, account=f"org-{account}", v=1)
            file.write(encode(record) + b"\n")
    monkeypatch.setenv("SIPHONWATCH_STATE_HOT_ACCOUNTS", "4")
    scores = {}
    for partitions in ("1", "4"):
        out = tmp_path / f"{partitions}.csv"
        done = CliRunner().invoke(cli, ["replay", str(log), "--partitions", partitions, "--scores", str(out)])
        assert done.exit_code == 0, done.output
        assert "600 requests of 30 accounts" in done.output
        scores[partitions] = out.read_text().splitlines()
    assert len(scores["1"]) == len(scores["4"]) == 31
    refused = CliRunner().invoke(cli, ["replay", str(log), "--partitions", "0"])
    assert refused.exit_code == 2
