"""Replays a labelled log and keeps the features of each account-hour, as a sample to fit and judge cards on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from siphonwatch.models.account.request import Array
from siphonwatch.models.detect import Detector
from siphonwatch.models.engine.engine import Trace
from siphonwatch.models.engine.patterns import detector
from siphonwatch.models.evaluate.bootstrap import Ints
from siphonwatch.models.evaluate.data import Truth
from siphonwatch.models.learn.labels import ATTACK, HONEST, label_at
from siphonwatch.models.learn.sample import Hours, Sample
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.lab.dataset.labels import from_table
from siphonwatch.streams.lab.dataset.read import Dataset
from siphonwatch.streams.lab.evaluate.labels import LabelsError, named_as_in
from siphonwatch.streams.lab.evaluate.run import Watched
from siphonwatch.streams.worker.scoring import make_together


class _Kept(Watched):
    """A replay that keeps account-hours and nothing else of a trace."""

    def __init__(self, settings: Settings, pattern: str, prior: Detector | None) -> None:
        super().__init__(settings, make_together(settings), None, keep=False)
        self.hours = Hours()
        self._prior = prior or detector(pattern)
        self._times = np.zeros(0)

    def _score(self, requests: Array) -> None:
        self._times = requests["time"].copy()
        super()._score(requests)
        self.account, self.time, self.attack, self.findings = [], [], [], []

    def _gather(self, trace: Trace) -> None:
        which, taken = trace.which, trace.taken
        account = self._here[which]
        features = np.ascontiguousarray(trace.features[taken])
        self.hours.take(account[taken], self._times[which][taken], features, self._prior.score(features))


def collect(
    files: Sequence[str],
    truth: Truth,
    settings: Settings,
    pattern: str,
    *,
    name: str,
    prior: Detector | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> Sample:
    """Return the account-hours of the labelled accounts of a log.

    Attack accounts count from their onset on, where the labels say when that was.

    Parameters
    ----------
    files
        Any log that `replay` reads.
    pattern
        Whose card says which request stands for an hour.
    name
        Of the data set.
    prior
        What says that instead.

    Raises
    ------
    LabelsError
        Where no account of the log has a label.
    Unreadable, ValueError
        As `siphonwatch.streams.lab.replay.Replay.run`.
    """
    replay = _kept(files, settings, pattern, prior, name, tell)
    values, account, time = replay.hours.rows()
    names = list(replay.accounts)
    truth = named_as_in(replay.accounts, truth, settings.identity.key)
    at = {text: i for i, text in enumerate(truth.account)}
    place: Ints = np.array([at.get(text, -1) for text in names], np.int64)
    if not (place >= 0).any():
        raise LabelsError(
            f"{name}: no account of the log has a label, such as {next(iter(names), 'none')}: telemetry has hashed "
            "names, set identity.key to the gateways' one"
        )
    onset = np.where(np.isnan(truth.onset), -np.inf, truth.onset)
    known = place >= 0
    of = np.where(known, place, 0)
    whole = Sample(
        values, account, time, names, truth.attack[of] & known, np.ones(len(names)),
        [truth.campaign[p] or text for p, text in zip(of.tolist(), names, strict=True)],
        [truth.archetype[p] or truth.family[p] for p in of.tolist()], [name] * len(names),
    )  # fmt: skip
    since = np.where(whole.attack, onset[of], -np.inf)[account]
    return whole.where(known, time >= since)


def collect_parts(
    dataset: Dataset,
    settings: Settings,
    pattern: str,
    *,
    name: str,
    prior: Detector | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> dict[str, Sample]:
    """Return the account-hours of a data set that have a label, by part: `train` and `test`, or all under no name.

    Parameters
    ----------
    pattern
        Whose card says which request stands for an hour, and that labels must speak of.
    name
        Of the data set.
    prior
        What says instead which request stands for an hour.

    Raises
    ------
    LabelsError
        Where no account-hour has a label.
    DatasetError, ValueError
        As `siphonwatch.streams.lab.replay.Replay.run`.
    """
    replay = _kept([str(dataset.folder)], settings, pattern, prior, name, tell)
    values, account, time = replay.hours.rows()
    names = list(replay.accounts)
    of_row = [names[i] for i in account.tolist()]
    rows = from_table(dataset.labels())
    said, sure = label_at([row.label for row in rows], of_row, time, pattern)
    attack = np.zeros(len(names), np.bool_)
    attack[account[said == ATTACK]] = True
    # what an attacker did before, or what somebody called honest of it, is no attack: such hours are left out
    known = np.where(attack[account], said == ATTACK, said == HONEST) & dataset.inside(time)
    if not known.any():
        raise LabelsError(
            f"{name}: no hour of an account has a label for {pattern}: siphonwatch dataset --labels adds some"
        )
    weight = np.bincount(account[known], sure[known], len(names)) / np.maximum(
        np.bincount(account[known], minlength=len(names)), 1
    )
    campaign = {row.label.account: row.campaign for row in rows}
    kind = {row.label.account: row.kind for row in rows}
    whole = Sample(
        values, account, time, names, attack, weight, [campaign.get(text, "") or text for text in names],
        [kind.get(text, "") for text in names], [name] * len(names),
    )  # fmt: skip
    every = np.ones(len(names), np.bool_)
    parts = np.array(dataset.parts(of_row, time))
    return {part: whole.where(every, known & (parts == part)) for part in set(parts[known].tolist())}


def _kept(
    files: Sequence[str],
    settings: Settings,
    pattern: str,
    prior: Detector | None,
    name: str,
    tell: Callable[[str], None],
) -> _Kept:
    """Replay files and keep their account-hours."""
    replay = _Kept(settings, pattern, prior)
    for file in files:
        replay.run(file)
    hours = len(replay.hours.rows()[2])
    tell(f"{name}: {replay.totals.requests:,} requests, {hours:,} hours of {len(replay.accounts):,} accounts")
    return replay
