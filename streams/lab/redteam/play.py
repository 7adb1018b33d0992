"""Plays one trick: rewrites the attack, has the ordinary adapter and scorer take it between the honest records, and
counts what was found and spent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from siphonwatch.models.account.request import NAME_BYTES
from siphonwatch.models.evaluate.data import Truth
from siphonwatch.models.evaluate.evasion import Effort, outcome
from siphonwatch.models.evaluate.report import Outcome
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts.telemetry import Malformed, encode
from siphonwatch.streams.edge.adapters import Records
from siphonwatch.streams.edge.adapters.base import Adapter
from siphonwatch.streams.lab.evaluate.run import observe
from siphonwatch.streams.lab.evasions import make
from siphonwatch.streams.lab.redteam.ground import Ground, adapter_of
from siphonwatch.streams.lab.redteam.records import Record
from siphonwatch.streams.lab.redteam.spool import Line, Place, Sorter, merged
from siphonwatch.streams.lab.redteam.survey import Survey
from siphonwatch.streams.lab.redteam.trick import Combined, Origin, Sent, Trick

MOVED = 1 << 62
"""Behind whatever of the log arrives at the same time."""
IDLE = "idle member"
"""Archetype of an attacker's account that sends no attack request any more: it counts as honest."""


class Played(NamedTuple):
    """What came of one trick."""

    outcome: Outcome
    effort: Effort


class Tally:
    """Counts what the attacker sends, and through which accounts."""

    def __init__(self) -> None:
        self._all = Effort()
        self._accounts: set[str] = set()
        self._spans: dict[str, tuple[float, float]] = {}
        self.attacks: dict[str, tuple[Origin, int, float]] = {}
        """Each account with attack requests: an origin of one, how many, and the first one's event time."""
        self.covers: dict[str, int] = {}
        """Labelled accounts with cover of the trick's making: how much."""
        self.ids: set[bytes] = set()
        self.unlabelled = False

    def take(self, sent: Sent, arrival: float) -> None:
        """Count one record that reaches the gateway at some event time."""
        record, origin = sent.record, sent.origin
        account, time = record.account, record.time
        tokens_in, tokens_out = record.tokens
        self._all += Effort(sent.role == "answer", 1, tokens_in, tokens_out)
        self._accounts.add(account)
        first, last = self._spans.get(origin.campaign, (arrival, arrival))
        self._spans[origin.campaign] = min(first, arrival), max(last, arrival)
        if not sent.labelled:
            self.unlabelled = True
        elif sent.role == "cover":
            self.covers[account] = self.covers.get(account, 0) + 1
        else:
            self.ids.add(record.id.encode()[:NAME_BYTES])
            _, n, onset = self.attacks.get(account, (origin, 0, time))
            self.attacks[account] = origin, n + 1, min(onset, time)

    @property
    def effort(self) -> Effort:
        """What was spent."""
        seconds = sum(last - first for first, last in self._spans.values())
        return self._all + Effort(accounts=len(self._accounts), days=seconds / 86_400)


def plain(ground: Ground) -> Effort:
    """Return what the attack of the log as it is costs."""
    tally = Tally()
    for place, record, origin in _origins(ground):
        tally.take(Sent(record, origin), place.time)
    return tally.effort


def play(ground: Ground, trick: str, settings: Settings, seed: int) -> Played:
    """Play one trick on a log.

    Raises
    ------
    EvasionError
        Where no trick has that name.
    """
    played = make(trick, ground.survey, seed)
    sorter, tally = Sorter(), Tally()
    adapter = adapter_of(ground.format, settings)
    try:
        for number, (place, sent) in enumerate(_sendings(ground, played), MOVED):
            where = place if sent.arrival is None else Place(sent.arrival, number)
            tally.take(sent, where.time)
            for line in _adapted(adapter, sent.record, where):
                sorter.take(line)
        lines = Records("telemetry", merged(ground.honest, sorter))
        truth = relabelled(ground, tally)
        run = observe([lines], truth, settings, name=f"{ground.name}, {trick}", attack_ids=tally.ids, partial=True)
    finally:
        sorter.close()
    return Played(outcome(run.observed), tally.effort)


