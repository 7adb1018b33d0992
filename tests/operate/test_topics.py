"""Topics are created once, checked against the settings, and never changed but for the partitions they lack."""

from __future__ import annotations

import pytest
from click.testing import CliRunner
from kafka.admin import KafkaAdminClient

from siphonwatch.streams.cli import cli
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.operate.topics import (
    STATE_MESSAGE_BYTES,
    TopicsError,
    check,
    connect,
    create,
    describe,
    wanted,
)


def run(settings: Settings, *arguments: str) -> tuple[int, str]:
    env = {
        "SIPHONWATCH_KAFKA_BOOTSTRAP": settings.kafka.bootstrap,
        "SIPHONWATCH_TOPICS_PREFIX": settings.topics.prefix,
        "SIPHONWATCH_TOPICS_PARTITIONS": str(settings.topics.partitions),
    }
    result = CliRunner().invoke(cli, ["topics", *arguments], env=env)
    return result.exit_code, result.output


def test_state_has_the_partitions_of_telemetry_and_room_for_a_page() -> None:
    settings = Settings()
    settings.topics.partitions = 5
    topics = {topic.name: topic for topic in wanted(settings)}
    assert topics["siphonwatch.state.v1"].partitions == topics["siphonwatch.telemetry.v1"].partitions == 5
    assert topics["siphonwatch.campaigns.v1"].partitions == topics["siphonwatch.sightings.v1"].partitions == 5
    assert topics["siphonwatch.campaigns.v1"].config == topics["siphonwatch.state.v1"].config
    assert topics["siphonwatch.state.v1"].config["cleanup.policy"] == "compact"
    assert int(topics["siphonwatch.state.v1"].config["max.message.bytes"]) == STATE_MESSAGE_BYTES
    assert topics["siphonwatch.telemetry.v1"].config["retention.ms"] == str(72 * 3600 * 1000)


def test_three_replicas_make_writes_wait_for_two() -> None:
    settings = Settings()
    assert all("min.insync.replicas" not in topic.config for topic in wanted(settings))
    settings.topics.replication = 3
    assert all(topic.config["min.insync.replicas"] == "2" for topic in wanted(settings))


def test_creating_twice_creates_once_and_then_the_check_passes(settings: Settings) -> None:
    with connect(settings.kafka) as admin:
        assert check(settings, admin)[0].endswith("does not exist: run `siphonwatch topics --create`")
        assert create(settings, admin) == [topic.name for topic in wanted(settings)]
        assert create(settings, admin) == []
        assert check(settings, admin) == []
        shapes = {topic.name: topic.partitions for topic in describe(settings, admin)}
    single = [settings.topic(name) for name in ("verdicts", "control", "deployments", "receipts", "desk")]
    assert shapes == {topic.name: 1 if topic.name in single else 2 for topic in wanted(settings)}


def test_another_partition_count_is_refused_by_name(settings: Settings) -> None:
    with connect(settings.kafka) as admin:
        create(settings, admin)
        settings.topics.partitions = 3
        (problem,) = check(settings, admin)
        assert problem.startswith(f"{settings.topic('telemetry')} has 2 partitions, settings say 3: set")
        assert "topics --grow" in problem
        settings.topics.partitions = 1
        (problem,) = check(settings, admin)
    assert problem.endswith("has 2 partitions, settings say 1: set topics.partitions to 2")


@pytest.mark.kafka
@pytest.mark.broker
def test_another_retention_policy_or_replication_is_refused_with_the_remedy(kafka: str, prefix: str) -> None:
    settings = Settings()
    settings.kafka.bootstrap, settings.topics.prefix = kafka, prefix
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    shape = {"num_partitions": 8, "replication_factor": 1, "configs": {"cleanup.policy": "delete"}}
    admin.create_topics({settings.topic("state"): shape}, wait_for_metadata=True)
    admin.close()
    with connect(settings.kafka) as admin:
        create(settings, admin)
        settings.topics.telemetry_retention_hours = 1
        settings.topics.replication = 2
        problems = "\n".join(check(settings, admin))
    state, telemetry = settings.topic("state"), settings.topic("telemetry")
    assert f"{state} has cleanup.policy=delete, wanted compact" in problems
    assert f"{state} has max.message.bytes=1048588, wanted 8388608" in problems
    assert f"{telemetry} has retention.ms=259200000, wanted 3600000" in problems
    assert f"--topic {telemetry} --add-config retention.ms=3600000" in problems
    assert f"{telemetry} has replication factor 1, settings say 2" in problems


def test_verdicts_in_several_partitions_are_refused_as_they_have_no_order_there(settings: Settings) -> None:
    name = settings.topic("verdicts")
    admin = KafkaAdminClient(bootstrap_servers=settings.kafka.bootstrap)
    admin.create_topics({name: {"num_partitions": 2, "replication_factor": 1}}, wait_for_metadata=True)
    admin.close()
    with connect(settings.kafka) as admin:
        create(settings, admin)
        problems = check(settings, admin)
    assert f"{name} has 2 partitions, it must have 1, as its records are read in one order" in problems[0]


def test_a_missing_ingest_topic_is_named(settings: Settings) -> None:
    settings.ingest.topics = {f"{settings.topics.prefix}.gateway": "litellm"}
    with connect(settings.kafka) as admin:
        create(settings, admin)
        problems = check(settings, admin)
    assert len(problems) == 1
    assert problems[0].startswith(f"{settings.topics.prefix}.gateway of ingest.topics does not exist")


def test_the_command_creates_checks_and_lists(settings: Settings) -> None:
    assert run(settings, "--check")[0] == 1
    code, output = run(settings, "--create")
    assert code == 0, output
    assert f"created {settings.topic('state')}" in output
    assert run(settings, "--check") == (0, f"{len(wanted(settings))} topics are as the settings want them\n")
    settings.topics.partitions = 4
    code, output = run(settings, "--check")
    assert code == 1
    assert "1 difference between cluster and settings" in output
    code, output = run(settings, "--list")
    assert code == 0
    assert all(topic.name in output for topic in wanted(settings))


def test_what_is_left_to_others_is_said_and_is_no_failure_of_creating(settings: Settings) -> None:
    settings.topics.partitions = 4
    assert run(settings, "--create")[0] == 0
    settings.topics.partitions = 3
    code, output = run(settings, "--create")
    assert code == 0, output
    assert "settings say 3: set topics.partitions to 4" in output
    assert run(settings, "--check")[0] == 1


def test_state_is_made_with_the_partitions_that_telemetry_has(settings: Settings) -> None:
    name = settings.topic("telemetry")
    with connect(settings.kafka) as admin:
        admin.create_topics({name: {"num_partitions": 5, "replication_factor": 1}}, wait_for_metadata=True)
        create(settings, admin)
        shapes = {topic.name: topic.partitions for topic in describe(settings, admin)}
    grown = ("telemetry", "state", "sightings", "campaigns")
    assert {shapes[settings.topic(each)] for each in grown} == {5}


def test_the_command_without_an_action_is_bad_usage() -> None:
    result = CliRunner().invoke(cli, ["topics"])
    assert result.exit_code == 2
    assert "--create, --grow, --check, --list" in result.output


def test_no_broker_is_said_with_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("siphonwatch.streams.common.kafka.CONNECT_MS", 500)
    settings = Settings()
    settings.kafka.bootstrap = "127.0.0.1:1"
    with pytest.raises(TopicsError, match=r"no broker answers at 127\.0\.0\.1:1"), connect(settings.kafka):
        pass
