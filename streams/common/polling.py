"""Polls of aiokafka that pass over records it cannot read, such as one with a header's name that is no UTF-8.

It raises on one at every poll, and whoever reads the topic would never get beyond it. What is passed over is logged,
with its place. The worker's own transport does the same by itself, see `siphonwatch.streams.worker.transport.unpack`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import structlog

_log = structlog.get_logger(__name__)

Polled = dict[Any, list[Any]]
"""Records by partition."""


async def getmany(consumer: Any, *tps: Any, timeout_ms: int, max_records: int) -> Polled:
    """Poll an `aiokafka.AIOKafkaConsumer`, all of its partitions where none are named."""
    try:
        found: Polled = await consumer.getmany(*tps, timeout_ms=timeout_ms, max_records=max_records)
    except UnicodeError:
        return await _one_by_one(consumer, tps or consumer.assignment(), timeout_ms, max_records)
    return found


async def _one_by_one(consumer: Any, tps: Iterable[Any], timeout_ms: int, max_records: int) -> Polled:
    """Take records one at a time: in a larger take, those before the one that cannot be read are lost with it."""
    found: Polled = {}
    for tp in tps:
        records: list[Any] = []
        consumer.seek(tp, await consumer.position(tp))  # a fetch that failed gives nothing more
        try:
            while len(records) < max_records:
                taken = (await consumer.getmany(tp, timeout_ms=timeout_ms, max_records=1)).get(tp)
                if not taken:
                    break
                records += taken
        except UnicodeError as error:
            place = await consumer.position(tp)
            _passed(tp, place, error)
            consumer.seek(tp, place + 1)
        if records:
            found[tp] = records
    return found


def _passed(tp: Any, place: int, error: Exception) -> None:
    _log.error(
        "a record cannot be read by any client: passed over",
        topic=tp.topic, partition=tp.partition, offset=place, error=type(error).__name__,
    )  # fmt: skip
