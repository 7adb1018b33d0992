"""`siphonwatch demo`: watch it work on this machine, in about a minute. Shows what was found and what was missed, and
that the desk shows it too.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import signal
import socket
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import click
import msgspec
import structlog
from kafka.errors import KafkaError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from siphonwatch.streams.cli import Failure
from siphonwatch.streams.cli.produce import parse_speed
from siphonwatch.streams.cli.table import alert_table, screen
from siphonwatch.streams.cli.verdict import login
from siphonwatch.streams.common.tail import TailError
from siphonwatch.streams.desk.index.feed import Feed, FeedError
from siphonwatch.streams.desk.index.store import IndexFailed
from siphonwatch.streams.desk.opening import OpenDesk
from siphonwatch.streams.desk.views import Queue
from siphonwatch.streams.desk.web.api import PREFIX as API
from siphonwatch.streams.desk.web.service import Serving
from siphonwatch.streams.lab.broker.process import BrokerError
from siphonwatch.streams.lab.demo.interrupt import Interrupt
from siphonwatch.streams.lab.demo.patience import Patience
from siphonwatch.streams.lab.demo.play import Stalled
from siphonwatch.streams.lab.demo.processes import Counts, ProcessError
from siphonwatch.streams.lab.demo.run import Outcome, run
from siphonwatch.streams.lab.demo.scorecard import Row, Scorecard
from siphonwatch.streams.lab.scenario import Scenario, write
from siphonwatch.streams.operate.topics import TopicsError

PLAIN_SECONDS = 60.0
"""Between progress lines where there is no terminal, unless a tenth more is done."""
CASES = ("control", "desk", "verdicts", "alerts", "hidden")
"""Kinds of topics that cases are made of; the desk reads the others while it is open."""
ANSWER_SECONDS = 120.0
"""For a page of the desk on a machine that is busy with other things; it takes some 10 ms."""


class Plain:
    """Progress as few lines, for a log.

    Parameters
    ----------
    total
        Requests to play.
    clock
        Monotonic seconds.
    """

    def __init__(self, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._total = total
        self._clock = clock
        self._started = self._said = clock()
        self._tenths = 0

    def phase(self, text: str) -> None:
        """Say what begins."""
        self._say(text)

    def compiling(self, module: str) -> None:
        """Say what is compiled, now and then."""
        if module and self._due():
            self._say(f"  compiling {module}")

    def progress(self, produced: int, counts: Counts) -> None:
        """Say how far it is, at each tenth, and now and then."""
        tenths = 10 * counts.done // max(self._total, 1)
        if tenths > self._tenths or self._due():
            self._tenths = tenths
            scored = f"scored {counts.requests:,} of {self._total:,}"
            self._say(f"  produced {produced:,}, {scored}, cases opened {counts.alerts:,}")

    def _due(self) -> bool:
        return self._clock() - self._said >= PLAIN_SECONDS

    def _say(self, text: str) -> None:
        self._said = self._clock()
        click.echo(f"{self._said - self._started:5.0f} s  {text}")


class Bar:
    """Progress as a bar on a terminal."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._bar = progress
        self._total = total
        self._task = progress.add_task("starting", total=None)

    def phase(self, text: str) -> None:
        """Say what begins."""
        self._bar.update(self._task, description=text, total=None)

    def compiling(self, module: str) -> None:
        """Say what is compiled."""
        if module:
            self._bar.update(self._task, description=f"compiling {module} (only the first run does)")

    def progress(self, produced: int, counts: Counts) -> None:
        """Say how far it is."""
        text = f"produced {produced:,}, cases opened {counts.alerts:,}, scored"
        self._bar.update(self._task, description=text, total=self._total, completed=counts.done)


