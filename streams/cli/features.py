"""`siphonwatch features`: the features of a data set as one Parquet file."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from siphonwatch.streams.cli import Failure
from siphonwatch.streams.cli.replay import SEALED
from siphonwatch.streams.common.settings import load

if TYPE_CHECKING:
    from siphonwatch.streams.lab.dataset.rows import At

ATS = ("request", "hourly", "alert")
ORIGINS = ("computed", "logged")


class Times(click.ParamType):
    """`alert,hourly,request`, or some of them."""

    name = "times"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        names = tuple(value.split(","))
        if unknown := [name for name in names if name not in ATS]:
            self.fail(f"{unknown[0]!r} is none of {', '.join(ATS)}", param, ctx)
        return names


@click.command("features", short_help="Write the features of a data set as Parquet.")
@click.argument("name", metavar="NAME", type=click.Path(path_type=Path))
@click.option(
    "--at", type=Times(), default="alert", show_default=True, metavar="alert,hourly,request",
    help="Each request, the end of each account's hour, each alert, or several of these.",
)  # fmt: skip
@click.option(
    "--origin", type=click.Choice(ORIGINS), default="computed", show_default=True,
    help="Made again by the installed cards, or as workers logged them when they scored, campaigns' alerts too.",
)  # fmt: skip
@click.option(
    "--partitions", type=click.IntRange(min=1), default=1, show_default=True, help="Score in so many, as workers do."
)
@click.option("--pattern", default="", help="Whose alerts and labels.  [default: all alerts, labels of extraction]")
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The Parquet file.")
def command(name: Path, at: tuple[At, ...], origin: str, partitions: int, pattern: str, out: Path) -> None:
    """Write the features, scores and e-values of the data set NAME to --out, made again or as they were logged.

    Units and meanings are in the fields' metadata. Beside them stand label, weight, when the label was known, and the
    part of a split, by the rules of the data set: nothing was known after its --as-of. The data set notes where the
    table stands, for `siphonwatch erase ACCOUNT --dataset NAME`; of one that you move or copy, tell it by --features.

    Exit code 0: written; 1: the data set or its archive cannot be read, or --out not be written; 2: bad usage.
    """
    from siphonwatch.streams.lab.archive.store import StoreError
    from siphonwatch.streams.lab.dataset.features import Features
    from siphonwatch.streams.lab.dataset.layout import DatasetError
    from siphonwatch.streams.lab.dataset.logged import LoggedFeatures
    from siphonwatch.streams.lab.dataset.read import Dataset
    from siphonwatch.streams.lab.dataset.tables import note

    partial = out.with_name(f"{out.name}.partial")
    begun = time.monotonic()
    try:
        found: Features | LoggedFeatures
        if origin == "logged":
            found = LoggedFeatures(Dataset(name), at, pattern, tell=_tell)
        else:
            found = Features(Dataset(name), at, pattern, load().settings, _tell, partitions)
        rows = found.write(partial)
        try:
            note(name, out)
        except DatasetError as error:
            click.echo(f"{error}: give erase this table by --features", err=True)
        partial.replace(out)
    except (StoreError, ValueError) as error:
        raise Failure(str(error)) from None
    except OSError as error:
        raise Failure(f"cannot write {out}: {error.strerror or error}") from None
    finally:
        partial.unlink(missing_ok=True)
    if found.unopened:
        click.echo(f"{found.unopened:,} requests with sealed parts that no key opens; {SEALED}", err=True)
    click.echo(f"{rows:,} rows of {len(found.schema)} columns in {time.monotonic() - begun:.1f} s: {out}")


def _tell(text: str) -> None:
    if sys.stderr.isatty():
        click.echo(text, err=True)
