"""`siphonwatch evaluate`: measure the scorer on logs whose attackers are known."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import click
import msgspec
from rich.console import Console

from siphonwatch.models.evaluate.data import Truth, pool
from siphonwatch.models.evaluate.evasion import outcome
from siphonwatch.models.evaluate.measure import evaluate
from siphonwatch.models.evaluate.report import Report
from siphonwatch.streams.cli import Failure
from siphonwatch.streams.cli.replay import OFFLINE_KEY
from siphonwatch.streams.common.settings import Settings, load
from siphonwatch.streams.edge.adapters import Records, Unreadable, formats
from siphonwatch.streams.lab.evaluate.baselines import Baseline, NoBaselines, load_baselines
from siphonwatch.streams.lab.evaluate.labels import LabelsError, read_attack_requests, read_labels
from siphonwatch.streams.lab.evaluate.page import NoTemplates, Page
from siphonwatch.streams.lab.evaluate.run import Run, observe
from siphonwatch.streams.lab.evaluate.table import show
from siphonwatch.streams.lab.evasions import UnknownTrick, chosen, variants
from siphonwatch.streams.lab.redteam.ground import Ground, prepare
from siphonwatch.streams.lab.redteam.play import as_logged
from siphonwatch.streams.lab.redteam.run import evade

EVASIONS = "--evasions"
FILE = click.Path(dir_okay=False, path_type=Path)
PIPE_WIDTH = 200
"""Columns of output that is no terminal."""


class Command(click.Command):
    """A command whose `--evasions` takes any number of names: those behind it, up to an option or a file."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Join the names into one value."""
        joined: list[str] = []
        left = list(args)
        while left:
            joined.append(left.pop(0))
            if joined[-1] == EVASIONS:
                names = []
                while left and not left[0].startswith("-") and not Path(left[0]).exists():
                    names.append(left.pop(0))
                joined[-1] = f"{EVASIONS}={','.join(names)}"
        return super().parse_args(ctx, joined)


@click.command("evaluate", cls=Command, short_help="Measure detection on labelled logs.")
@click.argument("requests", nargs=-1, metavar="REQUESTS...")
@click.option("--labels", multiple=True, type=FILE, help="CSV: account,extracting and more; repeatable.")
@click.option("--attack-requests", multiple=True, type=FILE, help="CSV: id,campaign of every attack request.")
@click.option(
    "--format", "format_", type=click.Choice(["auto", *formats()]), default="auto", show_default=True,
    help="Of the files; auto looks at their first lines.",
)  # fmt: skip
@click.option("--baselines", is_flag=True, help="Rank the accounts by published methods too.")
@click.option(
    EVASIONS, multiple=True, metavar="[NAME...]",
    help="Replay the attacks rewritten by these tricks too, or by each; a+b plays two together, list prints them.",
)  # fmt: skip
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Evasions replayed at a time.")
@click.option("--left-out", multiple=True, metavar="FAMILY", help="Family or campaign prefix that no fit has seen.")
@click.option("--partial", is_flag=True, help="Leave accounts out that only the labels or only the log have.")
@click.option("--replicates", type=click.IntRange(0), default=1000, show_default=True, help="Of the bootstrap.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of the bootstrap.")
@click.option("--json", "json_", type=FILE, help="Write every figure.")
@click.option("--html", type=FILE, help="Write a page with plots.")
@click.option("--quiet", is_flag=True, help="Print no tables.")
def command(
    requests: tuple[str, ...],
    labels: tuple[Path, ...],
    attack_requests: tuple[Path, ...],
    format_: str,
    baselines: bool,
    evasions: tuple[str, ...],
    jobs: int,
    left_out: tuple[str, ...],
    partial: bool,
    replicates: int,
    seed: int,
    json_: Path | None,
    html: Path | None,
    quiet: bool,
) -> None:
    """Score REQUESTS... (any log that `replay` reads) once and hold the result against its labels.

    With one --labels all REQUESTS are one data set. With several, the first file belongs to the first labels, and so
    on: each is scored by a scorer of its own, and the figures are of all accounts together.
    """
    asked = [name for value in evasions for name in value.split(",") if name]
    if asked == ["list"]:
        for name, variant in variants().items():
            click.echo(f"{name}: {variant.says}")
        return
    if not requests or not labels:
        raise click.UsageError("give REQUESTS... and their --labels; --evasions list needs neither")
    files = _pair(requests, labels, attack_requests)
    try:
        tricks = chosen(asked) if evasions else []
    except UnknownTrick as error:
        raise click.UsageError(f"{EVASIONS}: {error}") from None
    settings = offline(load().settings)
    started = time.perf_counter()
    try:
        page = Page() if html else None
        rivals = load_baselines() if baselines else []
        with ExitStack() as closing:
            runs, grounds = [], []
            for i, own in enumerate(files):
                one = DataSet(
                    _name(own, labels[i], i, len(labels)), own, read_labels(labels[i]),
                    read_attack_requests(attack_requests[i]) if attack_requests else None, format_,
                )  # fmt: skip
                sources: list[str] | list[Records] = own
                if tricks:
                    grounds.append(_prepared(one, settings, Path(closing.enter_context(TemporaryDirectory())), seed))
                    sources = [as_logged(grounds[-1], settings)]
                runs.append(_run(one, sources, settings, partial, rivals))
            sets = [run.observed for run in runs]
            before = list(map(outcome, sets)) if tricks else []
            played = evade(grounds, before, tricks, settings, seed=seed, jobs=jobs, tell=_tell) if tricks else []
    except (Unreadable, LabelsError, NoBaselines, NoTemplates, ValueError) as error:
        raise Failure(str(error)) from None
    scored = time.perf_counter()
    report = evaluate(
        sets, pool(sets), alpha=settings.scoring.alpha, budget=runs[0].budget, replicates=replicates, seed=seed,
        left_out=left_out, unlabelled=[run.unlabelled for run in runs],
    )  # fmt: skip
    report = msgspec.structs.replace(report, evasions=played)
    _warn(runs, report, left_out)
    if json_:
        _write(json_, msgspec.json.format(msgspec.json.encode(report), indent=1))
    if html and page:
        _write(html, page.render(report).encode())
    if not quiet:
        console = Console()
        show(report, console if console.is_terminal else Console(width=PIPE_WIDTH))
    measured = time.perf_counter()
    click.echo(f"scored in {scored - started:.1f} s, measured in {measured - scored:.1f} s")


