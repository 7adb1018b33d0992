"""What an oracle finds that was fitted to other seeds of the very same campaigns: `python -m bench oracle DIR...`.

Each DIR is a composed set with `requests.ndjson.gz` (or `telemetry.ndjson`) and `labels.csv`. An ensemble of trees is
fitted to the accounts of all sets but one (highest, mean and middle value of every feature over an account's hours,
before the attack too), attackers of single accounts against everybody honest, and ranks those of the one left out,
beside the suspicion by the installed cards. It says what the features know of such attackers; it is no detector, as it
was taught by the composer.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table
from sklearn.ensemble import HistGradientBoostingClassifier

from bench.report import WIDTH
from siphonwatch.models.evaluate.data import Truth
from siphonwatch.models.learn.sample import Sample
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.lab.evaluate.labels import read_labels
from siphonwatch.streams.lab.replay import Replay
from siphonwatch.streams.lab.train.collect import collect
from siphonwatch.streams.worker.scoring import make_together

Floats = npt.NDArray[np.float64]
SINGLE = ("A", "D", "E")
"""Families of the composer in which one account attacks alone."""
RATES = (0.001, 0.01)


class Population(NamedTuple):
    """The accounts of a set, honest ones and those who attack alone."""

    features: Floats
    """`(n, 3 F)`."""
    family: list[str]
    """Its letter; empty of honest ones."""
    suspicion: Floats
    """`(n,)` by the installed cards."""


def whole(sample: Sample) -> Floats:
    """Return the highest, mean and middle value of each feature over each account's hours, `(n, 3 F)`.

    Examples
    --------
    >>> hours = np.array([[0.0], [2.0], [1.0], [5.0]], np.float32)
    >>> none = np.zeros(2, bool), np.ones(2), [""] * 2, [""] * 2, [""] * 2
    >>> whole(Sample(hours, np.array([0, 0, 0, 1]), np.zeros(4), ["a", "b"], *none)).tolist()
    [[2.0, 1.0, 1.0], [5.0, 5.0, 5.0]]
    """
    values = np.nan_to_num(sample.values.astype(np.float64))
    hours = np.split(values, np.searchsorted(sample.account, np.arange(1, len(sample.name))))
    return np.array([np.concatenate([of.max(0), of.mean(0), np.median(of, 0)]) for of in hours])


def found(scores: Floats, family: Sequence[str], letter: str, rate: float) -> int:
    """Return how many attackers of a family are above all but `rate` of the honest.

    Examples
    --------
    >>> found(np.array([3.0, 1.0, 2.0, 0.0]), ["A", "A", "", ""], "A", 0.01)
    1
    """
    who = np.array(family)
    honest = np.sort(scores[who == ""])[::-1]
    return int((scores[who == letter] > honest[int(rate * len(honest))]).sum())


def population(folder: Path, settings: Settings) -> Population:
    """Return the accounts of a composed set."""
    truth = read_labels(folder / "labels.csv")
    log = next(str(path) for name in ("telemetry.ndjson", "requests.ndjson.gz") if (path := folder / name).exists())
    always: Truth = truth._replace(onset=np.full(len(truth.account), np.nan))
    sample = collect([log], always, settings, "extraction", name=folder.name)
    scorer = make_together(settings)
    Replay(settings, scorer, lambda finding: None).run(log)
    suspicion = scorer.suspicion()
    family = [name[:1] if attacks else "" for attacks, name in zip(sample.attack, sample.campaign, strict=True)]
    sample = sample.where(np.array([not letter or letter in SINGLE for letter in family]))
    family = [letter for letter in family if not letter or letter in SINGLE]
    return Population(whole(sample), family, np.array([suspicion.get(name, 0.0) for name in sample.name]))


def main(arguments: Sequence[str]) -> int:
    """Print a row for each set and family."""
    parser = argparse.ArgumentParser(prog="bench oracle", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR")
    folders = parser.parse_args(arguments).folders
    if len(folders) < 2:
        parser.error("give two sets or more: each is ranked by what the others taught")
    settings = Settings()
    settings.identity.plain_ids = True
    sets = [population(folder, settings) for folder in folders]
    table = Table(title="attackers found above 0.1 % and 1 % of the honest accounts")
    for heading in ("left out", "family", "attackers", "by the cards", "by an oracle"):
        table.add_column(heading)
    for k, folder in enumerate(folders):
        taught = [one for j, one in enumerate(sets) if j != k]
        attacks = np.array([letter != "" for one in taught for letter in one.family])
        weight = np.where(attacks, (~attacks).sum() / max(attacks.sum(), 1), 1.0)
        oracle = HistGradientBoostingClassifier(
            max_depth=4, max_iter=150, learning_rate=0.06, l2_regularization=5.0, random_state=0
        )
        oracle.fit(np.concatenate([one.features for one in taught]), attacks, sample_weight=weight)
        ranked = oracle.predict_proba(sets[k].features)[:, 1]
        for letter in SINGLE:
            of = sets[k].family.count(letter)
            told = [
                ", ".join(str(found(scores, sets[k].family, letter, rate)) for rate in RATES)
                for scores in (sets[k].suspicion, ranked)
            ]
            table.add_row(folder.name, letter, str(of), *told)
    Console(width=WIDTH).print(table)
    return 0
