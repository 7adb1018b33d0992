"""`siphonwatch noise`: which patterns, cohorts and customers cost analysts most for least truth. It changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import IO

import click
import msgspec
from rich.markup import escape
from rich.table import Table

from siphonwatch.models.account.features import NAMES
from siphonwatch.models.detect.registry import current
from siphonwatch.models.evaluate.noise import BY, CaseCost, Noise, noise
from siphonwatch.models.learn.version import table_id
from siphonwatch.streams.cli import Failure
from siphonwatch.streams.cli.alerts import parse_since
from siphonwatch.streams.cli.backtest import MINUTES
from siphonwatch.streams.cli.table import screen
from siphonwatch.streams.cli.verdict import recorded
from siphonwatch.streams.common.settings import Settings, load
from siphonwatch.streams.common.tail import Tail, TailError
from siphonwatch.streams.contracts.alert import Alert, NotAnAlert
from siphonwatch.streams.contracts.alert import decode as decode_alert
from siphonwatch.streams.contracts.features import NoFeatures
from siphonwatch.streams.contracts.features import decode as decode_features
from siphonwatch.streams.contracts.verdict import NotAVerdict, Verdict, standing
from siphonwatch.streams.contracts.verdict import decode as decode_verdict
from siphonwatch.streams.deliver.text import clean, clip

UPDATE_MINUTES = 1.0
"""Minutes an update, a convention as `MINUTES` is."""
MOST = 0.5
"""Share of a day's requests from which an account is of a cohort."""


@click.command("noise", short_help="Say which cases cost most for least truth.")
@click.option("--alerts", type=click.File("rb"), help="Alerts, a line each, in place of the topic.")
@click.option("--verdicts", type=click.File("rb"), help="Verdicts, a line each (`verdict --history --json`).")
@click.option("--since", callback=parse_since, metavar="30d|TIME", help="Only cases that opened since, by event time.")
@click.option(
    "--minutes", type=click.FloatRange(min=0, min_open=True), default=MINUTES, show_default=True,
    help="Analyst minutes a case: put in what your desk measures.",
)  # fmt: skip
@click.option(
    "--minutes-update", type=click.FloatRange(min=0), default=UPDATE_MINUTES, show_default=True,
    help="Analyst minutes an update.",
)  # fmt: skip
@click.option("--limit", type=click.IntRange(min=1), default=10, show_default=True, help="Rows of each kind.")
@click.option("--json", "as_json", is_flag=True, help="One object a line, all of them.")
def command(
    alerts: IO[bytes] | None,
    verdicts: IO[bytes] | None,
    since: float | None,
    minutes: float,
    minutes_update: float,
    limit: int,
    as_json: bool,
) -> None:
    """Say what cases cost the people who look at them, by pattern, cohort and customer, the most wasted first.

    Wasted minutes are those of cases that a verdict calls false or expected. An account's cohort is that of its logged
    features (`features.log`): `rest` where most of its day is plain REST, `conversation` where most responses stream,
    else `program`; it is not known where no features were logged, or from files.

    Exit code 0: shown, even where there is nothing; 1: a topic or file cannot be read; 2: bad usage.
    """
    if (alerts is None) != (verdicts is None):
        raise click.UsageError("give both --alerts and --verdicts, or none for the topics")
    try:
        if alerts is not None and verdicts is not None:
            costs = gather(alerts, _verdicts(verdicts), {}, since)
        else:
            costs = _from_topics(load().settings, since)
    except TailError as error:
        raise Failure(str(error)) from None
    found = noise(costs, minutes, minutes_update)
    if as_json:
        for one in found:
            click.echo(msgspec.json.encode(one))
    elif not found:
        click.echo("no cases", err=True)
    else:
        for by in BY:
            screen().print(_table(by, [one for one in found if one.by == by], limit))
        said = f"{minutes:g} analyst minutes a case, {minutes_update:g} an update"
        click.echo(f"{said}; wasted: on cases that were judged false or expected")


