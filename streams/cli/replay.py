"""`siphonwatch replay`: score log files without a broker."""

from __future__ import annotations

import contextlib
import csv
import sys
import time
from collections import Counter
from pathlib import Path
from typing import IO

import click
import msgspec
from rich.console import Console

from siphonwatch.models.evidence.cases import Finding
from siphonwatch.models.learn.verdict_book import VerdictBook
from siphonwatch.models.learn.version import shipped
from siphonwatch.streams.cli import Failure
from siphonwatch.streams.cli.table import alert_table
from siphonwatch.streams.common import chosen
from siphonwatch.streams.common.cores import cores
from siphonwatch.streams.common.settings import Settings, load
from siphonwatch.streams.contracts.alert import encode, to_alert
from siphonwatch.streams.contracts.verdict import NotAVerdict, decode
from siphonwatch.streams.edge.adapters import Unreadable, formats
from siphonwatch.streams.edge.adapters.otlp import TEXT_VARIABLES
from siphonwatch.streams.edge.spread import ProcessDied
from siphonwatch.streams.lab.offline import Offline
from siphonwatch.streams.lab.replay import Replay, Totals

OFFLINE_KEY = "siphonwatch offline"
"""Hashes identifiers where no key is set: good for looking, not for anything that leaves the machine."""


SEALED = (
    "identity.seal_key opens them: `siphonwatch doctor --seal-key` prints it where the gateway's identity.key is set"
)
LATE = 0.01
"""Share of late requests from which the summary says what to do about them."""


@click.command("replay", short_help="Score log files without a broker.")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--format", "format_", type=click.Choice(["auto", *formats()]), default="auto", show_default=True,
    help="Of the files; auto looks at their first lines.",
)  # fmt: skip
@click.option("--alerts", type=click.Path(dir_okay=False, path_type=Path), help="Write alerts, one JSON object a line.")
@click.option(
    "--scores", type=click.Path(dir_okay=False, path_type=Path), help="Write account,score for every account."
)
@click.option("--telemetry", type=click.Path(dir_okay=False, path_type=Path), help="Write the telemetry read or made.")
@click.option(
    "--verdicts", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Rank by these verdicts, one JSON object a line, as `verdict --list --json` prints them.",
)  # fmt: skip
@click.option(
    "--partitions", type=click.IntRange(min=1), default=1, show_default=True,
    help="Score in so many partitions, as workers over a topic of as many do.",
)  # fmt: skip
@click.option(
    "--processes", type=click.IntRange(min=1), default=cores, show_default="all cores",
    help="That make telemetry of raw records; any number gives the same.",
)  # fmt: skip
@click.option("--plain-ids", is_flag=True, help="Keep account names readable instead of hashing them.")
@click.option("--quiet", is_flag=True, help="Print no table of the cases.")
def command(
    files: tuple[str, ...],
    format_: str,
    alerts: Path | None,
    scores: Path | None,
    telemetry: Path | None,
    verdicts: Path | None,
    partitions: int,
    processes: int,
    plain_ids: bool,
    quiet: bool,
) -> None:
    """Score FILE... with the scorer that the worker runs: plain or packed, - for standard input, or an archive."""
    settings = offline(load().settings, plain_ids)
    for warning in chosen.warnings(settings):
        click.echo(warning, err=True)
    book = _book(verdicts)
    opened: list[Finding] = []
    with contextlib.ExitStack() as stack:
        scorer = stack.enter_context(Offline(settings, partitions, suspicions=scores is not None))
        reference = scorer.judges()[0].reference_id
        alert_file = _create(stack, alerts)

        def take(finding: Finding) -> None:
            if finding.kind == "open":
                opened.append(finding)
            if alert_file:
                judged = replay.judged(finding, shipped().id, reference)
                alert = to_alert(finding, book.rank_finding(finding), settings.links.runbook, judged)
                alert_file.write(encode(alert) + b"\n")

        replay = Replay(settings, scorer, take, _create(stack, telemetry), processes)
        started = time.perf_counter()
        for name in files:
            try:
                replay.run(name, format_)
            except (Unreadable, ProcessDied, ValueError) as error:
                raise Failure(str(error)) from None
        elapsed = time.perf_counter() - started
    if scores:
        with _writing(scores), scores.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            suspicion = sorted(scorer.suspicion().items())
            writer.writerow(["account", "score"])
            writer.writerows((account, f"{score:.6g}") for account, score in suspicion)
    if opened and not quiet and sys.stdout.isatty():
        Console().print(alert_table([to_alert(finding) for finding in opened]))
    _summarise(replay.totals, scorer, elapsed)


