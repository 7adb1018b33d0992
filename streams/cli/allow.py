"""`siphonwatch allow`: keeps alerts of an account or a case from being sent for a time, and lists what that hid.

It sends control records; workers apply them at their next checkpoint. No score, evidence or case changes.
"""

from __future__ import annotations

import re
import secrets
import sys
import time
from collections import defaultdict
from collections.abc import Iterable

import click
import msgspec
from kafka.errors import KafkaError
from rich.markup import escape
from rich.table import Table

from siphonwatch.models.detect.registry import covers, current
from siphonwatch.streams.cli import Failure
from siphonwatch.streams.cli.alerts import Printer, Reader, moment_of
from siphonwatch.streams.cli.pattern import Pattern
from siphonwatch.streams.cli.table import screen
from siphonwatch.streams.cli.verdict import DELIVERY_SECONDS, SHORTEST, beginning_of, login
from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.common.settings import Settings, load
from siphonwatch.streams.common.tail import Tail, TailError
from siphonwatch.streams.contracts.alert import Alert
from siphonwatch.streams.contracts.control import (
    MAX_ACCOUNTS,
    Allow,
    AllowEnd,
    Control,
    NotAControl,
    decode,
    encode,
    standing,
)  # fmt: skip
from siphonwatch.streams.deliver.alert import id_of
from siphonwatch.streams.deliver.text import clean
from siphonwatch.streams.deliver.wanted import Filter
from siphonwatch.streams.edge.producer import Outbox, connect
from siphonwatch.streams.worker.entries import Entry
from siphonwatch.streams.worker.outlet import ALLOWED_BY

ID_BYTES = 6
ACCOUNT_ID = re.compile(r"[0-9a-f]{32}\Z")
"""What gateways make of an account's name."""


def parse_until(_context: click.Context, _option: click.Parameter, text: str | None) -> float | None:
    """Return seconds since 1970 for `12h` or `30d` (from now) or a date and time, UTC unless it says otherwise."""
    return None if text is None else moment_of(text, 1)


@click.command("allow", short_help="Keep alerts of an account or case from being sent, for a time.")
@click.argument("account", required=False)
@click.option(
    "--case", default="", help="In place of ACCOUNT: this case, and others that are about its accounts alone."
)
@click.option("--pattern", type=Pattern(), help="Of --case it need not be given.")
@click.option("--until", callback=parse_until, metavar="30d|TIME", help="By event time: so long, or a date (UTC).")
@click.option("--why", default="", help="The reason, in your words; kept on the control topic only.")
@click.option("--by", default="", metavar="NAME", help="Who decides.  [default: your login name]")
@click.option("--dry-run", is_flag=True, help="Send nothing: only say which alerts it would have hidden.")
@click.option("--list", "list_", is_flag=True, help="Show the entries that stand, and how much each has hidden.")
@click.option("--json", "as_json", is_flag=True, help="With --list: one JSON object a line.")
@click.option("--hidden", "hidden_by", metavar="ID", help="Show the alerts that an entry has hidden.")
@click.option("--end", "ended", metavar="ID", help="End an entry before its time.")
def command(
    account: str | None,
    case: str,
    pattern: str | None,
    until: float | None,
    why: str,
    by: str,
    dry_run: bool,
    list_: bool,
    as_json: bool,
    hidden_by: str | None,
    ended: str | None,
) -> None:
    """Keep alerts about ACCOUNT, or about a case, from being sent until a time.

    ACCOUNT is an id as alerts show it, or its beginning, or a name where identity.key is set. What is hidden is scored
    and counted as before and kept on a topic of its own; a case that was told is closed at the sinks. Workers apply an
    entry at their next checkpoint (state.checkpoint_interval). When it expires or is ended, the next alert of a case
    that goes on opens it again.

    Exit code 0: the broker has it; 1: the account, case or entry is not known, or the broker did not answer; 2: bad
    usage.
    """
    asked = [account is not None, bool(case), list_, hidden_by is not None, ended is not None]
    if sum(asked) != 1:
        raise click.UsageError("give an ACCOUNT or --case, or --list, --hidden or --end")
    if as_json and not list_:
        raise click.UsageError("--json goes with --list")
    if any(asked[:2]):
        given = {"--pattern": pattern or case, "--until": until, "--why": why}
        if missing := [option for option, value in given.items() if not value]:
            raise click.UsageError(f"{' and '.join(missing)} must be given")
        if float(until or 0.0) <= time.time():
            raise click.UsageError("--until is in the past")
    settings = load().settings
    try:
        if list_:
            return show(settings, as_json)
        if hidden_by is not None:
            return show_hidden(settings, _chosen(settings, hidden_by))
        if ended is not None:
            entry = _chosen(settings, ended)
            send(settings, _valid(AllowEnd(id=entry.id, why=why, by=by or login(), time=time.time())))
            return click.echo(f"{entry.id} ended: {_what(entry)} is told again")
        alerts = _alerts(settings)
        if case:
            accounts, pattern, case = _of_case(alerts, beginning_of(case), pattern)
        else:
            accounts = [_account(settings, alerts, str(account))]
        entry = Allow(
            id=secrets.token_hex(ID_BYTES), pattern=str(pattern), until=float(until or 0.0), accounts=accounts,
            case=case, why=why, by=by or login(), time=time.time(),
        )  # fmt: skip
        _valid(entry)
        if not dry_run:
            send(settings, entry)
    except TailError as error:
        raise Failure(str(error)) from None
    covered = [a for a in alerts if Entry.of(entry).covers(a.own.pattern, a.own.case, a.own.accounts)]
    said = "would be allowed" if dry_run else f"is allowed by entry {entry.id}"
    click.echo(f"{_what(entry)} {said} until {_moment(entry.until)}")
    click.echo(f"before, {len(covered):,} alerts of {len({a.subject for a in covered}):,} such cases were sent")
    return None