@click.command("demo", short_help="Play a scenario through a broker and a worker.")
@click.option(
    "--accounts", type=click.IntRange(min=20, max=20_000), default=2500, show_default=True,
    help="How many, the attackers' included.",
)  # fmt: skip
@click.option("--days", type=click.FloatRange(min=0.5, max=14), default=3.0, show_default=True, help="Of event time.")
@click.option("--seed", type=int, default=42, show_default=True, help="Another one gives another scenario.")
@click.option(
    "--speed", callback=parse_speed, default="MAX", show_default=True, metavar="MAX|3600x",
    help="As fast as the worker scores, or a multiple of real time by event time.",
)  # fmt: skip
@click.option(
    "--keep", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
    help="Keep the gateway logs, the labels, the alerts and the process logs here.",
)  # fmt: skip
@click.option("--desk", "opens", is_flag=True, help="Keep the desk on its cases open, until stopped (Ctrl-C).")
@click.option(
    "--desk-port", type=click.IntRange(0, 65535), default=6070, show_default=True,
    help="Where that is taken, or 0: a free one.",
)  # fmt: skip
def command(
    accounts: int, days: float, seed: int, speed: float, keep: Path | None, opens: bool, desk_port: int
) -> None:
    """Start a broker and a worker, play generated traffic with attacks in it, show the alerts and how good they are.

    In the end the desk is opened on the cases, asked for its queue, and ended with all the rest unless --desk keeps it.
    Needs nothing but this package, and leaves nothing running. Interrupted, it shows what was found until then; the
    desk ends when interrupted. Exit code 0: it ran to the end; 1: a part failed, or it was interrupted.
    """
    scenario = Scenario(seed=seed, accounts=accounts, days=days)
    folder = Path(tempfile.mkdtemp(prefix="siphonwatch-demo-")) if keep is None else keep
    stay = contextlib.ExitStack()
    try:
        if keep is not None:
            click.echo(f"writing the gateways' logs into {keep}")
            write(keep, scenario)
        with _display(scenario) as display, Interrupt() as interrupt:
            outcome = run(scenario, folder, speed, display, interrupt, stay)
        if keep is not None:
            (keep / "alerts.ndjson").write_bytes(b"".join(line + b"\n" for line in outcome.raw))
        _show(outcome, keep)
        if outcome.produced == len(scenario):
            _open_desk(outcome, folder, desk_port, opens)
    except (BrokerError, TopicsError, ProcessError, Stalled, TailError, KafkaError, FeedError, IndexFailed) as error:
        log = folder / "worker.log"
        tail = "" if isinstance(error, ProcessError) or not log.exists() else _last_words(log)
        raise Failure(f"the demo failed: {error}{tail}") from None
    except OSError as error:
        raise Failure(f"the demo failed: {error.filename or folder}: {error.strerror or error}") from None
    finally:
        stay.close()
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    if outcome.produced < len(scenario):
        raise Failure(f"interrupted after {outcome.produced:,} of {len(scenario):,} requests")


def _open_desk(outcome: Outcome, folder: Path, port: int, stays: bool) -> None:
    """Open the desk on the demo's topics and ask it for its queue as a browser would.

    It stays open until interrupted, or ends then; decisions land on the demo's topics, and end with its broker.
    """
    settings = msgspec.structs.replace(outcome.settings.desk, port=_free(port), status_port=0)
    with Interrupt() as interrupt, OpenDesk(outcome.settings, folder / "desk.sqlite") as desk:
        _read_cases(desk.feed, interrupt)
        if stays:
            desk.start()
        else:  # its log is of no use to anybody
            structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
        asyncio.run(_serve(Serving(settings, desk.looks, desk.acts, lambda: desk.feed.trouble, login()), stays))
        interrupt.check()


def _free(port: int) -> int:
    """A port, or 0 for any where somebody has it: after all the rest of a demo that is no reason to fail."""
    try:
        with socket.create_server(("127.0.0.1", port)):
            return port
    except OSError:
        return 0


def _read_cases(feed: Feed, interrupt: Interrupt) -> None:
    patience = Patience(time.process_time)
    while True:
        interrupt.check()
        try:
            feed.catch_up(CASES)
        except FeedError:  # as on a busy machine
            if patience.over():
                raise
            interrupt.sleep(0.5)
        else:
            return


