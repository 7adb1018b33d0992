"""What an offset gap in a partition means: nothing, a loss, or a reason to read again.

A gap is explained by retention (the log begins behind it) or by compaction (the topic is compacted); markers and holes
inside a record batch never get here, and a record batch that cannot be read although its checksum is right is lost. Any
other gap, and a wrong checksum, is read again once from the offset that was due; if that changes nothing the records
are lost, which is counted and logged as an error. Reading then goes on.
"""

from __future__ import annotations

import logging
from collections import Counter
from enum import StrEnum

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.protocol.admin import DescribeConfigsRequest

from siphonwatch.streams.worker.transport.unpack import PASSING, Gap

log = logging.getLogger(__name__)

TOPIC_RESOURCE = 2
"""The code of a topic in Kafka's DescribeConfigs request."""


class Meaning(StrEnum):
    """What became of a gap; also the label it is counted under, in offsets."""

    COMPACTED = "compacted"
    RETENTION = "retention"
    """Retention removed records before they were read: a loss, and the worker is too far behind."""
    REREAD = "reread"
    """Not explained: read again from the offset that was due."""
    LOST = "lost"
    """Not explained, and the same when read again."""
    UNREADABLE = "unreadable"
    """The broker has a record batch that no client can read; one of a wrong checksum is the same when read again."""


class Gaps:
    """Judges gaps of one consumer, and counts the offsets in them.

    Parameters
    ----------
    consumer
        Asked for the begin of the log and the topic's cleanup policy, in its own event loop.
    """

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self._reread: dict[TopicPartition, int] = {}
        self._policies: dict[str, str] = {}
        self.by_partition: Counter[tuple[tuple[str, int], Meaning]] = Counter()
        """Offsets in gaps, by `(topic, partition)` and meaning."""

    @property
    def offsets(self) -> Counter[Meaning]:
        """Offsets in gaps, by meaning."""
        found: Counter[Meaning] = Counter()
        for (_, meaning), offsets in self.by_partition.items():
            found[meaning] += offsets
        return found

    def forget(self, tp: TopicPartition) -> None:
        """Forget a partition that left."""
        self._reread.pop(tp, None)

    async def judge(self, tp: TopicPartition, gap: Gap) -> Meaning:
        """Say what a gap means, count and log it.

        Raises
        ------
        KafkaError
            When the broker does not answer.
        """
        meaning = await self._meaning(tp, gap)
        self.by_partition[(tp.topic, tp.partition), meaning] += gap.end - gap.begin
        if meaning is Meaning.REREAD:
            self._reread[tp] = gap.begin
        else:
            self._reread.pop(tp, None)
        if meaning is not Meaning.COMPACTED:
            level = logging.WARNING if meaning is Meaning.REREAD else logging.ERROR
            said = f"{gap.unreadable}: {_SAID[meaning]}" if gap.unreadable else _SAID[meaning]
            log.log(level, "offset gap in %s: %d was due, %d came: %s", tp, gap.begin, gap.end, said)
        return meaning

    async def _meaning(self, tp: TopicPartition, gap: Gap) -> Meaning:
        if gap.unreadable and gap.unreadable not in PASSING:
            return Meaning.UNREADABLE  # it is as its producer wrote it; each fetch more of such ones costs megabytes
        if gap.unreadable:
            return Meaning.UNREADABLE if self._reread.get(tp) == gap.begin else Meaning.REREAD
        begin = (await self._consumer.beginning_offsets([tp]))[tp]
        if begin >= gap.end:
            return Meaning.RETENTION
        if await self._is_compacted(tp.topic):
            return Meaning.COMPACTED
        return Meaning.LOST if self._reread.get(tp) == gap.begin else Meaning.REREAD

    async def _is_compacted(self, topic: str) -> bool:
        if topic not in self._policies:
            self._policies[topic] = await self._policy(topic)
        return "compact" in self._policies[topic]

    async def _policy(self, topic: str) -> str:
        """Return the topic's cleanup policy, nothing where the broker does not say: a gap is read again then."""
        client = self._consumer._client  # noqa: SLF001 - the consumer has no call for topic settings
        request = DescribeConfigsRequest([(TOPIC_RESOURCE, topic, None)])
        try:
            response = await client.send(client.get_random_node(), request)
        except KafkaError as error:
            log.warning("cleanup policy of %s is not known: %s", topic, error)
            return ""
        settings = {entry[0]: entry[1] for resource in response.resources for entry in resource[4]}
        return settings.get("cleanup.policy") or ""


_SAID = {
    Meaning.RETENTION: "retention removed the records before this worker read them; raise the topic's retention.ms",
    Meaning.REREAD: "not explained; reading again from the offset that was due",
    Meaning.LOST: "the broker passes over them again: the records are gone",
    Meaning.UNREADABLE: "the rest of this record batch cannot be read, as its producer wrote it: passed over and lost",
}
