"""`siphonwatch drift`: what features, scores and alert rates are no longer what they were; proposes, never retrains."""

from __future__ import annotations

import datetime
import re
import sys

import click
import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from siphonwatch.models.learn.drift import TooShort
from siphonwatch.streams.cli import Failure
from siphonwatch.streams.cli.evaluate import PIPE_WIDTH, offline
from siphonwatch.streams.common.settings import load
from siphonwatch.streams.edge.adapters import Unreadable
from siphonwatch.streams.lab.drift.run import WARM_UP, Report, drift

SHOWN = 30
"""Rows of the table: one change moves many features that hang together; the JSON has all of them."""


class Baseline(click.ParamType):
    """A number of days such as `7d`, or the moment at which it ends."""

    name = "baseline"

    def convert(
        self, value: str | tuple[float | None, float | None], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float | None, float | None]:
        if isinstance(value, tuple):
            return value
        if found := re.fullmatch(r"([1-9]\d*)d", value):
            return float(found[1]), None
        try:
            when = datetime.datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is neither days, such as 7d, nor a moment, such as 2026-11-20", param, ctx)
        return None, (when if when.tzinfo else when.replace(tzinfo=datetime.UTC)).timestamp()


@click.command("drift", short_help="Say what moved since a baseline, and what to train.")
@click.option("--data", required=True, multiple=True, metavar="LOG", help="Any log or archive that replay reads.")
@click.option(
    "--baseline", type=Baseline(), default="7d", show_default=True, metavar="DAYS|UNTIL",
    help="Its length, or the midnight UTC that ends it.",
)  # fmt: skip
@click.option(
    "--warm-up", type=click.IntRange(0), default=int(WARM_UP), show_default=True,
    help="Days at the beginning left out: what fades over 7 days has to fill.",
)  # fmt: skip
@click.option("--json", "json_", is_flag=True, help="Print every figure as JSON.")
def command(data: tuple[str, ...], baseline: tuple[float | None, float | None], warm_up: int, json_: bool) -> None:
    """Compare the days after a baseline with it: features, scores and alert rates, by cohort.

    Exit code 0 where nothing moved, 1 where something did or the data cannot be compared. It trains nothing.
    """
    days, until = baseline
    try:
        report = drift(
            data, offline(load().settings), baseline=days, until=until, warm_up=warm_up,
            tell=lambda text: click.echo(text, err=True) if sys.stderr.isatty() else None,
        )  # fmt: skip
    except (TooShort, Unreadable, ValueError) as error:
        raise Failure(str(error)) from None
    if json_:
        click.echo(msgspec.json.format(msgspec.json.encode(report), indent=1))
    else:
        _show(report, Console() if Console().is_terminal else Console(width=PIPE_WIDTH))
    if report.moved or report.rates:
        sys.exit(1)


def _show(report: Report, console: Console) -> None:
    def say(text: str) -> None:
        console.print(escape(text), highlight=False, soft_wrap=True)

    begin, end = report.baseline
    say(
        f"{len(report.moved)} of features and references moved and {len(report.rates)} alert rates: days from {end} to "
        f"before {report.until}, against {begin} to before {end}; {report.requests:,} requests, "
        f"{report.accounts:,} accounts."
    )
    if report.not_compared:
        say(f"Too few accounts to compare: {', '.join(report.not_compared)}.")
    if report.filling:
        say(f"Not compared, as they still fill after a warm-up under {WARM_UP:g} days: {', '.join(report.filling)}.")
    if report.late:
        say(f"{report.late:,} requests came after their day was closed and are left out.")
    if report.moved:
        table = Table("what", "cohort", "PSI", "floor", "since", "direction", "window", "accounts", "read by")
        for one in report.moved[:SHOWN]:
            what = f"score of {one.name}" if one.kind == "reference" else one.name
            table.add_row(
                escape(what), one.cohort, f"{one.psi:.2f}", f"{max(one.floor, 0.0):.2f}", one.since, one.direction,
                f"{one.window_days} d", f"{one.accounts:,}", ", ".join(one.read_by),
            )  # fmt: skip
        console.print(table)
        if len(report.moved) > SHOWN:
            say(f"{len(report.moved) - SHOWN} more: --json has all of them.")
    if report.rates:
        table = Table("cases of", "cohort", "a day before", "a day since", "since")
        for rate in report.rates:
            table.add_row(rate.pattern, rate.cohort, f"{rate.before:.2f}", f"{rate.after:.2f}", rate.since)
        console.print(table)
    for line in report.propose:
        say(line)
