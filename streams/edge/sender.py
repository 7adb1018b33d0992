"""Takes a gateway's log records off its request path: a bounded queue, and one thread that adapts, sketches and
produces. Offering never blocks or raises; what cannot be kept is counted and logged, and no log line quotes it."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable

import msgspec
from kafka.errors import KafkaError

from siphonwatch.streams.common.connection import ClientLog
from siphonwatch.streams.common.settings import SettingsError
from siphonwatch.streams.contracts.telemetry import Malformed, encode
from siphonwatch.streams.edge.adapters.base import Adapter
from siphonwatch.streams.edge.producer import HOPELESS, Outbox

log = logging.getLogger("siphonwatch.gateway")

QUEUE_BYTES = 64 * 1024 * 1024
"""Raw records that wait while Kafka is away: some 20,000 requests of 3 KB."""

REPORT_SECONDS = 60.0
"""Between two log lines about the same trouble; and so long without an acknowledgement is one."""

SLOW_SECONDS = 1.0
"""A preparation that takes longer is logged."""

RETRY_SECONDS = (0.5, 30.0)
"""First and longest pause between two attempts to reach Kafka."""


def describe(error: BaseException) -> str:
    """Return an error's type and place. Its message may quote a prompt, so that stays out of the log."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__} at {frames[-1].filename}:{frames[-1].lineno}" if frames else type(error).__name__


class Counts(msgspec.Struct, frozen=True):
    """What became of the records offered."""

    offered: int
    dropped: int
    """The queue was full, or the gateway stopped."""
    malformed: int
    delivered: int
    failed: int
    """Kafka did not take them."""
    waiting: int
    """Not acknowledged yet: queued, or under way."""


