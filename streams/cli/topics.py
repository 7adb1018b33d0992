"""`siphonwatch topics`: create our topics, check them against the settings, or list them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Column, Table

from siphonwatch.streams.cli import Failure
from siphonwatch.streams.common.settings import Settings, load
from siphonwatch.streams.operate.acls import ROLES, commands

if TYPE_CHECKING:
    from siphonwatch.streams.operate.topics import Topic

PIPE_WIDTH = 200
"""Columns of output that is no terminal: room for whole topic names."""
SHOWN = ("cleanup.policy", "retention.ms", "max.message.bytes")


def parse_principals(_context: click.Context, _option: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    """Return names by role."""
    found = {}
    for text in given:
        role, _, name = text.partition("=")
        if role not in ROLES or ":" not in name:
            raise click.BadParameter(
                f"{text!r}: write ROLE=TYPE:NAME, such as worker=User:watch; roles: {', '.join(ROLES)}"
            )
        found[role] = name
    return found


@click.command("topics", short_help="Create, grow, check or list the topics.")
@click.option(
    "--create",
    "action",
    flag_value="create",
    help="Create what is missing, give state the partitions that telemetry has, then check; exit 0 when that is done.",
)
@click.option(
    "--grow",
    "action",
    flag_value="grow",
    help="The same, and give telemetry topics.partitions: accounts that move begin anew (docs/partitions.md).",
)
@click.option("--check", "action", flag_value="check", help="Compare with the settings; exit 1 on a difference.")
@click.option("--list", "action", flag_value="list", help="Show the topics as they are.")
@click.option("--acls", "action", flag_value="acls", help="Print who needs which right, as kafka-acls.sh commands.")
@click.option(
    "--principal", "principals", callback=parse_principals, multiple=True, metavar="ROLE=NAME",
    help=f"For --acls: who has a role, such as worker=User:watch; roles are {', '.join(ROLES)}. Repeat it.",
)  # fmt: skip
@click.option("--role", "roles", type=click.Choice(ROLES), multiple=True, help="For --acls: only this role. Repeat it.")
@click.option(
    "--bootstrap", default="$KAFKA", show_default=True, metavar="HOST:PORT", help="For --acls: the broker to name."
)
@click.option("--command-config", default="", metavar="FILE", help="For --acls: kafka-acls.sh's connection settings.")
def command(
    action: str | None, principals: dict[str, str], roles: tuple[str, ...], bootstrap: str, command_config: str
) -> None:
    """Create, grow, check or list the topics, or print who needs which right; settings of one that exists are kept."""
    if action is None:
        raise click.UsageError("say one of --create, --grow, --check, --list, --acls")
    from siphonwatch.streams.operate.topics import TopicsError, check, connect, create, describe, grow

    settings = load().settings
    if action == "acls":
        named = {role: principals.get(role, f"User:siphonwatch-{role}") for role in roles or ROLES}
        click.echo("\n".join(commands(settings, named, bootstrap, command_config)))
        return
    try:
        with connect(settings.kafka) as admin:
            if action == "list":
                _show(describe(settings, admin))
                return
            if action in ("create", "grow"):
                for name in create(settings, admin):
                    click.echo(f"created {name}")
                for line in grow(settings, admin, telemetry=action == "grow"):
                    click.echo(line)
            problems = check(settings, admin)
    except TopicsError as error:
        raise Failure(str(error)) from None
    _report(settings, problems, failing=action == "check")


def _report(settings: Settings, problems: list[str], *, failing: bool) -> None:
    """Say what differs; what only somebody else can mend is no failure of a command that did its own work."""
    from siphonwatch.streams.operate.topics import wanted

    for problem in problems:
        click.echo(problem, err=True)
    if not problems:
        click.echo(f"{len(wanted(settings)) + len(settings.ingest.topics)} topics are as the settings want them")
    elif failing:
        raise Failure(f"{len(problems)} difference{'s' if len(problems) > 1 else ''} between cluster and settings")
    else:
        click.echo("all of ours are there; what is said above is left to you, `--check` fails for it", err=True)


def _show(topics: list[Topic]) -> None:
    table = Table(Column("topic", no_wrap=True), "partitions", "replicas", *SHOWN)
    for topic in topics:
        row = [str(topic.partitions), str(topic.replication), *(topic.config.get(name, "not shown") for name in SHOWN)]
        table.add_row(topic.name, *row)
    screen = Console()
    (screen if screen.is_terminal else Console(width=PIPE_WIDTH)).print(table)
