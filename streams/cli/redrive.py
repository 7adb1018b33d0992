"""`siphonwatch redrive`: sends dead letters back to the topics they came from, once what was wrong is put right.

It never removes a letter, never prints what is in one, and no letter holds up another.
"""

from __future__ import annotations

import datetime
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import islice
from typing import Any

import click
from kafka import TopicPartition
from kafka.errors import (
    InvalidRecordError,
    InvalidTopicError,
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
)
from kafka.structs import OffsetAndMetadata
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from siphonwatch.streams.cli import Failure
from siphonwatch.streams.cli.letter import describe, origin, printable
from siphonwatch.streams.common.kafka import make_consumer
from siphonwatch.streams.common.settings import Settings, load
from siphonwatch.streams.common.tail import Tail, TailError
from siphonwatch.streams.contracts import dead_letter as dlq
from siphonwatch.streams.contracts.provenance import REDRIVEN, REDRIVEN_SEAL, Seals
from siphonwatch.streams.edge.producer import connect

MAX_REDRIVES = 3
"""A record that failed again this often will fail the next time too."""
STALL_SECONDS = 30.0
LISTINGS = 4
BATCH = 500
MAX_BYTES = dlq.MAX_WHOLE + 1024 * 1024
"""A letter may be as large as its parts together, and its topic takes it: it came from there."""
PART_SECONDS = 600.0
"""How long the parts of a letter may be apart: they are written one after the other, within minutes at most."""
SAID = 20
"""Letters that cannot be sent of which each is named."""
FOREIGN = ("alerts", "state", "campaigns", "verdicts", "dlq")
"""Our topics that no dead letter comes from."""
CONTROL_STAYS = "it could undo a newer decision of the same id; give the entry again with `siphonwatch allow`"
"""Why no control record is sent again: the last one of an id counts."""
TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)
UNFIT = (*TOO_LARGE, InvalidRecordError, InvalidTopicError)
"""What a broker or the client says of the record itself."""


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
        self._tail = Tail(consumer, topic)
        self._consumer = consumer
        self.topic = topic
        self.topics: Callable[[], set[str]] = consumer.topics
        """Returns the names of all topics."""
        self._joiners = {tp: dlq.Joiner() for tp in self._tail.partitions}
        self._next: dict[TopicPartition, int] = {}
        self._done: dict[TopicPartition, int] = {}
        begin = consumer.beginning_offsets(list(self._joiners))
        for tp, first in begin.items():
            kept = None if everything else consumer.committed(tp, metadata=True)
            begin[tp] = first if kept is None else max(kept.offset, first)
            done = int(kept.metadata) if kept is not None and (kept.metadata or "").isdigit() else 0
            self._next[tp] = self._done[tp] = max(begin[tp], done)
        self._tail.begin_at(begin)
        self.unreadable = self.incomplete = 0

    def batches(self, room: Callable[[], int]) -> Iterator[list[dlq.DeadLetter]]:
        """Iterate over letters, at most `room()` at a time, until that is 0.

        `keep_position` between two batches covers all handed over before.

        Raises
        ------
        TailError
            When the topic cannot be read.
        """
        for polled in self._tail.polls(room):
            letters = [letter for tp, records in polled.items() for r in records if (letter := self._read(tp, r))]
            if letters:
                yield letters
        if room():
            self.give_up()

    def keep_position(self) -> None:
        """Commit the position, so that the next run sends only newer letters.

        It goes back to a letter that is not whole yet, and notes how far the others behind it were sent.
        """
        positions = {}
        for tp, joiner in self._joiners.items():
            first_open = joiner.first_open()
            done = str(self._next[tp])
            positions[tp] = OffsetAndMetadata(self._next[tp] if first_open is None else first_open, done, -1)
        self._consumer.commit(positions)

    def give_up(self) -> None:
        """Pass over letters whose other parts should have come long ago."""
        before = (time.time() - PART_SECONDS) * 1000.0
        self.incomplete += sum(joiner.give_up(before) for joiner in self._joiners.values())

    def _read(self, tp: TopicPartition, record: Any) -> dlq.DeadLetter | None:
        if record.offset >= self._tail.end(tp):
            return None
        self._next[tp] = max(self._next[tp], record.offset + 1)
        try:
            part = dlq.read(record.key, record.value, record.headers)
        except dlq.Unreadable:
            self.unreadable += record.offset >= self._done[tp]
            return None
        letter = self._joiners[tp].add(part, record.offset, record.timestamp)
        return letter if record.offset >= self._done[tp] else None


