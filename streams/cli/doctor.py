"""`siphonwatch doctor`: print every setting with its source, then the checks; it repairs nothing itself."""

from __future__ import annotations

import json

import click
import msgspec
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.common.settings import load
from siphonwatch.streams.operate import doctor

_COLOURS = {"ok": "green", "warning": "yellow", "failed": "bold red", "skipped": "dim"}


@click.command("doctor", short_help="Show every setting, where it comes from, and what is wrong.")
@click.option("--offline", is_flag=True, help="Leave out what needs a broker.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of tables.")
@click.option(
    "--seal-key", is_flag=True,
    help="Print the value of identity.seal_key that opens what is sealed under this identity.key, and nothing else.",
)  # fmt: skip
def command(offline: bool, as_json: bool, seal_key: bool) -> None:
    """Show every setting, where it comes from, and what is wrong.

    Exit code 0: no check failed (a warning is none); 1: one failed; 2: the settings themselves are wrong.
    """
    loaded = load()
    if seal_key:
        from siphonwatch.streams.contracts import sealed

        click.echo(sealed.seal_key(Identity.from_settings(loaded.settings)).hex())
        return
    settings = list(doctor.rows(loaded))
    checks = doctor.examine(loaded.settings, offline=offline)
    failed = [check for check in checks if check.state == "failed"]
    if as_json:
        click.echo(msgspec.json.encode({"ok": not failed, "settings": settings, "checks": checks}))
    else:
        console = Console()
        console.print(_settings(settings))
        console.print(_checks(checks))
    if failed:
        click.echo(f"{len(failed)} of {len(checks)} checks failed", err=True)
        raise SystemExit(1)


def _settings(rows: list[doctor.Row]) -> Table:
    table = Table(title="Settings", box=box.SIMPLE_HEAD, title_justify="left")
    for name in ("setting", "value", "source"):
        table.add_column(name, overflow="fold")
    for row in rows:
        value = row.value if isinstance(row.value, str) else json.dumps(row.value)
        source = Text(row.source, style="dim" if row.source == "default" else "bold")
        table.add_row(row.name, Text(value), source)
    return table


def _checks(checks: list[doctor.Check]) -> Table:
    table = Table(title="Checks", box=box.SIMPLE_HEAD, title_justify="left")
    for name in ("check", "state", "what was found"):
        table.add_column(name, overflow="fold")
    for check in checks:
        found = Text(check.message)
        if check.remedy:
            found.append(f"\n-> {check.remedy}", style="bold")
        table.add_row(check.name, Text(check.state, style=_COLOURS[check.state]), found)
    return table