def _alerts(settings: Settings) -> list[Alert]:
    """All on the alerts topic."""
    with Tail.connect(settings, settings.topic("alerts")) as tail:
        return [alert.event for alert in Reader(Filter()).select(tail.history())]


def _account(settings: Settings, alerts: Iterable[Alert], given: str) -> str:
    """The id of an account: one that an alert has and that begins so, or the id itself, or that of a name."""
    known = {name for alert in alerts for name in alert.own.accounts}
    named = Identity.from_settings(settings).account(given) if settings.identity.key else ""
    if given in known or ACCOUNT_ID.match(given):
        return given
    if named in known:
        return named
    found = sorted(name for name in known if name.startswith(given)) if len(given) >= SHORTEST else []
    if len(found) > 1:
        raise Failure(
            f"{clean(given)} could be {', '.join(map(clean, found[:5]))}: give more of the id. Nothing was sent"
        )
    if not found and not named:
        raise Failure(
            f"no alert has an account that begins with {clean(given)}: give its whole id, or set identity.key to give "
            "its name. Nothing was sent"
        )
    return found[0] if found else named


def _of_case(alerts: Iterable[Alert], beginning: str, pattern: str | None) -> tuple[list[str], str, str]:
    """The accounts, the pattern and the whole id of a case, by its newest alert."""
    newest: dict[str, Alert] = {}
    for alert in alerts:
        if alert.subject.startswith(beginning):
            newest[alert.subject] = max(newest.get(alert.subject, alert), alert, key=lambda one: one.own.sequence)
    if len(newest) != 1:
        what = f"could be {', '.join(newest)}: give more of the id" if newest else "has no alert on the alerts topic"
        raise Failure(f"case {beginning} {what}. Nothing was sent")
    ((case, alert),) = newest.items()
    found = current(alert.own.pattern)
    if pattern is not None and not covers(pattern, found):
        raise Failure(f"case {case} is of pattern {clean(found)}. Nothing was sent")
    return alert.own.accounts[-MAX_ACCOUNTS:], found, case


def _valid(control: Control) -> Control:
    try:
        return decode(encode(control))
    except NotAControl as error:
        raise Failure(f"this cannot be sent: {error}") from None


def _chosen(settings: Settings, beginning: str) -> Allow:
    """The standing entry whose id begins so."""
    found = [entry for entry in standing(recorded(settings)).values() if entry.id.startswith(beginning.lower())]
    if len(found) != 1:
        what = f"could be {', '.join(entry.id for entry in found)}" if found else "is no entry that stands"
        raise Failure(f"{clean(beginning)} {what}: `siphonwatch allow --list` shows those that do")
    return found[0]


