"""`siphonwatch account`: one account opened: its week, what it shares, how near it is to a case. It changes nothing."""

from __future__ import annotations

import math
import time
from pathlib import Path

import click
from rich.table import Table

from siphonwatch.streams.cli.case import exposure_text
from siphonwatch.streams.cli.cases import case_table
from siphonwatch.streams.cli.desk_index import account_of, opened, options, show_json
from siphonwatch.streams.cli.table import plain, screen
from siphonwatch.streams.deliver.text import clean
from siphonwatch.streams.desk.views import AccountPage, Hour
from siphonwatch.streams.desk.wording import moment

BARS = " ▁▂▃▄▅▆▇█"
SHARES, PERCENTILES = 25, 15
HOUR = 3600.0


@click.command("account", short_help="Open an account: its week, what it shares, its cases.")
@click.argument("account")
@options
def command(account: str, index: Path | None, names: str, as_json: bool) -> None:
    """Open ACCOUNT: an id as alerts show it, or its beginning; a name, where identity.key or --names is given.

    Exit code 0: shown; 1: it is not known, or topics, index or names cannot be read; 2: bad usage.
    """
    with opened(index, names) as (desk, settings):
        page = desk.looks.account(account_of(desk, settings, account))
    if as_json:
        show_json(page)
    else:
        _show(page)


def _show(page: AccountPage) -> None:
    console = screen()
    named = f" ({page.name})" if page.name else ""
    lines = [
        f"account {page.account}{named}{f', {page.cohort}' if page.cohort else ''}",
        f"seen       {moment(page.first)} to {moment(page.last)}",
        f"taken      {exposure_text(page.exposure)}",
    ]
    if page.hours:
        lines.append(f"by hour    {sparkline(page.hours)} up to {max(hour.requests for hour in page.hours):,} requests")
    for near in page.near:
        held = f"; {near.held}" if near.held else ""
        e_value, bar = math.exp(min(near.log_e, 700.0)), math.exp(near.bar)
        lines.append(f"evidence   {near.pattern}: e-value {e_value:.3g} of the {bar:.3g} that open a case{held}")
    lines += [
        f"percentile {one.percentile:.1f}: {one.name} {one.value:.3g} {one.unit} ({one.meaning})"
        for one in page.percentiles[:PERCENTILES]
    ]
    for entry in page.allowed:
        state = "ended" if entry.ended else f"until {moment(entry.until)}"
        lines.append(f"allowed    {entry.pattern} by {entry.by}, {state}: {entry.why}")
    for line in lines:
        click.echo(clean(line))
    if page.shares:
        table = Table(title="What its requests have", title_justify="left", header_style="bold")
        for heading in ("kind", "value", "requests", "of its requests", "accounts that have it"):
            table.add_column(heading)
        for share in sorted(page.shares, key=lambda one: -one.requests)[:SHARES]:
            table.add_row(
                share.kind, plain(share.value), f"{share.requests:,}", f"{share.share:.0%}", f"{share.accounts:,}"
            )
        console.print(table)
    if page.cases:
        console.print(case_table(page.cases, time.time()))


def sparkline(hours: list[Hour]) -> str:
    """Return requests by hour as bars, from the first hour to the last; an hour without any is blank.

    Examples
    --------
    >>> def hour(at: float, requests: int) -> Hour:
    ...     return Hour(time=at * 3600.0, requests=requests, refused=0, input_tokens=0, output_tokens=0)
    >>> sparkline([hour(0, 1), hour(2, 8)])
    '▁ █'
    """
    most = max(hour.requests for hour in hours)
    first = hours[0].time
    bars = [" "] * (round((hours[-1].time - first) / HOUR) + 1)
    for hour in hours:
        bars[round((hour.time - first) / HOUR)] = BARS[max(math.ceil(hour.requests / most * (len(BARS) - 1)), 1)]
    return "".join(bars)
