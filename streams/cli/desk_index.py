"""What the commands that look at cases share: the index, brought up to date, and what users call things."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

from siphonwatch.streams.cli import Failure
from siphonwatch.streams.cli.verdict import beginning_of
from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.common.settings import Settings, load
from siphonwatch.streams.deliver.text import clean, clip
from siphonwatch.streams.desk.index.feed import FeedError
from siphonwatch.streams.desk.index.intake import KINDS
from siphonwatch.streams.desk.index.store import IndexFailed
from siphonwatch.streams.desk.names import NamesFailed
from siphonwatch.streams.desk.opening import OpenDesk
from siphonwatch.streams.desk.views import Unknown

OF_CASES = ("control", "desk", "verdicts", "alerts", "hidden")
"""Kinds of topics that a list of cases rests on: few records, whatever traffic there is."""
SHOWN = 60
"""Characters of what a user gave that a message repeats."""


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that these commands share, as `index`, `names` and `as_json`."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="For programs."),
        click.option(
            "--names", default="", metavar="FILE|!COMMAND",
            help="Customers' names: a CSV file with columns account and name, or what a command behind ! prints. "
            "They are joined here and sent nowhere.  [default: desk.names]",
        ),
        click.option(
            "--index", type=click.Path(dir_okay=False, path_type=Path),
            help="The index's file, made where it is not there and then kept near the topics.  "
            "[default: desk.index, else one in your cache]",
        ),
    ):  # fmt: skip
        command = option(command)
    return command


@contextlib.contextmanager
def opened(index: Path | None, names: str, kinds: Collection[str] = KINDS) -> Iterator[tuple[OpenDesk, Settings]]:
    """Give a desk that has read its topics up to their ends, and the settings.

    Raises
    ------
    Failure
        Where topics, index or names cannot be read, or what is asked for is not there.
    """
    settings = load().settings
    try:
        with OpenDesk(settings, index, names) as desk:
            desk.feed.catch_up(kinds)
            yield desk, settings
    except (FeedError, IndexFailed, NamesFailed, Unknown) as error:
        raise Failure(str(error.args[0] if error.args else error)) from None
    except sqlite3.Error as error:
        raise Failure(f"the desk's index cannot be used: {error}; see to its disk, or name another --index") from None


def case_of(desk: OpenDesk, given: str) -> str:
    """Return the whole id of the case that begins so.

    Raises
    ------
    Failure
        When there is none, or there are several.
    """
    beginning = beginning_of(given)
    rows = desk.index.reader.execute(
        "SELECT id FROM cases WHERE id >= ? AND id < ? ORDER BY id LIMIT 5", (beginning, beginning + "g")
    ).fetchall()
    found: list[str] = [case for (case,) in rows]
    if len(found) != 1:
        what = f"could be {', '.join(found)}: give more of the id" if found else "has no alert on the alerts topic"
        raise Failure(f"case {beginning} {what}")
    return found[0]


def account_of(desk: OpenDesk, settings: Settings, given: str) -> str:
    """Return the whole id of an account: that, its beginning, a name as gateways log it, or a customer's name.

    Raises
    ------
    Failure
        When there is none, or there are several.
    """
    hashed = Identity.from_settings(settings).account(given) if settings.identity.key else ""
    try:
        found = [one.id for one in desk.looks.find(given, "account")]
    except ValueError:  # too short to be a beginning
        found = []
    for whole in (given, hashed):
        if whole in found or (whole and _is_there(desk, whole)):
            return whole
    if len(found) != 1:
        shown = clip(clean(given), SHOWN)
        few = ", ".join(clean(one) for one in found[:5])
        what = f"could be {few}: give more of it" if found else "is no account with a request or a case"
        raise Failure(f"{shown} {what}")
    return found[0]


def _is_there(desk: OpenDesk, account: str) -> bool:
    (there,) = desk.index.reader.execute(
        "SELECT EXISTS (SELECT 1 FROM account WHERE name = ?) OR EXISTS (SELECT 1 FROM member WHERE account = ?)",
        (account, account),
    ).fetchone()
    return bool(there)


def show_json(view: object) -> None:
    """Print a view as one line of JSON."""
    click.echo(msgspec.json.encode(view))
