"""Runs the scorer over one labelled data set, once, and gathers its trace for evaluation. It changes no score."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from siphonwatch.models.account.request import NAME_BYTES, Array, names
from siphonwatch.models.engine.engine import Trace
from siphonwatch.models.engine.patterns import detector
from siphonwatch.models.engine.together import Together
from siphonwatch.models.evaluate.alerts import Alerts
from siphonwatch.models.evaluate.bootstrap import Bools, Floats, Ints
from siphonwatch.models.evaluate.data import Observed, Requests, Truth
from siphonwatch.models.evaluate.features import Gathered
from siphonwatch.models.evidence.cases import Finding
from siphonwatch.models.evidence.process import LASTING, SEVERITIES
from siphonwatch.models.evidence.process import suspicion as suspicion_of
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.edge.adapters import Records
from siphonwatch.streams.lab.evaluate.baselines import Baseline
from siphonwatch.streams.lab.evaluate.labels import LabelsError, named_as_in
from siphonwatch.streams.lab.replay import Replay
from siphonwatch.streams.worker.scoring import make_together

DAY = 86_400.0
UNSCORED = -1.0
"""Added to the lowest score for an account that the scorer does not know: it ranks last."""


class Run(NamedTuple):
    """A run over one data set."""

    observed: Observed
    budget: float
    """Share of released cases that the scorer may have false."""
    unlabelled: int
    """Accounts of the log without a label."""
    unseen: int
    """Labels whose account made no request."""
    rejected: int
    """Elements of the files that are not what their format says."""


class Watched(Replay):
    """A replay that keeps each request's account and time, and gathers the scorer's trace.

    Parameters
    ----------
    settings, scorer
        As for a replay; the scorer's judge is traced from now on.
    attack_ids
        Ids of attack requests, where they are known.
    keep
        Whether to keep the requests themselves, for baselines.
    """

    def __init__(self, settings: Settings, scorer: Together, attack_ids: set[bytes] | None, keep: bool) -> None:
        super().__init__(settings, scorer, self._note_finding)
        self.findings: list[Finding] = []
        self.gathered = Gathered()
        self.accounts: dict[str, int] = {}
        self.account: list[Ints] = []
        self.time: list[Floats] = []
        self.attack: list[Bools] = []
        self.kept: list[Array] = []
        self.matched: set[bytes] = set()
        self._ids = attack_ids or set()
        self._keep = keep
        self._places: dict[int, int] = {}
        self._here = np.zeros(0, np.int64)
        scorer.scorer.judge.trace = self._gather

    def _note_finding(self, finding: Finding) -> None:
        self.findings.append(finding)

    def _gather(self, trace: Trace) -> None:
        account = self._here[trace.which]
        self.gathered.take(account, trace.taken, trace.features, trace.scores, trace.log_e)

    def _score(self, requests: Array) -> None:
        self._here = self._locate(requests)
        self.account.append(self._here)
        self.time.append(requests["time"].copy())
        ids = np.ascontiguousarray(requests["id"]).view(f"S{NAME_BYTES}").ravel().tolist() if self._ids else []
        hits = [i for i in ids if i in self._ids]
        self.matched.update(hits)
        self.attack.append(np.array([i in self._ids for i in ids] or [False] * len(requests), np.bool_))
        if self._keep:
            self.kept.append(requests.copy())  # scoring changes `turns`
        super()._score(requests)

    def _locate(self, requests: Array) -> Ints:
        """Number the accounts in the order they appear."""
        hashes, first, row = np.unique(requests["account_hash"], return_index=True, return_inverse=True)
        new = [k for k in np.argsort(first).tolist() if int(hashes[k]) not in self._places]
        if new:
            texts = names(requests["account"][first[new]])
            for k, text in zip(new, texts, strict=True):
                self._places[int(hashes[k])] = self.accounts.setdefault(text, len(self.accounts))
        places = np.array([self._places[h] for h in hashes.tolist()], np.int64)
        return places[row]


def observe(
    files: Sequence[str | Records],
    truth: Truth,
    settings: Settings,
    *,
    name: str,
    format: str = "auto",
    attack_ids: set[bytes] | None = None,
    partial: bool = False,
    baselines: Sequence[Baseline] = (),
    tell: Callable[[str], None] = lambda text: None,
) -> Run:
    """Score the files of one data set, in order, and return what came of it.

    Parameters
    ----------
    files
        Paths, or records that are at hand.
    truth
        Of the accounts of these files, under their names or, with the key that made them, their hashes.
    partial
        Leave accounts without a label, and labels without an account, out of every figure.
    tell
        Called with what goes on.

    Raises
    ------
    LabelsError
        When accounts and labels do not fit together, or no attack request is in the files.
    Unreadable, ValueError
        When a file cannot be read, as `siphonwatch.streams.lab.replay.Replay.run`.
    """
    scorer = make_together(settings)
    judge = scorer.scorer.judge
    patterns = list(judge.patterns)
    trust = [detector.trust for detector in judge.detectors]
    replay = Watched(settings, scorer, attack_ids, bool(baselines))
    for file in files:
        if isinstance(file, Records):
            replay.feed(file)
        else:
            replay.run(file, format)
    if not replay.totals.requests:
        raise LabelsError(f"{name}: no request could be read; rejected {sum(replay.totals.rejected.values())}")
    tell(f"{name}: {replay.totals.requests:,} requests of {len(replay.accounts):,} accounts scored")
    truth = named_as_in(replay.accounts, truth, settings.identity.key)
    truth, seats, unseen = _match(truth, replay.accounts, name, partial)
    if attack_ids and not replay.matched:
        raise LabelsError(
            f"{name}: none of the {len(attack_ids):,} attack request ids is in the log, such as "
            f"{min(attack_ids).decode(errors='replace')}; are they of another log?"
        )
    account, time = np.concatenate(replay.account), np.concatenate(replay.time)
    attack = np.concatenate(replay.attack)
    place = np.full(len(replay.accounts), -1)
    place[seats] = np.arange(len(seats))
    if attack_ids:
        truth = truth._replace(onset=_onsets(truth, place[account][attack], time[attack]))
    own = len(patterns)
    n_rows, days = len(truth.account), float(time.max() - time.min()) / DAY
    number = {text: i for i, text in enumerate(truth.account)}
    others = [p for p in dict.fromkeys(finding.pattern for finding in replay.findings) if p not in patterns]
    peak, top = np.zeros((2, n_rows, own + len(others)))
    peak[:, :own] = replay.gathered.peak[seats, :own]
    for p, shape in enumerate(judge.reference.shape[judge.reference.seats.place]):
        top[:, p] = [suspicion_of(trust[p], shape, score, 0.0) for score in replay.gathered.top[seats, p].tolist()]
    suspicion = scorer.suspicion()
    last = min(suspicion.values(), default=0.0) + UNSCORED
    alerts, grades, told = _alerts(replay.findings, number, [*patterns, *others], peak, top, own)
    ranked = {}
    if baselines:
        whole = np.concatenate(replay.kept)
        for baseline in baselines:
            tell(f"{name}: {baseline.name}")
            ranked[baseline.name] = _ranked(baseline, whole, account, len(replay.accounts))[seats]
    observed = Observed(
        names=[name],
        dataset=np.zeros(n_rows, np.int64),
        truth=truth,
        score=np.array([suspicion.get(text, last) for text in truth.account]),
        patterns=(*patterns, *others),
        own=np.arange(own + len(others)) < own,
        weight=np.array([*(LASTING * t for t in trust), *(detector(p).trust for p in others)]),
        peak=peak,
        top=top,
        alerts=alerts,
        opened=len(grades),
        told=told,
        severity=grades,
        requests=Requests(place[account], time, attack),
        knows_requests=attack_ids is not None,
        feature_high=replay.gathered.highest[seats],
        feature_mean=replay.gathered.mean(len(replay.accounts))[seats],
        days=days,
        account_days=days * n_rows,
        baselines=ranked,
    )
    return Run(
        observed,
        settings.scoring.budget,
        len(replay.accounts) - len(seats),
        unseen,
        sum(replay.totals.rejected.values()),
    )


def _match(truth: Truth, accounts: dict[str, int], name: str, partial: bool) -> tuple[Truth, Ints, int]:
    """The labels whose account is in the log, its number there, and how many are not."""
    seen = [text in accounts for text in truth.account]
    unseen = seen.count(False)
    labelled = set(truth.account)
    unlabelled = [text for text in accounts if text not in labelled]
    if not any(seen):
        raise LabelsError(
            f"{name}: no account of the log has a label: the log has {unlabelled[0]}, the labels {truth.account[0]}. "
            "Telemetry has hashed names: set identity.key to the gateways' one"
        )
    remedy = "correct the labels, or leave such accounts out of every figure with --partial"
    if unseen and not partial:
        example = truth.account[seen.index(False)]
        raise LabelsError(f"{name}: {unseen:,} labelled accounts made no request, such as {example}: {remedy}")
    if unlabelled and not partial:
        raise LabelsError(f"{name}: {len(unlabelled):,} accounts have no label, such as {unlabelled[0]}: {remedy}")
    kept = Truth(*(_kept(column, seen) for column in truth))
    if not kept.attack.any() or kept.attack.all():
        kind = "benign" if kept.attack.any() else "attack"
        raise LabelsError(f"{name}: no {kind} account is in the log; metrics need at least one of each kind")
    return kept, np.array([accounts[text] for text in kept.account], np.int64), unseen


def _kept(column: Any, seen: list[bool]) -> Any:
    if isinstance(column, list):
        return list(itertools.compress(column, seen))
    return column[np.array(seen)]


def _onsets(truth: Truth, account: Ints, time: Floats) -> Floats:
    """Each account's onset; where the labels do not say, the time of its first attack request."""
    first = np.full(len(truth.account), np.inf)
    mine = account >= 0
    np.minimum.at(first, account[mine], time[mine])
    return np.where(np.isnan(truth.onset) & truth.attack & np.isfinite(first), first, truth.onset)


