"""`siphonwatch verdict`: sends an analyst's decision on a case to the verdicts topic. It changes no alert."""

from __future__ import annotations

import csv
import getpass
import time
from collections.abc import Iterable, Iterator
from typing import IO, Any, NamedTuple, cast

import click
import msgspec
from kafka.errors import KafkaError
from rich.markup import escape
from rich.table import Table

from models.verdict_book import DECISIONS, Decision
from streams.cli import Failure
from streams.cli.table import screen
from streams.gateway.producer import Outbox, connect
from streams.settings import Settings, load
from streams.tail import Tail, TailError
from streams.verdicts import NotAVerdict, Verdict, decode, encode, judge, standing

COLUMNS = ("case", "decision", "note", "by")
SHORTEST = 6
"""Characters of a case's id that may stand for it, where no other begins so."""
DELIVERY_SECONDS = 30.0


class Given(NamedTuple):
    """A decision as it was typed."""

    case: str
    decision: Decision
    note: str
    by: str


@click.command("verdict", short_help="Say what a case was; verdicts order those that follow.")
@click.argument("case", required=False)
@click.argument("decision", required=False, type=click.Choice(DECISIONS))
@click.option("--note", default="", help="Why, in your words; kept on the verdicts topic only.")
@click.option("--by", default="", metavar="NAME", help="Who decides.  [default: your login name]")
@click.option(
    "--file", "file", type=click.File(encoding="utf-8-sig"), help="CSV of case,decision and, if you like, note,by."
)
@click.option("--list", "list_", is_flag=True, help="Show the verdicts that stand, the last one of each case.")
@click.option("--json", "as_json", is_flag=True, help="With --list: the records of the topic, one a line.")
def command(
    case: str | None,
    decision: Decision | None,
    note: str,
    by: str,
    file: IO[str] | None,
    list_: bool,
    as_json: bool,
) -> None:
    """Say what CASE was: it orders the cases that follow, and never hides one.

    CASE is a case's id, or its beginning. The last verdict of a case stands. A verdict repeats what the newest alert of
    its case said. A note may hold names: it stays on the verdicts topic, as your name does.

    Exit code 0: the broker has all of it; 1: a case is not known, or the broker did not answer; 2: bad usage.
    """
    if sum([case is not None, file is not None, list_]) != 1:
        raise click.UsageError("give a CASE with a decision, or --file, or --list")
    if (case is None) != (decision is None):
        raise click.UsageError(f"say what {case} was: one of {', '.join(DECISIONS)}")
    if as_json and not list_:
        raise click.UsageError("--json goes with --list")
    settings = load().settings
    try:
        if list_:
            return show(settings, as_json)
        by = by or _login()
        given = _read(file, note, by) if file else [Given(str(case), cast(Decision, decision), note, by)]
        verdicts = find(settings, given)
        send(settings, verdicts)
    except TailError as error:
        raise Failure(str(error)) from None
    for verdict in verdicts:
        click.echo(f"{verdict.case} {verdict.facts.pattern}: {verdict.decision}, by {verdict.by}")


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container's user may have no name
        return "unknown"