class Redrive:
    """Sends letters back and counts the outcomes by reason and topic.

    Parameters
    ----------
    producer
        A `kafka.KafkaProducer`; None for a dry run.
    settings
        Names the topics that no letter may be sent to, and seals sightings.
    topics
        Returns the names of the topics there are.
    limit
        Letters to send; None for all.
    force
        Whether to send those that were sent `MAX_REDRIVES` times already.
    """

    def __init__(
        self, producer: Any, settings: Settings, topics: Callable[[], set[str]], limit: int | None, *, force: bool
    ) -> None:
        self._producer = producer
        self._limit = limit
        self._force = force
        self._topics = topics
        self._known: dict[str, bool] = {}
        self._foreign = {settings.topic(name) for name in FOREIGN}
        self._control = settings.topic("control")
        self._sightings = settings.topic("sightings")
        self._seals = Seals.from_settings(settings)
        self.counts: dict[tuple[str, str], Counter[str]] = {}
        self.errors: Counter[str] = Counter()
        self.unfit: list[str] = []
        """The reasons of the first letters that cannot be sent."""

    def total(self, what: str) -> int:
        """Return how many letters had this outcome."""
        return sum(count[what] for count in self.counts.values())

    def room(self) -> int:
        """Return how many letters may be looked at next, so that the limit is met exactly."""
        return BATCH if self._limit is None else min(BATCH, self._limit - self.total("sent"))

    def send(self, letters: list[dlq.DeadLetter]) -> None:
        """Send letters and wait until the broker has them or refuses; one that is unfit holds up no other."""
        under_way = []
        for letter in letters:
            count = self.counts.setdefault((letter.reason, letter.topic), Counter())
            if letter.redriven >= MAX_REDRIVES and not self._force:
                count["refused"] += 1
            elif why := self._unfit(letter):
                self._pass_over(letter, why)
            elif not self._exists(letter.topic):
                count["gone"] += 1
            elif self._producer is None:
                count["sent"] += 1
            else:
                under_way.append((letter, self._start(letter)))
        if self._producer is not None:
            self._producer.flush()
        for letter, future in under_way:
            self._settle(letter, future)

    def _settle(self, letter: dlq.DeadLetter, future: Any) -> None:
        """Wait for one letter; where it was too large beside others, send it once more alone."""
        error = _outcome(future)
        if isinstance(error, TOO_LARGE):
            error = _outcome(self._start(letter))
        if error is None:
            self.counts[letter.reason, letter.topic]["sent"] += 1
        elif isinstance(error, KafkaError) and not isinstance(error, UNFIT):
            self.counts[letter.reason, letter.topic]["failed"] += 1
            self.errors[type(error).__name__] += 1
        else:
            self._pass_over(letter, f"{type(error).__name__}: {error}")

    def _start(self, letter: dlq.DeadLetter) -> Any:
        """Hand a letter over; return its future, or the error."""
        partition = self._partition(letter)
        value = b"" if letter.value is None and letter.key is None else letter.value
        headers = [(name, data or b"") for name, data in letter.headers if name not in (dlq.REDRIVEN, REDRIVEN_SEAL)]
        headers.append((dlq.REDRIVEN, b"%d" % (letter.redriven + 1)))
        if letter.topic == self._sightings and partition is not None:
            headers.append((REDRIVEN_SEAL, self._seals.mac(REDRIVEN, partition)(value or b"")))
        try:
            return self._producer.send(letter.topic, value=value, key=letter.key, headers=headers, partition=partition)
        except (KafkaError, ValueError, TypeError, AssertionError) as error:
            return error

    def _unfit(self, letter: dlq.DeadLetter) -> str:
        """Why a letter must not be sent; empty where it may."""
        if letter.topic in self._foreign:
            return "no dead letter comes from that topic"
        if letter.topic == self._control:
            return CONTROL_STAYS
        return "its value was too large to be kept" if dlq.VALUE in letter.shortened else ""

    def _pass_over(self, letter: dlq.DeadLetter, why: str) -> None:
        self.counts[letter.reason, letter.topic]["unfit"] += 1
        if len(self.unfit) < SAID:
            self.unfit.append(printable(f"{origin(letter)}: {why}"))

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