def gather(
    lines: Iterable[bytes], verdicts: Iterable[Verdict], cohorts: dict[str, str], since: float | None
) -> list[CaseCost]:
    """Return the cases of alerts with their standing verdicts, in the order of these; tests are left out.

    Parameters
    ----------
    lines
        Alerts, each one's JSON.
    cohorts
        By id of an alert.
    since
        Cases that opened before are left out; seconds since 1970.
    """
    decisions: dict[str, str] = {verdict.case: verdict.decision for verdict in standing(verdicts)}
    order = {case: place for place, case in enumerate(decisions)}
    newest: dict[str, Alert] = {}
    updates: dict[str, set[str]] = {}
    cohort: dict[str, str] = {}
    for line in lines:
        try:
            alert = decode_alert(line)
        except NotAnAlert:
            continue
        if alert.own.test is True or (since is not None and alert.data.finding_info.created_time < since * 1000):
            continue
        case = alert.subject
        newest.setdefault(case, alert)
        ids = updates.setdefault(case, set())
        if alert.kind == "updated":
            ids.add(alert.id)
        if alert.id in cohorts:
            cohort[case] = cohorts[alert.id]
    return [
        CaseCost(
            current(alert.own.pattern), cohort.get(case, ""), alert.own.accounts[0], len(updates[case]),
            decisions.get(case, ""),
        )
        for case, alert in sorted(newest.items(), key=lambda pair: order.get(pair[0], len(order)))
    ]  # fmt: skip


def _from_topics(settings: Settings, since: float | None) -> list[CaseCost]:
    verdicts = list(recorded(settings))
    cohorts: dict[str, str] = {}
    try:
        with Tail.connect(settings, settings.topic("features")) as tail:
            for value in tail.history():
                cohorts.update(_cohorts(value))
    except TailError as error:
        click.echo(f"no cohort is known: {error}", err=True)
    with Tail.connect(settings, settings.topic("alerts")) as tail:
        return gather(tail.history(), verdicts, cohorts, since)


def _cohorts(value: bytes) -> dict[str, str]:
    """The cohort of the account of each alert that a record of features is about."""
    try:
        logged = decode_features(value)
    except NoFeatures:
        return {}
    if logged.over != "account" or not logged.alerts or logged.table != table_id() or len(logged.vector) != len(NAMES):
        return {}
    seen = dict(zip(NAMES, logged.vector.tolist(), strict=True))
    if seen["rest_1d"] > MOST:
        cohort = "rest"
    else:
        cohort = "conversation" if seen["streamed_1d"] > MOST else "program"
    return dict.fromkeys(logged.alerts, cohort)


def _verdicts(file: IO[bytes]) -> Iterator[Verdict]:
    unread = 0
    for line in file:
        try:
            yield decode_verdict(line)
        except NotAVerdict:
            unread += bool(line.strip())
    if unread:
        click.echo(f"{unread:,} lines are no verdicts of ours and were left out", err=True)


def _table(by: str, rows: list[Noise], limit: int) -> Table:
    table = Table(header_style="bold", title=f"by {by}", title_justify="left")
    table.add_column(by, no_wrap=True)
    for heading in ("cases", "updates", "minutes", "wasted", "confirmed", "true share (95 %)", "minutes a truth"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in rows[:limit]:
        share = "-" if one.at_least is None or one.at_most is None else f"{one.at_least:.0%} to {one.at_most:.0%}"
        truth = "-" if one.minutes_a_truth is None else f"{one.minutes_a_truth:,.0f}"
        table.add_row(
            escape(clip(clean(one.name), 40)) or "not known", f"{one.cases:,}", f"{one.updates:,}",
            f"{one.minutes:,.0f}", f"{one.wasted:,.0f}", f"{one.confirmed:,} of {one.decided:,}", share, truth,
        )  # fmt: skip
    if len(rows) > limit:
        table.add_row(f"and {len(rows) - limit:,} more")
    return table