def _read(file: IO[str], note: str, by: str) -> list[Given]:
    """The rows of a CSV file; columns may be missing or in any order, other columns are left out."""
    try:
        rows = list(csv.DictReader(file, strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise Failure(f"{file.name} is no CSV in UTF-8: {error}") from None
    given = []
    for number, row in enumerate(rows, 2):
        case, decision, own_note, own_by = ((row.get(name) or "").strip() for name in COLUMNS)
        if not case or decision not in DECISIONS:
            raise Failure(
                f"{file.name}, row {number}: needs a case and a decision of {', '.join(DECISIONS)};"
                " the first row names the columns. Nothing was sent"
            )
        given.append(Given(case, decision, own_note or note, own_by or by))
    if not given:
        raise Failure(f"{file.name} holds no verdict: its first row names the columns {', '.join(COLUMNS)}")
    return given


def find(settings: Settings, given: list[Given]) -> list[Verdict]:
    """Return the decisions as verdicts on the newest alert of each case.

    Raises
    ------
    Failure
        When a case has no alert, or several begin so.
    TailError
        When the alerts topic cannot be read.
    """
    beginnings = {one.case.lower() for one in given}
    for beginning in sorted(beginnings):
        if not SHORTEST <= len(beginning) <= 16 or not set(beginning) <= set("0123456789abcdef"):
            raise Failure(f"{beginning!r} is no case: give {SHORTEST} to 16 hexadecimal digits, as `alerts` shows them")
    with Tail.connect(settings, settings.topic("alerts")) as tail:
        newest = judgeable(tail.history(), beginnings)
    now = time.time()
    return [_judged(newest, one, now) for one in given]


def judgeable(values: Iterable[bytes], beginnings: set[str]) -> dict[str, dict[str, Any]]:
    """Return the newest alert of each case whose id begins so; its closing repeats the one before and is left out."""
    newest: dict[str, dict[str, Any]] = {}
    wanted = [beginning.encode() for beginning in beginnings]
    for value in values:
        if not any(beginning in value for beginning in wanted):
            continue
        try:
            alert = msgspec.json.decode(value)
            case, sequence = alert["subject"], alert["data"]["unmapped"]["siphonwatch"]["sequence"]
            if alert["type"].startswith("siphonwatch.case.closed") or not case.startswith(tuple(beginnings)):
                continue
            known = newest.get(case)
            if known is None or known["data"]["unmapped"]["siphonwatch"]["sequence"] <= sequence:
                newest[case] = alert
        except (msgspec.DecodeError, KeyError, TypeError, AttributeError):
            continue  # no alert of ours: `siphonwatch alerts` counts them
    return newest


def _judged(newest: dict[str, dict[str, Any]], one: Given, now: float) -> Verdict:
    found = sorted(case for case in newest if case.startswith(one.case.lower()))
    if not found:
        raise Failure(
            f"no alert of case {one.case} is on the alerts topic: `siphonwatch alerts` shows the known ones."
            " Nothing was sent"
        )
    if len(found) > 1:
        raise Failure(f"{one.case} could be {', '.join(found)}: give more of the id. Nothing was sent")
    try:
        return judge(newest[found[0]], one.decision, by=one.by, time=now, note=one.note)
    except NotAVerdict as error:
        raise Failure(f"case {found[0]} cannot be judged: {error}. Nothing was sent") from None


def send(settings: Settings, verdicts: Iterable[Verdict]) -> None:
    """Send verdicts in their order; return when the broker has them all.

    Raises
    ------
    Failure
        When it does not.
    """
    topic = settings.topic("verdicts")
    try:
        producer = connect(settings, "siphonwatch-verdict")
        outbox = Outbox(producer, topic)
        try:
            for verdict in verdicts:
                outbox.send(encode(verdict), verdict.case.encode())
            outbox.flush(DELIVERY_SECONDS)
        finally:
            outbox.close(DELIVERY_SECONDS)
    except KafkaError as error:
        raise Failure(
            f"cannot send to {topic} ({type(error).__name__}: {error}): send again, the last one counts"
        ) from None
    if outbox.failed:
        reasons = ", ".join(sorted(outbox.failures))
        raise Failure(f"{outbox.failed} verdicts did not reach {topic} ({reasons}): send again, the last one counts")


def recorded(settings: Settings) -> Iterator[Verdict]:
    """Give the verdicts on the topic in their order; what is none is told at the end.

    Raises
    ------
    TailError
        When the topic cannot be read.
    """
    unreadable = 0
    with Tail.connect(settings, settings.topic("verdicts")) as tail:
        for value in tail.history():
            try:
                yield decode(value)
            except NotAVerdict:
                unreadable += 1
    if unreadable:
        click.echo(f"{unreadable:,} records on the topic are no verdicts of ours and were left out", err=True)


def show(settings: Settings, as_json: bool) -> None:
    """Print the verdicts that stand, in the order of the topic."""
    verdicts = standing(recorded(settings))
    if not verdicts:
        click.echo("no verdicts", err=True)
    elif as_json:
        for verdict in verdicts:
            click.echo(encode(verdict))
    else:
        screen().print(_table(verdicts))


def _table(verdicts: Iterable[Verdict]) -> Table:
    table = Table(header_style="bold", expand=True)
    for heading in ("time", "case", "pattern", "verdict", "by"):
        table.add_column(heading, no_wrap=True)
    table.add_column("note", ratio=1)
    for verdict in verdicts:
        moment = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(verdict.time))
        table.add_row(
            moment, verdict.case, escape(verdict.facts.pattern), verdict.decision, escape(verdict.by),
            escape(verdict.note),
        )  # fmt: skip
    return table
