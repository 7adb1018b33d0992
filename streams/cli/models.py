"""`siphonwatch models`: versions of the detectors, from the registry to the shadow, to the champion and back.

It sends control records and reads topics; workers apply what it sends at their next checkpoint.
"""

from __future__ import annotations

import time
from pathlib import Path

import click
import msgspec
from rich.table import Table

from siphonwatch.models.common.tensors import write_tensors
from siphonwatch.models.learn.version import Version, VersionError, read_version, shipped
from siphonwatch.streams.cli import Failure
from siphonwatch.streams.cli.alerts import moment_of
from siphonwatch.streams.cli.allow import recorded, send
from siphonwatch.streams.cli.table import screen
from siphonwatch.streams.cli.verdict import login
from siphonwatch.streams.common.settings import Settings, SettingsError, load
from siphonwatch.streams.common.tail import Tail, TailError
from siphonwatch.streams.contracts.alert import Alert, NotAnAlert
from siphonwatch.streams.contracts.alert import decode as decode_alert
from siphonwatch.streams.contracts.control import CHALLENGER, CHAMPION, Deploy, Gate, deploy_of, version_of
from siphonwatch.streams.contracts.deployment import Applied, NotADeployment, judging, once
from siphonwatch.streams.contracts.deployment import decode as decode_applied
from siphonwatch.streams.contracts.measured import Measured, NotMeasured
from siphonwatch.streams.contracts.measured import decode as decode_measured
from siphonwatch.streams.contracts.verdict import NotAVerdict, standing
from siphonwatch.streams.contracts.verdict import decode as decode_verdict
from siphonwatch.streams.lab.backtest.version import find_version
from siphonwatch.streams.lab.registry.compare import Comparison, compare
from siphonwatch.streams.lab.registry.gates import Gates, GatesError, hold, line, read_gates, rule, stated
from siphonwatch.streams.lab.registry.store import Registry, RegistryError, read_files
from siphonwatch.streams.worker.outlet import VERSION

by_option = click.option("--by", default="", metavar="NAME", help="Who decides.  [default: your login name]")
why_option = click.option("--why", default="", help="The reason, in your words.")
gates_option = click.option(
    "--gates", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="TOML file of gates."
)


class _Guarded(click.Group):
    """Turns what goes wrong with versions and topics into messages."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except (RegistryError, VersionError, GatesError, TailError) as error:
            raise Failure(str(error)) from None


@click.group("models", cls=_Guarded, short_help="Versions of the detectors: shadow, promote, roll back, compare.")
def command() -> None:
    """Keep, try, promote and roll back versions of the detectors.

    VERSION is an id, its beginning, a name or an alias; `shipped` is the version that is installed. The registry is
    where `models.registry` says; what judges is on the control topic, and workers apply it at their next checkpoint.
    """


@command.command("list")
def list_() -> None:
    """Show the versions of the registry with their aliases, and say which cannot be used."""
    settings = load().settings
    aliases = _registry(settings).aliases() if settings.models.registry else {}
    versions, refused = _registry(settings).versions() if settings.models.registry else ([shipped()], {})
    roles: dict[str, list[str]] = {}
    for alias, id in aliases.items():
        roles.setdefault(id, []).append(alias)
    table = Table(header_style="bold")
    for heading in ("id", "name", "parent", "made by", "aliases"):
        table.add_column(heading)
    for version in versions:
        named = ", ".join(roles.get(version.id, []))
        table.add_row(version.id, version.name, version.info.parent, version.info.made_by, named)
    screen().print(table)
    for why in refused.values():
        click.echo(why, err=True)


@command.command()
@click.argument("version")
def show(version: str) -> None:
    """Print where a version comes from, its cards and what was measured of it."""
    found = find_version(version, load().settings)
    click.echo(f"{found.name} {found.id}, features {found.features}")
    for name, value in msgspec.structs.asdict(found.info).items():
        if value and name not in ("name", "metrics"):
            click.echo(f"{name}: {value}")
    for name, value in found.info.metrics.items():
        click.echo(f"{name}: {value}")
    for over in ("account", "campaign"):
        for d in found.detectors(over):
            click.echo(f"{over} {d.pattern} {d.id}: null {d.null:g}, trust {d.trust:g}, {len(d.needs)} features")


@command.command()
@click.argument("directory")
@click.option("--alias", default="", help="A further name for it.")
def add(directory: str, alias: str) -> None:
    """Store a version's DIRECTORY (or URL) in the registry; its hashes are checked before anything is parsed."""
    registry = _registry(load().settings)
    version = registry.add(read_files(directory))
    if alias:
        registry.name(alias, version.id)
    click.echo(version.id)


