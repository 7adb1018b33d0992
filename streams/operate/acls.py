"""Who needs which right on which topic and group: one table, which `siphonwatch topics --acls` prints and the chart's
KafkaUser follows. It asks no broker.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from siphonwatch.streams.common.settings import Settings

GATEWAY, WORKER, DELIVER, ANALYST, OPERATOR, READONLY, READER, ARCHIVER, DESK = ROLES = (
    "gateway", "worker", "deliver", "analyst", "operator", "readonly", "reader", "archiver", "desk",
)  # fmt: skip
WHAT = {
    GATEWAY: "writes telemetry, or its own topic of ingest.topics: gateways, `siphonwatch produce`",
    WORKER: "`siphonwatch worker`",
    DELIVER: "`siphonwatch deliver`",
    ANALYST: "`siphonwatch alerts`, `siphonwatch verdict`, `siphonwatch allow`, `siphonwatch models`, "
    "`siphonwatch feedback`, `siphonwatch export`",
    OPERATOR: "`siphonwatch topics --create`, `siphonwatch redrive`; reads dead letters, which may hold prompts",
    READONLY: "`siphonwatch doctor`, `siphonwatch status`, `siphonwatch topics --check`: sees shapes, reads no record",
    READER: "data scientists: telemetry (it holds no text), features, alerts, verdicts, what shadows find, deployments",
    ARCHIVER: "`siphonwatch archive`: is in no group, writes to no topic",
    DESK: "`siphonwatch desk`, `siphonwatch cases`, `siphonwatch case`, `siphonwatch account`, `siphonwatch find`: an "
    "analyst who also sees telemetry (it holds no text) and features; is in no group",
}
"""Who has a role."""
TOPIC, GROUP = "topic", "group"
ALL = (
    "telemetry", "sightings", "alerts", "hidden", "shadow", "deployments", "receipts", "state", "campaigns", "verdicts",
    "control", "dlq", "features", "desk",
)  # fmt: skip
"""Our topics."""


class Right(NamedTuple):
    """Operations on one resource."""

    kind: str
    """`TOPIC` or `GROUP`."""
    name: str
    prefixed: bool
    """Whether the name is the beginning of the resources' names."""
    operations: frozenset[str]


def rights(settings: Settings, role: str) -> list[Right]:
    """Return what a role needs, a row for each resource, by kind and name.

    Write on telemetry or an ingest topic is the right to be believed about any account, write on sightings, state or
    campaigns the right to be believed about what was detected: no gateway has the second.
    """
    found: dict[tuple[str, str, bool], set[str]] = {}

    def allow(kind: str, names: Iterator[str] | tuple[str, ...], operations: str, prefixed: bool = False) -> None:
        for name in names:
            found.setdefault((kind, name, prefixed), {"Describe"}).update(operations.split())

    def ours(*names: str) -> tuple[str, ...]:
        return tuple(settings.topic(name) for name in names)

    ingested, group = tuple(settings.ingest.topics), settings.kafka.group
    if role == GATEWAY:
        allow(TOPIC, (*ours("telemetry"), *ingested), "Write")
    elif role == WORKER:
        allow(TOPIC, (*ours("telemetry", "verdicts", "control"), *ingested), "DescribeConfigs Read")
        allow(TOPIC, ours("sightings", "state", "campaigns"), "DescribeConfigs Read Write")
        allow(TOPIC, ours("alerts", "hidden", "shadow", "deployments", "receipts", "features", "dlq"), "Write")
        allow(GROUP, (group,), "Read")
        if ingested:
            allow(TOPIC, ours("telemetry"), "Write")
    elif role == DELIVER:
        allow(TOPIC, ours("alerts"), "Read")
        allow(GROUP, tuple(f"{group}-sink-{name}" for name in settings.sinks), "Read")
    elif role == ANALYST:
        allow(TOPIC, ours("alerts", "hidden", "shadow", "deployments", "receipts", "verdicts", "control"), "Read")
        allow(TOPIC, ours("verdicts", "control"), "Write")
        allow(TOPIC, ours("desk"), "Read Write")
    elif role == OPERATOR:
        allow(TOPIC, (f"{settings.topics.prefix}.",), "Alter Create DescribeConfigs", prefixed=True)
        allow(TOPIC, ours("dlq"), "Read")
        allow(TOPIC, (*ours("telemetry", "sightings"), *ingested), "Write")
        allow(GROUP, (f"{group}-redrive",), "Read", prefixed=True)
    elif role == READONLY:
        allow(TOPIC, (*ours(*ALL), *ingested), "DescribeConfigs")
        allow(GROUP, (group, *(f"{group}-sink-{name}" for name in settings.sinks)), "Describe")
    elif role == READER:
        allow(TOPIC, ours("telemetry", "alerts", "verdicts", "shadow", "deployments", "features"), "Read")
    elif role == ARCHIVER:
        allow(TOPIC, ours("telemetry", "alerts", "verdicts", "features", "control"), "Read")
    elif role == DESK:
        allow(TOPIC, ours("telemetry", "alerts", "hidden", "features"), "Read")
        allow(TOPIC, ours("verdicts", "control", "desk"), "Read Write")
    else:
        raise ValueError(f"{role} is no role")
    return sorted(Right(*resource, frozenset(operations)) for resource, operations in found.items())


def commands(
    settings: Settings, principals: Mapping[str, str], bootstrap: str, command_config: str = ""
) -> Iterator[str]:
    """Give the lines of a shell script that grants each role its rights.

    Parameters
    ----------
    principals
        By role, such as `User:gateway` or `User:CN=gateway,O=Example`; roles that are not in it are left out.
    bootstrap
        A broker, or a shell variable that holds one.
    command_config
        File with the connection settings of who may grant rights; none for a listener that asks for none.
    """
    server = bootstrap if bootstrap.startswith("$") else shlex.quote(bootstrap)
    config = f" --command-config {shlex.quote(command_config)}" if command_config else ""
    for role, principal in principals.items():
        yield f"# {role}: {WHAT[role]}"
        for right in rights(settings, role):
            operations = " ".join(f"--operation {operation}" for operation in sorted(right.operations))
            pattern = " --resource-pattern-type prefixed" if right.prefixed else ""
            yield (
                f"kafka-acls.sh --bootstrap-server {server}{config} --add --allow-principal {shlex.quote(principal)}"
                f" {operations} --{right.kind} {shlex.quote(right.name)}{pattern}"
            )
