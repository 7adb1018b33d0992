"""Why an account has no alert: how near each pattern came in a replay, what holds it, and what would open it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import msgspec
import numpy as np

from siphonwatch.models.account.request import Array, names
from siphonwatch.models.detect.hold import hold
from siphonwatch.models.engine.engine import Trace
from siphonwatch.models.engine.judge import AccountJudge
from siphonwatch.models.evidence.cases import Finding
from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.lab.backtest.near import Nearest, exp, shut_text
from siphonwatch.streams.lab.backtest.version import DetectorSet
from siphonwatch.streams.lab.offline import Offline
from siphonwatch.streams.lab.replay import Replay


class Distance(msgspec.Struct, frozen=True, kw_only=True):
    """How near one pattern came."""

    pattern: str
    score: float
    """At the request that came nearest."""
    null: float
    """Score that benign accounts stay below, but for one account-hour in 20."""
    e_value: float
    needed: float
    """E-value that opens the account's case."""
    held: list[str]
    """What keeps it from being told."""
    opens: str
    """The least change of one feature that would make that request evidence."""


class WhyNot(msgspec.Struct, frozen=True, kw_only=True):
    """Why an account has no alert, or that it has."""

    account: str
    requests: int
    told: list[str]
    """What was told of it after all, by id and pattern."""
    allowed: bool
    """Whether an allow entry keeps alerts from being sent."""
    patterns: list[Distance]
    """The nearest first."""


class _Watch(Replay):
    """A replay that keeps, by pattern, the request of one account that came nearest."""

    def __init__(self, settings: Settings, engines: Offline, accounts: frozenset[str], processes: int) -> None:
        super().__init__(settings, engines, self._take_finding, processes=processes)
        self.told: list[Finding] = []
        self.nearest: dict[int, Nearest] = {}
        self.seen = 0
        self.allowed = self._allowed.covers(accounts) or any(self._allowed.covers([name]) for name in accounts)
        self._accounts = accounts
        self._first = 0
        self._mine = np.zeros(0, np.bool_)
        for judge in engines.judges():
            judge.trace = partial(self._trace, judge)

    def _take_finding(self, finding: Finding) -> None:
        if self._accounts & set(finding.accounts) and finding.kind != "close":
            self.told.append(finding)

    def _score(self, requests: Array) -> None:
        self._first = self.totals.requests
        hashes, first, inverse = np.unique(requests["account_hash"], return_index=True, return_inverse=True)
        mine = np.array([name in self._accounts for name in names(requests["account"][first])], np.bool_)
        self._mine = mine[inverse] if len(hashes) else np.zeros(0, np.bool_)
        self.seen += int(self._mine.sum())
        super()._score(requests)

    def _trace(self, judge: AccountJudge, trace: Trace) -> None:
        for i in np.flatnonzero(self._mine[trace.offsets - self._first] & trace.taken).tolist():
            for p in range(len(judge.detectors)):
                log_e, score = float(trace.log_e[i, p]), float(trace.scores[i, p])
                log_e = -math.inf if math.isnan(log_e) else log_e
                known = self.nearest.get(p)
                if known is None or (max(log_e, 0.0), score) > (max(known.log_e, 0.0), known.score):
                    needed = judge.needed(int(trace.slots[i]), p)
                    self.nearest[p] = Nearest(p, log_e, needed, trace.features[i].copy(), score)


def why_not(
    account: str, version: DetectorSet, files: Sequence[str], settings: Settings, *, format: str = "auto",
    partitions: int = 1, processes: int = 1,
) -> WhyNot:  # fmt: skip
    """Replay files, one stream in their order, and say how near each pattern came to telling of an account.

    Parameters
    ----------
    account
        As gateways name it, or as alerts do.

    Raises
    ------
    ValueError
        Where the account made no request.
    Unreadable, ProcessDied
        Where a file cannot be read.
    """
    identity = Identity.from_settings(settings) if settings.identity.key else None
    known = frozenset({account} | ({identity.account(account)} if identity else set()))
    with Offline(settings, partitions, cards=version.detectors) as engines:
        watch = _Watch(settings, engines, known, processes)
        for file in files:
            watch.run(file, format)
        detectors = engines.judges()[0].detectors
    if not watch.seen:
        raise ValueError(f"account {account} made no request in {', '.join(files)}")
    threshold = -math.log(settings.scoring.alpha)
    distances = []
    for p, near in watch.nearest.items():
        detector = detectors[p]
        found = hold(detector, near.features, detector.null)
        held = [shut_text(gate) for gate in found.shut]
        if near.log_e >= near.needed:
            held.append(
                "none: it has a case" if watch.told else "an allow entry" if watch.allowed else "its evidence suffices"
            )
        elif near.log_e >= threshold:
            held.append(f"the false-discovery budget: 1/alpha is reached, it asks for {exp(near.needed):.3g}")
        elif not found.shut:
            short = found.score < detector.null
            held.append(
                f"score below {detector.null:.2f}" if short else "evidence short: more hours like this would add to it"
            )
        distances.append(
            Distance(
                pattern=detector.pattern,
                score=found.score,
                null=detector.null,
                e_value=exp(near.log_e),
                needed=exp(near.needed),
                held=held,
                opens=found.opening,
            )
        )
    distances.sort(key=lambda d: (-d.e_value, -d.score / d.null))
    told = [f"{f.id} ({f.pattern})" for f in watch.told]
    return WhyNot(account=account, requests=watch.seen, told=told, allowed=watch.allowed, patterns=distances)
