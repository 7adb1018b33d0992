"""`siphonwatch explain`: why an alert was sent, whether it can be made again, and why an account has none."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click
import msgspec
from msgspec import UnsetType
from rich.console import Console
from rich.table import Table

from siphonwatch.models.learn.version import SHIPPED
from siphonwatch.streams.cli import Failure
from siphonwatch.streams.cli.alerts import Reader
from siphonwatch.streams.cli.evaluate import PIPE_WIDTH
from siphonwatch.streams.cli.replay import OFFLINE_KEY
from siphonwatch.streams.common.cores import cores
from siphonwatch.streams.common.settings import Settings, load
from siphonwatch.streams.common.tail import Tail, TailError
from siphonwatch.streams.contracts.alert import Alert, NotAnAlert, decode
from siphonwatch.streams.contracts.wording import evidence, signal_text
from siphonwatch.streams.deliver.wanted import Filter
from siphonwatch.streams.edge.adapters import Unreadable, formats
from siphonwatch.streams.edge.spread import ProcessDied
from siphonwatch.streams.lab.backtest.version import NoVersion, load_version
from siphonwatch.streams.lab.explain.exact import rebuild
from siphonwatch.streams.lab.explain.why_not import WhyNot, why_not


@click.command("explain", short_help="Say why an alert was sent, or why an account has none.")
@click.argument("alert", required=False, metavar="[ALERT]")
@click.option(
    "--alerts", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Find the alert in this file, one JSON object a line, instead of on the topic.",
)  # fmt: skip
@click.option(
    "--exact",
    is_flag=True,
    help="Make the alert again from --data, or from the topic: identical, or the first field that differs.",
)
@click.option("--why-not", "account", metavar="ACCOUNT", help="Say how near an account came to an alert in --data.")
@click.option("--data", multiple=True, metavar="LOG", help="Any log or archive that replay reads, whole; repeatable.")
@click.option("--version", "version_", default=SHIPPED, show_default=True, help="The version that judges in a replay.")
@click.option(
    "--format", "format_", type=click.Choice(["auto", *formats()]), default="auto", show_default=True, help="Of --data."
)
@click.option("--partitions", type=click.IntRange(min=1), default=1, show_default=True, help="That the workers had.")
@click.option(
    "--plain-ids", is_flag=True, help="Account names of raw logs stay readable, as alerts of `replay --plain-ids`."
)
def command(
    alert: str | None,
    alerts: Path | None,
    exact: bool,
    account: str | None,
    data: tuple[str, ...],
    version_: str,
    format_: str,
    partitions: int,
    plain_ids: bool,
) -> None:
    """Explain ALERT, by its id or its case's (the newest one of a case).

    Without --data, --exact reads the telemetry of the alert's partition from the topic, where it still is from its
    first record on; else it says which offsets are gone.

    Exit code 0: explained, and identical where asked; 1: it differs, or is not found; 2: bad usage or settings.
    """
    if bool(alert) == bool(account):
        raise click.UsageError("give an ALERT, or --why-not ACCOUNT")
    if account and not data:
        raise click.UsageError("--why-not needs --data: the log, from its beginning")
    settings = load().settings
    key = settings.identity.key or OFFLINE_KEY
    identity = msgspec.structs.replace(settings.identity, key=key, plain_ids=plain_ids or settings.identity.plain_ids)
    offline = msgspec.structs.replace(settings, identity=identity)
    try:
        version = load_version(version_, settings)
        if account:
            _show_why_not(
                why_not(account, version, data, offline, format=format_, partitions=partitions, processes=cores())
            )
            return
        sent = _find(settings, alert or "", alerts)
        _show(sent)
        if not exact:
            return
        mine = {detector.pattern: detector.id for detector in version.detectors}.get(sent.own.pattern)
        if sent.own.card and mine != sent.own.card:
            click.echo(
                f"version {version.name} has card {mine} of {sent.own.pattern}, the alert is by {sent.own.card}",
                err=True,
            )
        with tempfile.TemporaryDirectory(prefix="siphonwatch-explain-") as folder:
            if not data:
                from siphonwatch.streams.lab.explain.topic import keep

                data, format_, partitions = (folder,), "auto", keep(settings, sent, folder)
            again = rebuild(sent, version, data, offline, format=format_, partitions=partitions, processes=cores())
    except NoVersion as error:
        raise click.UsageError(str(error)) from None
    except (Unreadable, ProcessDied, ValueError, TailError) as error:
        raise Failure(str(error)) from None
    if not again.found:
        told = ", ".join(again.others[:5]) or "nothing"
        raise Failure(
            f"not made again by {again.requests:,} requests: of its accounts they told {told}. Does --data begin "
            "where the workers' state did, and are --partitions and --version those of the workers?"
        )
    compared = f"after {again.requests:,} requests; not compared: {', '.join(again.left_out)}"
    if again.difference:
        raise Failure(f"differs {compared}: {again.difference}")
    click.echo(f"identical {compared}")


def _find(settings: Settings, wanted: str, file: Path | None) -> Alert:
    """The alert of an id, or the newest one of a case."""
    case, _, place = wanted.lower().partition("-")
    found: list[Alert] = []
    if file is not None:
        for number, line in enumerate(file.read_bytes().splitlines(), 1):
            try:
                found.append(decode(line))
            except NotAnAlert as error:
                raise Failure(f"{file}, line {number} is no alert: {error}") from None
    else:
        try:
            with Tail.connect(settings, settings.topic("alerts")) as tail:
                found = [record.event for record in Reader(Filter()).select(tail.history())]
        except TailError as error:
            raise Failure(str(error)) from None
    mine = [one for one in found if one.subject.startswith(case) and (not place or one.id == wanted.lower())]
    if len({one.subject for one in mine}) != 1:
        raise Failure(
            f"{len({one.subject for one in mine})} cases of {len(found):,} alerts match {wanted}: give the whole id"
        )
    return max(mine, key=lambda one: one.own.sequence)


def _show(alert: Alert) -> None:
    own = alert.own
    lines = [
        f"{alert.id} {alert.kind} at {alert.time}: {alert.data.finding_info.title}",
        f"accounts   {', '.join(own.accounts[:10])}"
        + (f" and {len(own.accounts) - 10} more" * (len(own.accounts) > 10)),
        f"evidence   {evidence(own.e_value)}, {own.requests_seen:,} requests; the case needed {own.threshold_e:.3g}",
        f"score      {own.score:.3f}, evidence from {own.level:.3f} on",
        f"card       {own.pattern} {own.card or 'not named'}, release {alert.data.metadata.product.version}",
    ]
    if not isinstance(model := own.model, UnsetType):
        place = f"{model.stream}[{model.partition}]"
        if not isinstance(model.offset, UnsetType):
            place += f", offset {model.offset:,}"
        if not isinstance(model.checkpoint, UnsetType):
            place += f", state of checkpoint {model.checkpoint:,}"
        lines.append(f"model      version {model.version or 'not named'}, {place}")
    for signal in own.signals:
        words = signal_text(signal.name, signal.observed, signal.direction, signal.baseline, signal.unit)
        lines.append(f"signal     {words}: {signal.meaning}; without it the score falls by {signal.contribution:.2f}")
    lines.append(f"but        {own.counterfactual}")
    lines += [f"shared     {text}" for text in own.shared]
    lines += [f"request    {uid}" for uid in own.sample_requests]
    for line in lines:
        click.echo(line)


def _show_why_not(said: WhyNot) -> None:
    click.echo(f"account {said.account}, {said.requests:,} requests")
    if said.allowed:
        click.echo("an allow entry keeps its alerts from being sent")
    click.echo(f"told of it: {', '.join(said.told)}" if said.told else "no pattern told of it")
    table = Table(title="How near it came, the nearest first", title_justify="left")
    for heading in ("pattern", "e-value", "needed", "score", "held by", "would open it"):
        table.add_column(heading)
    for one in said.patterns:
        table.add_row(
            one.pattern, f"{one.e_value:.3g}", f"{one.needed:.3g}", f"{one.score:.2f} of {one.null:.2f}",
            "; ".join(one.held), one.opens or "it is evidence",
        )  # fmt: skip
    console = Console()
    (console if console.is_terminal else Console(width=PIPE_WIDTH)).print(table)