class Sender:
    """Produces telemetry from raw records, behind the gateway's back.

    Parameters
    ----------
    adapter
        Of the gateway's format.
    connect
        Makes the outbox; called in the sender's thread until it succeeds, and again when Kafka refused records.
    queue_bytes
        Raw bytes kept while Kafka is slow or away; newer records are dropped beyond.
    prepare
        Called in the sender's thread before anything else: what the first record would wait for.
    """

    def __init__(
        self,
        adapter: Adapter,
        connect: Callable[[], Outbox],
        queue_bytes: int = QUEUE_BYTES,
        prepare: Callable[[], None] = lambda: None,
    ) -> None:
        self._adapter = adapter
        self._connect = connect
        self._prepare = prepare
        self._limit = queue_bytes
        self._queue: deque[bytes] = deque()
        self._returned: deque[tuple[bytes, bytes | None]] = deque()
        """Telemetry that Kafka did not take, and which is sent again; never more than were under way."""
        self._bytes = 0
        self._busy = False
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._outbox: Outbox | None = None
        self._offered = self._dropped = self._unsent = self._delivered = 0
        self._malformed: Counter[str] = Counter()
        self._reported: dict[str, float] = {}
        self._client = ClientLog()
        self._thread = threading.Thread(target=self._run, name="siphonwatch-sender", daemon=True)
        self._thread.start()

    def offer(self, raw: bytes) -> bool:
        """Queue one raw record; False when the queue is full or closed and the record was dropped."""
        with self._changed:
            self._offered += 1
            full = self._bytes + len(raw) > self._limit or self._closing.is_set()
            if full:
                self._dropped += 1
            else:
                self._queue.append(raw)
                self._bytes += len(raw)
                self._changed.notify_all()
        if full:
            self._report("queue", "%d records dropped so far: the queue is full or closed", self._dropped)
        self._watch()
        return not full

    def counts(self) -> Counts:
        """Return what became of the records so far."""
        outbox = self._outbox
        return Counts(
            offered=self._offered,
            dropped=self._dropped,
            malformed=self._malformed.total(),
            delivered=self._delivered + (outbox.delivered if outbox else 0),
            failed=self._unsent + (outbox.failed if outbox else 0),
            waiting=len(self._queue) + len(self._returned) + self._busy + (outbox.in_flight if outbox else 0),
        )

    def flush(self, timeout: float = 10.0) -> bool:
        """Wait until all that was offered is delivered or has failed; False when `timeout` seconds were not enough."""
        deadline = time.monotonic() + timeout
        while True:
            with self._changed:
                while self._queue or self._returned or self._busy:
                    left = deadline - time.monotonic()
                    if left <= 0 or not self._thread.is_alive():
                        return False
                    self._changed.wait(left)
            try:
                if self._outbox is not None:
                    self._outbox.flush(max(0.1, deadline - time.monotonic()))
            except KafkaError as error:
                self._report("flush", "not everything was delivered: %s", self._client.cause(error))
                return False
            if not self._returned:  # what was under way came back
                return True

    def close(self, timeout: float = 5.0) -> None:
        """Deliver what is queued, for at most `timeout` seconds, and stop; the rest is counted and logged as lost."""
        if self._closing.is_set():
            return
        flushed = self.flush(timeout)
        self._closing.set()
        with self._changed:
            self._dropped += len(self._queue)
            self._unsent += len(self._returned)
            self._queue.clear()
            self._returned.clear()
            self._bytes = 0
            self._changed.notify_all()
        self._thread.join(0.1 if not flushed else timeout)
        lost = 0
        if self._outbox is not None:
            self._outbox.close(0 if not flushed else timeout)
            lost = self._outbox.in_flight
        counts = self.counts()
        if counts.dropped or counts.failed or lost:
            log.warning(
                "siphonwatch: closed with %d of %d records delivered, %d dropped, %d failed, %d not acknowledged%s",
                counts.delivered, counts.offered, counts.dropped, counts.failed, lost,
                "" if self._outbox is not None else f": Kafka was never reached, {self._client.cause()}",
            )  # fmt: skip
        else:
            log.info("siphonwatch: closed with all %d records delivered", counts.delivered)

    def _run(self) -> None:
        self._warm()
        with self._client.listening():
            outbox = self._reach_kafka()
            while outbox is not None:
                with self._changed:
                    self._busy = False
                    self._changed.notify_all()
                    while not (self._queue or self._returned or self._closing.is_set()):
                        self._changed.wait()
                    if self._closing.is_set():
                        return
                    again, raw = bool(self._returned), b""
                    if not again:
                        raw = self._queue.popleft()
                        self._bytes -= len(raw)
                    self._busy = True
                if again:
                    outbox = self._send_again(outbox)
                    continue
                try:
                    self._send(raw, outbox)
                except Exception as error:  # noqa: BLE001 - one record's bug must not end the gateway's telemetry
                    self._unsent += 1
                    self._report("bug", "a record could not be handled: %s", describe(error))

    def _warm(self) -> None:
        """Prepare, and say so where it takes long."""
        began = time.monotonic()
        words = "siphonwatch: compiling the sketch, once after an installation or upgrade; records wait in the queue"
        timer = threading.Timer(SLOW_SECONDS, log.warning, [words])
        timer.daemon = True
        timer.start()
        try:
            self._prepare()
        except Exception as error:  # noqa: BLE001 - the records tell again what is wrong
            log.error("siphonwatch: could not prepare the sketch: %s", describe(error))
        timer.cancel()
        if (seconds := time.monotonic() - began) >= SLOW_SECONDS:
            log.warning("siphonwatch: the sketch is ready after %.0f s", seconds)

    def _reach_kafka(self) -> Outbox | None:
        pause, longest = RETRY_SECONDS
        while not self._closing.is_set():
            try:
                outbox = self._connect()
            except (KafkaError, SettingsError, OSError) as error:
                self._report("connect", "Kafka cannot be reached, records wait: %s", self._client.cause(error))
                self._closing.wait(pause)
                pause = min(2 * pause, longest)
            else:
                outbox.keep = self._keep
                self._outbox = outbox
                return outbox
        return None

    def _send(self, raw: bytes, outbox: Outbox) -> None:
        for record in self._adapter.records(raw):
            if isinstance(record, Malformed):
                self._malformed[record.reason] += 1
                self._report(
                    "malformed " + record.reason, "a record is no %s telemetry: %s", self._adapter.name, record
                )
                continue
            self._produce(encode(record), record.account.encode(), outbox)
        if outbox.failed:
            self._report("delivery", "records not delivered so far: %s", dict(outbox.failures))

    def _produce(self, value: bytes, key: bytes | None, outbox: Outbox) -> None:
        """Hand over one record, as often as it takes: while metadata cannot be had, the client takes none."""
        pause, longest = RETRY_SECONDS
        while not self._closing.is_set():
            try:
                outbox.send(value, key)
            except HOPELESS as error:
                self._report("send", "a record was not sent: %s", error)
                break
            except KafkaError as error:
                self._report("send", "Kafka takes no records, they wait: %s", self._client.cause(error))
                self._closing.wait(pause)
                pause = min(2 * pause, longest)
            else:
                return
        self._unsent += 1

    def _keep(self, value: bytes, key: bytes | None) -> bool:
        """Take back a record that was not delivered; False when the gateway stops."""
        with self._changed:
            if self._closing.is_set():
                return False
            self._returned.append((value, key))
            self._changed.notify_all()
        return True

    def _send_again(self, outbox: Outbox) -> Outbox | None:
        """Connect again, as a client that gave up may not recover, and send the returned records."""
        self._report("refused", "Kafka refused records, they are sent again: %s", self._client.cause())
        self._closing.wait(RETRY_SECONDS[0])
        with contextlib.suppress(KafkaError):
            outbox.flush(REPORT_SECONDS)
        outbox.close(0)
        self._delivered += outbox.delivered
        self._unsent += outbox.failed
        self._outbox = None
        fresh = self._reach_kafka()
        while fresh is not None:
            with self._changed:
                if not self._returned:
                    break
                value, key = self._returned.popleft()
            self._produce(value, key, fresh)
        return fresh

    def _watch(self) -> None:
        """Say that Kafka is silent while records are under way: its client tries on without a word."""
        outbox = self._outbox
        if outbox is not None and outbox.in_flight:
            silent = time.monotonic() - outbox.progress
            if silent >= REPORT_SECONDS:
                self._report(
                    "silent", "Kafka has acknowledged nothing for %d s, %d records wait: %s",
                    silent, self.counts().waiting, self._client.cause(),
                )  # fmt: skip

    def _report(self, trouble: str, message: str, *values: object) -> None:
        """Log a trouble, at most once in `REPORT_SECONDS`; counts say how often."""
        now = time.monotonic()
        if now - self._reported.get(trouble, -REPORT_SECONDS) >= REPORT_SECONDS:
            self._reported[trouble] = now
            log.warning("siphonwatch: " + message, *values)
