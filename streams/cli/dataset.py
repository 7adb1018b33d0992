"""`siphonwatch dataset`: which requests of an archive, what was known of their accounts, and how they are split."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import click

from siphonwatch.streams.cli import Failure
from siphonwatch.streams.cli.alerts import moment_of
from siphonwatch.streams.cli.train import Splits
from siphonwatch.streams.common.settings import load
from siphonwatch.streams.deliver.wanted import seconds
from siphonwatch.streams.edge.adapters import Unreadable


def _moment(_context: click.Context, _option: click.Parameter, text: str | None) -> float | None:
    return None if text is None else moment_of(text, -1)


def _length(_context: click.Context, _option: click.Parameter, text: str | None) -> float | None:
    if text is None:
        return None
    if (found := seconds(text)) is None:
        raise click.BadParameter(f"{text!r} is no length of time: use 90m, 6h or 7d")
    return found


@click.command("dataset", short_help="Name requests of an archive, with labels and a split.")
@click.argument("name", metavar="NAME", type=click.Path(path_type=Path))
@click.option("--data", "archive", required=True, metavar="DIR|URL", help="The archive.")
@click.option("--since", callback=_moment, metavar="30d|TIME", help="Requests from then on, by event time.")
@click.option("--until", callback=_moment, metavar="1d|TIME", help="Requests before then, by event time.")
@click.option(
    "--labels", multiple=True, metavar="verdicts|FILE",
    help="The archive's verdicts, or a CSV as `evaluate` takes; repeatable.",
)  # fmt: skip
@click.option("--as-of", callback=_moment, metavar="TIME", help="Only what was known then, requests and labels.")
@click.option("--split", type=Splits(("time", "account", "campaign")), default="none", help="Part into train and test.")
@click.option(
    "--embargo", callback=_length, metavar="7d", help="Left out behind the cut in time.  [default: the longest window]"
)
@click.option("--test", type=click.FloatRange(0, 1, True, True), default=0.3, show_default=True, help="Share of it.")
@click.option("--quiet", is_flag=True, help="Print the id only.")
def command(
    name: Path,
    archive: str,
    since: float | None,
    until: float | None,
    labels: tuple[str, ...],
    as_of: float | None,
    split: tuple[str, ...],
    embargo: float | None,
    test: float,
    quiet: bool,
) -> None:
    """Write the data set NAME, a folder; prints its id, which is the same for the same contents.

    It names the archive's files by their hashes and copies none of them. `train` and `backtest` take NAME as their
    --data, with its labels; `features` makes tables of it.

    Exit code 0: written; 1: archive or labels cannot be used, or nothing is left of a part; 2: bad usage.
    """
    from siphonwatch.streams.lab.archive.store import StoreError
    from siphonwatch.streams.lab.dataset.layout import By
    from siphonwatch.streams.lab.dataset.make import Wish, make
    from siphonwatch.streams.lab.dataset.read import Dataset
    from siphonwatch.streams.lab.dataset.split import LONGEST

    wish = Wish(
        since=since, until=until, as_of=as_of, labels=list(labels), by=[by for by in get_args(By) if by in split],
        embargo=LONGEST if embargo is None else embargo, test=test,
    )  # fmt: skip
    settings = load().settings
    try:
        made = make(name, archive, wish, key=settings.identity.key, tell=_progress(quiet))
        if not quiet:
            rows = sum(one.rows for one in made.ranges)
            click.echo(f"{rows:,} requests in {len(made.files):,} files of {len(made.ranges):,} partitions")
            for kind, count in Dataset(name).counts().items():
                click.echo(f"{kind}: {count:,} labels")
            if made.split.by:
                click.echo(f"split by {', '.join(made.split.by)}: test {made.split.test:.0%}")
            if made.split.at is not None:
                cut = datetime.datetime.fromtimestamp(made.split.at, datetime.UTC)
                click.echo(f"trained on before {cut:%Y-%m-%dT%H:%M:%SZ}, embargo {made.split.embargo / 3600:.1f} h")
    except (StoreError, Unreadable, ValueError) as error:
        raise Failure(str(error)) from None
    click.echo(made.id)


def _progress(quiet: bool) -> Callable[[str], None]:
    return (lambda text: None) if quiet else (lambda text: click.echo(text, err=True))