def _pair(requests: Sequence[str], labels: Sequence[Path], attack_requests: Sequence[Path]) -> list[list[str]]:
    """The files of each data set."""
    if len(labels) > 1 and len(labels) != len(requests):
        raise click.UsageError(f"{len(requests)} REQUESTS for {len(labels)} --labels: give one file for each")
    if attack_requests and len(attack_requests) != len(labels):
        raise click.UsageError(f"{len(attack_requests)} --attack-requests for {len(labels)} --labels: give as many")
    return [[file] for file in requests] if len(labels) > 1 else [list(requests)]


def _name(files: Sequence[str], labels: Path, i: int, n: int) -> str:
    """What the report calls a data set: the folder of its labels, with a number where there are several."""
    folder = labels.resolve().parent.name or files[0]
    return f"{i + 1} {folder}" if n > 1 else folder


class DataSet(NamedTuple):
    """A log with its labels."""

    name: str
    files: list[str]
    truth: Truth
    attack_ids: set[bytes] | None
    format: str


def _prepared(data: DataSet, settings: Settings, folder: Path, seed: int) -> Ground:
    return prepare(
        data.files, data.truth, settings, folder, name=data.name, format=data.format, attack_ids=data.attack_ids,
        seed=seed,
    )  # fmt: skip


def _run(
    data: DataSet, sources: Sequence[str | Records], settings: Settings, partial: bool, rivals: Sequence[Baseline]
) -> Run:
    return observe(
        sources, data.truth, settings, name=data.name, format=data.format, attack_ids=data.attack_ids,
        partial=partial, baselines=rivals, tell=_tell,
    )  # fmt: skip


def _tell(text: str) -> None:
    click.echo(text, err=True)


def offline(settings: Settings) -> Settings:
    """Settings under which accounts keep the names that the labels have."""
    identity = msgspec.structs.replace(settings.identity, key=settings.identity.key or OFFLINE_KEY, plain_ids=True)
    return msgspec.structs.replace(settings, identity=identity)


def _warn(runs: Sequence[Run], report: Report, left_out: Sequence[str]) -> None:
    """Say what the figures leave out."""
    for run, dataset in zip(runs, report.datasets, strict=True):
        if run.unlabelled or run.unseen:
            click.echo(
                f"{dataset.name}: left out {run.unlabelled:,} accounts without a label and {run.unseen:,} labels "
                "without a request", err=True,
            )  # fmt: skip
        if run.rejected:
            click.echo(f"{dataset.name}: {run.rejected:,} elements could not be read", err=True)
    if left_out and not any(group.name == "left out of every fit" for group in report.groups):
        click.echo(f"--left-out {' '.join(left_out)}: no attack account is of such a family or campaign", err=True)


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise Failure(f"cannot write {path}: {error.strerror}") from None
