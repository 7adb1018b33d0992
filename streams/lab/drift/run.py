"""Replays a log or an archive and says what drifted, which cards read it, and how to train them. It changes nothing."""

from __future__ import annotations

import datetime
import math
import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.features import INDEX
from siphonwatch.models.account.request import Array
from siphonwatch.models.engine.engine import Trace
from siphonwatch.models.engine.patterns import detectors
from siphonwatch.models.engine.population import WATCHED, cohorts
from siphonwatch.models.evaluate.bootstrap import Ints
from siphonwatch.models.evidence.calibration import COHORTS
from siphonwatch.models.evidence.cases import Finding
from siphonwatch.models.learn.drift import DAY, DriftWatch, TooShort
from siphonwatch.models.learn.stability import FEWEST
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.lab.dataset.layout import is_dataset
from siphonwatch.streams.lab.evaluate.run import Watched
from siphonwatch.streams.worker.scoring import make_together

WARM_UP = 14.0
"""Days until sums that fade over 7 days have filled, and most addresses are known: after 7 days `job_days` of the
scenario's honest traffic still moves in each of four seeds, `new_ip_1d` in two; after 14 nothing does."""
SLOW = ("job_days", "new_ip_1d")
"""What those are: with a shorter warm-up they are not compared."""

WRONG = 3
"""Accounts whose clocks may be years behind where the data begin, without a baseline of those years. A convention."""


class MovedColumn(msgspec.Struct, frozen=True):
    """A feature, or a pattern's score, that is not what it was."""

    name: str
    kind: str
    """feature, or reference: the scores that a pattern's honest account-hours are held against."""
    cohort: str
    psi: float
    """Population stability index beyond what chance makes expect."""
    floor: float
    """What chance alone does not reach."""
    window_days: int
    since: str
    direction: str
    accounts: int
    read_by: list[str]
    """Patterns whose installed cards read it."""


class MovedRate(msgspec.Struct, frozen=True):
    """A pattern whose cases come more often or more seldom."""

    pattern: str
    cohort: str
    before: float
    """Cases a day."""
    after: float
    since: str


class Report(msgspec.Struct, frozen=True):
    """What moved, and what may be done about it."""

    requests: int
    accounts: int
    baseline: tuple[str, str]
    """First day, and the day after the last one."""
    until: str
    """The day after the last one that was compared."""
    moved: list[MovedColumn]
    rates: list[MovedRate]
    not_compared: list[str]
    """Cohorts with too few accounts."""
    filling: list[str]
    """Features that were not compared, as they still fill after so short a warm-up."""
    late: int
    propose: list[str]
    """Commands."""


class _Watch(Watched):
    """A replay that hands what the judge sees to a `DriftWatch`, which begins with the first request."""

    def __init__(self, settings: Settings, warm_up: float, baseline: float | None, until: float | None) -> None:
        self._both = make_together(settings)
        super().__init__(settings, self._both, None, keep=False)
        self.drift: DriftWatch | None = None
        self._warm_up, self._baseline, self._until = warm_up, baseline, until
        self.names = [name for name in WATCHED if warm_up >= WARM_UP or name not in SLOW]
        self._kept = np.array([INDEX[name] for name in self.names])
        self.patterns = [detector.pattern for detector in detectors()]
        self.rated = [*self.patterns, *(detector.pattern for detector in detectors("campaign"))]
        """Patterns whose cases are counted: a campaign's under its first account."""
        self._time = np.zeros(0)
        self._cohort = np.zeros(0, np.int64)
        self._last: dict[str, int] = {}

    def _score(self, requests: Array) -> None:
        self._time = requests["time"].copy()
        self._cohort = cohorts(requests)
        if self.drift is None and len(requests):
            begin = math.ceil(_begins(requests["account_hash"], self._time) / DAY + self._warm_up) * DAY
            until = self._until if self._until is not None else begin + (self._baseline or 0.0)
            self.drift = DriftWatch(len(self.names), len(self.patterns), begin, until)
        super()._score(requests)
        texts = list(self.accounts)
        self._last.update((texts[a], c) for a, c in zip(self._here.tolist(), self._cohort.tolist(), strict=True))
        for finding in self.findings:
            if finding.kind == "open":
                self._opened(finding)
        self.account, self.time, self.attack, self.findings = [], [], [], []

    def _opened(self, finding: Finding) -> None:
        if finding.pattern in self.rated and self.drift:
            name = finding.accounts[0]
            if name in self.accounts:
                pattern = self.rated.index(finding.pattern)
                self.drift.take_case(self.accounts[name], self._last[name], pattern, finding.time)

    def _gather(self, trace: Trace) -> None:
        assert self.drift is not None  # noqa: S101 - made before anything is scored
        which, taken = trace.which[trace.taken], trace.taken
        account: Ints = self._here[which]
        features = trace.features[taken][:, self._kept]
        # One record of a clock that is years ahead would close every day before the others' requests come.
        time = np.minimum(self._time[which], self._both.now)
        self.drift.take(account, self._cohort[which], time, features, trace.scores[taken])


