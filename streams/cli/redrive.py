"""`siphonwatch redrive`: sends dead letters back to the topics they came from, once what was wrong is put right.

It never removes a letter, and never prints what is in one.
"""

from __future__ import annotations

import datetime
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import click
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata
from rich.console import Console
from rich.table import Table

from streams import dlq
from streams.cli import Failure
from streams.gateway.producer import BOOTSTRAP_MS, connect
from streams.kafka import client_config
from streams.settings import Settings, load

MAX_REDRIVES = 3
"""A record that failed again this often will fail the next time too."""
STALL_SECONDS = 30.0
LISTINGS = 4
SETTLE_SECONDS = 1.0
"""How long a partition without letters may take to say so."""
BATCH = 500
MAX_BYTES = 64 * 1024 * 1024
"""A letter may be as large as its parts together, and its topic takes it: it came from there."""


class Selection:
    """Which letters to send, and under which name the position in the dead-letter topic is kept."""

    def __init__(self, reason: str | None, topic: str | None, since_ms: int | None) -> None:
        self._reason = reason
        self._topic = topic
        self._since = since_ms

    def takes(self, letter: dlq.DeadLetter) -> bool:
        """Tell whether a letter is among them."""
        return (
            self._reason in (None, letter.reason)
            and self._topic in (None, letter.topic)
            and (self._since is None or letter.timestamp >= self._since)
        )

    def group(self, base: str) -> str:
        """Return the consumer group: one of its own for each choice of reason and topic.

        With one group for all, a run for one reason would move past the letters with another.
        """
        if self._reason is None and self._topic is None:
            return f"{base}-redrive"
        return f"{base}-redrive-{zlib.crc32(repr((self._reason, self._topic)).encode()):08x}"


class Letters:
    """The dead-letter topic from the kept position, or the beginning, to what is its end now."""

    def __init__(self, consumer: Any, topic: str, *, everything: bool) -> None:
        partitions = consumer.partitions_for_topic(topic)
        if not partitions:
            raise Failure(f"topic {topic} does not exist: create it with `siphonwatch topics --create`")
        self._consumer = consumer
        self._joiners = {TopicPartition(topic, number): dlq.Joiner() for number in sorted(partitions)}
        self._consumer.assign(list(self._joiners))
        self._ends = consumer.end_offsets(list(self._joiners))
        self._fetched: set[TopicPartition] = set()
        self._next: dict[TopicPartition, int] = {}
        first = consumer.beginning_offsets(list(self._joiners))
        for tp in self._joiners:
            kept = None if everything else consumer.committed(tp)
            self._next[tp] = first[tp] if kept is None else max(kept, first[tp])
            consumer.seek(tp, self._next[tp])
        self.unreadable = 0

    def batches(self, room: Callable[[], int]) -> Iterator[list[dlq.DeadLetter]]:
        """Iterate over letters, at most `room()` at a time, until that is 0.

        `keep_position` between two batches covers all handed over before.

        Raises
        ------
        Failure
            When the broker sends nothing although there is more.
        """
        quiet_since = time.monotonic()
        while (most := room()) and (quiet := time.monotonic() - quiet_since) < STALL_SECONDS:
            left = any(self._consumer.position(tp) < end for tp, end in self._ends.items())
            if not left and (len(self._fetched) == len(self._ends) or quiet > SETTLE_SECONDS):
                return
            polled = self._consumer.poll(timeout_ms=200, max_records=most)
            self._settle_ends()
            if polled:
                quiet_since = time.monotonic()
            letters = [letter for tp, records in polled.items() for r in records if (letter := self._read(tp, r))]
            if letters:
                yield letters
        if most:
            raise Failure(f"the broker sent no dead letter for {STALL_SECONDS:.0f} s although there are more")

    def keep_position(self) -> None:
        """Commit how far reading went, so that the next run sends only what is new."""
        positions = {}
        for tp, joiner in self._joiners.items():
            first_open = joiner.first_open()
            positions[tp] = OffsetAndMetadata(self._next[tp] if first_open is None else first_open, "", -1)
        self._consumer.commit(positions)

    def _settle_ends(self) -> None:
        """Fix each partition's end at its first fetch: the embedded broker's answer to `end_offsets` is too low."""
        for tp in self._ends.keys() - self._fetched:
            end = self._consumer.highwater(tp)
            if end is not None:
                self._ends[tp] = max(self._ends[tp], end)
                self._fetched.add(tp)

    def _read(self, tp: TopicPartition, record: Any) -> dlq.DeadLetter | None:
        if record.offset >= self._ends[tp]:
            return None
        self._next[tp] = record.offset + 1
        try:
            part = dlq.read(record.key, record.value, record.headers)
        except dlq.Unreadable:
            self.unreadable += 1
            return None
        return self._joiners[tp].add(part, record.offset)


