"""`siphonwatch features`: the features of a data set as one Parquet file."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from siphonwatch.streams.cli import Failure
from siphonwatch.streams.cli.replay import SEALED
from siphonwatch.streams.common.settings import load

ATS = ("request", "hourly", "alert")


@click.command("features", short_help="Write the features of a data set as Parquet.")
@click.argument("name", metavar="NAME", type=click.Path(path_type=Path))
@click.option(
    "--at", type=click.Choice(ATS), default="alert", show_default=True,
    help="Each request, the end of each account's hour, or each alert.",
)  # fmt: skip
@click.option("--pattern", default="", help="Whose alerts and labels.  [default: all alerts, labels of extraction]")
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The Parquet file.")
def command(name: Path, at: str, pattern: str, out: Path) -> None:
    """Make the features, scores and e-values of the data set NAME again, as the scorer had them; write them to --out.

    Units and meanings are in the fields' metadata. Labels, and the part of a split, stand beside them.

    Exit code 0: written; 1: the data set or its archive cannot be read, or --out not be written; 2: bad usage.
    """
    from siphonwatch.streams.lab.archive.store import StoreError
    from siphonwatch.streams.lab.dataset.features import Features
    from siphonwatch.streams.lab.dataset.read import Dataset

    partial = out.with_name(f"{out.name}.partial")
    begun = time.monotonic()
    try:
        found = Features(Dataset(name), at, pattern, load().settings, tell=_tell)  # type: ignore[arg-type]
        rows = found.write(partial)
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