@command.command()
@click.argument("version", required=False)
@click.option("--end", is_flag=True, help="Let nothing judge beside the champion any more.")
@gates_option
@by_option
@why_option
def shadow(version: str | None, end: bool, gates: Path | None, by: str, why: str) -> None:
    """Let VERSION judge beside the champion: its alerts go to a topic of their own, and to nobody.

    The gates are kept with it as the rule, stated before anything was seen, of when the trial is over.
    """
    if end == (version is not None):
        raise click.UsageError("give a VERSION, or --end")
    settings = load().settings
    if version is None:
        send(settings, _nobody(by, why))
        return click.echo("nothing judges beside the champion from the next checkpoints on")
    found = find_version(version, settings)
    until = rule(_gates(gates))
    send(settings, deploy_of(found, CHALLENGER, by=by or login(), why=why, time=time.time(), gates=until))
    click.echo(f"{found.id} ({found.name}) judges in the shadow from the next checkpoints on")
    click.echo(f"until: {stated(until)}")
    return click.echo(f"compare it: siphonwatch models report {found.id}")


@command.command()
@click.argument("version")
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
def report(version: str, as_json: bool) -> None:
    """Compare what VERSION found in the shadow with what the champion told, and with verdicts."""
    settings = load().settings
    found = find_version(version, settings)
    shown = comparison(settings, found)
    if as_json:
        return click.echo(msgspec.json.encode(shown))
    click.echo(
        f"{found.id} ({found.name}), {shown.days:.2f} days of event time in the shadow, "
        f"{shown.requests:,} requests seen"
    )
    sent = [c for c in recorded(settings) if isinstance(c, Deploy) and (c.id, c.version) == (CHALLENGER, found.id)]
    if sent and sent[-1].gates:
        when = time.strftime("%Y-%m-%d %H:%M", time.gmtime(sent[-1].time))
        click.echo(f"to be ended, as {sent[-1].by} stated on {when} UTC, at: {stated(sent[-1].gates)}")
    click.echo(
        f"cases: {shown.cases_champion:,} by the champion, {shown.cases_challenger:,} by it, {shown.both:,} by both "
        f"(agreement {shown.agreement:.2f})"
    )
    click.echo(f"only the champion: {' '.join(shown.only_champion[:20]) or 'none'}")
    click.echo(f"only it: {' '.join(shown.only_challenger[:20]) or 'none'}")
    click.echo(
        f"verdicts: {shown.verdicts:,}, confirmed {shown.confirmed:,}, of which it found {shown.found:,} "
        f"(at least {shown.recall_low:.2f}); {shown.unjudged:,} cases are unjudged"
    )
    click.echo(f"a day: {shown.cases_a_day:.2f} cases, {shown.false_a_day:.2f} false or judged by nobody")
    for pattern, moved in shown.shift.items():
        click.echo(f"{pattern}: scores {moved:+.3f}")
    for pattern, cohorts in shown.cohorts.items():
        of = ", ".join(f"{name} {rise:+.3f}" for name, rise in cohorts.items())
        click.echo(f"{pattern}: mean scores of benign account-hours, by cohort: {of}")
    if shown.max_cost is None:
        return click.echo("cost: no worker has measured it yet; they say so at checkpoints, every five minutes")
    return click.echo(
        f"cost, as workers measured it: {shown.microseconds:.2f} microseconds a request, {shown.max_cost:.2f} of the "
        f"champion's; {shown.bytes_an_account:,.0f} bytes an account in memory"
    )