def _outcome(future: Any) -> Exception | None:
    """The error of a letter that was handed over; None where the broker has it."""
    if isinstance(future, Exception):
        return future
    try:
        future.get(timeout=STALL_SECONDS)
    except KafkaError as error:
        failed: Exception = error
        return failed
    return None


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
@click.option("--show", is_flag=True, help="Print origin, detail and fields of each letter, no text; send nothing.")
def command(
    reason: str | None,
    topic: str | None,
    since: datetime.datetime | None,
    limit: int | None,
    everything: bool,
    force: bool,
    dry_run: bool,
    show: bool,
) -> None:
    """Send dead letters back to the topics they came from.

    A second run sends only letters that are new since; each choice of --reason and --topic has a position of its own.
    Run one at a time, with the workers' settings. Exit code 0: all sent; 1: some were not; 2: bad usage or settings.
    """
    settings = load().settings
    if show and force:
        raise click.UsageError("--show sends nothing: leave --force out")
    since_ms = None if since is None else int(since.replace(tzinfo=datetime.UTC).timestamp() * 1000)
    with ExitStack() as stack:
        try:
            selection = Selection(reason, topic, since_ms)
            letters = _open(settings, selection, stack, everything)
            if show:
                _show(letters, selection, limit)
                return
            redrive = _run(settings, letters, selection, limit, stack, force, dry_run)
        except TailError as error:
            raise Failure(str(error)) from None
        except KafkaError as error:
            raise Failure(
                f"Kafka at {settings.kafka.bootstrap} failed: {type(error).__name__}: {error}. Letters that were not"
                " acknowledged are sent again by the next run"
            ) from None
    Console().print(_table(redrive, dry_run))
    _report_unreadable(letters)
    problems = []
    if unfit := redrive.total("unfit"):
        click.echo("\n".join(redrive.unfit), err=True)
        more = f", {unfit - SAID:,} of them not named" if unfit > SAID else ""
        problems.append(f"{unfit:,} letters cannot be sent{more}; they stay on the topic and were passed over")
    if failed := redrive.total("failed"):
        why = ", ".join(f"{reason} ({count:,})" for reason, count in redrive.errors.most_common())
        problems.append(f"{failed:,} letters could not be sent: {why}; put it right and run again")
    if refused := redrive.total("refused"):
        problems.append(f"{refused:,} letters failed {MAX_REDRIVES} redrives already: --all --force sends them again")
    if gone := redrive.total("gone"):
        problems.append(f"{gone:,} letters came from topics that do not exist any more; create them, then --all")
    if problems:
        raise Failure(". ".join(problems))


def _open(settings: Settings, selection: Selection, stack: ExitStack, everything: bool) -> Letters:
    group = selection.group(settings.kafka.group)
    consumer = make_consumer(settings.kafka, "siphonwatch-redrive", group_id=group)
    stack.callback(consumer.close)
    return Letters(consumer, settings.topic("dlq"), everything=everything)


def _show(letters: Letters, selection: Selection, limit: int | None) -> None:
    """Print letters."""
    found = (letter for batch in letters.batches(lambda: BATCH) for letter in batch if selection.takes(letter))
    shown = 0
    for shown, letter in enumerate(islice(found, limit), 1):  # noqa: B007 - used behind the loop
        click.echo("\n".join(describe(letter)))
    if not shown:
        click.echo("no dead letters to show")
    _report_unreadable(letters)


def _report_unreadable(letters: Letters) -> None:
    if letters.unreadable:
        click.echo(f"{letters.unreadable:,} records on {letters.topic} are no dead letters and were left", err=True)
    if letters.incomplete:
        click.echo(
            f"{letters.incomplete:,} letters lack parts that are gone from {letters.topic}; passed over", err=True
        )


def _run(
    settings: Settings,
    letters: Letters,
    selection: Selection,
    limit: int | None,
    stack: ExitStack,
    force: bool,
    dry_run: bool,
) -> Redrive:
    producer = None
    if not dry_run:
        # An idempotent producer takes one record that is too large for a fatal error, and fails all others after it.
        producer = connect(
            settings, "siphonwatch-redrive", max_request_size=MAX_BYTES, enable_idempotence=False,
            max_in_flight_requests_per_connection=1,
        )  # fmt: skip
        stack.callback(producer.close)
    redrive = Redrive(producer, settings, letters.topics, limit, force=force)
    for batch in letters.batches(redrive.room):
        wanted = [letter for letter in batch if selection.takes(letter)]
        redrive.send(wanted)
        if redrive.total("failed"):
            return redrive  # without keeping the position: the next run sends this batch again
        if not dry_run:
            letters.keep_position()
    if not dry_run:
        letters.keep_position()  # beyond what was given up at the end
    return redrive


def _table(redrive: Redrive, dry_run: bool) -> Table:
    verb = "would send" if dry_run else "sent"
    table = Table(header_style="bold", title=None if redrive.counts else "no dead letters to send")
    for heading in ("reason", "topic", verb, "refused", "gone", "unfit", "failed"):
        table.add_column(heading, justify="left" if heading in ("reason", "topic") else "right")
    for (reason, topic), count in sorted(redrive.counts.items()):
        values = (f"{count[what]:,}" for what in ("sent", "refused", "gone", "unfit", "failed"))
        table.add_row(escape(printable(reason)), escape(printable(topic)), *values)
    return table
