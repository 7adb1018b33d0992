"""Every command that the runbook names is run here as it stands there, or is listed with what it needs instead."""

from __future__ import annotations

import asyncio
import re
import shlex
from pathlib import Path

import pytest
import yaml
from alert_samples import fill, findings
from click.testing import CliRunner
from sink_receiver import Receiver
from sink_samples import SECRET

from siphonwatch.streams.cli import COMMANDS, cli
from siphonwatch.streams.common.settings import Settings

ROOT = Path(__file__).parents[2]
RUNBOOK = (ROOT / "deploy" / "runbook.md").read_text()
SPANS = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", RUNBOOK)]
OURS = sorted({span.rpartition("siphonwatch ")[2] for span in SPANS if re.search(r"(^|-- )siphonwatch [a-z]", span)})
ELSEWHERE = {
    "deliver": "tests/deliver/test_sink_delivery.py",
    "feedback": "tests/deliver/test_feedback.py",
    "desk": "tests/desk/test_desk_command.py",
    "worker --start-afresh": "tests",
    "alerts --follow": "tests/cli/test_alerts_command.py",
    "provision --plan": "tests/operate/test_provision_apply.py",
    "archive --to URL --metrics-port PORT": "tests/lab/test_archive_watched.py",
    "erase ACCOUNT --why WHY": "tests/cli/test_erase_command.py",
    "models shadow VERSION": "tests/cli/test_models_command.py",
    "models shadow --end": "tests/cli/test_models_command.py",
    "drift --data ARCHIVE": "tests/lab/test_drift_command.py",
    "dataset recent --data ARCHIVE --since 30d --labels verdicts": "tests/lab/test_drift_command.py",
    "train PATTERN --data recent --out PATTERN-next": "tests/lab/test_drift_command.py",
    "backtest shipped PATTERN-next --data recent": "tests/lab/test_drift_command.py",
}
"""Commands that run until they are told to stop, or need workers, Grafana or versions: where they are run."""
NAMES = {"produce", "verdict", "allow", "replay --scores", "drift", "features", "erase"}
"""Mentions of a command, without what it is to be given."""
FAILING = {"status": 1}
"""Exit codes other than 0: nobody scores here."""
CLUSTER = ("kubectl ", "helm ", "kafka-")
"""What a command that needs a cluster, or Kafka's own scripts, begins with; the runbook says so."""


def entries() -> dict[str, str]:
    """The text of each alert's entry."""
    text = RUNBOOK.partition("\n## Alerts\n")[2].partition("\n## ")[0]
    return {name: body for name, body in re.findall(r"^### (\w+)\n(.*?)(?=^### |\Z)", text, re.M | re.S)}


def commands(text: str, label: str) -> list[str]:
    """The commands of a line of an entry."""
    line = re.search(rf"- \*\*{label}:\*\*(.*?)(?=\n- \*\*)", text, re.S)
    assert line, label
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`(?!\))", line[1])]


@pytest.mark.parametrize("name", entries())
def test_an_entry_has_the_line_for_one_machine_beside_the_one_for_a_cluster(name: str) -> None:
    one, cluster = (commands(entries()[name], label) for label in ("One machine", "Cluster"))
    assert one and cluster
    assert not [command for command in one if command.startswith(CLUSTER)], "these need a cluster"
    assert all(command.startswith(CLUSTER) for command in cluster)
    ours = [command for command in one if command.startswith("siphonwatch ")]
    inside = [command.partition(" -- ")[2] for command in cluster if " -- siphonwatch " in command]
    assert ours == inside, "both ask the same of siphonwatch"


def test_the_runbook_says_what_needs_a_cluster() -> None:
    said = " ".join(RUNBOOK.partition("\n## Alerts\n")[2].partition("\n### ")[0].split())
    assert "begins with `kubectl` or `helm` needs a cluster" in said and "Kafka's own scripts" in said


def test_docker_compose_is_asked_for_services_that_there_are() -> None:
    file = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())
    asked = [shlex.split(span) for span in SPANS if span.startswith("docker compose ")]
    assert asked
    for words in asked:
        if "-f" in words:
            assert (ROOT / words[words.index("-f") + 1]).is_file()
        if words[-1] not in ("ps",):
            assert words[-1] in file["services"], words


def test_every_command_is_run_or_listed() -> None:
    assert len(OURS) > 20
    assert set(ELSEWHERE) | NAMES <= set(OURS), "what is listed is no longer named"
    for command, place in ELSEWHERE.items():
        name = next(word for word in reversed(shlex.split(command)) if not word.isupper()).lstrip("-")
        files = [ROOT / place] if place.endswith(".py") else sorted((ROOT / place).rglob("test_*.py"))
        assert any(re.search(rf"{name.replace('-', '[-_]')}|Deliverer|Worker", file.read_text()) for file in files)


@pytest.mark.broker
async def test_the_commands_run_as_they_stand_there(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    # Logging is set up once a process: for the tests that come after, not here.
    monkeypatch.setattr("siphonwatch.streams.cli.deliver.configure", lambda log: None)
    found = findings(2)
    fill(settings, found)
    async with Receiver() as receiver:
        env = {
            "SIPHONWATCH_KAFKA_BOOTSTRAP": settings.kafka.bootstrap,
            "SIPHONWATCH_KAFKA_GROUP": settings.kafka.group,
            "SIPHONWATCH_TOPICS_PREFIX": settings.topics.prefix,
            "SIPHONWATCH_TOPICS_PARTITIONS": "2",
            "SIPHONWATCH_IDENTITY_KEY": "a secret of the tests only",
            "SIPHONWATCH_SINKS_SOC_KIND": "webhook",
            "SIPHONWATCH_SINKS_SOC_URL": receiver.url,
            "SIPHONWATCH_SINKS_SOC_SECRET": SECRET,
        }
        filled = {
            "CASE": found[0].case, "DECISION": "true-positive", "WHY": "asked", "ID": found[0].accounts[0],
            "SINK": "soc", "NAME": "soc", "REASON": "json", "DATE": "2026-01-05",
        }  # fmt: skip
        order = sorted(set(OURS) - set(ELSEWHERE) - NAMES, key=lambda command: "--undo" in command)
        for command in order:
            words = [filled.get(word, word) for word in shlex.split(command)]
            result = await asyncio.to_thread(CliRunner().invoke, cli, words, env=env)
            assert result.exit_code == FAILING.get(words[0], 0), f"siphonwatch {command}: {result.output}"
        assert len(receiver.ids) >= 2, "the test alerts"
    assert {shlex.split(command)[0] for command in OURS} <= set(COMMANDS)