@command.command()
@click.argument("version")
@gates_option
@click.option("--force", is_flag=True, help="Though a gate fails; --by and --why must be given.")
@by_option
@why_option
def promote(version: str, gates: Path | None, force: bool, by: str, why: str) -> None:
    """Let VERSION be the champion, where it passes the gates.

    Workers switch at their next checkpoint, each partition at one offset; the champion of now stays warm for
    `rollback`. Exit code 1: a gate fails, and nothing was sent.
    """
    if force and not (by and why):
        raise click.UsageError("--force takes --by and --why: they are kept in the log of deployments")
    settings = load().settings
    found = find_version(version, settings)
    # Its hashes were checked as it was read; what its id stands for is worked out again from what they are of.
    reproducible = found.id == shipped().id or read_version(found.files()).id == found.id
    held = hold(_gates(gates), comparison(settings, found), reproducible=reproducible)
    for gate in held:
        click.echo(line(gate, found.id))
    failed = [gate.name for gate in held if not gate.passed]
    if failed and not force:
        raise Failure(
            f"gates that fail: {', '.join(failed)}. Nothing was sent; "
            "--force --by NAME --why REASON promotes all the same"
        )
    _champion(settings, found, by, why, held, forced=bool(failed))


@command.command()
@by_option
@why_option
def rollback(by: str, why: str) -> None:
    """Let the champion before the present one judge again, with the evidence that it kept gathering."""
    settings = load().settings
    records = _applied(settings)
    previous = [one for one in judging(records, time.time(), by_event=False).values() if one.role == "previous"]
    if not previous:
        raise Failure("no partition has a previous champion: `siphonwatch models at` shows what judges")
    newest = max(previous, key=lambda one: one.told)
    sent = [c for c in recorded(settings) if isinstance(c, Deploy) and c.version == newest.version]
    version = version_of(sent[-1]) if sent else None
    _champion(settings, version or find_version(newest.version, settings), by, why or "rollback", [], forced=False)


@command.command()
@click.argument("one")
@click.argument("other")
def diff(one: str, other: str) -> None:
    """Print which cards differ between two versions, and by what."""
    settings = load().settings
    old, new = find_version(one, settings), find_version(other, settings)
    ours = {d.pattern: d for over in ("account", "campaign") for d in old.detectors(over)}
    theirs = {d.pattern: d for over in ("account", "campaign") for d in new.detectors(over)}
    for pattern in sorted(ours.keys() | theirs.keys()):
        a, b = ours.get(pattern), theirs.get(pattern)
        if a is None or b is None:
            click.echo(f"{pattern}: only in {new.id if a is None else old.id}")
        elif a.id != b.id:
            click.echo(f"{pattern}: {a.id} -> {b.id}")
            before, after = msgspec.to_builtins(a.card), msgspec.to_builtins(b.card)
            for name in sorted(before.keys() | after.keys()):
                if name in ("gates", "ways", "supports", "first", "offset", "span", "null", "trust"):
                    if before.get(name) != after.get(name):
                        click.echo(f"  {name}: {before.get(name)} -> {after.get(name)}")
    for name in sorted(old.supports.keys() | new.supports.keys()):
        if name not in old.supports or name not in new.supports:
            click.echo(f"support {name}: only in {new.id if name in new.supports else old.id}")
        elif write_tensors(old.supports[name]) != write_tensors(new.supports[name]):
            click.echo(f"support {name}: other arrays")


@command.command()
@click.argument("moment", default="")
@click.option("--told", is_flag=True, help="MOMENT is when workers said so, in place of the traffic's event time.")
def at(moment: str, told: bool) -> None:
    """Print which version judged each partition at MOMENT (`12h` ago, or a date and time, UTC); now by default."""
    then = moment_of(moment, -1) if moment else 2.0**34
    found = judging(_applied(load().settings), then, by_event=not told)
    if not found:
        return click.echo(f"shipped ({shipped().id}) everywhere: nothing was deployed by then")
    for (stream, partition, role), one in sorted(found.items()):
        forced = ", forced" if one.forced else ""
        click.echo(
            f"{stream} {partition} {role}: {one.version} ({one.name}) from offset {one.offset:,}, by {one.by}{forced}"
        )
    return None


