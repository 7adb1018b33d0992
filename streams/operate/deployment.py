"""The state of a deployment by what Kafka says: workers and their partitions, lags, and sinks. It changes nothing and
belongs to no group.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
from kafka import TopicPartition
from kafka.admin import KafkaAdminClient, OffsetSpec
from kafka.errors import CoordinatorNotAvailableError, KafkaError

from siphonwatch.streams.common.kafka import make_admin, make_consumer
from siphonwatch.streams.common.settings import Settings

CLIENT = "siphonwatch-status"
LIMIT_MS = 10_000
"""How long the broker may take for one answer: longer than a healthy one ever does, short enough to wait for."""
PEEK_SECONDS = 10.0
"""How long looking at single records may take, over all partitions."""
POLL_MS = 200
STATES = {"telemetry": "state", "sightings": "campaigns"}
"""Where the checkpoints of a stream's partitions stand, under the same numbers."""


class Partition(msgspec.Struct, frozen=True, kw_only=True):
    """One partition that workers read."""

    stream: str
    """`telemetry`, `sightings` or `ingest`."""
    topic: str
    number: int
    worker: str | None
    """Who has it, None where nobody does."""
    committed: int | None
    """Offset to go on from, None where nothing was committed."""
    end: int
    """Offset of the next record that comes."""
    waiting: int
    """Records between the two; all there are where nothing was committed."""
    oldest_waiting: float | None
    """Broker timestamp of the oldest of these, seconds since 1970; None where none waits or none could be read."""
    last_checkpoint: float | None
    """Broker timestamp of the newest record of its state, seconds since 1970; None where it has none."""


class Worker(msgspec.Struct, frozen=True):
    """One member of the workers' group."""

    name: str
    """Client and address, as the broker knows them."""
    partitions: list[str] | None
    """`topic[number]`, sorted; None where the broker does not tell, as the embedded one."""


class Sink(msgspec.Struct, frozen=True, kw_only=True):
    """One sink of the settings."""

    name: str
    kind: str
    state: str
    """Of its consumer group: `Stable` while somebody delivers."""
    deliverers: int
    waiting: int | None
    """Alerts that it has not been given, None where it was given none yet."""


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """What Kafka knows of a deployment."""

    brokers: int
    group: str
    state: str
    """Of the workers' group."""
    workers: list[Worker]
    partitions: list[Partition]
    missing: list[str]
    """Topics that should be read and are not there."""
    sinks: list[Sink]

    @property
    def unowned(self) -> list[Partition]:
        """Partitions that no worker has; none where the broker does not say who has which."""
        if any(worker.partitions is None for worker in self.workers):
            return []
        return [partition for partition in self.partitions if partition.worker is None]

    @property
    def scoring(self) -> bool:
        """Whether a worker has a partition of telemetry, or may have one where the broker does not say."""
        held = any(partition.stream == "telemetry" and partition.worker for partition in self.partitions)
        return held or any(worker.partitions is None for worker in self.workers)

    @property
    def waiting(self) -> int:
        """Records of all partitions that wait."""
        return sum(partition.waiting for partition in self.partitions)

    @property
    def oldest_waiting(self) -> float | None:
        """Broker timestamp of the oldest record that waits, seconds since 1970."""
        return min((p.oldest_waiting for p in self.partitions if p.oldest_waiting is not None), default=None)


def look(settings: Settings, clock: Callable[[], float] = time.monotonic) -> Deployment:
    """Ask Kafka for the state of a deployment.

    Parameters
    ----------
    settings
        Brokers, group, topics and sinks.
    clock
        Monotonic seconds.

    Raises
    ------
    KafkaError, OSError, ValueError
        When the broker does not answer, or refuses.
    """
    admin = make_admin(settings.kafka, CLIENT, bootstrap_timeout_ms=LIMIT_MS, request_timeout_ms=LIMIT_MS)
    try:
        return _look(settings, admin, clock)
    finally:
        admin.close()


def streams_of(settings: Settings) -> dict[str, str]:
    """Return the topics that workers read, each with its stream."""
    own = {settings.topic(stream): stream for stream in STATES}
    return own | dict.fromkeys(settings.ingest.topics, "ingest")


