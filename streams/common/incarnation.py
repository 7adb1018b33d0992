"""Which incarnation of a topic has its name now: since 2.8 Kafka gives each topic that is created an id of its own.

Neither aiokafka's requests nor its metadata hold topic ids, so the request is here: Metadata, version 10.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterable
from io import BytesIO
from typing import Any
from zlib import crc32

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.errors import KafkaError, NodeNotReadyError
from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Boolean, CompactArray, CompactString, Int16, Int32, Schema, TaggedFields

from siphonwatch.streams.common import readable

ASK_SECONDS = 10.0
"""Between two questions for a topic's id while nothing comes of it."""
RETRY_SECONDS = 0.5
"""Between two attempts to ask while no broker answers."""
UNKNOWN = ""
"""The incarnation of a topic whose broker gives none."""
MARK = "~"
"""What `mark_of` begins with, as no topic id does."""
_NONE = bytes(16)


class Uuid(AbstractType[str]):
    """A topic id as Kafka's tools print it: 22 characters of base64; `UNKNOWN` for none."""

    @classmethod
    def encode(cls, value: str) -> bytes:
        """Return its 16 bytes."""
        return base64.urlsafe_b64decode(value + "==") if value else _NONE

    @classmethod
    def decode(cls, data: BytesIO) -> str:
        """Read 16 bytes."""
        raw = data.read(16)
        return UNKNOWN if raw == _NONE else base64.urlsafe_b64encode(raw).decode().rstrip("=")


_TAGS = ("tags", TaggedFields)


class MetadataResponse(Response):
    """What a broker says of topics."""

    API_KEY = 3
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("brokers", CompactArray(
            ("node_id", Int32), ("host", CompactString("utf-8")), ("port", Int32), ("rack", CompactString("utf-8")),
            _TAGS,
        )),
        ("cluster_id", CompactString("utf-8")),
        ("controller_id", Int32),
        ("topics", CompactArray(
            ("error_code", Int16), ("name", CompactString("utf-8")), ("topic_id", Uuid), ("is_internal", Boolean),
            ("partitions", CompactArray(
                ("error_code", Int16), ("partition", Int32), ("leader", Int32), ("leader_epoch", Int32),
                ("replicas", CompactArray(Int32)), ("isr", CompactArray(Int32)),
                ("offline_replicas", CompactArray(Int32)), _TAGS,
            )),
            ("authorized_operations", Int32), _TAGS,
        )),
        ("cluster_authorized_operations", Int32),
        _TAGS,
    )  # fmt: skip


class MetadataRequestV10(RequestStruct):
    """Asks for topics by name."""

    FLEXIBLE_VERSION = True
    API_KEY = 3
    API_VERSION = 10
    RESPONSE_TYPE = MetadataResponse
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", Uuid), ("name", CompactString("utf-8")), _TAGS)),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        _TAGS,
    )


class MetadataRequest(Request[MetadataRequestV10]):
    """The same in the one version that we speak; creates no topic."""

    API_KEY = 3

    def __init__(self, topics: Iterable[str]) -> None:
        self._topics: list[tuple[str, str, dict[int, bytes]]] = [(UNKNOWN, topic, {}) for topic in topics]

    def build(self, request_struct_class: type[MetadataRequestV10]) -> MetadataRequestV10:
        """Return the request in that version."""
        return request_struct_class(self._topics, False, False, False, {})


async def incarnations(client: AIOKafkaClient, topics: Iterable[str]) -> dict[str, str]:
    """Return the id of each topic that exists, `UNKNOWN` for all of them where the broker gives none.

    It goes by the connection of the group's coordination, where no fetch that waits for records is in its way.

    Raises
    ------
    KafkaError
        When no broker answers.
    """
    wanted = sorted(set(topics))
    node = client.get_random_node()
    if node is None:
        raise NodeNotReadyError("no broker is known")
    try:
        answer = await client.send(node, MetadataRequest(wanted), group=ConnectionGroup.COORDINATION)
    except NotImplementedError:  # aiokafka's word for a broker without this version
        return dict.fromkeys(wanted, UNKNOWN)
    return {topic: id_ for error, topic, id_, *_ in answer.topics if not error}


async def incarnation_of(client: AIOKafkaClient, topic: str) -> str:
    """Return a topic's id now; `UNKNOWN` where the broker gives none, or the topic does not exist.

    Waits while no broker answers.

    Raises
    ------
    KafkaError
        When one refuses.
    """
    while True:
        try:
            return (await incarnations(client, [topic])).get(topic, UNKNOWN)
        except KafkaError as error:
            if not error.retriable:
                raise
            await asyncio.sleep(RETRY_SECONDS)


def mark_of(timestamp: int, value: bytes | None) -> str:
    """Return a mark of the last record before a position; it is committed beside the position where topics have no ids.

    Examples
    --------
    >>> mark_of(1_790_000_000_000, b"{}")
    '~1790000000000.a3a6bf43'
    """
    return f"{MARK}{timestamp}.{crc32(value or b''):08x}"


class KnowingConsumer(AIOKafkaConsumer):
    """A consumer that knows which incarnation of a topic it reads, and which one the group committed in.

    It passes over what no client can read, see `siphonwatch.streams.common.readable`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        readable.install()
        super().__init__(*args, **kwargs)

    async def incarnation(self, topic: str) -> str:
        """Return a topic's id now, see `incarnation_of`."""
        return await incarnation_of(self._client, topic)

    async def committed_in(self, tp: TopicPartition) -> tuple[int | None, str]:
        """Return the offset that the group committed, None without one, and the metadata beside it.

        Raises
        ------
        KafkaError
            When the broker does not answer.
        """
        offset, said = (await self._coordinator.fetch_committed_offsets([tp])).get(tp, (None, ""))
        return offset, said