def comparison(settings: Settings, version: Version) -> Comparison:
    """Return how a version does in the shadow, from its last beginning there to the newest event time that is known.

    Raises
    ------
    Failure
        Where it is not in the shadow.
    TailError
        Where a topic cannot be read.
    """
    begun = [a for a in _applied(settings) if a.role == CHALLENGER and a.version == version.id and a.event_time > 0]
    mine: list[Alert] = []
    measured: list[Measured] = []
    with Tail.connect(settings, settings.topic("shadow")) as tail:
        for record in tail.records():
            if dict(record.headers).get(VERSION) == version.id.encode():
                mine += _alerts([record.value])
                measured += _measured(record.value)
    with Tail.connect(settings, settings.topic("alerts")) as tail:
        champion = _alerts(tail.history())
    if not mine and not begun and not measured:
        raise Failure(f"{version.id} was never in the shadow: `siphonwatch models shadow {version.id}`")
    verdicts = []
    with Tail.connect(settings, settings.topic("verdicts")) as tail:
        for value in tail.history():
            try:
                verdicts.append(decode_verdict(value))
            except NotAVerdict:
                continue
    times = [alert.data.time / 1000.0 for alert in (*mine, *champion)] + [one.event_time for one in measured]
    since = min((one.event_time for one in begun), default=min(times, default=0.0))
    decisions = {verdict.case: str(verdict.decision) for verdict in standing(verdicts)}
    return compare(champion, mine, decisions, since, max([*times, since]), measured)


def _gates(file: Path | None) -> Gates:
    return read_gates(file.read_bytes() if file else None, str(file))


def _measured(value: bytes) -> list[Measured]:
    try:
        return [decode_measured(value)]
    except NotMeasured:
        return []


def _alerts(values: object) -> list[Alert]:
    found = {}
    for value in values:  # type: ignore[attr-defined]
        try:
            alert = decode_alert(value)
        except NotAnAlert:
            continue
        found[alert.id] = alert
    return list(found.values())


def _applied(settings: Settings) -> list[Applied]:
    found = []
    with Tail.connect(settings, settings.topic("deployments")) as tail:
        for value in tail.history():
            try:
                found.append(decode_applied(value))
            except NotADeployment:
                continue
    return once(found)


def _champion(settings: Settings, version: Version, by: str, why: str, gates: list[Gate], *, forced: bool) -> None:
    """Send that a version is the champion and nothing the challenger; annotate it where Grafana is set."""
    now = time.time()
    facts = {"by": by or login(), "why": why, "time": now, "gates": gates, "forced": forced}
    send(settings, deploy_of(version, CHAMPION, **facts))
    send(settings, _nobody(by, why))
    click.echo(f"{version.id} ({version.name}) is the champion from the next checkpoints on: `siphonwatch models at`")
    if settings.models.registry:
        _registry(settings).name(CHAMPION, version.id)
        _registry(settings).name(CHALLENGER, "")
    if settings.grafana.url:
        _annotate(settings, version, now)


def _annotate(settings: Settings, version: Version, now: float) -> None:
    from siphonwatch.streams.common.grafana import GrafanaError, connect
    from siphonwatch.streams.deliver.annotate import Annotator

    try:
        connection = connect(settings.grafana)
        try:
            Annotator(connection).promotion("detectors", f"{version.id}-{now:.0f}", now)
        finally:
            connection.close()
    except (GrafanaError, SettingsError) as error:
        click.echo(f"not annotated: {error}", err=True)


def _nobody(by: str, why: str) -> Deploy:
    return Deploy(id=CHALLENGER, version="", by=by or login(), why=why, time=time.time())  # type: ignore[arg-type]


def _registry(settings: Settings) -> Registry:
    return Registry.from_settings(settings)
