"""Runs two versions over one stream, the features made once, and gathers what each tells. It changes no score."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from siphonwatch.models.account.request import Array, blank, names
from siphonwatch.models.engine.engine import Trace
from siphonwatch.models.engine.judge import AccountJudge
from siphonwatch.models.evaluate.bootstrap import Bools, Floats, Ints
from siphonwatch.models.evaluate.compare import (
    NONE,
    Comparison,
    Move,
    Outcome,
    Reason,
    Speed,
    answer,
    load,
    matched_shift,
)
from siphonwatch.models.evaluate.data import Truth
from siphonwatch.models.evidence.calibration import COHORTS
from siphonwatch.models.evidence.cases import Finding
from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.lab.backtest.near import Near, told
from siphonwatch.streams.lab.backtest.version import DetectorSet
from siphonwatch.streams.lab.evaluate.labels import LabelsError, read_labels
from siphonwatch.streams.lab.offline import Offline
from siphonwatch.streams.lab.replay import Replay

DAY = 86_400.0
SHADOW = "challenger"
TELL = 1_000_000
"""Requests between two words on how far it has come."""


class Stopped(RuntimeError):
    """The challenger failed on this stream; the message says how."""


class Known(NamedTuple):
    """Labels by account, as the log names it."""

    truth: Truth
    place: dict[str, int]
    """Place in the labels, of names as they are and, where there is a key, of their hashes."""


def known(paths: Sequence[Path], key: str, more: Sequence[Truth] = ()) -> Known:
    """Read labels of one stream, and take those that are at hand.

    With the key of `identity` they also fit telemetry, whose names are hashed.

    Raises
    ------
    LabelsError
        Where a file is no labels, or two files say different things of an account.
    """
    parts = [*(read_labels(path) for path in paths), *more]
    sources = [*map(str, paths), *(["a data set"] * len(more))]
    place: dict[str, int] = {}
    rows: list[tuple[int, int]] = []
    for number, part in enumerate(parts):
        for i, name in enumerate(part.account):
            if name in place:
                first, at = rows[place[name]]
                if parts[first].attack[at] != part.attack[i]:
                    raise LabelsError(f"{sources[first]} and {sources[number]} contradict each other on account {name}")
                continue
            place[name] = len(rows)
            rows.append((number, i))
    identity = Identity(key) if key else None
    hashed = {identity.account(name): at for name, at in place.items()} if identity else {}

    chosen = [(parts[number], i) for number, i in rows]
    truth = Truth(
        [part.account[i] for part, i in chosen],
        np.array([part.attack[i] for part, i in chosen], np.bool_),
        [part.archetype[i] for part, i in chosen],
        [part.campaign[i] for part, i in chosen],
        [part.family[i] for part, i in chosen],
        np.array([part.share[i] for part, i in chosen], np.float64),
        np.array([part.onset[i] for part, i in chosen], np.float64),
        np.array([part.desensitised[i] for part, i in chosen], np.int64),
    )
    return Known(truth, hashed | place)


class Watch(Replay):
    """A replay in which two versions judge.

    Parameters
    ----------
    settings, engines
        As for a replay; the challenger is already beside the champion.
    versions
        The champion, and the challenger.
    labels
        Of some of the accounts.
    tell
        Told now and then how far it has come.
    """

    def __init__(
        self, settings: Settings, engines: Offline, versions: tuple[DetectorSet, DetectorSet], labels: Known,
        processes: int, tell: Callable[[str], None],
    ) -> None:  # fmt: skip
        super().__init__(settings, engines, self._take_champion, processes=processes)
        self.findings: tuple[list[Finding], list[Finding]] = ([], [])
        self.near = tuple(Near(tuple(d for d in v.detectors if d.card.over == "account")) for v in versions)
        self.accounts: dict[str, int] = {}
        self.row = np.zeros(0, np.int64)
        """`(accounts,)` place in the labels, -1 without one."""
        self.cohorts = np.zeros((0, len(COHORTS)), np.int64)
        self.span = [math.inf, -math.inf]
        self.sent: list[tuple[Ints, Floats]] = []
        """Labels' places and times of the requests of accounts that attack."""
        self._labels = labels
        self._tell = tell
        self._engines = engines
        self._hashes: dict[int, int] = {}
        self._first = 0
        self._here, self._time, self._attacks = np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.bool_)
        for near, shadow in zip(self.near, ("", SHADOW), strict=True):
            for judge in engines.judges(shadow):
                judge.trace = partial(self._trace, near, judge)

    def _take_champion(self, finding: Finding) -> None:
        self.findings[0].append(finding)

    def hear(self, found: list[Finding]) -> None:
        """Take what the challenger found."""
        self.findings[1].extend(f for f in found if not self._allowed.covers(f.accounts))

    def _trace(self, near: Near, judge: AccountJudge, trace: Trace) -> None:
        at = trace.offsets - self._first
        near.take(trace, self._here[at], self._time[at], self._attacks[at], judge)

    def _score(self, requests: Array) -> None:
        self._first, self._time = self.totals.requests, requests["time"].copy()
        if len(requests):
            self.span = [min(self.span[0], float(self._time.min())), max(self.span[1], float(self._time.max()))]
        self._locate(requests)
        super()._score(requests)
        if failed := self._engines.failed:
            raise Stopped(f"the challenger failed and was switched off: {failed[0].reason}")
        if self._first // TELL != self.totals.requests // TELL:
            self._tell(f"{self.totals.requests:,} requests judged twice")

    def _locate(self, requests: Array) -> None:
        """Number the accounts in the order they appear, and note what is to be known of each."""
        hashes, first, inverse = np.unique(requests["account_hash"], return_index=True, return_inverse=True)
        fresh = [k for k in np.argsort(first).tolist() if int(hashes[k]) not in self._hashes]
        if fresh:
            texts = names(requests["account"][first[fresh]])
            for k, text in zip(fresh, texts, strict=True):
                self._hashes[int(hashes[k])] = self.accounts.setdefault(text, len(self.accounts))
            n = len(self.accounts)
            labelled = [self._labels.place.get(text, NONE) for text in list(self.accounts)[len(self.row) :]]
            self.row = np.concatenate([self.row, np.array(labelled, np.int64)])
            self.cohorts = np.concatenate([self.cohorts, np.zeros((n - len(self.cohorts), len(COHORTS)), np.int64)])
            for near in self.near:
                near.reserve(n)
        places = np.array([self._hashes[h] for h in hashes.tolist()], np.int64)
        cohort = np.where(
            requests["rest"] == 1, 2, np.where((requests["session"] != 0) | (requests["stream"] == 1), 0, 1)
        )
        counts = np.bincount(inverse * len(COHORTS) + cohort, minlength=len(places) * len(COHORTS))
        self.cohorts[places] += counts.reshape(-1, len(COHORTS))
        self._here = places[inverse]
        row = self.row[self._here]
        self._attacks = (row >= 0) & self._labels.truth.attack[row]
        if self._attacks.any():
            self.sent.append((row[self._attacks], self._time[self._attacks]))


