"""`siphonwatch alerts`: shows what is on the alerts topic. It changes nothing there and keeps no position."""

from __future__ import annotations

import datetime
import sys
import time
from collections.abc import Iterable

import click

from siphonwatch.models.evidence.process import SEVERITIES
from siphonwatch.streams.cli import Failure
from siphonwatch.streams.cli.pattern import Pattern
from siphonwatch.streams.cli.table import alert_table, screen
from siphonwatch.streams.cli.triage import TriageTable, in_order, open_cases, read_book
from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.common.settings import Settings, load
from siphonwatch.streams.common.tail import Tail, TailError
from siphonwatch.streams.contracts.alert import KINDS, NotAnAlert
from siphonwatch.streams.deliver.alert import AlertRecord, read
from siphonwatch.streams.deliver.wanted import Filter, seconds, severities

SKEW_SECONDS = 3600
"""An alert is sent after its event time by the worker's clock, which may be behind the gateways' by so much."""


class Reader:
    """Parses and filters records of the topic, and counts those that are no alerts."""

    def __init__(self, wanted: Filter) -> None:
        self._wanted = wanted
        self.unreadable = 0

    def select(self, values: Iterable[bytes]) -> list[AlertRecord]:
        """Return the wanted alerts by event time."""
        chosen = []
        for value in values:
            try:
                alert = read(value, 0.0)
            except NotAnAlert:
                self.unreadable += 1
                continue
            if self._wanted.takes(alert.event):
                chosen.append(alert)
        chosen.sort(key=lambda alert: (alert.time, alert.id))
        return chosen


def parse_since(_context: click.Context, _option: click.Parameter, text: str | None) -> float | None:
    """Return seconds since 1970 for `90m`, `2h`, `3d` (ago) or a date and time, UTC unless it says otherwise."""
    return None if text is None else moment_of(text, -1)


def moment_of(text: str, direction: int) -> float:
    """Return seconds since 1970 for so long ago (`direction` -1) or from now (1), or for a date and time.

    Raises
    ------
    click.BadParameter
        When it is neither.
    """
    if (away := seconds(text)) is not None:
        return time.time() + direction * away
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is no time: use 90m, 2h, 3d or 2026-01-05T12:00:00") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp()


def parse_severity(_context: click.Context, _option: click.Parameter, text: str) -> tuple[str, ...]:
    """Return the severities that `medium` (that one) or `medium+` (that one or worse) means."""
    try:
        return severities(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command("alerts", short_help="Show alerts, or the open cases by rank.")
@click.option("--follow", "-f", is_flag=True, help="Go on with alerts as they come, until interrupted.")
@click.option(
    "--since", callback=parse_since, metavar="2h|TIME", help="By event time: so long ago, or a date and time (UTC)."
)
@click.option(
    "--pattern", "patterns", type=Pattern(), multiple=True,
    help="Only this pattern; may be repeated.",
)  # fmt: skip
@click.option(
    "--severity", callback=parse_severity, default="low+", show_default=True, metavar="LEVEL[+]",
    help=f"One of {', '.join(SEVERITIES)}; with + that or worse.",
)  # fmt: skip
@click.option(
    "--account", default="", help="Only this account: the beginning of its id, or its name where identity.key is set."
)
@click.option("--case", default="", help="Only this case; the beginning of its id will do.")
@click.option("--kind", "kinds", type=click.Choice(KINDS), multiple=True, help="Only this; may be repeated.")
@click.option(
    "--json", "shape", flag_value="json",
    help="CloudEvents, one a line, as they stand on the topic; --by-rank adds the rank and verdict of now.",
)  # fmt: skip
@click.option("--table", "shape", flag_value="table", help="For people.  [default: on a terminal, else --json]")
@click.option(
    "--by-rank", is_flag=True, help="The open cases, the likeliest to be confirmed first, by today's verdicts."
)
@click.option("--limit", type=click.IntRange(min=1), help="The newest so many of what is there; --follow adds to them.")
def command(
    follow: bool,
    since: float | None,
    patterns: tuple[str, ...],
    severity: tuple[str, ...],
    account: str,
    case: str,
    kinds: tuple[str, ...],
    shape: str | None,
    by_rank: bool,
    limit: int | None,
) -> None:
    """Show alerts, the oldest first; with --by-rank the open cases instead, each by its newest alert.

    Exit code 0: all shown, even where there are none; 1: the topic cannot be read; 2: bad usage or settings.
    """
    if by_rank and (follow or kinds):
        raise click.UsageError("--by-rank shows what is open now: leave out --follow and --kind")
    settings = load().settings
    narrowed = bool(patterns or account or case or kinds or since or severity != SEVERITIES)
    wanted = Filter(patterns, severity, _ids(settings, account), case.lower(), kinds, since)
    if by_rank:
        _triage(settings, wanted, shape, limit)
        return
    reader = Reader(wanted)
    show = Printer(shape or ("table" if sys.stdout.isatty() else "json"))
    try:
        oldest = None if since is None else int((since - SKEW_SECONDS) * 1000)
        with Tail.connect(settings, settings.topic("alerts"), oldest) as tail:
            found = reader.select(tail.history())
            show(found[-limit:] if limit else found)
            if not found:
                click.echo(f"no alerts{' match' * narrowed}{' yet' * follow}", err=True)
            if follow:
                for values in tail.follow():
                    show(reader.select(values))
    except TailError as error:
        raise Failure(str(error)) from None
    except KeyboardInterrupt:
        pass
    if reader.unreadable:
        click.echo(f"{reader.unreadable:,} records on the topic are no alerts of ours and were left out", err=True)


def _triage(settings: Settings, wanted: Filter, shape: str | None, limit: int | None) -> None:
    """Print the open cases that are wanted, by rank."""
    reader = Reader(Filter())
    try:
        with Tail.connect(settings, settings.topic("alerts")) as tail:
            cases = open_cases(reader.select(tail.history()))
        book = read_book(settings)
    except TailError as error:
        raise Failure(str(error)) from None
    ranked = in_order([row for row in cases if wanted.takes(row.event)], book)[:limit]
    if not ranked:
        click.echo("no open cases match" if cases else "no open cases", err=True)
    elif (shape or ("table" if sys.stdout.isatty() else "json")) == "json":
        for row in ranked:
            click.echo(row.line())
    else:
        screen().print(TriageTable(ranked, time.time()))
    if reader.unreadable:
        click.echo(f"{reader.unreadable:,} records on the topic are no alerts of ours and were left out", err=True)


def _ids(settings: Settings, account: str) -> tuple[str, ...]:
    """The ids that an account may have on the topic."""
    if not account:
        return ()
    return (account, Identity.from_settings(settings).account(account)) if settings.identity.key else (account,)


class Printer:
    """Prints alerts as they come in; a table's header once."""

    def __init__(self, shape: str) -> None:
        self._json = shape == "json"
        self._console = screen()
        self._begun = False

    def __call__(self, alerts: list[AlertRecord]) -> None:
        if not alerts:
            return
        if self._json:
            for alert in alerts:
                click.echo(alert.value)
        else:
            self._console.print(alert_table([alert.event for alert in alerts], header=not self._begun))
        self._begun = True
