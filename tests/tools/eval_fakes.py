"""Labelled data made by hand: columns for the metrics, and small logs of a scenario for the command."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from click.testing import CliRunner

from siphonwatch.models.account.features import WIDTH
from siphonwatch.models.evaluate.alerts import Alerts
from siphonwatch.models.evaluate.data import Observed, Requests, Truth
from siphonwatch.streams.cli import cli
from siphonwatch.streams.lab.scenario import Scenario


class Log(NamedTuple):
    """Files of one data set: the LiteLLM half of a scenario."""

    gateway: Path
    """As the gateway wrote it, packed."""
    requests: Path
    """The same as telemetry, which is read in no time."""
    labels: Path
    attack_requests: Path
    accounts: int


COLUMNS = (
    "account", "campaign", "archetype", "extracting", "desensitised", "attack_share", "onset", "n_requests",
    "n_attack_requests",
)  # fmt: skip


def write_csv(path: Path, columns: tuple[str, ...], rows: list[dict[str, Any]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore", restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_log(folder: Path, seed: int, accounts: int = 25, days: float = 0.5) -> Log:
    """Write the requests, the labels and the attack requests of a scenario's language-model traffic."""
    folder.mkdir()
    made: dict[str, list[tuple[float, bool]]] = {}
    attacks = []
    scenario = Scenario(seed=seed, accounts=accounts, days=days)
    labels = {label.account: label for label in scenario.labels()}
    with gzip.open(folder / "requests.ndjson.gz", "wt", compresslevel=1) as file:
        for event in scenario:
            if event.format != "litellm":
                continue
            account = event.record["metadata"]["user_api_key_org_id"]
            made.setdefault(account, []).append((event.record["startTime"], bool(event.truth)))
            if event.truth:
                attacks.append({"id": event.record["id"], "campaign": labels[account].campaign})
            file.write(json.dumps(event.record) + "\n")
    rows = []
    for account, requests in sorted(made.items()):
        label = labels[account]
        times = [time for time, attack in requests if attack]
        rows.append(
            {
                "account": account, "campaign": label.campaign, "archetype": label.kind, "extracting": int(bool(times)),
                "desensitised": int(label.pattern == "desensitisation"),
                "attack_share": round(len(times) / len(requests), 4),
                "onset": min(times) if times else "", "n_requests": len(requests), "n_attack_requests": len(times),
            }
        )  # fmt: skip
    with gzip.open(folder / "attack_requests.csv.gz", "wt", newline="") as file:
        writer = csv.DictWriter(file, ("id", "campaign"))
        writer.writeheader()
        writer.writerows(attacks)
    write_csv(folder / "labels.csv", COLUMNS, rows)
    telemetry = folder / "telemetry.ndjson"
    args = ["replay", str(folder / "requests.ndjson.gz"), "--plain-ids", "--telemetry", str(telemetry), "--quiet"]
    assert CliRunner().invoke(cli, args, catch_exceptions=False).exit_code == 0
    return Log(
        folder / "requests.ndjson.gz", telemetry, folder / "labels.csv", folder / "attack_requests.csv.gz", len(rows)
    )


def observed(seed: int, n: int = 60, *, name: str = "made", patterns: tuple[str, ...] = ("one", "two")) -> Observed:
    """Return a run over made-up accounts: every third attacks, from the time 100 on, and scores a little higher."""
    rng = np.random.default_rng(seed)
    attack = np.arange(n) % 3 == 0
    kind = [f"attack {i % 2}" if bad else f"honest {i % 4}" for i, bad in enumerate(attack.tolist())]
    k = n
    account = rng.integers(0, n, k)
    pattern = rng.integers(0, len(patterns), k)
    requests = rng.integers(0, n, 20 * n)
    time = np.sort(rng.uniform(0, 1000, 20 * n))
    return Observed(
        names=[name],
        dataset=np.zeros(n, np.int64),
        truth=Truth(
            account=[f"{name} {i}" for i in range(n)],
            attack=attack,
            archetype=kind,
            campaign=[f"C-{i % 4}-x" if bad else "" for i, bad in enumerate(attack.tolist())],
            family=[f"C-{'x' if i % 2 else 'y'}" if bad else "" for i, bad in enumerate(attack.tolist())],
            share=np.where(attack, rng.choice([0.06, 0.3, 0.9], n), np.nan),
            onset=np.where(attack, 100.0, np.nan),
            desensitised=np.where(attack, np.arange(n) % 2, 0),
        ),
        score=np.round(rng.normal(0, 1, n) + attack, 1),
        patterns=patterns,
        own=np.ones(len(patterns), bool),
        weight=np.linspace(1.0, 2.0, len(patterns)),
        peak=np.maximum(rng.normal(0, 3, (n, len(patterns))), 0),
        top=rng.uniform(0, 1, (n, len(patterns))),
        alerts=Alerts(account, rng.uniform(0, 1000, k), pattern, np.arange(k)),
        opened=k,
        told=2 * k,
        severity=["low", "medium", "high", "critical"] * (k // 4),
        requests=Requests(requests, time, attack[requests] & (time >= 100)),
        knows_requests=True,
        feature_high=rng.normal(0, 1, (n, WIDTH)) + attack[:, None],
        feature_mean=rng.normal(0, 1, (n, WIDTH)),
        days=7.0,
        account_days=7.0 * n,
        baselines={},
    )
