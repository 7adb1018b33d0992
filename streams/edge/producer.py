"""An idempotent Kafka producer that says what became of its records and bounds those nobody has acknowledged yet.

kafka-python 3 buffers without limit; here `send` waits once too many are under way. It never drops a record silently.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

from kafka import KafkaProducer
from kafka.errors import InvalidRecordError, InvalidTimestampError, MessageSizeTooLargeError, RecordListTooLargeError

from siphonwatch.streams.common import kafka
from siphonwatch.streams.common.settings import Settings

LINGER_MS = 20
"""Batches fill within this time at gateway rates; it adds to the time from request to alert."""

BATCH_BYTES = 256 * 1024
MAX_IN_FLIGHT = 20_000
"""Unacknowledged records, about 10 MB of telemetry."""

FOREVER_MS = 2**31 - 1
"""Delivery timeout of a gateway, some 24 days: within it the client itself sends again, in order, whatever the broker
does; what bounds the records that wait is their number and size."""

HOPELESS = (MessageSizeTooLargeError, RecordListTooLargeError, InvalidTimestampError, InvalidRecordError)
"""Errors that lie in the record: sent again it would fail again."""


def connect(settings: Settings, client_id: str = "siphonwatch-gateway", **overrides: Any) -> KafkaProducer:
    """Connect an idempotent producer: acks=all, ordered, batched, compressed.

    Parameters
    ----------
    settings
        `[kafka]` is used, TLS and SASL included.
    client_id
        As brokers log it.
    overrides
        kafka-python settings that win over ours.

    Raises
    ------
    kafka.errors.KafkaError
        When no broker answers within ten seconds, or refuses the login.
    SettingsError
        When a certificate or the token provider cannot be loaded.
    """
    config = {
        **kafka.client_config(settings.kafka, client_id),
        "enable_idempotence": True,
        "acks": "all",
        "compression_type": "zstd",
        "linger_ms": LINGER_MS,
        "batch_size": BATCH_BYTES,
        "bootstrap_timeout_ms": kafka.CONNECT_MS,
        "max_block_ms": kafka.CONNECT_MS,
        "allow_auto_create_topics": False,
    }
    return KafkaProducer(**(config | overrides))


class Outbox:
    """Sends to one topic and counts deliveries and failures; safe to share between threads.

    Parameters
    ----------
    producer
        A `kafka.KafkaProducer`, or anything with its `send`, `flush` and `close`.
    topic
        Where records go.
    max_in_flight
        Records sent and not yet acknowledged; `send` waits beyond.

    Attributes
    ----------
    delivered
        Records a broker acknowledged.
    failures
        Records that were not delivered, by the error's name.
    keep
        Called with value and key of a record that was not delivered through no fault of its own; where it returns
        true, the record is not counted as failed, and will be sent again by who keeps it.
    progress
        `time.monotonic` of the last acknowledgement, or of the first record sent since all were acknowledged.
    """

    keep: Callable[[bytes, bytes | None], bool] | None = None

    def __init__(self, producer: Any, topic: str, max_in_flight: int = MAX_IN_FLIGHT) -> None:
        self._producer = producer
        self.topic = topic
        self._max = max_in_flight
        self._in_flight = 0
        self._changed = threading.Condition()
        self.delivered = 0
        self.failures: Counter[str] = Counter()
        self.progress = time.monotonic()

    @property
    def in_flight(self) -> int:
        """Records sent and not yet acknowledged."""
        return self._in_flight

    @property
    def failed(self) -> int:
        """Records that were not delivered."""
        return self.failures.total()

    def send(self, value: bytes, key: bytes | None) -> None:
        """Hand one record over; waits while too many are unacknowledged, which the client's delivery timeout bounds.

        The record is stamped with the time of sending: brokers keep a log by that stamp; event time may be long ago.

        Raises
        ------
        kafka.errors.KafkaError
            When the topic's metadata cannot be had, or the record is too large.
        """
        with self._changed:
            while self._in_flight >= self._max:
                self._changed.wait()
            if not self._in_flight:
                self.progress = time.monotonic()
            self._in_flight += 1
        try:
            future = self._producer.send(self.topic, value=value, key=key)
        except BaseException:
            with self._changed:
                self._in_flight -= 1
                self._changed.notify()
            raise
        future.add_callback(self._done)
        future.add_errback(partial(self._failed, value, key))

    def flush(self, timeout: float | None = None) -> None:
        """Wait until everything sent is delivered or failed.

        Raises
        ------
        kafka.errors.KafkaTimeoutError
            When `timeout` seconds were not enough.
        """
        self._producer.flush(timeout=timeout)

    def close(self, timeout: float | None = None) -> None:
        """Close the producer; records not delivered within `timeout` seconds count as failed."""
        self._producer.close(timeout=timeout)

    def _done(self, _metadata: object) -> None:
        self.progress = time.monotonic()
        with self._changed:
            self._in_flight -= 1
            self.delivered += 1
            self._changed.notify()

    def _failed(self, value: bytes, key: bytes | None, error: BaseException) -> None:
        kept = self.keep is not None and not isinstance(error, HOPELESS) and self.keep(value, key)
        with self._changed:
            self._in_flight -= 1
            if not kept:
                self.failures[type(error).__name__] += 1
            self._changed.notify()
