"""`siphonwatch export`: cases as STIX 2.1 or CSV, from topics or files. It changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Literal

import click
import msgspec

from siphonwatch.models.evidence.process import SEVERITIES
from siphonwatch.streams.cli import Failure
from siphonwatch.streams.cli.alerts import parse_severity, parse_since
from siphonwatch.streams.cli.pattern import Pattern
from siphonwatch.streams.cli.verdict import recorded
from siphonwatch.streams.common.settings import load
from siphonwatch.streams.common.tail import Tail, TailError
from siphonwatch.streams.contracts.verdict import NotAVerdict, Verdict
from siphonwatch.streams.contracts.verdict import decode as decode_verdict
from siphonwatch.streams.deliver.export import sheet, stix
from siphonwatch.streams.deliver.export.case import Case, gather
from siphonwatch.streams.deliver.wanted import Filter


@click.command("export", short_help="Write cases as STIX 2.1 or CSV.")
@click.option("--stix", "shape", flag_value="stix", help="A STIX 2.1 bundle.")
@click.option("--csv", "shape", flag_value="csv", help="A line a case, harmless in a spreadsheet.")
@click.option("--since", callback=parse_since, metavar="30d|TIME", help="Cases with evidence since, by event time.")
@click.option("--pattern", "patterns", type=Pattern(), multiple=True, help="Only this pattern; may be repeated.")
@click.option(
    "--severity", callback=parse_severity, default="low+", show_default=True, metavar="LEVEL[+]",
    help=f"One of {', '.join(SEVERITIES)}; with + that or worse.",
)  # fmt: skip
@click.option("--case", default="", help="Only this case; the beginning of its id will do.")
@click.option("--alerts", type=click.File("rb"), help="Alerts, a line each, in place of the topic.")
@click.option("--verdicts", type=click.File("rb"), help="Verdicts, a line each, in place of the topic.")
@click.option(
    "--to",
    type=click.File("w", encoding="utf-8", lazy=True, atomic=True),
    default="-",
    help="A file.  [default: stdout]",
)
def command(
    shape: Literal["stix", "csv"] | None,
    since: float | None,
    patterns: tuple[str, ...],
    severity: tuple[str, ...],
    case: str,
    alerts: IO[bytes] | None,
    verdicts: IO[bytes] | None,
    to: IO[str],
) -> None:
    """Write cases, each by its newest alert and the verdict that stands, for other tools.

    Accounts are as alerts show them. Who decided, notes and who is behind an account are never in it.

    Exit code 0: written, also where there are none; 1: a topic cannot be read; 2: bad usage or settings.
    """
    if shape is None:
        raise click.UsageError("say what to write: --stix or --csv")
    if verdicts is not None and alerts is None:
        raise click.UsageError("--verdicts goes with --alerts")
    wanted = Filter(patterns, severity, case=case.lower())
    try:
        if alerts is not None:
            found = gather(alerts, _verdicts(verdicts) if verdicts else [], wanted, since)
        else:
            settings = load().settings
            known = list(recorded(settings))
            with Tail.connect(settings, settings.topic("alerts")) as tail:
                found = gather(tail.history(), known, wanted, since)
    except TailError as error:
        raise Failure(str(error)) from None
    _write(shape, found, to)
    click.echo(f"{len(found):,} case{'' if len(found) == 1 else 's'}", err=True)


def _write(shape: str, cases: list[Case], to: IO[str]) -> None:
    if shape == "csv":
        sheet.write(cases, to)
    else:
        to.write(msgspec.json.format(msgspec.json.encode(stix.bundle(cases)), indent=2).decode() + "\n")


def _verdicts(file: IO[bytes]) -> Iterator[Verdict]:
    for line in file:
        try:
            yield decode_verdict(line)
        except NotAVerdict:
            if line.strip():
                raise Failure(f"{file.name} has a line that is no verdict of ours") from None
