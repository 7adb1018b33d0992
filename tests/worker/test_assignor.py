"""The group's partitions are shared out evenly topic by topic, and only those move that must."""

from __future__ import annotations

from collections.abc import Mapping

from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata
from hypothesis import given
from hypothesis import strategies as st

from siphonwatch.streams.worker.transport.assignor import StickyAssignor

TOPICS = {"gateway": 3, "sightings": 4, "telemetry": 4}
Owners = dict[tuple[str, int], str]


class Cluster(ClusterMetadata):
    """Topics with so many partitions."""

    def __init__(self, topics: Mapping[str, int]) -> None:
        super().__init__()
        self.counts = topics

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        return set(range(self.counts[topic])) if topic in self.counts else None


class Group:
    """Members that each send what Kafka would carry, encoded; the first leads."""

    def __init__(self, topics: Mapping[str, int] = TOPICS) -> None:
        self.cluster = Cluster(topics)
        self.members: dict[str, StickyAssignor] = {}
        self.owners: Owners = {}

    def rebalance(self, *names: str, leader: object = None) -> Owners:
        """Let these members join; return who owns what."""
        self.members = {name: self.members.get(name) or StickyAssignor() for name in names}
        return self.share(leader or self.members[names[0]])

    def share(self, leader: object) -> Owners:
        said = {
            name: ConsumerProtocolMemberMetadata.decode(member.metadata(self.cluster.counts).encode())
            for name, member in self.members.items()
        }
        self.owners = {}
        for name, assignment in leader.assign(self.cluster, said).items():  # type: ignore[attr-defined]
            received = ConsumerProtocolMemberAssignment.decode(assignment.encode())
            self.members[name].on_assignment(received)
            for tp in received.partitions():
                assert tuple(tp) not in self.owners
                self.owners[tuple(tp)] = name
        return self.owners


def moved(before: Owners, after: Owners) -> list[tuple[str, int]]:
    return sorted(tp for tp in after if before[tp] != after[tp])


def load(owners: Owners, topic: str = "") -> dict[str, int]:
    found: dict[str, int] = {}
    for (name, _), member in owners.items():
        if name == topic or not topic:
            found[member] = found.get(member, 0) + 1
    return found


def test_of_four_partitions_one_moves_when_a_third_worker_joins_and_one_when_it_leaves() -> None:
    group = Group({"telemetry": 4})
    two = group.rebalance("a", "b")
    assert load(two) == {"a": 2, "b": 2}
    three = group.rebalance("a", "b", "c")
    assert sorted(load(three).values()) == [1, 1, 2]
    assert len(moved(two, three)) == 1
    back = group.rebalance("a", "b")
    assert load(back) == {"a": 2, "b": 2}
    assert len(moved(three, back)) == 1


def test_the_partitions_of_a_worker_that_leaves_are_the_only_ones_that_move() -> None:
    group = Group()
    three = group.rebalance("a", "b", "c")
    for names in (("b", "c"), ("c", "a"), ("a", "b")):
        before = group.rebalance("a", "b", "c")
        after = group.rebalance(*names)
        assert all(before[tp] not in names for tp in moved(before, after))
    assert len(three) == sum(TOPICS.values())


def test_a_rebalance_without_cause_moves_nothing() -> None:
    group = Group()
    before = group.rebalance("a", "b", "c")
    assert moved(before, group.rebalance("c", "b", "a")) == []


def test_each_topic_is_spread_and_larger_shares_fall_on_different_workers() -> None:
    group = Group()
    group.rebalance("a", "b")
    owners = group.rebalance("a", "b", "c")
    for topic in TOPICS:
        shares = load(owners, topic)
        assert max(shares.values()) - min(shares.get(name, 0) for name in "abc") <= 1
    assert max(load(owners).values()) - min(load(owners).values()) <= 1


def test_a_member_that_was_away_does_not_claim_what_another_got_meanwhile() -> None:
    group = Group({"telemetry": 4})
    group.rebalance("a", "b")
    away = group.members["a"]
    alone = group.rebalance("b")
    assert load(alone) == {"b": 4}
    group.members["a"] = away
    back = group.rebalance("a", "b")
    assert len(moved(alone, back)) == 2


def test_workers_of_an_earlier_release_can_lead_and_can_be_led() -> None:
    group = Group()
    by_old = dict(group.rebalance("a", "b", leader=RoundRobinPartitionAssignor))
    assert moved(by_old, group.rebalance("a", "b")) == []
    said = {"old": RoundRobinPartitionAssignor.metadata(TOPICS), "new": group.members["a"].metadata(TOPICS)}
    assigned = group.members["a"].assign(group.cluster, said)
    assert sum(len(partitions) for one in assigned.values() for _, partitions in one.assignment) == 11
    assert RoundRobinPartitionAssignor.name == StickyAssignor.name


def test_a_topic_that_one_worker_does_not_read_yet_goes_to_the_others() -> None:
    members = {"a": StickyAssignor(), "b": StickyAssignor()}
    said = {"a": members["a"].metadata(["telemetry", "gateway"]), "b": members["b"].metadata(["telemetry"])}
    assigned = members["a"].assign(Cluster(TOPICS), said)
    assert dict(assigned["a"].assignment)["gateway"] == [0, 1, 2]
    assert "gateway" not in dict(assigned["b"].assignment)


@given(
    st.lists(st.sets(st.sampled_from("abcdef"), min_size=1), min_size=2, max_size=8),
    st.dictionaries(st.sampled_from(["t", "s", "g"]), st.integers(1, 9), min_size=1),
)
def test_all_is_assigned_once_evenly_and_with_the_fewest_moves(rounds: list[set[str]], topics: dict[str, int]) -> None:
    group = Group(topics)
    before: Owners = {}
    for names in rounds:
        after = dict(group.rebalance(*sorted(names)))
        assert len(after) == sum(topics.values())
        for topic, count in topics.items():
            shares = [load(after, topic).get(name, 0) for name in names]
            assert max(shares) - min(shares) <= 1
            if before:
                had = sorted((load(before, topic).get(name, 0) for name in names), reverse=True)
                least, larger = divmod(count, len(names))
                stay = sum(min(h, least + (place < larger)) for place, h in enumerate(had))
                assert len([tp for tp in moved(before, after) if tp[0] == topic]) == count - stay
        before = after