class Redrive:
    """Sends letters back and counts, by reason and topic, what became of them."""

    def __init__(self, producer: Any, topics: Callable[[], set[str]], limit: int | None, *, force: bool) -> None:
        self._producer = producer  # None: a dry run
        self._limit = limit
        self._force = force
        self._topics = topics
        self._known: dict[str, bool] = {}
        self.counts: dict[tuple[str, str], Counter[str]] = {}
        self.errors: Counter[str] = Counter()

    def total(self, what: str) -> int:
        """Letters that this became of."""
        return sum(count[what] for count in self.counts.values())

    def room(self) -> int:
        """Return how many letters may be looked at next, so that the limit is met exactly."""
        return BATCH if self._limit is None else min(BATCH, self._limit - self.total("sent"))

    def send(self, letters: list[dlq.DeadLetter]) -> None:
        """Send letters and wait until the broker has them or refuses."""
        under_way = []
        for letter in letters:
            count = self.counts.setdefault((letter.reason, letter.topic), Counter())
            if letter.redriven >= MAX_REDRIVES and not self._force:
                count["refused"] += 1
            elif not self._exists(letter.topic):
                count["gone"] += 1
            elif self._producer is None:
                count["sent"] += 1
            else:
                headers = [(name, value) for name, value in letter.headers if name != dlq.REDRIVEN]
                headers.append((dlq.REDRIVEN, b"%d" % (letter.redriven + 1)))
                try:
                    future = self._producer.send(
                        letter.topic,
                        value=letter.value,
                        key=letter.key,
                        headers=headers,
                        partition=self._partition(letter),
                    )
                except KafkaError as error:
                    self._fail(count, error)
                else:
                    under_way.append((future, count))
        if self._producer is not None:
            self._producer.flush()
        for future, count in under_way:
            try:
                future.get(timeout=STALL_SECONDS)
            except KafkaError as error:
                self._fail(count, error)
            else:
                count["sent"] += 1

    def _partition(self, letter: dlq.DeadLetter) -> int | None:
        """The one it stood in: accounts and campaigns belong to theirs. By its key where the topic has fewer now."""
        return letter.partition if letter.partition in (self._producer.partitions_for(letter.topic) or ()) else None

    def _exists(self, topic: str) -> bool:
        """Ask more than once: a topic without a leader for a moment is not listed."""
        for attempt in range(LISTINGS):
            if topic in self._known:
                break
            if attempt:
                time.sleep(1.0)
            if topic in self._topics():
                self._known[topic] = True
        return self._known.setdefault(topic, False)

    def _fail(self, count: Counter[str], error: KafkaError) -> None:
        count["failed"] += 1
        self.errors[type(error).__name__] += 1


@click.command("redrive", short_help="Send dead letters back to the topics they came from.")
@click.option("--reason", help="Only letters with this reason, such as json or schema.")
@click.option("--topic", help="Only letters that came from this topic.")
@click.option(
    "--since",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"]),
    help="Only letters whose record is at least as new, UTC. Older ones are passed over; --all reaches them again.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Stop after so many letters; the next run goes on there.")
