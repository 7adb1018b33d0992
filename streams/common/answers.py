"""When the brokers that matter to a Kafka client last answered it: each is asked every few seconds, busy or not."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from aiokafka.errors import KafkaError
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.structs import TopicPartition
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

SILENT_SECONDS = 30.0
"""A broker that has not answered for so long is said to be silent: beyond a pause of its garbage collector and a
change of leaders (9 s by default), and within the 40 s after which a request fails."""
ASK_SECONDS = 5.0
"""Between an answer and the next question: several fail before a broker is silent."""
LEADERLESS = "leaderless"
"""Stands for the broker that should lead partitions which have no leader."""


class Answers:
    """Asks the leaders of a client's topics.

    Parameters
    ----------
    client
        An `aiokafka.client.AIOKafkaClient` that was started; asked in its own event loop.
    clock
        Monotonic seconds.
    """

    def __init__(self, client: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._answered: dict[str, float] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}

    def ages(self) -> dict[str, float]:
        """Return for how many seconds each broker, `host:port`, has not answered. Safe to call from any thread."""
        now = self._clock()
        return {name: max(now - at, 0.0) for name, at in self._answered.copy().items()}

    async def run(self) -> None:
        """Ask until cancelled."""
        try:
            while True:
                self.look()
                await asyncio.sleep(ASK_SECONDS)
        finally:
            for task in self._asking.values():
                task.cancel()
            await asyncio.gather(*self._asking.values(), return_exceptions=True)

    def look(self) -> None:
        """Begin to ask brokers that lead something now, and forget those that no longer do."""
        leaders = self._leaders()
        for name in self._answered.keys() - leaders.keys():
            del self._answered[name]
            if task := self._asking.pop(name, None):
                task.cancel()
        for name, node in leaders.items():
            self._answered.setdefault(name, self._clock())
            if node is not None and name not in self._asking:
                self._asking[name] = asyncio.create_task(self._ask(name, node), name=f"ask {name}")

    def _leaders(self) -> dict[str, Any]:
        """Node ids by name."""
        cluster = self._client.cluster
        found: dict[str, Any] = {}
        for topic in list(self._client._topics):  # noqa: SLF001 - there is no public way to ask what it follows
            for number in cluster.partitions_for_topic(topic) or ():
                broker = cluster.broker_metadata(cluster.leader_for_partition(TopicPartition(topic, number)))
                if broker is None:
                    found[LEADERLESS] = None
                else:
                    found[f"{broker.host}:{broker.port}"] = broker.nodeId
        return found

    async def _ask(self, name: str, node: Any) -> None:
        while True:
            # Whatever it says: an answer is an answer. No topics are named, as the embedded broker makes some.
            with contextlib.suppress(KafkaError, OSError):
                await self._client.send(node, MetadataRequest([]))
                self._answered[name] = self._clock()
            await asyncio.sleep(ASK_SECONDS)


def silent(ages: Mapping[str, float]) -> str:
    """Return one clause that names the brokers which do not answer, and for how long; nothing where all do.

    Examples
    --------
    >>> silent({"a:9092": 1.0, "b:9092": 31.0})
    'b:9092 has not answered for 31 s'
    >>> silent({"a:9092": 29.0})
    ''
    """
    late = [(name, age) for name, age in sorted(ages.items()) if age > SILENT_SECONDS]
    return ", ".join(
        f"{'some partition has had no leader' if name == LEADERLESS else f'{name} has not answered'} for {age:.0f} s"
        for name, age in late
    )


class AnswerGauge(Collector):
    """The gauge of the last answers.

    Parameters
    ----------
    ages
        Returns for how many seconds each broker has not answered.
    now
        Seconds since 1970.
    """

    def __init__(self, ages: Callable[[], Mapping[str, float]], now: Callable[[], float] = time.time) -> None:
        self._ages = ages
        self._now = now

    def describe(self) -> list[Metric]:
        """Return the metric without values."""
        return [_family()]

    def collect(self) -> Iterator[Metric]:
        """Give the metric with the values of now."""
        family, now = _family(), self._now()
        for name, age in sorted(self._ages().items()):
            family.add_metric([name], now - age)
        yield family


def _family() -> GaugeMetricFamily:
    return GaugeMetricFamily(
        "siphonwatch_last_broker_answer_timestamp_seconds", "When a broker last answered", labels=["broker"]
    )
