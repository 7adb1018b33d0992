"""`siphonwatch produce`: log files to the telemetry topic, or their raw records to a gateway's topic, as fast as
possible, at a multiple of real time, or as if they happened now. It is a tool and a test feed; gateways use
`siphonwatch.streams.edge`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click
from kafka.errors import KafkaError

from siphonwatch.streams.cli import Failure
from siphonwatch.streams.cli.replay import passed_over
from siphonwatch.streams.common import chosen
from siphonwatch.streams.common.connection import ClientLog, explain, reason
from siphonwatch.streams.common.cores import cores
from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.common.settings import Settings, load
from siphonwatch.streams.contracts.rejected import Rejected
from siphonwatch.streams.contracts.telemetry import Malformed, decode, encode
from siphonwatch.streams.edge.adapters import Adapter, Unreadable, formats, make_adapter, read_records
from siphonwatch.streams.edge.producer import Outbox, connect
from siphonwatch.streams.edge.spread import CHUNK_RECORDS, ProcessDied, adapted
from siphonwatch.streams.lab.pace import Live, Pace


class Item(NamedTuple):
    """One record to produce; a malformed one of no value is only counted."""

    value: bytes
    key: bytes | None
    time: float | None
    """Event time, seconds."""


class NoText:
    """Stands in for the sketcher where only the time of a record is wanted."""

    def sketch(self, messages: object, reply: str = "") -> dict[str, object]:
        """Return no sketch fields."""
        return {}


UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def parse_start(_context: click.Context, _option: click.Parameter, value: str | None) -> float | None:
    """Return seconds ago from `now`, or from a number and its unit such as `90s`, `30m`, `36h`, `2d`."""
    if value is None or value.lower() == "now":
        return None if value is None else 0.0
    try:
        seconds = float(value[:-1]) * UNITS[value[-1].lower()]
    except (ValueError, KeyError, IndexError):
        seconds = -1.0
    if not 0 <= seconds <= 366 * UNITS["d"]:
        raise click.BadParameter(f"{value!r} is no time: use now, or how long ago, such as 90s, 30m, 36h or 2d")
    return seconds


def parse_speed(_context: click.Context, _option: click.Parameter, value: str) -> float:
    """Return event seconds a second from `MAX`, `1` or `10x`; 0 for as fast as possible."""
    if value.lower() == "max":
        return 0.0
    try:
        speed = float(value.lower().removesuffix("x"))
    except ValueError:
        speed = 0.0
    if not 0 < speed < 1e9:
        raise click.BadParameter(f"{value!r} is no speed: use MAX, 1 (real time) or a multiple such as 10x")
    return speed


def telemetry(record: bytes | Malformed, bad: Rejected, pace: Pace | Live) -> Iterator[Item]:
    """Yield encoded telemetry keyed by account; count it where it is malformed, by reason."""
    if isinstance(record, Malformed):
        bad.take(record)
        return
    made = decode(record)
    value = record
    if isinstance(pace, Live):
        made = pace.moved(made)
        value = encode(made)
    yield Item(value, made.account.encode(), made.time)


def unchanged(raw: bytes, adapter: Adapter) -> Item:
    """Return the raw record as it is, malformed or not, with the event time of its first good element."""
    moments = [record.time for record in adapter.records(raw) if not isinstance(record, Malformed)]
    return Item(raw, None, moments[0] if moments else None)


@click.command("produce", short_help="Read gateway logs and produce them as telemetry.")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--format", "format_", type=click.Choice(["auto", *formats()]), default="auto", show_default=True,
    help="What the files are.",
)  # fmt: skip
@click.option(
    "--speed", callback=parse_speed, default="MAX", show_default=True, metavar="MAX|1|10x",
    help="As fast as possible, or a multiple of real time by event time.",
)  # fmt: skip
@click.option(
    "--start", callback=parse_start, metavar="now|2d",
    help="Move event times so that the first record is of now, or so long ago, and play the rest as it happens.",
)  # fmt: skip
@click.option("--topic", default="", help="Topic to produce to; the telemetry topic where it is not given.")
@click.option(
    "--processes", type=click.IntRange(min=1), default=cores, show_default="all cores",
    help="That make telemetry of a file; any number gives the same. Of a pipe, and of what is played in time, one "
    "makes it, record by record.",
)  # fmt: skip
@click.option("--raw", is_flag=True, help="Send the records unchanged, as a gateway would, to --topic.")
def command(
    files: tuple[str, ...], format_: str, speed: float, start: float | None, topic: str, processes: int, raw: bool
) -> None:  # fmt: skip
    """Produce log FILES (plain or packed, - for standard input) as telemetry."""
    if raw and not topic:
        raise click.UsageError("--raw needs --topic: name the topic that the gateway would write")
    if start is not None and raw:
        raise click.UsageError("--start moves the time of telemetry, and --raw changes no record: leave one out")
    if start is not None and speed:
        raise click.UsageError("--start plays records as they happen: leave --speed out")
    pace = Pace(speed, time.monotonic, time.sleep) if start is None else Live(start, time.time, time.sleep)
    settings = load().settings
    Identity.from_settings(settings)  # without a key nothing is connected
    for warning in chosen.warnings(settings):
        click.echo(warning, err=True)
    outbox = _connect(settings, topic or settings.topic("telemetry"))
    bad, passed = Rejected(), Counter[str]()
    started = time.monotonic()
    try:
        sent = 0
        for file in files:
            for item in _items(file, format_, settings, raw, processes, pace, bad, passed):
                pace.wait(item.time)
                outbox.send(item.value, item.key)
                sent += 1
        outbox.flush()
    except KafkaError as error:
        raise Failure(f"producing to {outbox.topic} failed after {outbox.delivered} records: {reason(error)}") from None
    finally:
        outbox.close(10)
    seconds = max(time.monotonic() - started, 1e-9)
    click.echo(f"{outbox.delivered:,} records to {outbox.topic} in {seconds:.1f} s ({sent / seconds:,.0f} records/s)")
    if bad:
        reasons = ", ".join(f"{name} {count:,}" for name, count in bad.most_common())
        click.echo(f"{bad.total():,} malformed, not produced: {reasons}")
        for line in bad.lines():
            click.echo(f"  {line}")
    if passed:
        click.echo(f"passed over, as no requests: {passed_over(passed)}")
    if bad and not sent:
        raise Failure("nothing could be read")
    if outbox.failed:
        reasons = ", ".join(f"{name} {count:,}" for name, count in outbox.failures.most_common())
        cause = explain(*outbox.failures)
        advice = f"; {cause}" if cause else ""
        raise Failure(f"{outbox.failed:,} records were not delivered to {outbox.topic}: {reasons}{advice}")


def _connect(settings: Settings, topic: str) -> Outbox:
    with ClientLog().listening() as heard:
        try:
            producer = connect(settings, "siphonwatch-produce")
        except KafkaError as error:
            raise Failure(f"cannot reach Kafka at {settings.kafka.bootstrap}: {heard.cause(error)}") from None
    try:
        known = producer.partitions_for(topic)
    except KafkaError as error:
        known, why = None, reason(error)
    else:
        why = "the broker does not know it"
    if not known:
        producer.close(0)
        raise Failure(f"topic {topic} cannot be used: {why}. Create it with `siphonwatch topics --create`")
    return Outbox(producer, topic)


def _items(
    file: str,
    format_: str,
    settings: Settings,
    raw: bool,
    processes: int,
    pace: Pace | Live,
    bad: Rejected,
    passed: Counter[str],
) -> Iterator[Item]:
    """Yield what is to be produced of one file."""
    try:
        records = read_records(file, format_, settings.ingest.max_record_bytes)
        if raw:
            adapter = make_adapter(records.format, settings, NoText(), Identity.from_settings(settings))
            for record in records:
                if isinstance(record, Malformed):
                    bad.take(record)
                else:
                    yield unchanged(record, adapter)
            passed.update(adapter.passed_over)
            return
        # Who writes a pipe may wish to see each record at once; what is played in time keeps no process busy.
        many, at_once = (processes, CHUNK_RECORDS) if Path(file).is_file() and not pace.waits else (1, 1)
        for done in adapted(settings, records.format, records, many, at_once=at_once):
            passed.update(done.passed_over)
            for made in done.records:
                yield from telemetry(made, bad, pace)
    except (Unreadable, ProcessDied, ValueError) as error:
        raise Failure(str(error)) from None
