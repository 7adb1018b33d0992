"""Requests in another partition than their account's are counted; a topic that grew is not mistaken for that."""

from __future__ import annotations

import numpy as np
import pytest
from aiokafka.errors import KafkaConnectionError
from aiokafka.partitioner import murmur2
from hypothesis import given, settings
from hypothesis import strategies as st

from siphonwatch.models.account.murmur import count_elsewhere
from siphonwatch.models.account.request import REQUEST, Array, name_words
from siphonwatch.streams.worker.agents.placement import Placement

NAMES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=64)
WRITTEN = 1_800_000_000_000


def of(names: list[str]) -> Array:
    requests = np.zeros(len(names), REQUEST)
    for row, name in enumerate(names):
        requests["account"][row] = name_words(name.encode())
    return requests


def home(name: str, partitions: int) -> int:
    return int((murmur2(name.encode()) & 0x7FFFFFFF) % partitions)


class Topic:
    """What the broker says of the topic."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.away = False

    async def __call__(self) -> set[int]:
        if self.away:
            raise KafkaConnectionError
        return set(range(self.count))


@settings(deadline=None)  # the first call compiles
@given(st.lists(NAMES, max_size=30), st.integers(1, 70), st.integers(1, 70), st.integers(0, 69))
def test_where_an_account_belongs_is_what_kafka_clients_say(
    names: list[str], partitions: int, before: int, number: int
) -> None:
    expected = sum(number not in (home(name, partitions), home(name, before)) for name in names)
    assert count_elsewhere(of(names)["account"], number, partitions, before) == expected


async def test_a_key_of_its_own_or_another_partitioner_is_counted() -> None:
    names = [f"account-{i}" for i in range(400)]
    placement = Placement(1, Topic(4))
    stamps = np.full(400, WRITTEN)
    right = of([name for name in names if home(name, 4) == 1])
    assert await placement.misplaced(right, stamps[: len(right)]) == 0
    assert await placement.misplaced(of(names), stamps) == 400 - len(right)


async def test_what_was_written_before_the_topic_grew_is_not_counted_over_restarts_either() -> None:
    names = [f"account-{i}" for i in range(400)]
    topic, clock = Topic(2), iter([WRITTEN / 1000 + 60.0])
    placement = Placement(0, topic, lambda: next(clock))
    old = of([name for name in names if home(name, 2) == 0])
    stamps = np.full(len(old), WRITTEN)
    assert await placement.misplaced(old, stamps) == 0
    topic.count = 6
    moved = sum(home(name, 6) != 0 for name in names if home(name, 2) == 0)
    for _ in range(2):
        assert await placement.misplaced(old, stamps) == 0
        assert await placement.misplaced(old, stamps + 120_000) == moved > 0
        kept = placement.snapshot()
        placement = Placement(0, topic)
        placement.restore(kept)


async def test_a_topic_that_grew_while_no_worker_ran_is_noticed_at_the_start() -> None:
    topic = Topic(2)
    placement = Placement(0, topic)
    await placement.misplaced(of(["a"]), np.array([WRITTEN]))
    topic.count = 4
    again = Placement(0, topic, lambda: WRITTEN / 1000 + 1.0)
    again.restore(placement.snapshot())
    old = of([name for name in map(str, range(100)) if home(name, 2) == 0])
    assert await again.misplaced(old, np.full(len(old), WRITTEN)) == 0


@pytest.mark.parametrize("count", [0, 3])
async def test_nothing_is_counted_while_the_broker_does_not_say_how_many_there_are(count: int) -> None:
    topic = Topic(count)
    topic.away = count > 0
    assert await Placement(0, topic).misplaced(of(["a", "b", "c", "d"]), np.full(4, WRITTEN)) == 0
