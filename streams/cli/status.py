"""`siphonwatch status`: the state of a deployment in a page of text or as JSON, without Kafka's own scripts."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import click
import msgspec
from kafka.errors import KafkaError
from rich import box
from rich.markup import escape
from rich.table import Table

from siphonwatch.streams.cli import Failure
from siphonwatch.streams.cli.alerts import Reader
from siphonwatch.streams.cli.table import screen
from siphonwatch.streams.cli.triage import open_cases
from siphonwatch.streams.common.settings import Settings, load
from siphonwatch.streams.common.tail import Tail, TailError
from siphonwatch.streams.deliver.wanted import Filter
from siphonwatch.streams.operate.deployment import Deployment, Partition, look


@click.command("status", short_help="Show workers, what waits, sinks and open cases.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of tables.")
def command(as_json: bool) -> None:
    """Show brokers, workers with their partitions, what waits, each sink and the open cases, as Kafka knows them.

    Exit code 0: somebody scores, and every partition has a worker; 1: nobody scores, a partition or a topic is missing
    a worker, or the broker cannot be asked; 2: bad usage or settings.
    """
    settings = load().settings
    where = settings.kafka.bootstrap
    try:
        found = look(settings)
        cases = _open_cases(settings)
    except (KafkaError, OSError, ValueError) as error:
        raise Failure(f"cannot ask Kafka at {where}: {type(error).__name__}: {error}") from None
    problems = _problems(found)
    now = time.time()
    if as_json:
        summary = {
            "ok": not problems, "problems": problems, "bootstrap": where, "scoring": found.scoring,
            "waiting": found.waiting, "oldest_waiting": found.oldest_waiting,
            "unowned": [_name(partition) for partition in found.unowned], "open_cases": cases,
        }  # fmt: skip
        click.echo(msgspec.json.encode(summary | msgspec.to_builtins(found)))
    else:
        console = screen()
        brokers = f"{found.brokers} broker{'' if found.brokers == 1 else 's'}"
        console.print(
            f"Kafka at {escape(where)}: {brokers}; group {escape(found.group)}: {found.state}", highlight=False
        )
        console.print(_workers(found), _partitions(found, now))
        if found.sinks:
            console.print(_sinks(found))
        console.print(_summary(found, cases, now), highlight=False)
    for problem in problems:
        click.echo(problem, err=True)
    if problems:
        raise SystemExit(1)


def _open_cases(settings: Settings) -> int | None:
    """How many cases are open, None where the alerts topic cannot be read."""
    try:
        with Tail.connect(settings, settings.topic("alerts")) as tail:
            return len(open_cases(Reader(Filter()).select(tail.history())))
    except TailError:
        return None


def _problems(found: Deployment) -> list[str]:
    """What is wrong, each with what to do."""
    problems = []
    if found.missing:
        problems.append(
            f"topics that are not there: {', '.join(found.missing)}: `siphonwatch topics --create` makes ours"
        )
    if not found.scoring:
        problems.append("nobody scores: no worker has a partition of telemetry; start `siphonwatch worker`")
    elif unowned := [_name(partition) for partition in found.unowned]:
        problems.append(f"no worker has {', '.join(unowned)}: what is written there waits")
    return problems


def _name(partition: Partition) -> str:
    return f"{partition.topic}[{partition.number}]"


def _workers(found: Deployment) -> Table:
    table = _table("Workers", "worker", "partitions")
    for worker in found.workers:
        held = ["the broker does not tell"] if worker.partitions is None else worker.partitions or ["none"]
        table.add_row(escape(worker.name), escape(", ".join(held)))
    return table


def _partitions(found: Deployment, now: float) -> Table:
    table = _table("Partitions", "partition", "stream", "worker", "committed", "waiting", "oldest", "last checkpoint")
    for partition in found.partitions:
        table.add_row(
            escape(_name(partition)), partition.stream,
            escape(partition.worker or "") or ("[bold red]none[/]" if partition in found.unowned else "?"),
            "-" if partition.committed is None else f"{partition.committed:,}", f"{partition.waiting:,}",
            _age(partition.oldest_waiting, now), _age(partition.last_checkpoint, now),
        )  # fmt: skip
    return table


def _sinks(found: Deployment) -> Table:
    table = _table("Sinks", "sink", "kind", "group", "deliverers", "waiting")
    for sink in found.sinks:
        waiting = "nothing delivered yet" if sink.waiting is None else f"{sink.waiting:,}"
        table.add_row(escape(sink.name), sink.kind, sink.state, str(sink.deliverers), waiting)
    return table


def _summary(found: Deployment, cases: int | None, now: float) -> str:
    oldest = f", the oldest for {_age(found.oldest_waiting, now)}" if found.oldest_waiting is not None else ""
    known = "unknown" if cases is None else f"{cases:,}"
    return f"waiting: {found.waiting:,} records{oldest}; open cases: {known}"


def _age(stamp: float | None, now: float) -> str:
    """How long ago, in the largest unit that fits: `12 s`, `3 min`, `5 h`, `2 d`; the date from a week on."""
    if stamp is None:
        return "-"
    seconds = max(now - stamp, 0.0)
    for limit, size, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h"), (604_800, 86_400, "d")):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit}"
    return datetime.fromtimestamp(stamp, UTC).strftime("%Y-%m-%d")


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    for heading in headings:
        right = heading in ("committed", "waiting", "oldest", "last checkpoint", "deliverers")
        table.add_column(heading, justify="right" if right else "left", overflow="fold")
    return table
