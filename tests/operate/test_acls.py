"""Who needs which right, as commands that a shell takes apart into what the table says."""

from __future__ import annotations

import shlex
from collections import defaultdict
from itertools import pairwise
from typing import Any

import pytest
from click.testing import CliRunner

from siphonwatch.streams.cli.topics import command
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.operate.acls import ROLES, WHAT, commands, rights
from siphonwatch.streams.operate.topics import wanted

INTERNAL = ("sightings", "state", "campaigns")


def full() -> Settings:
    settings = Settings()
    settings.ingest.topics = {"gateway": "litellm"}
    settings.sinks = {"soc": None}  # type: ignore[dict-item]
    return settings


def granted(script: str) -> dict[str, set[tuple[str, str, bool, frozenset[str]]]]:
    """What a script of kafka-acls.sh commands grants, by principal."""
    found: dict[str, set[Any]] = defaultdict(set)
    for line in script.splitlines():
        words = shlex.split(line, comments=True)
        if not words:
            continue
        assert words[0] == "kafka-acls.sh" and "--add" in words
        values = defaultdict(list)
        for name, value in pairwise(words):
            if name.startswith("--"):
                values[name].append(value)
        kind = "topic" if "--topic" in values else "group"
        (name,), prefixed = values[f"--{kind}"], values["--resource-pattern-type"] == ["prefixed"]
        found[values["--allow-principal"][0]].add((kind, name, prefixed, frozenset(values["--operation"])))
    return found


@pytest.mark.parametrize("settings", [Settings(), full()], ids=["plain", "with ingest and a sink"])
def test_the_commands_say_what_the_table_says(settings: Settings) -> None:
    principals = {role: f"User:CN={role},O=A 'quoted' $name" for role in ROLES}
    found = granted("\n".join(commands(settings, principals, "$KAFKA", "admin file.properties")))
    assert found == {principals[role]: {tuple(right) for right in rights(settings, role)} for role in ROLES}
    assert set(WHAT) == set(ROLES)


def test_only_workers_may_write_what_workers_tell_each_other() -> None:
    settings = full()
    names = {settings.topic(name) for name in INTERNAL}
    writers = {
        role
        for role in ROLES
        for right in rights(settings, role)
        if right.name in names and "Write" in right.operations
    }
    assert writers == {"worker", "operator"}, "an operator sends sightings again from the dead letters"
    readers = {
        right.name for right in rights(settings, "reader") if right.operations & {"Write", "Alter", "Create", "Delete"}
    }
    assert not readers
    letters = {
        role for role in ROLES for right in rights(settings, role)
        if right.name == settings.topic("dlq") and "Read" in right.operations
    }  # fmt: skip
    assert letters == {"operator"}, "dead letters may hold prompts"


def test_every_topic_has_somebody_who_reads_and_somebody_who_writes_it() -> None:
    settings = full()
    for topic in wanted(settings):
        operations = {
            operation for role in ROLES for right in rights(settings, role) if right.name == topic.name
            for operation in right.operations
        }  # fmt: skip
        assert {"Describe", "DescribeConfigs", "Read", "Write"} <= operations, topic.name


def test_topics_acls_asks_no_broker_and_takes_names() -> None:
    environment = {"SIPHONWATCH_KAFKA_BOOTSTRAP": "127.0.0.1:9", "SIPHONWATCH_TOPICS_PREFIX": "team_a"}
    result = CliRunner().invoke(command, ["--acls", "--principal", "worker=User:watch"], env=environment)
    assert result.exit_code == 0, result.output
    found = granted(result.output)
    assert "User:watch" in found and "User:siphonwatch-gateway" in found
    assert ("topic", "team_a.telemetry.v1", False, frozenset({"Describe", "Write"})) in found[
        "User:siphonwatch-gateway"
    ]
    assert "--bootstrap-server $KAFKA" in result.output
    arguments = ["--acls", "--role", "gateway", "--bootstrap", "kafka:9092", "--command-config", "admin.properties"]
    result = CliRunner().invoke(command, arguments, env=environment)
    assert set(granted(result.output)) == {"User:siphonwatch-gateway"}
    assert "--bootstrap-server kafka:9092 --command-config admin.properties --add" in result.output


@pytest.mark.parametrize("principal", ["worker", "nobody=User:x", "worker=x"])
def test_a_principal_that_is_none_is_bad_usage(principal: str) -> None:
    assert CliRunner().invoke(command, ["--acls", "--principal", principal]).exit_code == 2
