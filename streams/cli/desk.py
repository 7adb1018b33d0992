"""`siphonwatch desk`: cases in a browser, from the alert to a decision, beside the workers and never inside one."""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
import webbrowser
from pathlib import Path

import click
import msgspec

from siphonwatch.streams.cli import Failure
from siphonwatch.streams.cli.verdict import login
from siphonwatch.streams.common.desk_access import check
from siphonwatch.streams.common.desk_settings import TOKEN
from siphonwatch.streams.common.logs import configure
from siphonwatch.streams.common.settings import load
from siphonwatch.streams.desk.index.store import IndexFailed
from siphonwatch.streams.desk.names import NamesFailed
from siphonwatch.streams.desk.opening import OpenDesk
from siphonwatch.streams.desk.web.people import ROLES


@click.command("desk", short_help="Open cases in a browser: look, decide, allow.")
@click.option("--port", type=click.IntRange(0, 65535), help="In place of desk.port; 0 for a free one.")
@click.option(
    "--index", type=click.Path(dir_okay=False, path_type=Path), help="The index's file, in place of desk.index."
)
@click.option("--names", default="", metavar="FILE", help="Customers' names, in place of desk.names.")
@click.option("--browser", is_flag=True, help="Open it in this machine's browser.")
@click.option(
    "--token", metavar="NAME", help="Serve nothing: make a token for a program, and the setting that knows it."
)
@click.option("--role", type=click.Choice(ROLES), default="read", show_default=True, help="Of that program.")
def command(port: int | None, index: Path | None, names: str, browser: bool, token: str | None, role: str) -> None:
    """Serve the desk until stopped: pages on desk.port, health and metrics on desk.status_port.

    Only this machine reaches it, unless desk.login says who may. Its index is made from the topics, at any time anew.

    Exit code 0 after a graceful stop; 1 when something failed; 2 when a setting is wrong.
    """
    if token is not None:
        return _make_token(token, role)
    from siphonwatch.streams.desk.web.service import Serving, serve  # only serving needs what the extra `desk` brings

    settings = load().settings
    configure(settings.log)
    mine = settings.desk if port is None else msgspec.structs.replace(settings.desk, port=port)
    check(mine)

    def opened(address: str) -> None:
        click.echo(f"the desk is open at {address}")
        if browser:
            webbrowser.open(address)

    try:
        with OpenDesk(settings, index, names) as desk:
            desk.roster.names()
            desk.start()
            serving = Serving(mine, desk.looks, desk.acts, lambda: desk.feed.waits, login(), desk.tables)
            asyncio.run(serve(serving, opened=opened))
    except (IndexFailed, NamesFailed) as error:
        raise Failure(str(error)) from None
    except OSError as error:
        where = f"{mine.host}:{mine.port} or {mine.status_host}:{mine.status_port}"
        raise Failure(f"cannot listen on {where}: {error.strerror or error}") from None
    return None


def _make_token(name: str, role: str) -> None:
    made = secrets.token_urlsafe(32)
    known = f"{name}:{role}:{hashlib.sha256(made.encode()).hexdigest()}"
    if not re.match(TOKEN, known):
        raise click.UsageError("a program's name has lower-case letters, digits and hyphens, 32 at most")
    click.echo(f"token, shown once: {made}")
    click.echo(f"add to desk.tokens: {known}")