def recorded(settings: Settings) -> list[Control]:
    """Return what is on the control topic, in its order; records that are none of ours are counted and reported.

    Raises
    ------
    TailError
        When the topic cannot be read.
    """
    controls: list[Control] = []
    unreadable = 0
    with Tail.connect(settings, settings.topic("control")) as tail:
        for value in tail.history():
            try:
                controls.append(decode(value))
            except NotAControl:
                unreadable += 1
    if unreadable:
        click.echo(f"{unreadable:,} records on the topic are none of ours and were left out", err=True)
    return controls


def hidden(settings: Settings) -> dict[str, dict[str, bytes]]:
    """Return what each entry hid, as far back as the topic of hidden alerts reaches: alerts by id, by the entry's id.

    Raises
    ------
    TailError
        When the topic cannot be read.
    """
    found: dict[str, dict[str, bytes]] = defaultdict(dict)
    with Tail.connect(settings, settings.topic("hidden")) as tail:
        for record in tail.records():
            by = dict(record.headers).get(ALLOWED_BY, b"").decode("ascii", "replace")
            found[by][id_of(record.value)] = record.value  # one that was sent again after a crash counts once
    return found


def send(settings: Settings, control: Control) -> None:
    """Send a control record; return when the broker has it.

    Raises
    ------
    Failure
        When it does not.
    """
    topic = settings.topic("control")
    try:
        outbox = Outbox(connect(settings, "siphonwatch-allow"), topic)
        try:
            outbox.send(encode(control), control.id.encode())
            outbox.flush(DELIVERY_SECONDS)
        finally:
            outbox.close(DELIVERY_SECONDS)
    except KafkaError as error:
        raise Failure(f"cannot send to {topic} ({type(error).__name__}: {error}): try again") from None
    if outbox.failed:
        raise Failure(f"it did not reach {topic} ({', '.join(outbox.failures)}): try again")


def show(settings: Settings, as_json: bool) -> None:
    """Print the entries that stand, oldest first, with what each has hidden."""
    entries, counts = standing(recorded(settings)), hidden(settings)
    rows = [(entry, len(counts[entry.id]), _cases(counts[entry.id])) for entry in entries.values()]
    if not rows:
        click.echo("no entries", err=True)
    elif as_json:
        for entry, alerts, cases in rows:
            own = msgspec.to_builtins(entry) | {"hidden_alerts": alerts, "hidden_cases": cases, "state": _state(entry)}
            click.echo(msgspec.json.encode(own))
    else:
        screen().print(_table(rows))


def show_hidden(settings: Settings, entry: Allow) -> None:
    """Print the alerts that an entry has hidden, as `siphonwatch alerts` prints others."""
    found = Reader(Filter()).select(hidden(settings)[entry.id].values())
    Printer("table" if sys.stdout.isatty() else "json")(found)
    if not found:
        click.echo(f"{entry.id} has hidden none", err=True)


def _cases(alerts: Iterable[str]) -> int:
    return len({id.partition("-")[0] for id in alerts})


def _state(entry: Allow) -> str:
    """Whether an entry still allows; workers go by event time, which follows the clock."""
    return "active" if entry.until > time.time() else "expired"


def _what(entry: Allow) -> str:
    who = f"case {entry.case}" if entry.case else ", ".join(map(clean, entry.accounts))
    return f"{clean(entry.pattern)} of {who}"


def _table(rows: Iterable[tuple[Allow, int, int]]) -> Table:
    table = Table(header_style="bold", expand=True)
    for heading in ("id", "allows", "until", "state", "hidden", "by"):
        table.add_column(heading, no_wrap=heading != "allows")
    table.add_column("why", ratio=1)
    for entry, alerts, cases in rows:
        table.add_row(
            entry.id, escape(_what(entry)), _moment(entry.until), _state(entry), f"{alerts:,} of {cases:,} cases",
            escape(clean(entry.by)), escape(clean(entry.why)),
        )  # fmt: skip
    return table


def _moment(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at))
