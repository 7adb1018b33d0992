"""`siphonwatch case`: one case opened, as the desk shows it. It changes nothing."""

from __future__ import annotations

import time
from pathlib import Path

import click
from rich.table import Table

from siphonwatch.streams.cli.cases import case_table
from siphonwatch.streams.cli.desk_index import case_of, opened, options, show_json
from siphonwatch.streams.cli.table import plain, screen
from siphonwatch.streams.deliver.text import clean
from siphonwatch.streams.desk.views import CampaignPage, CasePage, Exposure, Member
from siphonwatch.streams.desk.wording import moment

MEMBERS = 20
EVENTS = 30


@click.command("case", short_help="Open a case: evidence, members, history, what was taken.")
@click.argument("case")
@click.option("--campaign", is_flag=True, help="What ties its accounts together, and the pools before and after it.")
@options
def command(case: str, campaign: bool, index: Path | None, names: str, as_json: bool) -> None:
    """Open CASE, a case's id or its beginning.

    Exit code 0: shown; 1: it is not known, or topics, index or names cannot be read; 2: bad usage.
    """
    with opened(index, names) as (desk, _):
        which = case_of(desk, case)
        if campaign:
            tied = desk.looks.campaign(which)
            show_json(tied) if as_json else _show_campaign(tied)
            return
        page = desk.looks.case(which)
    if as_json:
        show_json(page)
    else:
        _show(page)


def _show(page: CasePage) -> None:
    console, row = screen(), page.row
    said = [row.state, f"judged {row.verdict}" * bool(row.verdict), f"with {row.assignee}" * bool(row.assignee)]
    lines = [
        f"case {row.case}, {row.pattern}: {row.title} ({row.severity}; {', '.join(filter(None, said))})",
        page.sentence,
    ]
    lines += [f"observed   {text}" for text in page.observed]
    lines += [f"inferred   {text}" for text in page.inferred]
    for one in page.signals:
        if one.percentile is not None:
            lines.append(f"percentile {one.percentile:.1f} of cohort {one.cohort}: {one.name}")
    lines.append(f"but        {page.counterfactual}")
    lines += [f"request    {uid}" for uid in page.samples]
    lines.append(f"taken      {exposure_text(page.exposure)}")
    lines += [f"hidden by  allow entry {entry}" for entry in page.hidden_by]
    lines += [f"next       {text}" for text in page.steps]
    lines += [f"alike      {one.row.case}, {one.likeness:.0%}, judged {one.row.verdict}" for one in page.alike]
    lines += [f"alike      {one.row.case}, {one.likeness:.0%}, not judged" for one in page.alike_unjudged]
    for line in lines:
        click.echo(clean(line))
    if len(page.members) > 1:
        console.print(_members(page.members))
    history = Table(title="History", title_justify="left", header_style="bold")
    for heading in ("time", "what", "by", "text"):
        history.add_column(heading)
    for event in page.history[-EVENTS:]:
        figures = "" if event.log_e is None else f"log e-value {event.log_e:.1f}, {event.requests:,} requests"
        history.add_row(moment(event.time), event.what, plain(event.by), plain(event.text) or figures)
    console.print(history)
    if page.related:
        click.echo("cases that belong with it:")
        console.print(case_table(page.related, time.time()))


def _show_campaign(page: CampaignPage) -> None:
    console = screen()
    click.echo(f"case {page.row.case}, {page.row.pattern}: {len(page.members):,} accounts")
    console.print(_members(page.members))
    table = Table(title="What members share", title_justify="left", header_style="bold")
    for heading in ("kind", "value", "members", "accounts that have it", "requests"):
        table.add_column(heading)
    for one in page.fingerprints:
        table.add_row(one.kind, plain(one.value), f"{one.share:.0%}", f"{one.accounts:,}", f"{one.requests:,}")
    console.print(table)
    if page.pools:
        click.echo("pools before and after it:")
        console.print(case_table(page.pools, time.time()))


def _members(members: list[Member]) -> Table:
    table = Table(title="Members", title_justify="left", header_style="bold")
    for heading in ("account", "name", "requests", "share", "joined", "left", "cases of its own"):
        table.add_column(heading)
    for one in members[:MEMBERS]:
        table.add_row(
            plain(one.account), plain(one.name), f"{one.requests:,}", f"{one.share:.1%}", moment(one.joined),
            "" if one.left is None else moment(one.left), ", ".join(one.alone),
        )  # fmt: skip
    if len(members) > MEMBERS:
        table.caption = f"and {len(members) - MEMBERS:,} more: --json has all"
    return table


def exposure_text(one: Exposure) -> str:
    """Return how much was taken, in a line."""
    if not one.requests:
        return "nothing is known: telemetry of that time has left its topic"
    models = "".join(f"; {name} {count:,}" for name, count in list(one.models.items())[:5])
    return (
        f"{one.requests:,} requests on {one.days} days, {one.input_tokens:,} tokens in, {one.output_tokens:,} out, "
        f"about {one.contents:,} distinct contents (give or take {one.contents_error:.1%}){models}"
        "; contents and models are of whole days (UTC)"
    )