class Told(NamedTuple):
    """What one version told, by account."""

    outcome: Outcome
    reasons: dict[int, Finding]
    """The first finding that names each account, of those that attack from their onset on; by the log's number."""


def backtest(
    versions: tuple[DetectorSet, DetectorSet],
    files: Sequence[str],
    labels: Known,
    settings: Settings,
    *,
    format: str = "auto",
    partitions: int = 1,
    processes: int = 1,
    minutes: float,
    replicates: int,
    seed: int,
    tell: Callable[[str], None] = lambda text: None,
) -> Comparison:
    """Judge files, one stream in their order, by both versions and compare what came of it.

    Raises
    ------
    LabelsError
        Where no account of the log has a label.
    Stopped
        Where the challenger fails.
    Unreadable, ProcessDied, ValueError
        Where a file cannot be read, as `siphonwatch.streams.lab.replay.Replay.run`.
    """
    champion, challenger = versions
    _warm(versions, settings)
    with Offline(settings, partitions, cards=champion.detectors) as engines:
        heard: list[Watch] = []
        engines.shadow(SHADOW, challenger.detectors, lambda found: heard[0].hear(found))
        watch = Watch(settings, engines, versions, labels, processes, tell)
        heard.append(watch)
        started, worked = time.perf_counter(), time.process_time()
        for file in files:
            watch.run(file, format)
    elapsed, worked = time.perf_counter() - started, time.process_time() - worked
    if not watch.totals.requests:
        raise LabelsError(f"no request could be read; rejected {watch.totals.rejected.total()}")
    made = _Comparing(watch, labels, versions, minutes, replicates, seed).compare(files)
    return msgspec.structs.replace(made, speed=Speed(seconds=elapsed, work=worked))


def _warm(versions: tuple[DetectorSet, DetectorSet], settings: Settings) -> None:
    """Load what is compiled, so that it is not timed."""
    with Offline(settings, cards=versions[0].detectors) as engines:
        engines.shadow(SHADOW, versions[1].detectors, lambda found: None)
        engines.score(np.repeat(blank(), 2), np.arange(2))


