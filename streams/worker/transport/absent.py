"""Topics that a consumer should read and that do not exist yet: it subscribes to the others, and to these once they do.

A topic is never subscribed to before: aiokafka's requests for its metadata would have some brokers create it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any

from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError
from aiokafka.protocol.metadata import MetadataRequest

LOOK_SECONDS = 10.0
"""Between two looks at whether a topic exists now."""
SAID_SECONDS = 600.0
"""Between two log lines about topics that still do not."""

log = logging.getLogger(__name__)


class Absent:
    """Waits for topics.

    Parameters
    ----------
    client
        A started `aiokafka.client.AIOKafkaClient`, asked in its own event loop.
    subscribe
        Subscribes to exactly the topics given.
    """

    def __init__(self, client: Any, subscribe: Callable[[set[str]], None]) -> None:
        self._client = client
        self._subscribe = subscribe
        self.topics: frozenset[str] = frozenset()
        """Those waited for now."""

    async def run(self, topics: Iterable[str], begun: asyncio.Future[None]) -> None:
        """Subscribe to the topics that exist, set `begun`, wait for the others; return once all are subscribed to.

        Raises
        ------
        KafkaError
            When the broker does not answer the first question.
        """
        wanted = set(topics)
        subscribed: set[str] = set()
        said = 0.0
        while subscribed != wanted:
            try:
                there = wanted - await self._unknown(wanted)
            except (KafkaError, OSError):
                if not begun.done():
                    raise
                there = subscribed  # `siphonwatch.streams.common.answers` reports brokers that do not answer
            if there - subscribed:
                subscribed |= there
                self._subscribe(set(subscribed))
            self.topics = frozenset(wanted - subscribed)
            if not begun.done():
                begun.set_result(None)
            now = asyncio.get_running_loop().time()
            if self.topics and now >= said:
                said = now + SAID_SECONDS
                names = ", ".join(sorted(self.topics))
                log.warning("waiting for %s, which does not exist: the other topics are read meanwhile", names)
            if self.topics:
                await asyncio.sleep(LOOK_SECONDS)

    async def _unknown(self, topics: set[str]) -> set[str]:
        node = self._client.get_random_node()
        answer = await self._client.send(node, MetadataRequest(sorted(topics), allow_auto_topic_creation=False))
        return {name for error, name, *_ in answer.topics if error == UnknownTopicOrPartitionError.errno}
