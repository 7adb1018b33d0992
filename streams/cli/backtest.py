"""`siphonwatch backtest`: two versions of the detectors over one labelled stream, in one pass."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec
from rich.console import Console

from siphonwatch.models.evaluate.data import Truth
from siphonwatch.streams.cli import Failure
from siphonwatch.streams.cli.evaluate import FILE, PIPE_WIDTH
from siphonwatch.streams.cli.replay import OFFLINE_KEY
from siphonwatch.streams.common.cores import cores
from siphonwatch.streams.common.settings import load
from siphonwatch.streams.edge.adapters import Unreadable, formats
from siphonwatch.streams.edge.spread import ProcessDied
from siphonwatch.streams.lab.backtest.page import Page
from siphonwatch.streams.lab.backtest.run import Stopped, backtest, known, replayed
from siphonwatch.streams.lab.backtest.table import show
from siphonwatch.streams.lab.backtest.version import NoVersion, load_version
from siphonwatch.streams.lab.dataset.layout import is_dataset
from siphonwatch.streams.lab.evaluate.labels import LabelsError
from siphonwatch.streams.lab.evaluate.page import NoTemplates

MINUTES = 15.0
"""Analyst minutes a case, a convention: put in what your desk measures."""


@click.command("backtest", short_help="Compare two versions of the detectors on a labelled stream.")
@click.argument("champion", metavar="A")
@click.argument("challenger", metavar="B")
@click.option("--data", required=True, multiple=True, metavar="LOG", help="A data set, log or archive; repeatable.")
@click.option("--labels", multiple=True, type=FILE, help="CSV: account,extracting and more. A data set has its own.")
@click.option(
    "--format", "format_", type=click.Choice(["auto", *formats()]), default="auto", show_default=True,
    help="Of the files; auto looks at their first lines.",
)  # fmt: skip
@click.option(
    "--partitions", type=click.IntRange(min=1), default=1, show_default=True, help="Judge in so many, as workers do."
)
@click.option(
    "--processes", type=click.IntRange(min=1), default=cores, show_default="all cores", help="That read raw records."
)
@click.option(
    "--minutes", type=click.FloatRange(min=0, min_open=True), default=MINUTES, show_default=True,
    help="Of an analyst, a case.",
)  # fmt: skip
@click.option("--replicates", type=click.IntRange(0), default=1000, show_default=True, help="Of the bootstrap.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of the bootstrap.")
@click.option("--speed", is_flag=True, help="Replay A alone too, and say what judging twice costs.")
@click.option("--json", "json_", type=FILE, help="Write every figure and account.")
@click.option("--html", type=FILE, help="Write a page.")
@click.option("--quiet", is_flag=True, help="Print the two answers only.")
def command(
    champion: str,
    challenger: str,
    data: tuple[str, ...],
    labels: tuple[Path, ...],
    format_: str,
    partitions: int,
    processes: int,
    minutes: float,
    replicates: int,
    seed: int,
    speed: bool,
    json_: Path | None,
    html: Path | None,
    quiet: bool,
) -> None:
    """Hold champion A against challenger B: `shipped`, one of the registry, or a directory with a version's cards.

    Both judge the same requests in one pass. Accounts without a label stay unjudged and are counted as that.
    """
    if not labels and not any(map(is_dataset, data)):
        raise click.UsageError("give --labels: no --data is a data set, which has its own")
    settings = load().settings
    key = settings.identity.key
    identity = msgspec.structs.replace(settings.identity, key=key or OFFLINE_KEY, plain_ids=True)
    settings = msgspec.structs.replace(settings, identity=identity)
    try:
        known_labels = known(labels, key, _of_datasets(data))
        versions = load_version(champion, settings), load_version(challenger, settings)
        page = Page() if html else None
        report = backtest(
            versions, data, known_labels, settings, format=format_, partitions=partitions, processes=processes,
            minutes=minutes, replicates=replicates, seed=seed,
            tell=lambda text: click.echo(text, err=True) if sys.stderr.isatty() else None,
        )  # fmt: skip
        if speed and report.speed:
            alone = replayed(data, versions[0], settings, format_, partitions, processes)
            report = msgspec.structs.replace(report, speed=msgspec.structs.replace(report.speed, replay=alone))
    except NoVersion as error:
        raise click.UsageError(str(error)) from None
    except (Unreadable, ProcessDied, LabelsError, NoTemplates, Stopped, ValueError) as error:
        raise Failure(str(error)) from None
    console = Console() if Console().is_terminal else Console(width=PIPE_WIDTH)
    show(report, console, brief=quiet)
    for path, content in (
        (json_, _json(report) if json_ else b""),
        (html, page.render(report).encode() if page else b""),
    ):
        if path:
            try:
                path.write_bytes(content)
            except OSError as error:
                raise Failure(f"cannot write {path}: {error.strerror}") from None


def _of_datasets(data: Sequence[str]) -> list[Truth]:
    """The labels of those that are data sets."""
    from siphonwatch.streams.lab.dataset.read import Dataset

    return [Dataset(path).truth() for path in data if is_dataset(path)]


def _json(report: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(report), indent=1)