def passed_over(what: Counter[str]) -> str:
    """Return how many elements were no requests, and what they were."""
    return f"{what.total():,} ({', '.join(f'{n:,} {name}' for name, n in what.most_common(20))})"


NO_TEXT = (
    "detection needs it. Applications that OpenTelemetry instruments put it into their spans where their environment "
    f"holds {' and '.join(TEXT_VARIABLES)}"
)


def _book(path: Path | None) -> VerdictBook:
    """The verdicts of a file; they change the rank of alerts and nothing else."""
    book = VerdictBook()
    if path is not None:
        with _reading(path), path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    book.take([decode(line).vote])
                except NotAVerdict as error:
                    raise Failure(f"{path}, line {number} is no verdict: {error}") from None
    return book


def offline(settings: Settings, plain_ids: bool) -> Settings:
    """Return settings to read logs by: with a fixed key where none is set, which is said."""
    key = settings.identity.key
    if not key:
        click.echo("identity.key is not set: identifiers are hashed under a fixed offline key", err=True)
        key = OFFLINE_KEY
    identity = msgspec.structs.replace(settings.identity, key=key, plain_ids=plain_ids or settings.identity.plain_ids)
    return msgspec.structs.replace(settings, identity=identity)


@contextlib.contextmanager
def _reading(path: Path):  # type: ignore[no-untyped-def]
    try:
        yield
    except OSError as error:
        raise Failure(f"cannot read {path}: {error.strerror}") from None


@contextlib.contextmanager
def _writing(path: Path):  # type: ignore[no-untyped-def]
    try:
        yield
    except OSError as error:
        raise Failure(f"cannot write {path}: {error.strerror}") from None


def _create(stack: contextlib.ExitStack, path: Path | None) -> IO[bytes] | None:
    if path is None:
        return None
    with _writing(path):
        return stack.enter_context(path.open("wb"))


def _summarise(totals: Totals, scorer: Offline, elapsed: float) -> None:
    rate = totals.requests / elapsed if elapsed > 0 else 0.0
    click.echo(
        f"{totals.requests:,} requests of {scorer.accounts:,} accounts in {elapsed:.2f} s: {rate:,.0f} requests/s"
    )
    cases = ", ".join(f"{n} {pattern}" for pattern, n in sorted(totals.patterns.items())) or "none"
    click.echo(
        f"cases opened: {cases}; updates {totals.findings['update']}, closed {totals.findings['close']};"
        f" late {scorer.late:,}"
    )
    if scorer.late > LATE * totals.requests:
        click.echo(
            f"{scorer.late / totals.requests:.0%} of the requests came later than scoring.grace allows. They count, "
            "but what they show is found later or not at all: sort the log by time, or replay its parts by themselves",
            err=True,
        )
    if scorer.ahead:
        click.echo(
            f"{scorer.ahead:,} requests were further ahead of the others than scoring.max_ahead allows: after a pause, "
            "or by a wrong clock",
            err=True,
        )
    if scorer.refused:
        click.echo(f"turned away by the gateway, of accounts that had got nothing before: {scorer.refused:,} requests")
    if totals.allowed:
        click.echo(f"no alert, as their accounts are allowed: {totals.allowed:,} findings")
    if totals.passed_over:
        click.echo(f"passed over, as no requests: {passed_over(totals.passed_over)}")
    if totals.unopened:
        click.echo(f"{totals.unopened:,} requests with sealed parts that no key opens; {SEALED}")
    if totals.without_text:
        click.echo(f"{totals.without_text:,} requests without text; {NO_TEXT}")
    if totals.rejected:
        reasons = ", ".join(f"{n:,} {reason}" for reason, n in sorted(totals.rejected.items()))
        click.echo(f"rejected: {totals.rejected.total():,} ({reasons})", err=True)
        for line in totals.rejected.lines():
            click.echo(f"  {line}", err=True)
        if not totals.requests:
            raise Failure("nothing could be read")
