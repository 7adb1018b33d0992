"""Keeps the index near the ends of the topics. It is in no consumer group and commits nothing to the broker: workers
and sinks never notice it, however slow it is.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
import uuid
from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec
import structlog
from kafka import TopicPartition
from kafka.errors import KafkaError

from siphonwatch.streams.common.connection import ClientLog, reason
from siphonwatch.streams.common.incarnation import ASK_SECONDS, UNKNOWN, mark_of
from siphonwatch.streams.common.kafka import make_consumer
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.desk.index.careful import Careful
from siphonwatch.streams.desk.index.cases import Record
from siphonwatch.streams.desk.index.intake import KINDS, Batch
from siphonwatch.streams.desk.index.store import Index, IndexAway
from siphonwatch.streams.worker.outlet import ALLOWED_BY
from siphonwatch.streams.worker.transport import codecs

LATER = ("telemetry", "features")
"""Kinds of topics that wait until the others are read: cases are there in seconds, and what they rest on follows."""
POLL_MS = 200
MAX_RECORDS = 10_000
"""Of one transaction: what somebody just decided waits for no more than that."""
FETCH_BYTES = 4 * 1024 * 1024
SETTLE_SECONDS = 1.5
"""How long a partition with nothing to read may take to say so."""
STALL_SECONDS = 30.0
RETRY_SECONDS = 5.0
TELL_SECONDS = 1.0
FOLLOW_SECONDS = 1.0
"""Between two looks of a desk whether the one that feeds the index it shares has ended."""
HANGS_SECONDS = 120.0
"""That a transaction of so many records may take, and more."""

_log = structlog.get_logger(__name__)


class FeedError(RuntimeError):
    """The topics cannot be read; the message says why."""


class Led(msgspec.Struct):
    """What the desk that feeds an index tells the others that have it; fields as `Feed` has them."""

    trouble: str = ""
    waits: str = "cases are still being read"
    behind: dict[str, int] = {}
    ages: dict[str, float] = {}
    heard: float = 0.0
    """When that was so, by the clock of the one that reads this."""


class Feed:
    """Reads the topics into an index. One thread at a time.

    Parameters
    ----------
    index
        Open.
    settings
        Where the topics are.
    clock
        Monotonic seconds.
    wall
        Seconds since 1970.

    Attributes
    ----------
    trouble
        Why nothing is read at the moment; empty where something is.
    runs
        Whether a thread is in `run`.
    kinds
        What each topic is for, by its name.
    """

    def __init__(
        self,
        index: Index,
        settings: Settings,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._index = index
        self._settings = settings
        self._clock = clock
        self._wall = wall
        self._intake = Careful(index, settings)
        self._begun = wall()
        self._whole: dict[TopicPartition, float] = {}
        """Up to when the index has what was written to a partition."""
        self.kinds = {settings.topic(kind): kind for kind in KINDS}
        self._consumer: Any = None
        self._incarnations: dict[str, str] = {}
        self._later: set[TopicPartition] = set()
        """Partitions that wait until what people wait for is read."""
        self._ends: dict[TopicPartition, int] = {}
        """Where partitions ended when reading began; of the embedded broker that may be too low."""
        self._marks: dict[TopicPartition, str] = {}
        """Of the record before the position, where it is to be compared."""
        self._asked = self._since = 0.0
        self._turn = threading.Lock()
        self._came = threading.Condition()
        self._told = -math.inf
        self._led: Led | None = None
        """What the desk that feeds the index says, where that is another one."""
        self.trouble = "the topics have not been read yet"
        self.runs = False

    @property
    def waits(self) -> str:
        """Why pages do not show all cases that there are, empty where they do: what is said while nothing is read, or
        that what people wait for is not read to its end yet."""
        if self._led is not None:
            return self.trouble or self._led.waits
        return self.trouble or ("cases are still being read" if self._later else "")

    def close(self) -> None:
        """Leave the brokers; nothing is lost by it."""
        with self._turn:
            self._leave()

    def run(self, stop: threading.Event) -> None:
        """Read until stopped, whatever brokers, the disk or a record do; or see to it that another desk does."""
        self.runs = True
        while not stop.is_set():
            try:
                if self._index.feeds():
                    self._led = None
                    self.step()
                    self._tell()
                else:
                    self._follow()
                    stop.wait(FOLLOW_SECONDS)
            except Exception as error:  # noqa: BLE001 - a thread that ended would leave a desk that looks well
                self.trouble = str(error) or type(error).__name__
                ours = not isinstance(error, (FeedError, IndexAway, KafkaError, OSError))
                _log.warning(
                    "topics cannot be taken in", error=self.trouble, again_in=RETRY_SECONDS, exc_info=ours or None
                )
                self._begin_anew()
                with contextlib.suppress(IndexAway):
                    self._tell()
                stop.wait(RETRY_SECONDS)
        self.runs = False
        self.close()

    def step(self) -> int:
        """Take in what one poll gives; return how many records that are.

        Raises
        ------
        FeedError, KafkaError
            When the topics cannot be read.
        """
        with self._turn:
            if self._consumer is None:
                self._open()
            taken = self._poll()
            self._note()
        with self._came:
            self._came.notify_all()
        self.trouble = ""
        return taken

    def catch_up(self, kinds: Collection[str] = KINDS) -> int:
        """Read up to where topics end now; return how many records that were.

        Parameters
        ----------
        kinds
            Of the topics that are waited for; all others are read along with them.

        Raises
        ------
        FeedError
            When the topics cannot be read, or the broker sends nothing although there is more.
        """
        taken, quiet_since, settled = 0, self._clock(), set[TopicPartition]()
        try:
            while True:
                came = self.step()
                taken += came
                now = self._clock()
                if came or any(self.kinds[tp.topic] in kinds for tp in self._later):
                    quiet_since = now
                behind = self._lags(kinds, settled)
                if not any(behind.values()) and (len(settled) == len(behind) or now - quiet_since > SETTLE_SECONDS):
                    return taken
                if now - quiet_since > STALL_SECONDS:
                    raise FeedError(f"the broker sent nothing for {STALL_SECONDS:.0f} s although there is more")
        except KafkaError as error:
            raise FeedError(f"the topics cannot be read: {reason(error)}") from None

    def wait_for(self, topic: str, partition: int, offset: int, timeout: float) -> bool:
        """Wait until a record is taken in, by whichever thread reads; return whether it is.

        Without a thread that reads this one does.
        """
        end = self._clock() + timeout
        while True:
            position = self._index.positions().get((topic, partition))
            if position is not None and position.next > offset:
                return True
            if self._clock() >= end:
                return False
            if not self.runs:
                self.step()
                continue
            with self._came:
                self._came.wait(0.05)

    def behind(self) -> dict[str, int]:
        """Return how many records each kind of topic has that the index has not, as far as its last answers say."""
        found = dict.fromkeys(self.kinds.values(), 0)
        consumer, led = self._consumer, self._led
        if led is not None:
            return {**found, **led.behind}
        if consumer is None:
            return found
        positions = self._index.positions()
        for tp in consumer.assignment():
            high, known = consumer.highwater(tp), positions.get((tp.topic, tp.partition))
            if high is not None:
                found[self.kinds[tp.topic]] += max(high - (known.next if known else 0), 0)
        return found

    def ages(self) -> dict[str, float]:
        """Return by kind of topic for how long the index may have lacked something of it, in seconds.

        That is since it was last known to have all, or since the newest record that it has was written: near 0 while
        it keeps up, and growing while it does not, or brokers do not answer, or nothing reads.
        """
        now, led = self._wall(), self._led
        if led is not None:
            since = max(now - led.heard, 0.0)
            return {kind: led.ages.get(kind, 0.0) + since for kind in self.kinds.values()}
        partitions = dict(self._whole)
        found = {}
        for kind in self.kinds.values():
            known = [moment for tp, moment in partitions.items() if self.kinds[tp.topic] == kind]
            found[kind] = max(now - min(known, default=self._begun), 0.0)
        return found

    def _tell(self) -> None:
        """Tell the desks that have the same index how far it is; of one that nobody shares nothing is told."""
        now = self._clock()
        if self._index.shared and self._index.feeds() and now - self._told >= TELL_SECONDS:
            said = Led(trouble=self.trouble, waits=self.waits, behind=self.behind(), ages=self.ages())
            self._index.tell(msgspec.json.encode(said))
            self._told = now

    def _follow(self) -> None:
        """Learn how far the index is from the desk that feeds it."""
        with self._turn:
            self._leave()
            self._later = set()
        told = self._index.told()
        if told is None:
            self._led, self.trouble = Led(), "another desk begins to feed the index"
            return
        led = msgspec.json.decode(told.said, type=Led)
        led.heard = self._wall() - told.seconds
        self._led = led
        hangs = f"the desk that feeds the index has not done it for {told.seconds:.0f} s"
        self.trouble = hangs if told.seconds > HANGS_SECONDS else led.trouble
        with self._came:
            self._came.notify_all()

    def _note(self) -> None:
        """Note how far each partition is; where there is none there is nothing that the index has not."""
        now = self._wall()
        assigned = self._consumer.assignment()
        self._whole = {tp: moment for tp, moment in self._whole.items() if tp in assigned}
        for tp in assigned:
            end = self._consumer.highwater(tp)
            if self._consumer.position(tp) >= max(end or 0, self._ends[tp]):
                self._whole[tp] = now
            else:
                self._whole.setdefault(tp, self._begun)
        absent = set(self.kinds) - {tp.topic for tp in assigned}
        self._whole |= {TopicPartition(topic, -1): now for topic in absent}

    def _open(self) -> None:
        codecs.bound()
        with ClientLog().listening() as heard:
            try:
                self._consumer = make_consumer(
                    self._settings.kafka, "siphonwatch-desk", read_on=True, max_partition_fetch_bytes=FETCH_BYTES
                )
            except KafkaError as error:
                where = self._settings.kafka.bootstrap
                raise FeedError(f"cannot reach Kafka at {where}: {heard.cause(error)}") from None
        try:
            self._incarnations = self._ask()
            self._assign()
        except BaseException:
            self._leave()
            raise

    def _begin_anew(self) -> None:
        with self._turn:
            try:
                self._leave()
            except Exception as error:  # noqa: BLE001 - it is left all the same
                _log.warning("the brokers were not left in order", error=str(error) or type(error).__name__)
            self._intake.renew()  # what it remembers may be of what was rolled back

    def _leave(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close()

    def _ask(self) -> dict[str, str]:
        """The ids of the topics now, of those that there are."""
        there = self._consumer.topics()
        self._asked = self._clock()
        found = {}
        for topic in self.kinds:
            if topic in there:
                id_: uuid.UUID | None = self._consumer._cluster.topic_id(topic)  # noqa: SLF001 - nothing public tells
                found[topic] = str(id_) if id_ is not None and id_.int else UNKNOWN
        return found

    def _partitions(self) -> list[TopicPartition]:
        """Those that the topics have, as the last metadata says."""
        return [
            TopicPartition(topic, number)
            for topic in self._incarnations
            for number in sorted(self._consumer.partitions_for_topic(topic) or ())
        ]

    def _assign(self) -> None:
        """Read every partition that there is, from where the index ends; what came of topics made anew is forgotten."""
        for (topic, _), known in self._index.positions().items():
            if self._incarnations.get(topic, known.incarnation) != known.incarnation:
                self._forget(topic)
        positions = self._index.positions()
        partitions = self._partitions()
        self._consumer.assign(partitions)
        self._later = {tp for tp in partitions if self.kinds[tp.topic] in LATER}
        self._consumer.pause(*self._later)
        self._since = self._clock()
        begins, self._ends = self._consumer.beginning_offsets(partitions), self._consumer.end_offsets(partitions)
        self._marks = {}
        for tp in partitions:
            position = positions.get((tp.topic, tp.partition))
            if position is None:
                self._consumer.seek(tp, begins[tp])
                continue
            if position.incarnation == UNKNOWN:
                # The record before tells whether the topic is still the one that was read.
                self._marks[tp] = position.mark
            self._consumer.seek(tp, max(position.next - (position.incarnation == UNKNOWN), begins[tp]))

    def _poll(self) -> int:
        if self._later and self._are_read(set(self._consumer.assignment()) - self._later):
            self._consumer.resume(*self._later)
            self._later = set()
        polled = self._consumer.poll(timeout_ms=POLL_MS, max_records=MAX_RECORDS)
        if self._clock() - self._asked >= ASK_SECONDS:
            now = self._ask()
            if now != self._incarnations or set(self._partitions()) - set(self._consumer.assignment()):
                # What came with this poll may be of either topic.
                self._incarnations = now
                self._assign()
                return 0
        polled = {tp: records for tp, records in polled.items() if records}
        if another := {tp.topic for tp, records in polled.items() if self._is_another(tp, records[0])}:
            for topic in another:
                self._forget(topic)
            self._assign()
            return 0
        if not polled:
            return 0
        taken = self._intake.take(
            Batch(
                self.kinds[tp.topic], tp.topic, tp.partition, self._incarnations[tp.topic],
                [_record(one) for one in records],
            )
            for tp, records in polled.items()
        )  # fmt: skip
        for tp, records in polled.items():
            self._whole[tp] = min(_record(records[-1]).sent, self._wall())
        positions = self._index.positions()
        for tp in polled:  # another process may have taken in more
            if (position := positions[tp.topic, tp.partition].next) > self._consumer.position(tp):
                self._consumer.seek(tp, position)
        return taken

    def _are_read(self, partitions: Collection[TopicPartition]) -> bool:
        """Whether partitions are read to their ends, as far as those are known after a while."""
        told = {tp: self._consumer.highwater(tp) for tp in partitions}
        if any(end is None for end in told.values()) and self._clock() - self._since < SETTLE_SECONDS:
            return False
        return all(self._consumer.position(tp) >= max(end or 0, self._ends[tp]) for tp, end in told.items())

    def _is_another(self, tp: TopicPartition, first: Any) -> bool:
        """Whether a topic is another one than was read, by the first record since, where brokers give no ids."""
        mark = self._marks.pop(tp, "")
        known = self._index.positions().get((tp.topic, tp.partition)) if mark else None
        if known is None:
            return False
        if first.offset == known.next - 1:
            return mark_of(first.timestamp or 0, first.value) != mark
        return bool(first.offset < known.next - 1)

    def _forget(self, topic: str) -> None:
        _log.warning("a topic was made anew: what came of the old one is forgotten", topic=topic)
        self._intake.forget(self.kinds[topic], topic)

    def _lags(self, kinds: Collection[str], settled: set[TopicPartition]) -> Mapping[TopicPartition, int]:
        """By partition: how many records wait. `settled` are those whose end a fetch has told."""
        found = {}
        for tp in self._consumer.assignment():
            if self.kinds[tp.topic] not in kinds:
                continue
            high = self._consumer.highwater(tp)
            if high is not None:
                settled.add(tp)
            found[tp] = max(max(high or 0, self._ends[tp]) - self._consumer.position(tp), 0)
        return found


def _record(one: Any) -> Record:
    allowed = (dict(one.headers or ()).get(ALLOWED_BY) or b"").decode("ascii", "replace")
    return Record(one.offset, (one.timestamp or 0) / 1000, one.value or b"", allowed)
