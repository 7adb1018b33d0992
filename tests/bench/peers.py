"""What others do with the same topic on the same core: `python -m bench.peers NAME BOOTSTRAP TOPIC COUNT`.

Each decodes and counts, no more; rates are from the first record to the last, so that joining a group is not in them.
What a library keeps on disk goes to a temporary folder that ends with the run.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import tempfile
import time
import uuid
from typing import Any

SECONDS = 90.0
"""A peer that is not done by then has failed."""


class Count:
    """Counts records and knows when the first and the last of them came."""

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted
        self.seen = 0
        self._first = self._last = 0.0
        self._skip = 0

    def add(self, records: int = 1) -> bool:
        """Count; return whether that was enough."""
        if not self.seen:
            self._first = time.perf_counter()
            self._skip = records
        self.seen += records
        self._last = time.perf_counter()
        return self.seen >= self.wanted

    def result(self) -> dict[str, Any]:
        """Return records a second.

        Raises
        ------
        ValueError
            When all came at once: there is no time between.
        """
        if self.seen == self._skip:
            raise ValueError(f"all {self.seen:,} records came in one fetch: ask for more")
        return {"rate": (self.seen - self._skip) / (self._last - self._first), "records": self.seen}


def aiokafka(bootstrap: str, topic: str, wanted: int) -> dict[str, Any]:
    """aiokafka's `getmany` with its own defaults, nothing decoded."""
    from aiokafka import AIOKafkaConsumer, TopicPartition

    async def read() -> dict[str, Any]:
        count = Count(wanted)
        consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
        await consumer.start()
        try:
            partition = TopicPartition(topic, 0)
            consumer.assign([partition])
            await consumer.seek_to_beginning(partition)
            while True:
                for records in (await consumer.getmany(timeout_ms=1000)).values():
                    if count.add(len(records)):
                        return count.result()
        finally:
            await consumer.stop()

    return asyncio.run(read())


def faust(bootstrap: str, topic: str, wanted: int) -> dict[str, Any]:
    """A plain Faust agent over the stock transport and codec."""
    import faust as library

    async def run(folder: str) -> dict[str, Any]:
        count, done = Count(wanted), asyncio.Event()
        app = library.App(
            f"bench-{uuid.uuid4()}", broker=f"kafka://{bootstrap}", store="memory://", web_enabled=False,
            topic_allow_declare=False, topic_disable_leader=True, autodiscover=False, datadir=folder,
        )  # fmt: skip

        async def agent(stream: Any) -> None:
            async for _ in stream:
                if count.add():
                    done.set()

        app.agent(app.topic(topic, value_serializer="json"), name="count")(agent)
        starting = asyncio.create_task(app.start())
        try:
            await asyncio.wait_for(done.wait(), SECONDS)
        finally:
            starting.cancel()
            await app.stop()
        return count.result()

    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(run(folder))


def quix(bootstrap: str, topic: str, wanted: int) -> dict[str, Any]:
    """A Quix Streams job with its JSON deserialiser and no state."""
    from quixstreams import Application

    count = Count(wanted)
    with tempfile.TemporaryDirectory() as folder:
        app = Application(
            bootstrap, consumer_group=f"bench-{uuid.uuid4()}", auto_offset_reset="earliest", auto_create_topics=False,
            loglevel="ERROR", state_dir=folder,
        )  # fmt: skip

        def add(_: Any) -> None:
            if count.add():
                app.stop()

        app.run(app.dataframe(app.topic(topic, value_deserializer="json")).update(add))
    return count.result()


PEERS = {"aiokafka": aiokafka, "faust": faust, "quix": quix}

if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    name, bootstrap, topic, wanted = sys.argv[1:]
    print(json.dumps(PEERS[name](bootstrap, topic, int(wanted))), flush=True)