@click.option("--all", "everything", is_flag=True, help="From the first letter there is, also those sent before.")
@click.option("--force", is_flag=True, help=f"Also letters that were sent {MAX_REDRIVES} times already.")
@click.option("--dry-run", is_flag=True, help="Count what would be sent, send nothing, keep no position.")
def command(
    reason: str | None,
    topic: str | None,
    since: datetime.datetime | None,
    limit: int | None,
    everything: bool,
    force: bool,
    dry_run: bool,
) -> None:
    """Send dead letters back to the topics they came from.

    A second run sends only letters that are new since; each choice of --reason and --topic has a position of its own.
    Run one at a time. Exit code 0: all sent; 1: some failed or were refused; 2: bad usage or settings.
    """
    settings = load().settings
    since_ms = None if since is None else int(since.replace(tzinfo=datetime.UTC).timestamp() * 1000)
    with ExitStack() as stack:
        try:
            redrive, unreadable = _run(
                settings, Selection(reason, topic, since_ms), limit, stack, everything, force, dry_run
            )
        except KafkaError as error:
            raise Failure(
                f"Kafka at {settings.kafka.bootstrap} failed: {type(error).__name__}: {error}. Letters that were not"
                " acknowledged are sent again by the next run"
            ) from None
    Console().print(_table(redrive, dry_run))
    if unreadable:
        click.echo(f"{unreadable:,} records on {settings.topic('dlq')} are no dead letters and were left", err=True)
    problems = []
    if failed := redrive.total("failed"):
        why = ", ".join(f"{reason} ({count:,})" for reason, count in redrive.errors.most_common())
        problems.append(f"{failed:,} letters could not be sent: {why}; put it right and run again")
    if refused := redrive.total("refused"):
        problems.append(f"{refused:,} letters failed {MAX_REDRIVES} redrives already: --all --force sends them again")
    if gone := redrive.total("gone"):
        problems.append(f"{gone:,} letters came from topics that do not exist any more; create them, then --all")
    if problems:
        raise Failure(". ".join(problems))


def _run(
    settings: Settings,
    selection: Selection,
    limit: int | None,
    stack: ExitStack,
    everything: bool,
    force: bool,
    dry_run: bool,
) -> tuple[Redrive, int]:
    consumer = KafkaConsumer(
        **client_config(settings.kafka, "siphonwatch-redrive"),
        group_id=selection.group(settings.kafka.group),
        enable_auto_commit=False,
        allow_auto_create_topics=False,
        bootstrap_timeout_ms=BOOTSTRAP_MS,
        auto_offset_reset="earliest",
    )
    stack.callback(consumer.close)
    producer = None
    if not dry_run:
        producer = connect(settings, "siphonwatch-redrive", max_request_size=MAX_BYTES)
        stack.callback(producer.close)
    letters = Letters(consumer, settings.topic("dlq"), everything=everything)
    redrive = Redrive(producer, consumer.topics, limit, force=force)
    for batch in letters.batches(redrive.room):
        wanted = [letter for letter in batch if selection.takes(letter)]
        redrive.send(wanted)
        if redrive.total("failed"):
            break  # without keeping the position: the next run sends this batch again
        if not dry_run:
            letters.keep_position()
    return redrive, letters.unreadable


def _table(redrive: Redrive, dry_run: bool) -> Table:
    verb = "would send" if dry_run else "sent"
    table = Table(header_style="bold", title=None if redrive.counts else "no dead letters to send")
    for heading in ("reason", "topic", verb, "refused", "gone", "failed"):
        table.add_column(heading, justify="left" if heading in ("reason", "topic") else "right")
    for (reason, topic), count in sorted(redrive.counts.items()):
        table.add_row(reason, topic, *(f"{count[what]:,}" for what in ("sent", "refused", "gone", "failed")))
    return table
