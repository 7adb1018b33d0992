"""`siphonwatch cases`: the cases that wait for a decision, in the order to look at them. It changes nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import click
from rich.table import Table

from siphonwatch.models.evidence.process import SEVERITIES
from siphonwatch.streams.cli.alerts import parse_since
from siphonwatch.streams.cli.desk_index import OF_CASES, account_of, opened, options, show_json
from siphonwatch.streams.cli.pattern import Pattern
from siphonwatch.streams.cli.table import ACCOUNT, COLOURS, WIDE, plain, screen
from siphonwatch.streams.cli.triage import age
from siphonwatch.streams.desk.views import Ask, CaseRow, Order, State


@click.command("cases", short_help="List cases by rank, age or change, with who works on them.")
@click.option(
    "--order", type=click.Choice(get_args(Order)), default="rank", show_default=True,
    help="By how likely an analyst would confirm it, by the verdicts of now; the oldest first; or what changed last.",
)  # fmt: skip
@click.option(
    "--state", type=click.Choice(get_args(State)), default="open", show_default=True, help="Only cases that are so."
)
@click.option("--unjudged", is_flag=True, help="Only those without a verdict.")
@click.option("--assignee", default="", metavar="NAME", help="Only those that this person works on.")
@click.option("--pattern", type=Pattern(), help="Only this pattern.")
@click.option("--severity", type=click.Choice(SEVERITIES), help="Only this one.")
@click.option("--account", default="", help="Only cases of this account: its id, the beginning of it, or a name.")
@click.option("--since", callback=parse_since, metavar="2h|TIME", help="With an alert since then, by event time.")
@click.option("--until", callback=parse_since, metavar="2h|TIME", help="Opened before that, by event time.")
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True, help="Rows of a page.")
@click.option("--after", default="", help="The next page: what the page before ended with.")
@options
def command(
    order: Order,
    state: State,
    unjudged: bool,
    assignee: str,
    pattern: str | None,
    severity: str | None,
    account: str,
    since: float | None,
    until: float | None,
    limit: int,
    after: str,
    index: Path | None,
    names: str,
    as_json: bool,
) -> None:
    """List cases, those that an analyst would most likely confirm first.

    Exit code 0: all shown, even where there are none; 1: topics, index or names cannot be read; 2: bad usage.
    """
    with opened(index, names, OF_CASES) as (desk, settings):
        ask = Ask(
            order=order, state=state, unjudged=unjudged, assignee=assignee, pattern=pattern or "",
            severity=severity or "", account=account_of(desk, settings, account) if account else "", since=since,
            until=until, limit=limit, after=after,
        )  # fmt: skip
        try:
            found = desk.looks.queue(ask)
        except ValueError as error:
            raise click.UsageError(str(error)) from None
    if as_json:
        show_json(found)
        return
    if not found.rows:
        click.echo("no cases match", err=True)
        return
    screen().print(case_table(found.rows, time.time()))
    click.echo(f"{len(found.rows):,} of {found.total:,} cases", err=True)
    if found.after:
        click.echo(f"the next page: --after {found.after}", err=True)


def case_table(rows: Sequence[CaseRow], now: float) -> Table:
    """Return cases as a table, a row each."""
    console = screen()
    wide = console.width >= WIDE
    table = Table(header_style="bold", expand=True, show_lines=not wide)
    table.add_column("rank", no_wrap=True, justify="right", width=5)
    table.add_column("case", no_wrap=True, width=16)
    if wide:
        for heading, width in (("pattern", 15), ("severity", 8), ("account", ACCOUNT)):
            table.add_column(heading, no_wrap=True, width=width)
        table.add_column("since", no_wrap=True, justify="right", width=8)
        table.add_column("verdict", no_wrap=True, width=15)
        table.add_column("with", no_wrap=True, width=10)
        table.add_column("why", ratio=1)
    else:
        table.add_column("what", ratio=1)
    for row in rows:
        who, sort = account_text(row), severity_text(row)
        since = age(row.opened, now)
        said = [row.verdict, f"with {plain(row.assignee)}" * bool(row.assignee), row.state * (row.state != "open")]
        if wide:
            table.add_row(
                f"{row.rank:.3f}", row.case, plain(row.pattern), sort, who, since,
                row.verdict or row.state * (row.state != "open"), plain(row.assignee, 10), plain(row.headline),
            )  # fmt: skip
        else:
            table.add_row(
                f"{row.rank:.3f}", row.case,
                f"[bold]{plain(row.pattern)}[/], {sort}: {who}, since {since}"
                f"{''.join(f', {one}' for one in said if one)}\n{plain(row.headline)}",
            )  # fmt: skip
    return table


def account_text(row: CaseRow) -> str:
    """Return the account, or the customer's name, and how many more the case has."""
    more = f" +{row.accounts - 1}" if row.accounts > 1 else ""
    return plain(row.name or row.account, ACCOUNT - len(more)) + more


def severity_text(row: CaseRow) -> str:
    """Return the severity, coloured."""
    colour = COLOURS.get(row.severity.capitalize(), "white")
    return f"[{colour}]{plain(row.severity)}[/]"