def as_logged(ground: Ground, settings: Settings) -> Records:
    """Return the log as it was, as telemetry."""
    adapter = adapter_of(ground.format, settings)
    lines = (line for place, record in ground.attacks() for line in _adapted(adapter, record, place))
    return Records("telemetry", merged(ground.honest, lines))


def _adapted(adapter: Adapter, record: Record, place: Place) -> Iterator[Line]:
    """A record as telemetry; what the adapter refuses is refused at a gateway too."""
    for element in adapter.records(record.encode()):
        if not isinstance(element, Malformed):
            yield Line(place, encode(element))


def _origins(ground: Ground) -> Iterator[tuple[Place, Record, Origin]]:
    """The attack records, each with where it comes from."""
    numbers: Counter[str] = Counter()
    for place, record in ground.attacks():
        account = record.account
        yield place, record, Origin(account, ground.survey.campaigns[account], numbers[account])
        numbers[account] += 1


def _sendings(ground: Ground, trick: Trick) -> Iterator[tuple[Place, Sent]]:
    """All that the attackers send; the records that take the place of one of the log stand there in their order."""
    plays = ground.format in trick.formats or isinstance(trick, Combined)
    for place, record, origin in _origins(ground):
        if not plays:
            yield place, Sent(record, origin)
            continue
        for part, sent in enumerate(trick.rewrite(record, origin)):
            yield place._replace(part=part), sent
    for sent in trick.prelude() if plays else ():
        yield Place(sent.record.time, 0), sent


def relabelled(ground: Ground, tally: Tally) -> Truth:
    """Return the labels of the rewritten log: honest rows as they are, new accounts with their origin's."""
    truth, survey = ground.truth, ground.survey
    rows = {account: row for row, account in enumerate(truth.account)}
    kept: list[_Row] = []
    for account, row in rows.items():
        if account in tally.attacks:
            kept.append(_attacking(account, row, survey, tally))
        elif account not in survey.attacks:
            kept.append(_Row(account, row, bool(truth.attack[row]), float(truth.onset[row]), float(truth.share[row])))
        elif account in survey.honest or account in tally.covers:
            kept.append(_Row(account, row, False, np.nan, 0.0))
    kept += [
        _attacking(account, rows[origin.account], survey, tally)
        for account, (origin, _, _) in tally.attacks.items()
        if account not in rows and origin.account in rows
    ]

    def words(column: list[str]) -> list[str]:
        return ["" if truth.attack[row.origin] and not row.attack else column[row.origin] for row in kept]

    return Truth(
        account=[row.account for row in kept],
        attack=np.array([row.attack for row in kept], np.bool_),
        archetype=[word or (IDLE if truth.attack[row.origin] else "")
                   for word, row in zip(words(truth.archetype), kept, strict=True)],
        # Accounts of one that had no campaign's name are one campaign now.
        campaign=[word or (truth.account[row.origin] if row.attack else "")
                  for word, row in zip(words(truth.campaign), kept, strict=True)],
        family=words(truth.family),
        share=np.array([row.share for row in kept], np.float64),
        onset=np.array([row.onset for row in kept], np.float64),
        desensitised=truth.desensitised[[row.origin for row in kept]],
    )  # fmt: skip


class _Row(NamedTuple):
    """What is true of an account of the rewritten log."""

    account: str
    origin: int
    """The row of the labels that the rest is taken from."""
    attack: bool
    onset: float
    share: float


def _attacking(account: str, origin: int, survey: Survey, tally: Tally) -> _Row:
    _, n, onset = tally.attacks[account]
    others = len(survey.honest.get(account, ())) + tally.covers.get(account, 0)
    return _Row(account, origin, True, onset, n / (n + others))