def _look(settings: Settings, admin: KafkaAdminClient, clock: Callable[[], float]) -> Deployment:
    streams = streams_of(settings)
    alerts = settings.topic("alerts")
    states = [settings.topic(state) for state in STATES.values()]
    known = _partitions(admin, [*streams, *states, alerts])
    read = [tp for topic in streams for tp in known.get(topic, [])]
    ends = _offsets(admin, [tp for tps in known.values() for tp in tps], OffsetSpec.LATEST)
    begins = _offsets(admin, [tp for tps in known.values() for tp in tps], OffsetSpec.EARLIEST)
    groups = {name: f"{settings.kafka.group}-sink-{name}" for name in settings.sinks}
    described = {group: _describe(admin, group) for group in (settings.kafka.group, *groups.values())}
    positions = _committed(admin, settings.kafka.group, read)
    delivered = {name: _committed(admin, group, known.get(alerts, [])) for name, group in groups.items()}
    own = described[settings.kafka.group]
    owners = {tp: name for name, tps in own.members for tp in tps or []}

    waiting = {tp: max(ends[tp] - positions.get(tp, begins[tp]), 0) for tp in read}
    at = {tp: max(positions.get(tp, begins[tp]), begins[tp]) for tp in read if waiting[tp]}
    newest = {tp: ends[tp] - 1 for state in states for tp in known.get(state, []) if ends[tp] > begins[tp]}
    stamps = _peek(settings, at | newest, clock)
    partitions = [
        Partition(
            stream=(stream := streams[tp.topic]), topic=tp.topic, number=tp.partition, worker=owners.get(tp),
            committed=positions.get(tp), end=ends[tp], waiting=waiting[tp], oldest_waiting=stamps.get(tp),
            last_checkpoint=stamps.get(TopicPartition(settings.topic(STATES[stream]), tp.partition))
            if stream in STATES else None,
        )
        for tp in read
    ]  # fmt: skip
    return Deployment(
        brokers=len(admin.describe_cluster()["brokers"]),
        group=settings.kafka.group,
        state=own.state,
        workers=[
            Worker(name, None if tps is None else sorted(f"{tp.topic}[{tp.partition}]" for tp in tps))
            for name, tps in own.members
        ],
        partitions=partitions,
        missing=sorted(set(streams) - set(known)),
        sinks=[
            Sink(
                name=name, kind=settings.sinks[name].kind, state=described[group].state,
                deliverers=len(described[group].members),
                waiting=_behind(known.get(alerts, []), delivered[name], ends, begins),
            )
            for name, group in groups.items()
        ],
    )  # fmt: skip


class _Group(msgspec.Struct, frozen=True):
    state: str
    members: list[tuple[str, list[TopicPartition] | None]]


def _partitions(admin: KafkaAdminClient, topics: Iterable[str]) -> dict[str, list[TopicPartition]]:
    """The partitions of the topics that exist."""
    there = set(admin.list_topics())
    wanted = [topic for topic in topics if topic in there]
    found = admin.describe_topics(wanted) if wanted else []
    return {
        topic["name"]: sorted(TopicPartition(topic["name"], p["partition_index"]) for p in topic["partitions"])
        for topic in found
    }


def _offsets(admin: KafkaAdminClient, tps: list[TopicPartition], spec: Any) -> dict[TopicPartition, int]:
    found = admin.list_partition_offsets(dict.fromkeys(tps, spec)) if tps else {}
    return {tp: at.offset for tp, at in found.items()}


def _describe(admin: KafkaAdminClient, group: str) -> _Group:
    """A group's state and members; `Dead` where it never was, as brokers say themselves."""
    try:
        found = admin.describe_groups([group])[group]
    except CoordinatorNotAvailableError:  # a cluster in which there never was a group makes its topic of groups now
        return _Group("Dead", [])
    members = []
    for member in found["members"]:
        assigned, tps = member["member_assignment"], None
        if isinstance(assigned, dict):
            parts = assigned["assigned_partitions"]
            tps = [TopicPartition(part["topic"], number) for part in parts for number in part["partitions"]]
        name = f"{member['client_id']} {member['client_host']}".strip() or member["member_id"]
        members.append((name, tps))
    return _Group(found["group_state"], members)


def _committed(admin: KafkaAdminClient, group: str, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
    """Offsets of partitions by name: the embedded broker does not list a group's own."""
    try:
        found = admin.list_group_offsets({group: tps})[group] if tps else {}
    except CoordinatorNotAvailableError:
        return {}
    return {tp: at.offset for tp, at in found.items() if at.offset >= 0}


def _behind(
    tps: list[TopicPartition],
    committed: Mapping[TopicPartition, int],
    ends: Mapping[TopicPartition, int],
    begins: Mapping[TopicPartition, int],
) -> int | None:
    if not committed:
        return None
    return sum(max(ends[tp] - max(committed.get(tp, 0), begins[tp]), 0) for tp in tps)


def _peek(
    settings: Settings, offsets: Mapping[TopicPartition, int], clock: Callable[[], float]
) -> dict[TopicPartition, float]:
    """Timestamps of single records, seconds since 1970; what cannot be read in time is left out."""
    found: dict[TopicPartition, float] = {}
    if not offsets:
        return found
    consumer = make_consumer(
        settings.kafka, CLIENT, auto_offset_reset="latest", bootstrap_timeout_ms=LIMIT_MS, max_poll_records=1
    )
    try:
        left = dict(offsets)
        consumer.assign(list(left))
        for tp, offset in left.items():
            consumer.seek(tp, offset)
        deadline = clock() + PEEK_SECONDS
        while left and clock() < deadline:
            for tp, records in consumer.poll(timeout_ms=POLL_MS).items():
                found[tp] = records[0].timestamp / 1000.0
                del left[tp]
                consumer.pause(tp)
    except KafkaError:
        pass
    finally:
        consumer.close()
    return found
