"""The topics siphonwatch needs: what they should be, creating them, and saying where the cluster differs.

Of a topic that exists it changes the number of partitions only, and never downwards; it deletes none.
"""

from __future__ import annotations

import time
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient
from kafka.errors import KafkaError, TopicAlreadyExistsError

from siphonwatch.streams.common.connection import ClientLog, reason
from siphonwatch.streams.common.kafka import make_admin
from siphonwatch.streams.common.settings import Kafka, Settings

HOUR_MS = 3_600_000
STATE_MESSAGE_BYTES = 8 * 1024 * 1024
"""A page of account rows or a partition's models is one record of the state topic, compressed."""
PARTITIONS = {"verdicts": 1, "control": 1, "deployments": 1, "receipts": 1, "desk": 1}
"""Few records, and whoever reads them reads them all in one order."""
FOLLOWERS = {"campaigns": "sightings", "sightings": "telemetry", "state": "telemetry"}
"""Topics that need at least the partitions of another one, in the order in which they grow: partition N of state holds
what partition N of telemetry needs. Sightings follow so that as many workers share them."""
GROWN_SECONDS = 10.0
"""How long the cluster may take to show partitions that it made."""
SAFE_REPLICATION = 3
"""From so many replicas on, a write is acknowledged only when two of them have it."""


class TopicsError(RuntimeError):
    """The cluster cannot be asked, or refused; the message says what and why."""


class Topic(msgspec.Struct, frozen=True):
    """One topic as it should be."""

    name: str
    partitions: int
    replication: int
    config: dict[str, str]


def wanted(settings: Settings) -> list[Topic]:
    """Return our topics as the settings want them."""
    shape = settings.topics
    deleted = {"cleanup.policy": "delete"}
    state = {
        "cleanup.policy": "compact",
        "max.message.bytes": str(STATE_MESSAGE_BYTES),
        # A restore reads the whole log of a partition. Small segments and an early cleaner keep what newer
        # checkpoints replaced to about a quarter of it.
        "min.cleanable.dirty.ratio": "0.25",
        "segment.bytes": str(128 * 1024 * 1024),
        "segment.ms": str(HOUR_MS),
        "delete.retention.ms": str(24 * HOUR_MS),
    }
    configs = {
        "telemetry": deleted | {"retention.ms": str(shape.telemetry_retention_hours * HOUR_MS)},
        "sightings": deleted | {"retention.ms": str(shape.telemetry_retention_hours * HOUR_MS)},
        "features": deleted | {"retention.ms": str(shape.telemetry_retention_hours * HOUR_MS)},
        "alerts": deleted | {"retention.ms": str(shape.alerts_retention_hours * HOUR_MS)},
        "hidden": deleted | {"retention.ms": str(shape.alerts_retention_hours * HOUR_MS)},
        "shadow": deleted | {"retention.ms": str(shape.alerts_retention_hours * HOUR_MS)},
        "deployments": deleted | {"retention.ms": "-1"},  # a few records for each promotion, kept for good
        "receipts": deleted | {"retention.ms": str(shape.alerts_retention_hours * HOUR_MS)},
        "state": state,
        "campaigns": state,
        "verdicts": {
            "cleanup.policy": "compact",
            "min.compaction.lag.ms": str(shape.verdicts_history_hours * HOUR_MS),
        },
        "control": {
            "cleanup.policy": "compact",
            "min.compaction.lag.ms": str(shape.control_history_hours * HOUR_MS),
        },
        # Each record has a key of its own and stays; compaction takes what was replaced when an account was erased.
        "desk": {"cleanup.policy": "compact"},
        "dlq": deleted | {"retention.ms": str(shape.dlq_retention_hours * HOUR_MS)},
    }
    safe = {"min.insync.replicas": "2"} if shape.replication >= SAFE_REPLICATION else {}
    return [
        Topic(settings.topic(name), PARTITIONS.get(name, shape.partitions), shape.replication, config | safe)
        for name, config in configs.items()
    ]


@contextmanager
def connect(kafka: Kafka) -> Iterator[KafkaAdminClient]:
    """Connect to the cluster for administration.

    Raises
    ------
    TopicsError
        When no broker answers, or one refuses what is asked inside.
    """
    with ClientLog().listening() as heard:
        try:
            admin = make_admin(kafka)
        except KafkaError as error:
            raise TopicsError(f"no broker answers at {kafka.bootstrap}: {heard.cause(error)}") from None
    try:
        yield admin
    except KafkaError as error:
        raise TopicsError(f"the cluster at {kafka.bootstrap} refused: {reason(error)}") from None
    finally:
        admin.close()


def create(settings: Settings, admin: KafkaAdminClient) -> list[str]:
    """Create the topics that do not exist; return their names.

    Raises
    ------
    KafkaError
        When the cluster refuses, for instance a replication factor above its number of brokers.
    """
    existing = set(admin.list_topics())
    source = settings.topic("telemetry")
    least = _describe([source], admin)[source][0] if source in existing else 0
    followers = set(map(settings.topic, FOLLOWERS))
    created = []
    for topic in wanted(settings):
        if topic.name in existing:
            continue
        shape = {
            "num_partitions": max(topic.partitions, least if topic.name in followers else 0),
            "replication_factor": topic.replication,
            "configs": topic.config,
        }
        try:
            admin.create_topics({topic.name: shape}, wait_for_metadata=True)
        except TopicAlreadyExistsError:
            continue  # another one was faster
        created.append(topic.name)
    return created


