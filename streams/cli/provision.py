"""`siphonwatch provision`: keep Grafana's folder, data source, dashboards and alerts as this version has them."""

from __future__ import annotations

from pathlib import Path

import click

from siphonwatch.streams.cli import Failure
from siphonwatch.streams.common.settings import Settings, load


@click.command("provision", short_help="Keep dashboards and alert rules in Grafana or files.")
@click.option("--plan", "mode", flag_value="plan", help="Show what would be done; changes nothing.")
@click.option("--apply", "mode", flag_value="apply", help="Show it, then do it.")
@click.option(
    "--write",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write dashboards and Prometheus rules as files below this directory; needs no Grafana.",
)
def command(mode: str | None, directory: Path | None) -> None:
    """Make and keep what people on call look at, in Grafana or as files.

    \b
    --plan and --apply talk to the Grafana of [grafana] url: folder, data source, dashboards, alert rules, and, where
    contact_url is set, contact point and notification route. A second --apply changes nothing; changes made by hand
    are shown and undone; what is not siphonwatch's own is left alone.

    Exit code 0: done, or shown; 1: Grafana could not be read or changed, or something foreign is in the way; 2: bad
    usage or settings.
    """
    if (mode is None) == (directory is None):
        raise click.UsageError("give one of --plan, --apply and --write DIR")
    settings = load().settings
    if directory is not None:
        _write(directory, settings)
    else:
        _provision(settings, apply=mode == "apply")


def _write(directory: Path, settings: Settings) -> None:
    from siphonwatch.streams.operate.provision.bundled import write

    try:
        paths = write(directory, settings.links)
    except OSError as error:
        raise Failure(f"cannot write below {directory}: {error}") from None
    for path in paths:
        click.echo(f"wrote {path}")


def _provision(settings: Settings, *, apply: bool) -> None:
    from siphonwatch.streams.common.grafana import GrafanaError, connect
    from siphonwatch.streams.operate.provision import plan as plans

    connection = connect(settings.grafana)
    try:
        plan = plans.make(connection, settings)
        for line in plans.lines(plan):
            click.echo(line)
        if apply:
            plans.apply(plan, click.echo)
    except GrafanaError as error:
        raise Failure(f"{error}. Nothing was changed") from None
    except plans.Stopped as stopped:
        raise Failure(str(stopped)) from None
    finally:
        connection.close()
    if not plans.pending(plan):
        click.echo("nothing to do")
    elif not apply:
        click.echo("--apply does it")
    if obstacles := plans.refused(plan):
        raise Failure(f"{len(obstacles)} refused, see above; --apply would change nothing")