def drift(
    files: Sequence[str],
    settings: Settings,
    *,
    baseline: float | None,
    until: float | None,
    warm_up: float = WARM_UP,
    tell: Callable[[str], None] = lambda text: None,
) -> Report:
    """Replay files, one stream in their order, and compare what follows a baseline with it.

    Parameters
    ----------
    baseline
        Days that it has, counted from the warm-up's end.
    until
        When it ends instead, seconds since 1970; counted down to a midnight.
    warm_up
        Days at the beginning that are left out, while the features' windows fill.

    Raises
    ------
    TooShort
        Where no whole day is left to compare, or every cohort has too few accounts for it.
    Unreadable, ValueError
        As `siphonwatch.streams.lab.replay.Replay.run`.
    """
    watch = _Watch(settings, warm_up, None if baseline is None else baseline * DAY, until)
    for file in files:
        watch.run(file)
    if watch.drift is None:
        raise TooShort(f"no request could be read; rejected {sum(watch.totals.rejected.values())}")
    tell(f"{watch.totals.requests:,} requests of {len(watch.accounts):,} accounts replayed")
    found = watch.drift.result()
    if len(found.too_few) == len(COHORTS) and not found.rates:
        raise TooShort(
            f"nothing was compared: no cohort has {FEWEST} accounts from {_day(found.baseline[0])} to before "
            f"{_day(found.baseline[1])} and {FEWEST} in the days to before {_day(found.until)}"
        )
    cards = {detector.pattern: detector.card for detector in detectors()}
    moved = []
    for one in found.moved:
        own = one.column - len(watch.names)
        name = watch.patterns[own] if own >= 0 else watch.names[one.column]
        readers = [name] if own >= 0 else [pattern for pattern, card in cards.items() if name in card.needs]
        moved.append(MovedColumn(
            name, "reference" if own >= 0 else "feature", one.cohort, round(one.psi, 4), round(one.floor, 4), one.days,
            _day(one.since), one.direction, one.accounts, readers,
        ))  # fmt: skip
    rates = [
        MovedRate(watch.rated[rate.pattern], rate.cohort, round(rate.before, 2), round(rate.after, 2),
                  _day(rate.since))
        for rate in found.rates
    ]  # fmt: skip
    return Report(
        watch.totals.requests, len(watch.accounts), (_day(found.baseline[0]), _day(found.baseline[1])),
        _day(found.until), moved, rates, found.too_few, [] if warm_up >= WARM_UP else list(SLOW), found.late,
        _proposals(moved, rates, files),
    )  # fmt: skip


def _begins(accounts: npt.NDArray[np.uint64], times: npt.NDArray[np.float64]) -> float:
    """The event time at which the data begin: the earliest one but for those of few accounts with a wrong clock."""
    _, place = np.unique(accounts, return_inverse=True)
    first = np.full(len(accounts), np.inf)
    np.minimum.at(first, place, times)
    first = np.sort(first[: place.max() + 1])
    return float(first[min(WRONG, (len(first) - 1) // 2)])


def _proposals(moved: Sequence[MovedColumn], rates: Sequence[MovedRate], files: Sequence[str]) -> list[str]:
    """A training for each account pattern that is concerned, those with most to say first; before them their data.

    Campaign patterns' cards are fitted by nothing yet: where their cases come more often, look at who they are.

    A data set has its labels, an archive has verdicts for one; of a log they are in a file of yours, `LABELS.csv`.
    """
    concerned = Counter(pattern for one in moved for pattern in one.read_by) + Counter(rate.pattern for rate in rates)
    trainable = {detector.pattern for detector in detectors()}
    made: list[str] = []
    given: list[str] = []
    for file in files:
        if is_dataset(file):
            given += ["--data", file]
        elif Path(file).is_dir() or "://" in file:
            name = f"recent-{len(made) + 1}" if made else "recent"
            made.append(shlex.join(["siphonwatch", "dataset", name, "--data", file, "--labels", "verdicts"]))
            given += ["--data", name]
        else:
            given += ["--data", file, "--labels", "LABELS.csv"]
    trained = [
        shlex.join(["siphonwatch", "train", pattern, *given, "--out", f"{pattern}-next"])
        for pattern, _ in concerned.most_common()
        if pattern in trainable
    ]
    return [*made, *trained] if trained else []


def _day(time: float) -> str:
    return datetime.datetime.fromtimestamp(time, datetime.UTC).date().isoformat()
