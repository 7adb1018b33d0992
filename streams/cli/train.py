"""`siphonwatch train`: fits a pattern's card to labelled logs, judges it on what was held out, and writes a version."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path

import click

from siphonwatch.models.account.features import FEATURES
from siphonwatch.models.detect import Card, Detector
from siphonwatch.models.detect.card import CardError, read_card
from siphonwatch.models.engine.patterns import detectors
from siphonwatch.models.learn.fit import Fit, fit_card
from siphonwatch.models.learn.sample import Sample
from siphonwatch.models.learn.version import VersionError, shipped
from siphonwatch.streams.cli import Failure
from siphonwatch.streams.cli.evaluate import offline
from siphonwatch.streams.common.settings import Settings, load
from siphonwatch.streams.edge.adapters import Unreadable
from siphonwatch.streams.lab.dataset.layout import is_dataset
from siphonwatch.streams.lab.dataset.split import NONE, TEST_PART, TRAIN
from siphonwatch.streams.lab.evaluate.labels import LabelsError, read_labels

FILE = click.Path(dir_okay=False, exists=True, path_type=Path)
LOG = click.Path(exists=True, path_type=Path)


class Splits(click.ParamType):
    """`time,campaign`, one of them, or `none`; by those that are given."""

    name = "split"

    def __init__(self, known: tuple[str, ...] = ("time", "campaign")) -> None:
        self._known = known

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        names = () if value == "none" else tuple(value.split(","))
        if unknown := [name for name in names if name not in self._known]:
            self.fail(f"{unknown[0]!r} is none of {', '.join(self._known)}, none", param, ctx)
        return names


class Counts(click.ParamType):
    """Numbers with commas between."""

    name = "counts"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        numbers = [part for part in value.split(",") if part]
        if not all(part.isdigit() and int(part) for part in numbers):
            self.fail(f"{value!r} is no list of numbers above 0, such as 20,100,500", param, ctx)
        return tuple(map(int, numbers))


@click.command("train", short_help="Fit a pattern's card to labelled logs; write a version.")
@click.argument("pattern")
@click.option(
    "--data", multiple=True, required=True, type=LOG,
    help="A data set, or any log or archive that replay reads; repeatable.",
)  # fmt: skip
@click.option(
    "--labels", multiple=True, type=FILE, help="CSV as `evaluate` takes, one for each --data that is no data set."
)
@click.option("--left-out", multiple=True, type=LOG, help="As --data, but only judged on; repeatable.")
@click.option("--left-out-labels", multiple=True, type=FILE, help="One for each --left-out that is no data set.")
@click.option(
    "--prior",
    type=FILE,
    help="A card's file to begin from.  [default: the card that is installed, before it was fitted]",
)
@click.option("--split", type=Splits(), default="time,campaign", show_default=True, help="How data are held out.")
@click.option("--folds", type=click.IntRange(2, 20), default=3, show_default=True, help="Of whole campaigns.")
@click.option("--no-families", is_flag=True, help="Do not leave each family of attacks out once.")
@click.option(
    "--verdicts", type=Counts(), default="", metavar="N,N", help="Learn from so few verdicts too; needs --left-out."
)
@click.option("--wrong", type=click.FloatRange(0, 0.5), default=0.1, show_default=True, help="Share of wrong verdicts.")
@click.option(
    "--sklearn", metavar="MODULE:FACTORY", default="", help="Fit this estimator as a learned support instead."
)
@click.option("--river", metavar="MODULE:PIPELINE", default="", help="The same with an estimator of River.")
@click.option("--and-weights", is_flag=True, help="Fit the card's own weights too, before a learned support.")
@click.option("--out", type=click.Path(file_okay=False), help="Directory or URL of the version that is written.")
@click.option("--name", default="", help="Of the version.  [default: the last part of --out]")
def command(
    pattern: str,
    data: tuple[Path, ...],
    labels: tuple[Path, ...],
    left_out: tuple[Path, ...],
    left_out_labels: tuple[Path, ...],
    prior: Path | None,
    split: tuple[str, ...],
    folds: int,
    no_families: bool,
    verdicts: tuple[int, ...],
    wrong: float,
    sklearn: str,
    river: str,
    and_weights: bool,
    out: str | None,
    name: str,
) -> None:
    """Fit the weights, ramps and null level of PATTERN's card, starting from the one that is shipped, or from --prior.

    Prints what moved, where the fitted card is worse, and whether honest hours keep its promise, on whole campaigns
    and on families that were held out, and on data that took part in no fit. With --out it writes a version: the
    shipped cards with the fitted one among them, MODEL_CARD.md and plots. It changes nothing that runs.

    With --sklearn or --river an estimator is fitted to the features of account-hours and added to the card as a
    learned support, calibrated and weighed on campaigns that it did not see. FACTORY is imported here and nowhere else:
    what is written are arrays. Classes that cannot become arrays are refused by name before anything is fitted.
    """
    from siphonwatch.streams.lab.registry.store import RegistryError, write_files
    from siphonwatch.streams.lab.train.report import tell
    from siphonwatch.streams.lab.train.run import Choices, train, version_of

    cards = {detector.pattern: detector.card for detector in detectors()}
    if pattern not in cards:
        raise click.UsageError(f"{pattern} is no pattern of single accounts: {', '.join(cards)}")
    if _plain(data) != len(labels) or _plain(left_out) != len(left_out_labels):
        raise click.UsageError(
            "give one --labels for each --data that is no data set, and one --left-out-labels for each --left-out"
        )
    if verdicts and not left_out:
        raise click.UsageError("--verdicts needs --left-out: learning is judged on data that take part in no fit")
    if (sklearn and river) or (and_weights and not (sklearn or river)):
        raise click.UsageError("give one of --sklearn and --river; --and-weights goes with either")
    card = _installed(cards[pattern]) if prior is None else _prior(prior, pattern)
    if card.learned:
        raise click.UsageError(
            f"the card of {pattern} has a learned support: give one without as --prior, to which it is fitted anew"
        )
    fit = _fit(sklearn, river, and_weights)
    settings = offline(load().settings)
    context = click.get_current_context()
    command = shlex.join(["siphonwatch", "train", pattern, *_spelt(context)])
    try:
        by = None if card == cards[pattern] else Detector(card, FEATURES)
        samples, rest = _collected(data, labels, settings, pattern, by)
        rest += [one for part in _collected(left_out, left_out_labels, settings, pattern, by) for one in part]
        trained = train(
            card, samples, rest, Choices(split, folds, not no_families, verdicts, wrong, fit=fit),
            command=command, tell=_say,
        )  # fmt: skip
        click.echo("\n".join(tell(trained)))
        if out:
            named = name or Path(out.rstrip("/")).name.lower()
            version = version_of(trained, shipped(), named, time.time(), rest)
            write_files(out, version.files())
            click.echo(f"\nversion {version.id} ({version.name}) at {out}: siphonwatch models add {out}")
    except (Unreadable, LabelsError, VersionError, RegistryError, ValueError) as error:
        raise Failure(str(error)) from None


def _installed(card: Card) -> Card:
    """The installed card; where it has a learned support, the one that this was fitted to, if it came with us."""
    before = files("siphonwatch.models.learn") / "priors" / f"{card.pattern}.toml"
    return read_card(before.read_bytes(), before.name) if card.learned and before.is_file() else card


def _prior(file: Path, pattern: str) -> Card:
    """The card of a file, which is of the pattern and reads features that there are."""
    try:
        card = read_card(file.read_bytes(), file.name)
        Detector(card, FEATURES)
    except CardError as error:
        raise click.UsageError(str(error)) from None
    if card.pattern != pattern:
        raise click.UsageError(f"--prior {file.name} is a card of {card.pattern}, not of {pattern}")
    return card


def _plain(data: Sequence[Path]) -> int:
    """How many of them need a file of labels."""
    return sum(not is_dataset(path) for path in data)


def _fit(sklearn: str, river: str, and_weights: bool) -> Callable[[Card, Sample, Callable[[str], None]], Fit]:
    """What is fitted; an estimator that cannot be used is refused here, before anything is read."""
    if not (sklearn or river):
        return fit_card
    from siphonwatch.streams.lab.train.learned import fit_learned, load_maker

    try:
        maker = load_maker(sklearn or river, "sklearn" if sklearn else "river")
    except ValueError as error:
        raise Failure(str(error)) from None

    def fit(card: Card, sample: Sample, tell: Callable[[str], None]) -> Fit:
        own = fit_card(card, sample, tell) if and_weights else None
        found = fit_learned(own.card if own else card, sample, maker, tell)
        return found._replace(moved=own.moved) if own else found

    return fit


def _collected(
    data: Sequence[Path],
    labels: Sequence[Path],
    settings: Settings,
    pattern: str,
    prior: Detector | None = None,
) -> tuple[list[Sample], list[Sample]]:
    """Account-hours to fit on, and those of data sets that their split keeps for the test."""
    from siphonwatch.streams.lab.dataset.read import Dataset
    from siphonwatch.streams.lab.train.collect import collect, collect_parts

    left = iter(labels)
    given = [None if is_dataset(path) else next(left) for path in data]
    names = [path.name if file is None else file.resolve().parent.name for path, file in zip(data, given, strict=True)]
    samples, tested = [], []
    for i, (path, file) in enumerate(zip(data, given, strict=True)):
        name = _unlike(names, i)
        if file is not None:
            samples.append(
                collect([str(path)], read_labels(file), settings, pattern, name=name, prior=prior, tell=_say)
            )
            continue
        parts = collect_parts(Dataset(path), settings, pattern, name=name, prior=prior, tell=_say)
        samples += [part for key, part in parts.items() if key == TRAIN or (key == NONE and len(parts) == 1)]
        tested += [part for key, part in parts.items() if key == TEST_PART]
    return samples, tested


def _unlike(names: Sequence[str], i: int) -> str:
    """The name of a data set, with its number where another has it too."""
    return names[i] if names.count(names[i]) == 1 else f"{i + 1} {names[i]}"


def _spelt(context: click.Context) -> list[str]:
    """The options that were given, paths by their last two parts: a version names no place of one machine."""
    given: list[str] = []
    for parameter in context.command.params:
        value = context.params.get(parameter.name or "")
        if parameter.name == "split" and not value:
            given += ["--split", "none"]
            continue
        if parameter.name in ("pattern", "out", "name") or value == parameter.get_default(context) or not value:
            continue
        if isinstance(value, tuple) and value and isinstance(value[0], Path):
            for path in value:
                given += [parameter.opts[0], "/".join(path.parts[-2:])]
        elif isinstance(value, Path):
            given += [parameter.opts[0], "/".join(value.parts[-2:])]
        elif value is True:
            given.append(parameter.opts[0])
        else:
            text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            given += [parameter.opts[0], text]
    return given


def _say(text: str) -> None:
    click.echo(text, err=True)
