"""`siphonwatch noise` reads topics or files, for people and for programs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner, Result
from sink_samples import life, prepare, records, send, told

from siphonwatch.models.account.features import NAMES
from siphonwatch.models.learn.version import table_id
from siphonwatch.streams.cli import cli
from siphonwatch.streams.cli.noise import _cohorts
from siphonwatch.streams.cli.verdict import send as send_verdicts
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts.features import Logged
from siphonwatch.streams.contracts.features import encode as encode_features
from siphonwatch.streams.contracts.verdict import Verdict, encode, judge
from siphonwatch.streams.edge.producer import connect

LIVES = [life(f"org-{i}", 5, pattern="scraping" if i < 2 else "extraction") for i in range(4)]


def verdicts() -> list[Verdict]:
    decisions = ["false-positive", "true-positive", "true-positive"]
    return [
        judge(told(findings[0]).event, decision, by="alice", time=1.8e9)  # type: ignore[arg-type]
        for findings, decision in zip(LIVES, decisions, strict=False)
    ]


def files(folder: Path) -> list[str]:
    alerts, judged = folder / "alerts.ndjson", folder / "verdicts.ndjson"
    alerts.write_bytes(b"\n".join([value for findings in LIVES for _, value in records(findings)] + [b"junk"]))
    judged.write_bytes(b"\n".join(encode(verdict) for verdict in verdicts()))
    return ["--alerts", str(alerts), "--verdicts", str(judged)]


def run(*arguments: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(cli, ["noise", *arguments], env=env)


def test_from_files_each_pattern_and_customer_has_its_cost(tmp_path: Path) -> None:
    result = run(*files(tmp_path), "--json", "--minutes", "10", "--minutes-update", "2")
    assert result.exit_code == 0, result.output
    found = {(one["by"], one["name"]): one for one in map(msgspec.json.decode, result.output.splitlines())}
    scraping = found["pattern", "scraping"]
    assert (scraping["cases"], scraping["updates"], scraping["minutes"], scraping["wasted"]) == (2, 6, 32.0, 16.0)
    assert found["customer", "org-0"]["wasted"] == 16.0 and found["customer", "org-3"]["decided"] == 0
    assert found["cohort", ""]["cases"] == 4


def test_for_people_it_says_what_a_case_is_taken_to_cost(tmp_path: Path) -> None:
    result = run(*files(tmp_path), "--limit", "2")
    assert "by pattern" in result.output and "and 2 more" in result.output and "not known" in result.output
    assert "15 analyst minutes a case, 1 an update" in result.output


def test_cases_of_before_and_half_of_the_files_are_left_out(tmp_path: Path) -> None:
    arguments = files(tmp_path)
    assert "no cases" in run(*arguments, "--since", "2027-01-01").output
    assert run(*arguments[:2]).exit_code == 2


@pytest.mark.parametrize(("over", "width"), [("campaign", 2), ("campaign", len(NAMES)), ("account", 2)])
def test_features_that_are_no_account_s_say_no_cohort(over: Literal["account", "campaign"], width: int) -> None:
    logged = Logged(
        partition=0, offset=0, account="org-0", time=1.8e9, at=["alert"], alerts=[LIVES[0][0].id], over=over,
        version="v", cards={}, table=table_id(), features=np.ones(width, "<f4").tobytes(), scores={}, log_e={},
    )  # fmt: skip
    assert _cohorts(encode_features(logged)) == {}
    whole = msgspec.structs.replace(logged, over="account", features=np.ones(len(NAMES), "<f4").tobytes())
    assert _cohorts(encode_features(whole)) == {LIVES[0][0].id: "rest"}


@pytest.mark.broker
def test_from_the_topics_the_cohort_of_an_account_is_known(settings: Settings) -> None:
    prepare(settings)
    send(settings, [record for findings in LIVES for record in records(findings)])
    send_verdicts(settings, verdicts())
    vector = np.zeros(len(NAMES), "<f4")
    vector[NAMES.index("rest_1d")] = 0.9
    producer = connect(settings, "tests")
    for offset, findings in enumerate(LIVES[:2]):
        logged = Logged(
            partition=0, offset=offset, account=findings[0].accounts[0], time=findings[0].time, at=["alert"],
            alerts=[findings[0].id], version="v", cards={}, table=table_id(), features=vector.tobytes(), scores={},
            log_e={},
        )  # fmt: skip
        producer.send(settings.topic("features"), value=encode_features(logged)).get(timeout=300)
    producer.close(10)
    environment = {
        "SIPHONWATCH_KAFKA_BOOTSTRAP": settings.kafka.bootstrap, "SIPHONWATCH_TOPICS_PREFIX": settings.topics.prefix,
    }  # fmt: skip
    result = run("--json", env=environment)
    assert result.exit_code == 0, result.output
    found = [msgspec.json.decode(line) for line in result.output.splitlines()]
    assert {one["name"]: one["cases"] for one in found if one["by"] == "cohort"} == {"rest": 2, "": 2}