def grow(settings: Settings, admin: KafkaAdminClient, *, telemetry: bool = False) -> list[str]:
    """Give the topics that follow telemetry the partitions they lack; return a line for each that grew.

    Parameters
    ----------
    telemetry
        Give telemetry itself `topics.partitions`, where it has fewer: accounts move to other partitions then.

    Raises
    ------
    KafkaError
        When the cluster refuses.
    """
    source = settings.topic("telemetry")
    names = [*map(settings.topic, FOLLOWERS), source]  # telemetry last: others are ready for what is written there
    counts = {name: partitions for name, (partitions, _) in _describe(names, admin).items()}
    least = max(counts.get(source, 0), settings.topics.partitions if telemetry else 0)
    said = []
    for name in names:
        if name in counts and counts[name] < least:
            admin.create_partitions({name: least})
            _wait_for(name, least, admin)
            said.append(f"{name} has {least} partitions now, {counts[name]} before")
    return said


def _wait_for(name: str, partitions: int, admin: KafkaAdminClient) -> None:
    end = time.monotonic() + GROWN_SECONDS
    while _describe([name], admin).get(name, (0, 0))[0] < partitions and time.monotonic() < end:
        time.sleep(0.1)


def check(settings: Settings, admin: KafkaAdminClient) -> list[str]:
    """Return one line for each way the cluster differs from the settings; none when it fits.

    Settings that a broker does not show (the embedded one shows none) are not checked.
    """
    topics = wanted(settings)
    names = [topic.name for topic in topics]
    found = _describe([*names, *settings.ingest.topics], admin)
    configs = _configs([name for name in names if name in found], admin)
    problems = []
    for topic in topics:
        if topic.name in found:
            problems += _compare(topic, found[topic.name], configs.get(topic.name, {}))
    return problems + _unequal(settings, found) + _missing(names, found) + _awaited(settings, found)


def missing(settings: Settings, admin: KafkaAdminClient) -> list[str]:
    """Return one line for each topic of ours that the cluster does not have; for a gateway's a worker waits."""
    names = [topic.name for topic in wanted(settings)]
    return _missing(names, _describe(names, admin))


def _missing(names: list[str], found: Container[str]) -> list[str]:
    return [f"{name} does not exist: run `siphonwatch topics --create`" for name in names if name not in found]


def _awaited(settings: Settings, found: Container[str]) -> list[str]:
    return [
        f"{name} of ingest.topics does not exist, workers wait for it: create it at the gateway, or take it out of "
        "ingest.topics"
        for name in sorted(settings.ingest.topics)
        if name not in found
    ]


def describe(settings: Settings, admin: KafkaAdminClient) -> list[Topic]:
    """Return our topics and the ingest topics as they are; missing ones are left out."""
    names = [topic.name for topic in wanted(settings)] + sorted(settings.ingest.topics)
    found = _describe(names, admin)
    configs = _configs(list(found), admin)
    return [Topic(name, *found[name], configs.get(name, {})) for name in names if name in found]


def _unequal(settings: Settings, found: Mapping[str, tuple[int, int]]) -> list[str]:
    """Where numbers of partitions do not go together. Those of alerts and dead letters may be any."""
    problems = []
    telemetry = settings.topic("telemetry")
    has, says = found.get(telemetry, (settings.topics.partitions, 0))[0], settings.topics.partitions
    if has != says:
        cure = f"set topics.partitions to {has}"
        if has < says:
            cure += ", or run `siphonwatch topics --grow`: accounts move to other partitions then, and begin anew there"
        problems.append(f"{telemetry} has {has} partitions, settings say {says}: {cure}")
    for follower, leader in FOLLOWERS.items():
        name, other = settings.topic(follower), settings.topic(leader)
        if name in found and other in found and found[name][0] < found[other][0]:
            problems.append(
                f"{name} has {found[name][0]} partitions and {other} {found[other][0]}: "
                "run `siphonwatch topics --create`, which gives it those it lacks"
            )
    return problems


def _compare(topic: Topic, shape: tuple[int, int], config: dict[str, str]) -> list[str]:
    partitions, replication = shape
    problems = []
    if partitions != topic.partitions and topic.name.split(".")[-2] in PARTITIONS:
        problems.append(
            f"{topic.name} has {partitions} partitions, it must have {topic.partitions}, as its records are read in "
            "one order: make it anew, send them again"
        )
    if replication != topic.replication:
        problems.append(
            f"{topic.name} has replication factor {replication}, settings say {topic.replication}: "
            "reassign its replicas, or set topics.replication"
        )
    for name, value in topic.config.items():
        actual = config.get(name)
        enough = name == "max.message.bytes" and actual is not None and int(actual) >= int(value)
        if actual is not None and actual != value and not enough:
            change = f"kafka-configs.sh --alter --topic {topic.name} --add-config {name}={value}"
            problems.append(f"{topic.name} has {name}={actual}, wanted {value}: {change}")
    return problems


def _describe(names: list[str], admin: KafkaAdminClient) -> dict[str, tuple[int, int]]:
    """Partitions and replication factor of the topics that exist."""
    shapes = {}
    for topic in admin.describe_topics(names):
        partitions = topic["partitions"]
        if not topic["error_code"] and partitions:
            shapes[topic["name"]] = (len(partitions), min(len(partition["replica_nodes"]) for partition in partitions))
    return shapes


def _configs(names: list[str], admin: KafkaAdminClient) -> dict[str, dict[str, str]]:
    """Settings of topics, broker defaults included."""
    if not names:
        return {}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    answer: dict[str, dict[str, Any]] = admin.describe_configs(resources, config_filter="all").get("topic", {})
    return {name: {key: str(entry["value"]) for key, entry in config.items()} for name, config in answer.items()}