class _Comparing:
    """From what two versions told to the report."""

    def __init__(
        self,
        watch: Watch,
        labels: Known,
        versions: tuple[DetectorSet, DetectorSet],
        minutes: float,
        replicates: int,
        seed: int,
    ) -> None:
        self.watch, self.versions = watch, versions
        self.minutes, self.replicates, self.seed = minutes, replicates, seed
        judged = np.flatnonzero(watch.row >= 0)
        order = np.unique(watch.row[judged], return_index=True)[1]
        self.seats = judged[order]
        """`(n,)` the log's number of each labelled account that made a request."""
        rows = watch.row[self.seats]
        if not len(rows):
            raise LabelsError(
                f"no account of the log has a label: the log has {next(iter(watch.accounts))}, the labels "
                f"{labels.truth.account[0]}. Telemetry has hashed names: set identity.key to the gateways' one"
            )
        whole, listed = labels.truth, rows.tolist()
        self.truth = Truth(
            [whole.account[i] for i in listed], whole.attack[rows], [whole.archetype[i] for i in listed],
            [whole.campaign[i] for i in listed], [whole.family[i] for i in listed], whole.share[rows],
            whole.onset[rows], whole.desensitised[rows],
        )  # fmt: skip
        self.unseen = len(whole.account) - len(listed)
        self.place = {int(seat): i for i, seat in enumerate(self.seats.tolist())}
        self.names = list(watch.accounts)
        self.cohort = [COHORTS[k] for k in watch.cohorts[self.seats].argmax(axis=1).tolist()]
        self.patterns = list(dict.fromkeys(d.pattern for v in versions for d in v.detectors))
        self.days = (watch.span[1] - watch.span[0]) / DAY
        self.onset = np.where(self.truth.attack & ~np.isnan(self.truth.onset), self.truth.onset, -np.inf)
        row_of = {row: i for i, row in enumerate(rows.tolist())}
        self.times: dict[int, Floats] = {}
        if watch.sent:
            who, when = (np.concatenate(part) for part in zip(*watch.sent, strict=True))
            for row in np.unique(who).tolist():
                self.times[row_of[row]] = np.sort(when[who == row])

    def compare(self, files: Sequence[str]) -> Comparison:
        """Return the report."""
        truth, watch = self.truth, self.watch
        own = [self._told(findings) for findings in watch.findings]
        cases = self._cases(0)
        shift = matched_shift(cases, self._margins(1))
        loads = [
            load(truth, self.cohort, self.patterns, a, b, name=name, shift=moved, days=self.days, minutes=self.minutes,
                 replicates=self.replicates, seed=self.seed)
            for name, moved, a, b in (
                ("own", 0.0, own[0].outcome, own[1].outcome),
                ("matched", shift, own[0].outcome._replace(cases=cases), self._shifted(shift)),
            )
        ]  # fmt: skip
        a_hit, b_hit = (one.outcome.found for one in own)
        campaigns = [c or n for c, n in zip(truth.campaign, truth.account, strict=True)]
        caught = [{campaigns[i] for i in np.flatnonzero(truth.attack & hit).tolist()} for hit in (a_hit, b_hit)]
        named = sorted(caught[1] - caught[0]), sorted(caught[0] - caught[1])
        every = {campaigns[i] for i in np.flatnonzero(truth.attack).tolist()}
        a, b = (version.name for version in self.versions)
        unjudged = [{k for k in one.reasons if k not in self.place} for one in own]
        return Comparison(
            answer=answer(a, b, loads[0], loads[1], named, (len(every), int(truth.attack.sum())), self.minutes),
            a=a,
            b=b,
            data=list(files),
            requests=watch.totals.requests,
            accounts=len(watch.accounts),
            attack=int(truth.attack.sum()),
            honest=int((~truth.attack).sum()),
            campaigns=len(every),
            unjudged=len(watch.accounts) - len(self.seats),
            unseen=self.unseen,
            days=self.days,
            minutes_a_case=self.minutes,
            replicates=self.replicates,
            seed=self.seed,
            loads=loads,
            gained=self._moves(own, self._numbers(truth.attack & b_hit & ~a_hit), 1),
            lost=self._moves(own, self._numbers(truth.attack & a_hit & ~b_hit), 0),
            false_new=self._moves(own, self._numbers(~truth.attack & b_hit & ~a_hit), 1),
            false_gone=self._moves(own, self._numbers(~truth.attack & a_hit & ~b_hit), 0),
            unjudged_new=self._moves(own, sorted(unjudged[1] - unjudged[0]), 1),
            unjudged_gone=self._moves(own, sorted(unjudged[0] - unjudged[1]), 0),
            campaigns_gained=named[0],
            campaigns_lost=named[1],
        )

    def _numbers(self, wanted: Bools) -> list[int]:
        return [int(number) for number in self.seats[wanted]]

    def _told(self, findings: Iterable[Finding]) -> Told:
        first, by = np.full(len(self.seats), np.inf), np.full(len(self.seats), NONE)
        reasons: dict[int, Finding] = {}
        cases = 0
        for finding in findings:
            cases += finding.kind == "open"
            if finding.kind == "close":
                continue
            for account in finding.accounts:
                number = self.watch.accounts.get(account)
                if number is None:
                    continue
                i = self.place.get(number)
                if i is not None and finding.time < self.onset[i]:
                    continue
                if i is None or finding.time < first[i]:
                    known = reasons.get(number)
                    if known is None or finding.time < known.time:
                        reasons[number] = finding
                    if i is not None:
                        first[i], by[i] = finding.time, self.patterns.index(finding.pattern)
        unjudged = sum(number not in self.place for number in reasons)
        return Told(Outcome(first, by, self._spent(first), cases, unjudged), reasons)

    def _spent(self, first: Floats) -> Floats:
        spent = np.full(len(first), np.nan)
        for i in np.flatnonzero(np.isfinite(first) & self.truth.attack).tolist():
            times = self.times[i]
            low, high = np.searchsorted(times, self.onset[i], "left"), np.searchsorted(times, first[i], "right")
            spent[i] = high - low
        return spent

    def _cases(self, side: int) -> int:
        """How many accounts and patterns, and campaigns, had a case: one that opens again counts once."""
        return len({self._case_key(side, f) for f in self.watch.findings[side] if f.kind != "close"})

    def _case_key(self, side: int, finding: Finding) -> tuple[str, str]:
        own = {detector.pattern for detector in self.watch.near[side].detectors}
        return (finding.accounts[0], finding.pattern) if finding.pattern in own else ("", finding.case)

    def _margins(self, side: int) -> list[float]:
        """How far the evidence for each case went beyond its bar; of campaigns those that were opened."""
        own = [max(margin for _, margin in ladder) for ladder in self.watch.near[side].ladder.values()]
        return own + list(self._campaigns(side).values())

    def _campaigns(self, side: int) -> dict[str, float]:
        best: dict[str, float] = {}
        for finding in self.watch.findings[side]:
            key = self._case_key(side, finding)
            if key[0] == "" and finding.kind != "close":
                best[finding.case] = max(best.get(finding.case, -math.inf), finding.log_e - finding.bar)
        return best

    def _shifted(self, shift: float) -> Outcome:
        """What the challenger would have told with its bar moved; campaigns can only lose by it."""
        near = self.watch.near[1]
        first, by = np.full(len(self.seats), np.inf), np.full(len(self.seats), NONE)
        unjudged: set[int] = set()
        cases = sum(margin >= shift for margin in self._margins(1))
        for account, column in near.ladder:
            i = self.place.get(account)
            since = -math.inf if i is None else float(self.onset[i])
            when = near.first_beyond(account, column, shift, since)
            if when < math.inf and i is None:
                unjudged.add(account)
            elif i is not None and when < first[i]:
                first[i], by[i] = when, self.patterns.index(near.detectors[column].pattern)
        for finding in self.watch.findings[1]:
            if finding.kind == "close" or self._case_key(1, finding)[0] or finding.log_e - finding.bar < shift:
                continue
            for name in finding.accounts:
                number = self.watch.accounts.get(name, NONE)
                i = self.place.get(number)
                if i is None:
                    unjudged.add(number)
                elif self.onset[i] <= finding.time < first[i]:
                    first[i], by[i] = finding.time, self.patterns.index(finding.pattern)
        return Outcome(first, by, self._spent(first), cases, len(unjudged - {NONE}))

    def _moves(self, own: Sequence[Told], accounts: Sequence[int], found_by: int) -> list[Move]:
        moves = []
        for number in accounts:
            finding = own[found_by].reasons[number]
            other = own[1 - found_by].reasons.get(number)
            reasons: list[Reason] = [
                told(finding),
                told(other) if other else self.watch.near[1 - found_by].reason(number),
            ]
            i = self.place.get(number)
            spent = math.nan if i is None else float(own[found_by].outcome.spent[i])
            moves.append(
                Move(
                    account=self.names[number],
                    truth="unjudged" if i is None else "attack" if self.truth.attack[i] else "honest",
                    kind="" if i is None else self.truth.archetype[i],
                    campaign="" if i is None else self.truth.campaign[i],
                    a=reasons[found_by],
                    b=reasons[1 - found_by],
                    time=finding.time,
                    requests=spent,
                )
            )
        return sorted(moves, key=lambda move: (move.campaign, move.time, move.account))


def replayed(
    files: Sequence[str], version: DetectorSet, settings: Settings, format: str, partitions: int, processes: int
) -> float:
    """Return the seconds of processor time of a replay by one version alone, the files read once more."""
    with Offline(settings, partitions, cards=version.detectors) as engines:
        replay = Replay(settings, engines, lambda finding: None, processes=processes)
        worked = time.process_time()
        for file in files:
            replay.run(file, format)
        return time.process_time() - worked
