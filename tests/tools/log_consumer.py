"""A consumer of logs in memory."""

from __future__ import annotations

import uuid
from types import SimpleNamespace
from typing import Any

from desk_samples import NOW
from kafka import TopicPartition

Log = dict[TopicPartition, list[bytes]]
ID = uuid.UUID(int=7)


class Consumer:
    """As much of a consumer as the feed asks for, over logs in memory."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._at: dict[TopicPartition, int] = {}
        self._paused: set[TopicPartition] = set()
        self._cluster = SimpleNamespace(topic_id=lambda topic: ID)

    def topics(self) -> set[str]:
        return {tp.topic for tp in self._log}

    def partitions_for_topic(self, topic: str) -> set[int]:
        return {tp.partition for tp in self._log if tp.topic == topic}

    def assign(self, partitions: list[TopicPartition]) -> None:
        self._at = dict.fromkeys(partitions, 0)

    def assignment(self) -> set[TopicPartition]:
        return set(self._at)

    def pause(self, *partitions: TopicPartition) -> None:
        self._paused |= set(partitions)

    def resume(self, *partitions: TopicPartition) -> None:
        self._paused -= set(partitions)

    def beginning_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 0)

    def end_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return {tp: len(self._log[tp]) for tp in partitions}

    def highwater(self, tp: TopicPartition) -> int:
        return len(self._log[tp])

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self._at[tp] = offset

    def position(self, tp: TopicPartition) -> int:
        return self._at[tp]

    def poll(self, **_: int) -> dict[TopicPartition, list[Any]]:
        found = {}
        for tp in self.assignment() - self._paused:
            begin, self._at[tp] = self._at[tp], len(self._log[tp])
            found[tp] = [
                SimpleNamespace(offset=begin + at, timestamp=1000 * int(NOW), value=value, headers=())
                for at, value in enumerate(self._log[tp][begin:])
            ]
        return found

    def close(self) -> None:
        self._at = {}
