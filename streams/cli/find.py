"""`siphonwatch find`: accounts and cases by an id, a name, or what accounts share. It changes nothing."""

from __future__ import annotations

from pathlib import Path

import click
from rich.table import Table

from siphonwatch.streams.cli.alerts import parse_since
from siphonwatch.streams.cli.desk_index import opened, options, show_json
from siphonwatch.streams.cli.table import plain, screen
from siphonwatch.streams.desk.index.traffic import KINDS
from siphonwatch.streams.desk.search import MOST
from siphonwatch.streams.desk.wording import moment


@click.command("find", short_help="Find accounts and cases: everyone who shares this.")
@click.argument("text")
@click.option("--kind", type=click.Choice(("account", "case", *KINDS)), help="Only by this.")
@click.option("--since", callback=parse_since, metavar="2h|TIME", help="There since then, by event time (whole days).")
@click.option("--until", callback=parse_since, metavar="2h|TIME", help="There before that, likewise.")
@click.option("--limit", type=click.IntRange(1, MOST), default=100, show_default=True, help="The most answers.")
@options
def command(
    text: str,
    kind: str | None,
    since: float | None,
    until: float | None,
    limit: int,
    index: Path | None,
    names: str,
    as_json: bool,
) -> None:
    """Find TEXT: an id or its beginning, a customer's name, or a hash that accounts share (key, end user, client,
    wrapper, system prompt, address block, means of payment, network), a model or a country.

    Exit code 0: shown, even where nothing is found; 1: topics, index or names cannot be read; 2: bad usage.
    """
    with opened(index, names) as (desk, _):
        try:
            found = desk.looks.find(text, kind or "", since, until, limit)
        except ValueError as error:
            raise click.UsageError(str(error)) from None
    if as_json:
        for one in found:
            show_json(one)
        return
    if not found:
        click.echo("nothing is found", err=True)
        return
    table = Table(header_style="bold")
    for heading in ("what", "id", "name", "by", "requests", "first", "last"):
        table.add_column(heading)
    for one in found:
        table.add_row(
            one.kind, plain(one.id), plain(one.name), one.by, f"{one.requests:,}", moment(one.first), moment(one.last)
        )
    screen().print(table)
