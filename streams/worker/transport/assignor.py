"""Which member of the group gets which partitions: each topic spread evenly, and no partition moved without need.

aiokafka's sticky assignor keeps what a member has in a class attribute, which all consumers of a process share, never
learns the group's generation, and evens out only the sum over all topics: one worker could get all telemetry and
another all sightings. Faust's cuts every member down to the smallest share first: of four partitions two move where one
would do when a third worker joins.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec
from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata

VERSION = 0
"""Of Kafka's consumer protocol."""


class Held(NamedTuple):
    """What a member had before a rebalance; it travels as the user data of its subscription."""

    round: int = 0
    """Counts assignments of the group. Where two members claim a partition, the one of the later round has it."""
    partitions: dict[str, list[int]] = {}  # noqa: RUF012 - never changed
    """By topic."""


class StickyAssignor(AbstractPartitionAssignor):
    """Assigns for one consumer, which is to have its own.

    Examples
    --------
    >>> StickyAssignor.share({"a": [0, 1], "b": [2, 3], "c": []}, 4, {})
    {'a': [0, 1], 'b': [2], 'c': [3]}
    >>> StickyAssignor.share({"a": [0, 1], "c": [3]}, 4, {})
    {'a': [0, 1], 'c': [3, 2]}
    """

    name = "roundrobin"
    """Of aiokafka's assignor that earlier releases used. They ignore the user data, so that old and new workers can be
    in one group during a rolling upgrade; the group's leader decides."""

    def __init__(self) -> None:
        self._held = Held()

    def metadata(self, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata:
        """Return this member's subscription and what it had."""
        return ConsumerProtocolMemberMetadata(VERSION, list(topics), msgspec.msgpack.encode(self._held))

    def on_assignment(self, assignment: ConsumerProtocolMemberAssignment) -> None:
        """Take note of what this member has now."""
        held = {topic: list(partitions) for topic, partitions in assignment.assignment}
        self._held = Held(_decoded(assignment.user_data).round, held)

    def assign(
        self, cluster: ClusterMetadata, members: Mapping[str, ConsumerProtocolMemberMetadata]
    ) -> dict[str, ConsumerProtocolMemberAssignment]:
        """Return what each member of the group gets, given what each had."""
        held = {member: _decoded(metadata.user_data) for member, metadata in members.items()}
        topics = sorted({topic for metadata in members.values() for topic in metadata.subscription})
        assigned: dict[str, list[tuple[str, list[int]]]] = {member: [] for member in members}
        sums: defaultdict[str, int] = defaultdict(int)
        for topic in topics:
            count = len(cluster.partitions_for_topic(topic) or ())
            subscribed = sorted(member for member, metadata in members.items() if topic in metadata.subscription)
            owners: dict[int, str] = {}
            for member in sorted(subscribed, key=lambda member: held[member].round):
                owners |= dict.fromkeys(held[member].partitions.get(topic, ()), member)
            had: dict[str, list[int]] = {member: [] for member in subscribed}
            for partition in sorted(owners):
                if partition < count:
                    had[owners[partition]].append(partition)
            for member, partitions in self.share(had, count, sums).items():
                sums[member] += len(partitions)
                if partitions:
                    assigned[member].append((topic, sorted(partitions)))
        data = msgspec.msgpack.encode(Held(1 + max((one.round for one in held.values()), default=0)))
        return {
            member: ConsumerProtocolMemberAssignment(VERSION, partitions, data)
            for member, partitions in assigned.items()
        }

    @staticmethod
    def share(had: Mapping[str, list[int]], count: int, sums: Mapping[str, int]) -> dict[str, list[int]]:
        """Share partitions 0 to `count` - 1 of one topic out, as evenly as can be.

        A partition moves only where its member has more than its share. The larger shares go to those that had most;
        of those that had as many, to the one with the smallest of `sums`, its partitions of other topics.
        """
        least, larger = divmod(count, max(len(had), 1))
        order = sorted(had, key=lambda member: (-min(len(had[member]), least + 1), sums.get(member, 0), member))
        shares = {member: least + (place < larger) for place, member in enumerate(order)}
        kept = {member: had[member][: shares[member]] for member in had}
        free = sorted(set(range(count)) - {partition for partitions in kept.values() for partition in partitions})
        for member in order:
            wanted = shares[member] - len(kept[member])
            kept[member] += free[:wanted]
            del free[:wanted]
        return kept


def _decoded(data: bytes) -> Held:
    """What a member had; nothing where it does not say, or says it in another way."""
    try:
        return msgspec.msgpack.decode(data, type=Held)
    except msgspec.DecodeError:
        return Held()