def _alerts(
    findings: Sequence[Finding], number: dict[str, int], patterns: list[str], peak: Floats, top: Floats, own: int
) -> tuple[Alerts, list[str], int]:
    """The openings and updates as columns, the gravest severity of each case, and how much was said, closings too.

    Patterns from place `own` on have no evidence of an account's own: their findings' is entered in `peak` and `top`.
    """
    cases: dict[str, int] = {}
    grades: list[str] = []
    columns: list[tuple[int, float, int, int]] = []
    told = 0
    for finding in findings:
        members = [number[text] for text in finding.accounts if text in number]
        told += bool(members)
        if finding.kind == "close" or not members:
            continue
        case = cases.setdefault(finding.case, len(cases))
        if case == len(grades):
            grades.append(finding.severity)
        grades[case] = max(grades[case], finding.severity, key=SEVERITIES.index)
        p = patterns.index(finding.pattern)
        for account in members:
            columns.append((account, finding.time, p, case))
            if p >= own:
                peak[account, p] = max(peak[account, p], finding.log_e)
                top[account, p] = max(top[account, p], finding.score)
    account_, time, pattern, case_ = zip(*columns, strict=True) if columns else ((), (), (), ())
    alerts = Alerts(
        np.array(account_, np.int64), np.array(time, np.float64), np.array(pattern, np.int64), np.array(case_, np.int64)
    )
    return alerts, grades, told


def _ranked(baseline: Baseline, requests: Array, account: Ints, n: int) -> Floats:
    score = np.asarray(baseline.score(requests, account, n), np.float64)
    if score.shape != (n,) or not np.isfinite(score).all():
        raise ValueError(f"baseline {baseline.name} gave {score.shape} scores, not all finite; expected ({n},) finite")
    return score