async def _serve(serving: Serving, stays: bool) -> None:
    stop = asyncio.Event()
    if stays:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        await serving.start()
        shown = await asyncio.to_thread(_asked, serving.address)
        if stays:
            click.echo(f"\nThe desk shows {shown} at {serving.address} until you press Ctrl-C.")
            await stop.wait()
        else:
            click.echo(
                f"\nThe desk showed {shown} at {serving.address}, and ended with this demo.\n"
                "`make demo-desk` (`siphonwatch demo --desk`) plays it again and keeps the desk open."
            )
    finally:
        await serving.stop()


def _asked(address: str) -> str:
    """Say how many cases a desk has, once its page shows the first ones."""
    queue = msgspec.json.decode(_fetch(f"{address}{API}/cases"), type=Queue)
    page = _fetch(f"{address}/").decode()
    if missing := [row.case for row in queue.rows if f'href="/case/{row.case}"' not in page]:
        raise Failure(f"the demo failed: the desk's page does not show case {missing[0]}")
    every = msgspec.json.decode(_fetch(f"{address}{API}/cases?state=all&limit=1"), type=Queue)
    return f"{queue.total:,} open cases of {every.total:,}"


def _fetch(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=ANSWER_SECONDS) as answer:  # noqa: S310 - our own address
        return bytes(answer.read())


def _last_words(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()[-15:]
    return "\n  ".join(["\nthe worker's last words:", *(lines or ["(none)"])])


@contextlib.contextmanager
def _display(scenario: Scenario):  # type: ignore[no-untyped-def]
    console = Console()
    if not console.is_terminal:
        yield Plain(len(scenario))
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress:
        yield Bar(progress, len(scenario))


def _show(outcome: Outcome, keep: Path | None) -> None:
    console = screen()
    console.print(alert_table(outcome.alerts))
    scored = outcome.counts.requests
    click.echo(
        f"\n{scored:,} requests from raw gateway records to alerts in {outcome.seconds:.0f} s"
        f" ({scored / max(outcome.seconds, 1e-9):,.0f}/s); {outcome.counts.rejected:,} rejected;"
        f" {len(outcome.alerts):,} cases opened\n"
    )
    console.print(_scorecard(outcome.scorecard.rows))
    for line in _false_alarms(outcome.scorecard):
        click.echo(line)
    again = f"`siphonwatch replay {keep}/litellm.ndjson --plain-ids`"
    kept = f"The logs, labels and alerts are in {keep}; {again} scores them again.\n" if keep else ""
    click.echo(
        f"\n{kept}Next: `siphonwatch replay FILE --plain-ids` on a log of your own gateway (LiteLLM, OTLP, Kong,"
        " Envoy or NGINX);\nthen `siphonwatch doctor`, `topics --create` and `worker` on your own Kafka."
    )


def _scorecard(rows: list[Row]) -> Table:
    table = Table(header_style="bold", title="against the truth about this scenario", title_justify="left")
    table.add_column("attack")
    for heading in (
        "campaigns",
        "found",
        "under another pattern",
        "accounts",
        "found",
        "median attack requests to alert",
    ):
        table.add_column(heading, justify="right")
    table.add_column("not found")
    for row in rows:
        median = "-" if row.median_requests is None else f"{row.median_requests:,.0f}"
        table.add_row(
            row.pattern, str(row.campaigns), str(row.found), str(row.otherwise), str(row.accounts),
            str(row.accounts_found), median, ", ".join(row.missed) or "-",
        )  # fmt: skip
    return table


def _false_alarms(card: Scorecard) -> list[str]:
    lines = [f"false alarms: {card.accused:,} of {card.benign:,} benign accounts"]
    kinds: dict[str, list[str]] = defaultdict(list)
    for (kind, pattern), count in sorted(card.false_alarms.items()):
        kinds[pattern].append(f"{count} {kind}")
    lines += [f"  {pattern}: {', '.join(found)}" for pattern, found in sorted(kinds.items())]
    if card.early:
        lines.append(f"  and {card.early:,} attackers were accused before they attacked")
    return lines
