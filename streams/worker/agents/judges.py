"""Which versions judge in one partition: takes deployed ones over at a checkpoint, and says so once it is durable.

The champion's alerts are sent as ever. What the judges beside it find, the challenger and the previous champion, goes
to a topic of its own and to nobody.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog

from siphonwatch.models.common.arrays import Parts, as_bytes
from siphonwatch.models.engine.engine import PREVIOUS, Engine, Hear
from siphonwatch.models.engine.vitals import mean_scores
from siphonwatch.models.evidence.cases import Finding
from siphonwatch.models.learn.version import VersionError, shipped
from siphonwatch.streams.common.release import release
from siphonwatch.streams.contracts.control import CHALLENGER, CHAMPION, Deploy, deploy_of, version_of
from siphonwatch.streams.contracts.deployment import Applied, encode
from siphonwatch.streams.contracts.measured import Cohort, Measured
from siphonwatch.streams.contracts.measured import encode as encode_measured
from siphonwatch.streams.contracts.model import Judged
from siphonwatch.streams.worker.meter import Meter
from siphonwatch.streams.worker.outlet import Outlet
from siphonwatch.streams.worker.scoring import make_judge

PART = "deploys"
"""The part of a snapshot that says which versions its judges are of; absent where the installed cards alone judge."""
MEASURE_SECONDS = 300.0
"""Between two records of what a challenger costs: 300 bytes, for as long as its alerts are kept."""
NEXT = "next"
"""Name of a shadow for the moment between its making and its becoming the champion."""

_log = structlog.get_logger(__name__)


class DeployList:
    """What is deployed as it is known now, shared by the partitions of a worker."""

    def __init__(self) -> None:
        self.known: Mapping[str, Deploy] | None = None
        """By role; None until the control topic was read once."""


@dataclass
class Cost:
    """What a challenger took since that was last sent."""

    requests: int = 0
    seconds: float = 0.0
    champion_seconds: float = 0.0


class _Kept(msgspec.Struct):
    roles: dict[str, Deploy]
    told: list[Applied] = []
    """What is to be said of the offset that the snapshot is of."""


class Judges:
    """The judges of one partition, by role.

    Parameters
    ----------
    scorer
        Whose judges they are.
    listed
        What is deployed.
    outlet
        Takes what shadows find, and the log of deployments.
    meter
        Says which partition it is.
    now
        Seconds since 1970.
    clock
        Monotonic seconds, for what shadows take.
    """

    def __init__(
        self,
        scorer: Engine[Any, Any],
        listed: DeployList,
        outlet: Outlet,
        meter: Meter,
        now: Callable[[], float],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.roles: dict[str, Deploy] = {}
        """What was deployed and applies; without a champion the installed cards are it."""
        self._scorer = scorer
        self._list = listed
        self._outlet = outlet
        self._meter = meter
        self._now = now
        self._heard: list[tuple[str, Finding]] = []
        self._told: list[Applied] = []
        self._said_off: set[str] = set()
        scorer.clock = clock
        self._cost = Cost()
        self._measured_at = -math.inf
        self._references: dict[str, str] = {}
        self.note()

    @property
    def due(self) -> bool:
        """Whether what is deployed is not what judges here."""
        return _versions(self._wanted()) != _versions(self.roles)

    def version(self, role: str = CHAMPION) -> str:
        """Return the id of the version in a role."""
        return self.roles[role].version if role in self.roles else shipped().id

    def note(self) -> None:
        """Note what each judge has learnt of what is ordinary: it is that of a checkpoint now."""
        judges = {CHAMPION: self._scorer.judge} | {role: judge for role, (judge, _) in self._scorer.shadows.items()}
        self._references = {role: judge.reference_id for role, judge in judges.items()}

    def judged(self, role: str, offset: int, checkpoint: int) -> Judged:
        """Return what an alert of the judge in a role says of it; its reference is as of the newest checkpoint."""
        stream, partition = self._meter.stream, self._meter.partition
        reference = self._references.get(role, "")
        return Judged(self.version(role), stream, partition, offset, reference, checkpoint)  # type: ignore[arg-type]

    def begin(self) -> None:
        """Let what is deployed judge from the beginning, where nothing was judged yet."""
        self.apply(0)
        self.note()

    def apply(self, offset: int) -> list[Finding]:
        """Let what is deployed judge from `offset` on; return what is to be told of cases."""
        wanted, before, findings = self._wanted(), dict(self.roles), list[Finding]()
        champion, challenger = wanted.get(CHAMPION), wanted.get(CHALLENGER)
        if _version(champion) != self.version():
            findings = self._promote(champion)
        if _version(challenger, "") != _version(self.roles.get(CHALLENGER), ""):
            self.roles.pop(CHALLENGER, None)
            self._scorer.shadows.pop(CHALLENGER, None)
            if challenger is not None:
                self._cost, self._measured_at = Cost(), -math.inf
                self._shadow(CHALLENGER, challenger)
                self.roles[CHALLENGER] = challenger
        for role in (CHAMPION, CHALLENGER, PREVIOUS):
            default = shipped().id if role == CHAMPION else ""
            if _version(self.roles.get(role), default) != _version(before.get(role), default):
                self._told.append(self._applied(role, champion or challenger, offset))
        return findings

    def _promote(self, champion: Deploy | None) -> list[Finding]:
        """Let a version judge: the shadow that it is already, with its evidence, or one made for it."""
        known = {role: deploy.version for role, deploy in self.roles.items() if role in self._scorer.shadows}
        version = _version(champion)
        name = next((role for role in (CHALLENGER, PREVIOUS) if known.get(role) == version), NEXT)
        if name == NEXT:
            self._shadow(NEXT, champion)
        findings = self._scorer.promote(name, self._hear(PREVIOUS))
        previous = self.roles.pop(CHAMPION, None) or deploy_of(shipped(), CHAMPION, by="siphonwatch", time=0.0)
        self.roles.pop(name, None)
        self.roles[PREVIOUS] = previous
        if champion is not None:
            self.roles[CHAMPION] = champion
        return findings

    def _shadow(self, role: str, deploy: Deploy | None) -> None:
        version = shipped() if deploy is None else version_of(deploy) or shipped()
        self._scorer.failed.pop(role, None)
        self._said_off.discard(role)
        self._scorer.shadows[role] = make_judge(self._scorer, version, shadow=True), self._hear(role)

    def _hear(self, role: str) -> Hear:
        def hear(findings: list[Finding]) -> None:
            self._heard.extend((role, finding) for finding in findings)

        return hear

    def _wanted(self) -> dict[str, Deploy]:
        """What is to judge, but for the previous one: nothing else than now while nothing is known."""
        if self._list.known is None:
            return {role: deploy for role, deploy in self.roles.items() if role != PREVIOUS}
        wanted = {role: deploy for role, deploy in self._list.known.items() if deploy.version}
        if _version(wanted.get(CHAMPION)) == shipped().id:
            wanted.pop(CHAMPION, None)
        if _version(wanted.get(CHALLENGER), "") == _version(wanted.get(CHAMPION)):
            wanted.pop(CHALLENGER, None)
        return wanted

    def _applied(self, role: str, deploy: Deploy | None, offset: int) -> Applied:
        new = self.roles.get(role)
        mine = new is None and role == CHAMPION
        decided = self.roles.get(CHAMPION) if role == PREVIOUS else new or (self._list.known or {}).get(role) or deploy
        return Applied(
            stream=self._meter.stream,  # type: ignore[arg-type]
            partition=self._meter.partition,
            role=role,  # type: ignore[arg-type]
            version=shipped().id if mine else "" if new is None else new.version,
            name=shipped().name if mine else "" if new is None else new.name,
            offset=offset,
            event_time=max(self._scorer.now, 0.0),
            told=self._now(),
            release=release(),
            by=decided.by if decided else "",
            why=decided.why if decided else "",
            forced=decided.forced if decided else False,
        )

    async def tell(self) -> None:
        """Send what is to be said of the checkpoint that is durable now; wait until it is acknowledged."""
        for applied in self._told:
            _log.warning(
                "a version judges from here on", stream=applied.stream, partition=applied.partition, role=applied.role,
                version=applied.version, name=applied.name, offset=applied.offset,
            )  # fmt: skip
            await self._outlet.deployed(encode(msgspec.structs.replace(applied, told=self._now())))
        if self._told:
            await self._outlet.flush()
        self._told = []
        await self._measure()

    async def send(self, alert: Callable[[Finding, str], bytes]) -> None:
        """Send what shadows have found since; an alert is of a finding and a role."""
        heard, self._heard = self._heard, []
        for role, finding in heard:
            await self._outlet.shadow(finding.case.encode(), alert(finding, role), role, self.version(role))

    def scored(self, requests: int, seconds: float) -> None:
        """Take note of requests that were scored, and how long all judges took together."""
        taken = self._scorer.shadow_seconds
        self._meter.shadows(math.fsum(taken.values()))
        if CHALLENGER in self._scorer.shadows:
            self._cost.requests += requests
            self._cost.seconds += taken.get(CHALLENGER, 0.0)
            self._cost.champion_seconds += max(seconds - math.fsum(taken.values()), 0.0)

    async def _measure(self) -> None:
        """Send what the challenger has cost, where that is due."""
        if not self._cost.requests or self._now() - self._measured_at < MEASURE_SECONDS:
            return
        if (found := self._scorer.shadows.get(CHALLENGER)) is not None:
            shadow, stream = found[0], self._meter.stream
            measured = Measured(
                stream=stream, partition=self._meter.partition, version=self.version(CHALLENGER),  # type: ignore[arg-type]
                requests=self._cost.requests, seconds=self._cost.seconds, champion_seconds=self._cost.champion_seconds,
                size=shadow.beside_bytes, rows=len(self._scorer.table.used()),
                cohorts=_cohorts(self._scorer.judge, shadow) if stream == "telemetry" else {},
                event_time=max(self._scorer.now, 0.0), time=self._now(),
            )  # fmt: skip
            key = f"{stream}-{self._meter.partition}".encode()
            await self._outlet.shadow(key, encode_measured(measured), CHALLENGER, measured.version)
            await self._outlet.flush()
            self._measured_at = self._now()
        self._cost = Cost()

    def snapshot(self) -> dict[str, bytes]:
        """Return which versions judge, and what is still to be said of that; nothing where none was deployed."""
        if not self.roles and not self._told:
            return {}
        return {PART: msgspec.msgpack.encode(_Kept(self.roles, self._told))}

    def restore(self, parts: Parts) -> None:
        """Make the judges that a snapshot is of, without their state; what it had to say is said again.

        A version that this release cannot use does not judge: the installed cards do in its place.
        """
        if PART not in parts:
            return
        kept = msgspec.msgpack.decode(as_bytes(parts, PART), type=_Kept)
        self._told = kept.told
        for role, deploy in kept.roles.items():
            try:
                version = version_of(deploy) or shipped()
            except VersionError as error:
                _log.error(
                    "a deployed version cannot be used by this release: the installed cards judge in its place",
                    stream=self._meter.stream, partition=self._meter.partition, role=role, error=str(error),
                )  # fmt: skip
                continue
            self.roles[role] = deploy
            if role == CHAMPION:
                self._scorer.judge = make_judge(self._scorer, version)
            else:
                self._shadow(role, deploy)

    def say_off(self) -> None:
        """Log the shadows that failed and were switched off, each once."""
        for name in self._scorer.failed.keys() - self._said_off:
            self._said_off.add(name)
            _log.error(
                "shadow off", stream=self._meter.stream, partition=self._meter.partition, shadow=name,
                **self._scorer.failed[name]._asdict(),
            )  # fmt: skip


def _cohorts(champion: Any, challenger: Any) -> dict[str, dict[str, Cohort]]:
    """What both have learnt of the patterns that both have."""
    ours, theirs = (mean_scores(judge.reference, judge.patterns) for judge in (champion, challenger))
    return {
        pattern: {
            cohort: Cohort(ours[pattern][cohort][0], theirs[pattern][cohort][0], min(ours[pattern][cohort][1], hours))
            for cohort, (_, hours) in theirs[pattern].items()
            if cohort in ours[pattern]
        }
        for pattern in ours.keys() & theirs.keys()
    }


def _version(deploy: Deploy | None, nothing: str | None = None) -> str:
    """The id of what is deployed; of nothing that of the installed cards, unless another is given."""
    if deploy is None:
        return shipped().id if nothing is None else nothing
    return deploy.version


def _versions(roles: Mapping[str, Deploy]) -> tuple[str, str]:
    return _version(roles.get(CHAMPION)), _version(roles.get(CHALLENGER), "")
