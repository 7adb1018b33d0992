"""Cases in the index: what alerts, verdicts, desk records and control records do to them, in whatever order the topics
are read. What people decided is folded anew from their records each time, so that no order of arrival changes it.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from siphonwatch.models.detect.registry import current
from siphonwatch.models.evidence.cases import ERASED
from siphonwatch.models.learn.labels import revise
from siphonwatch.models.learn.ranker_features import Facts
from siphonwatch.models.learn.verdict_book import WITHDRAWN
from siphonwatch.streams.contracts import alert as alerts
from siphonwatch.streams.contracts import control, verdict
from siphonwatch.streams.contracts import desk as noted
from siphonwatch.streams.contracts.alert import Alert
from siphonwatch.streams.contracts.wording import signal_text
from siphonwatch.streams.desk.index.erasure import gone, of_allow, of_note, of_verdict, without
from siphonwatch.streams.desk.index.groups import regroup
from siphonwatch.streams.desk.index.sql import Connection
from siphonwatch.streams.desk.index.traffic import MAX_AHEAD, parts

MAX_COUNT = 2**63 - 1
"""Of a number in the index."""
REASONS = 2
"""Signals that a headline has."""
TOGETHER = 250
"""Alerts that are folded at once. Each is a hundred objects that Python's collector goes through again and again while
they are held: 10,000 at once took a tenth longer in all (`python -m bench.desk`)."""
_facts = msgspec.msgpack.Decoder(Facts)


class Record(NamedTuple):
    """What of a topic's record is taken in."""

    offset: int
    sent: float
    """By the record's stamp, seconds since 1970."""
    value: bytes
    allowed: str = ""
    """Of a hidden alert: the entry that hid it."""


class Decisions(NamedTuple):
    """What people decided on a case."""

    verdict: str
    assignee: str
    snoozed: float
    merged: str
    split: frozenset[str]
    reopened: float
    records: int
    touched: float


class News:
    """What a batch of alerts says, written at once.

    Parameters
    ----------
    of
        The index.
    cases
        That the alerts are about.

    Attributes
    ----------
    known
        Of each case the highest sequence, and the place of the alert that says what it is, with what was added.
    told, members, cases, newest
        Rows, of the last two by case.
    """

    def __init__(self, of: Connection, cases: Collection[str]) -> None:
        self.known: dict[str, tuple[int, int]] = {
            case: (sequence, said)
            for part, marks in parts(sorted(cases))
            for case, sequence, said in of.execute(f"SELECT id, sequence, said FROM cases WHERE id IN ({marks})", part)
        }
        self._there = set(self.known)
        self.told: list[tuple[Any, ...]] = []
        self.members: list[tuple[str, str]] = []
        self.cases: dict[str, tuple[Any, ...]] = {}
        self.newest: dict[str, tuple[bytes, Alert]] = {}

    def write(self, to: Connection) -> None:
        """Write it."""
        to.executemany(
            "INSERT INTO told VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id, sequence) DO UPDATE SET "
            "kind = excluded.kind, time = excluded.time, sent = excluded.sent, log_e = excluded.log_e, "
            "requests = excluded.requests",
            self.told,
        )
        to.executemany("INSERT INTO member (account, id) VALUES (?, ?) ON CONFLICT DO NOTHING", self.members)
        to.executemany(
            "INSERT INTO cases (id, pattern, title, severity, account, accounts, requests, log_e, opened, updated,"
            " sequence, sent, ended, headline, said) VALUES (?, '', '', '', '', 0, 0, 0, 0, 0, -1, 0, 0, '', -1)",
            ((case,) for case in self.known if case not in self._there),
        )
        to.executemany(
            "UPDATE cases SET pattern = ?, title = ?, severity = ?, account = ?, accounts = ?, requests = ?,"
            " log_e = ?, opened = ?, updated = ?, sequence = ?, sent = ?, ended = ? WHERE id = ?",
            self.cases.values(),
        )
        to.executemany(
            "UPDATE cases SET headline = ?, said = ? WHERE id = ?",
            ((headline(found), self.known[case][1], case) for case, (_, found) in self.newest.items()),
        )
        to.executemany(
            "INSERT INTO newest VALUES (?, ?, ?) "
            "ON CONFLICT (id) DO UPDATE SET alert = excluded.alert, facts = excluded.facts",
            ((case, zlib.compress(value, 1), _facts_of(found)) for case, (value, found) in self.newest.items()),
        )


class Cases:
    """Takes records in, within the transaction of a connection that is given to each call.

    Attributes
    ----------
    dirty
        Cases that `settle` has to look at.
    erasing
        Accounts that were erased by what was taken in, and until when: what else is kept of them goes too.
    """

    def __init__(self) -> None:
        self.dirty: set[str] = set()
        self.erasing: dict[str, float] = {}

    def alerts(self, to: Connection, records: Iterable[Record]) -> int:
        """Take alerts in; return how many are none, or none that can be kept."""
        skipped, erased = 0, erasures(to)
        kept: list[tuple[bytes, Alert, float]] = []
        for record in records:
            found = _kept(record)
            if found is None:
                skipped += 1
            elif (named := without(record.value, found, gone(found, erased))) is not None:
                kept.append((*named, record.sent))
                if len(kept) == TOGETHER:
                    self._fold(to, kept)
                    kept = []
        self._fold(to, kept)
        return skipped

    def verdicts(self, to: Connection, records: Iterable[Record]) -> int:
        """Take verdicts in; return how many are none."""
        skipped, erased = 0, erasures(to)
        rows = []
        for record in records:
            try:
                found = verdict.decode(record.value)
            except verdict.NotAVerdict:
                skipped += 1
                continue
            found = of_verdict(found, erased)
            rows.append((record.offset, found.case, found.account, verdict.encode(found)))
            self.dirty.add(found.case)
        to.executemany(
            'INSERT INTO verdict VALUES (?, ?, ?, ?) ON CONFLICT ("offset") DO UPDATE SET '
            "id = excluded.id, account = excluded.account, value = excluded.value",
            rows,
        )
        return skipped

    def desk(self, to: Connection, records: Iterable[Record]) -> int:
        """Take records of the desk in; return how many are none."""
        skipped, erased = 0, erasures(to)
        for record in records:
            try:
                found = noted.decode(record.value)
            except noted.NotOfTheDesk:
                skipped += 1
                continue
            self._noted(to, found, erased)
        return skipped

    def control(self, to: Connection, records: Iterable[Record]) -> int:
        """Take allow entries and erasures in; return how many are no control records."""
        skipped, erased = 0, erasures(to)
        for record in records:
            try:
                found = control.decode(record.value)
            except control.NotAControl:
                skipped += 1
                continue
            if isinstance(found, control.Allow):
                found = of_allow(found, erased)
                to.execute(
                    "INSERT INTO allow VALUES (?, ?, 0) "
                    "ON CONFLICT (id) DO UPDATE SET value = excluded.value, ended = 0",
                    (found.id, control.encode(found)),
                )
            elif isinstance(found, control.AllowEnd):
                to.execute("UPDATE allow SET ended = 1 WHERE id = ?", (found.id,))
            elif isinstance(found, control.Erase) and not found.dry_run:
                to.execute(
                    "INSERT INTO erased VALUES (?, ?) ON CONFLICT (account) DO UPDATE SET until = excluded.until "
                    "WHERE excluded.until > erased.until",
                    (found.account, found.time),
                )
                erased = erasures(to)
                self.erasing[found.account] = max(found.time, self.erasing.get(found.account, 0.0))
        return skipped

    def hidden(self, to: Connection, records: Iterable[Record]) -> int:
        """Take alerts in that were not sent; return how many are none, or none that can be kept."""
        skipped, erased = 0, erasures(to)
        for record in records:
            found = _kept(record)
            if found is None:
                skipped += 1
                continue
            if without(record.value, found, gone(found, erased)) is not None:
                row = found.id, record.allowed, found.data.time / 1000
                to.execute(
                    "INSERT INTO hidden VALUES (?, ?, ?) "
                    "ON CONFLICT (alert) DO UPDATE SET entry = excluded.entry, time = excluded.time",
                    row,
                )
        return skipped

    def settle(self, to: Connection) -> set[str]:
        """Erase what is to be erased, and fold what people decided into the cases that are touched; return those."""
        for account in self.erasing:
            self._erase(to, account, erasures(to))
        moved: set[str] = set()
        cases = sorted(self.dirty)
        known = {
            case: row
            for part, marks in parts(cases)
            for case, *row in to.execute(f"SELECT id, ended, sent, merged FROM cases WHERE id IN ({marks})", part)
        }
        decided, members = decisions(to, list(known)), _members(to, list(known))
        rows, splits = [], []
        for case, (ended, sent, merged) in known.items():
            said, have = decided[case], members.get(case, {})
            split = said.split & set(have)
            changed = [(int(one in split), case, one) for one, is_split in have.items() if is_split != (one in split)]
            splits += changed
            if said.merged != merged or changed:
                moved |= {case, merged, said.merged} - {""}
            rows.append(
                (
                    int(ended and said.reopened <= sent), said.verdict, said.assignee, said.snoozed, said.merged,
                    said.records, max(sent, said.touched), case,
                )
            )  # fmt: skip
        to.executemany("UPDATE member SET split = ? WHERE id = ? AND account = ?", splits)
        to.executemany(
            "UPDATE cases SET closed = ?, verdict = ?, assignee = ?, snoozed = ?, merged = ?, decisions = ?, "
            "touched = ? WHERE id = ?",
            rows,
        )
        regroup(to, self.dirty | moved)
        settled, self.dirty, self.erasing = self.dirty, set(), {}
        return settled

    def forget(self, to: Connection, seconds: float) -> None:
        """Remove cases whose newest alert is so much older than the newest of all, by event time."""
        (newest,) = to.execute("SELECT max(updated) FROM cases").fetchone()
        if newest is not None:
            old = to.execute("SELECT id FROM cases WHERE updated < ?", (newest - seconds,)).fetchall()
            for (case,) in old:
                self._remove(to, case)
        to.execute("DELETE FROM hidden WHERE time < (SELECT max(time) FROM hidden) - ?", (seconds,))

    def _fold(self, to: Connection, kept: Sequence[tuple[bytes, Alert, float]]) -> None:
        news = News(to, {found.subject for _, found, _ in kept})
        for value, found, sent in kept:
            self._alert(news, value, found, sent)
        news.write(to)

    def _alert(self, news: News, value: bytes, found: Alert, sent: float) -> None:
        own, data, case = found.own, found.data, found.subject
        time = data.time / 1000
        news.told.append((case, own.sequence, found.kind, time, sent, own.log_e_value, own.requests_seen))
        news.members += [(account, case) for account in own.accounts if account != ERASED]
        self.dirty.add(case)
        sequence, said = news.known.get(case, (-1, -1))
        ended = found.kind == "closed"
        if own.sequence >= sequence:
            news.cases[case] = (
                current(own.pattern), data.finding_info.title, data.severity.lower(), own.accounts[0],
                len(own.accounts), own.requests_seen, own.log_e_value, data.finding_info.created_time / 1000, time,
                own.sequence, sent, int(ended), case,
            )  # fmt: skip
        # A closing repeats what was known: it stands in for what says something only where nothing else is there.
        place = -1 if ended else own.sequence
        if place > said or (place == said and (not ended or sequence < 0)):
            news.newest[case] = value, found
            said = place
        news.known[case] = max(sequence, own.sequence), said

    def _noted(self, to: Connection, found: noted.Desk, erased: dict[str, float]) -> None:
        found = of_note(found, erased)
        row = found.id, found.case, found.time, found.account, noted.encode(found)
        known = to.execute("SELECT id FROM desk WHERE record = ?", (found.id,)).fetchone()
        to.execute(
            "INSERT INTO desk VALUES (?, ?, ?, ?, ?) ON CONFLICT (record) DO UPDATE SET id = excluded.id, "
            "time = excluded.time, account = excluded.account, value = excluded.value",
            row,
        )
        self.dirty |= {found.case, *(known or ())}

    def _erase(self, to: Connection, account: str, erased: dict[str, float]) -> None:
        """Take an account out of all that is known of cases."""
        until = erased[account]
        for case, time, raw in to.execute(
            "SELECT id, updated, alert FROM member JOIN cases USING (id) JOIN newest USING (id) "
            "WHERE member.account = ?",
            (account,),
        ).fetchall():
            value = zlib.decompress(raw)
            found = alerts.decode(value)
            kept = without(value, found, gone(found, {account: until}))
            if kept is None and time <= until:
                self._remove(to, case)
                continue
            if kept is not None:
                value, found = kept
                to.execute("UPDATE newest SET alert = ? WHERE id = ?", (zlib.compress(value, 1), case))
            if time <= until:
                names = found.own.accounts[0], found.data.finding_info.title
                to.execute("UPDATE cases SET account = ?, title = ? WHERE id = ?", (*names, case))
                to.execute("DELETE FROM member WHERE account = ? AND id = ?", (account, case))
            self.dirty.add(case)
        named, order = msgspec.json.encode(account)[1:-1], {account: until}  # as it stands in a record
        has = to.has("value")
        for offset, raw in to.execute(
            f'SELECT "offset", value FROM verdict WHERE account = ? OR {has}', (account, named)
        ).fetchall():
            word = of_verdict(verdict.decode(raw), order)
            row = word.account, verdict.encode(word), offset
            to.execute('UPDATE verdict SET account = ?, value = ? WHERE "offset" = ?', row)
        for (raw,) in to.execute(f"SELECT value FROM desk WHERE {has}", (named,)).fetchall():
            self._noted(to, noted.decode(raw), order)
        for entry, raw in to.execute(f"SELECT id, value FROM allow WHERE {has}", (named,)).fetchall():
            allow = control.decode(raw)
            if isinstance(allow, control.Allow):
                to.execute("UPDATE allow SET value = ? WHERE id = ?", (control.encode(of_allow(allow, order)), entry))

    def _remove(self, to: Connection, case: str) -> None:
        neighbours = to.execute(
            "SELECT id FROM cases WHERE belongs = (SELECT belongs FROM cases WHERE id = ?)", (case,)
        ).fetchall()
        for table in ("cases", "newest", "told", "member"):
            to.execute(f"DELETE FROM {table} WHERE id = ?", (case,))
        self.dirty |= {one for (one,) in neighbours} - {case}


def erasures(of: Connection) -> dict[str, float]:
    """Return the accounts that were erased, and until when, seconds since 1970."""
    return dict(of.execute("SELECT account, until FROM erased"))


def decisions(of: Connection, cases: Sequence[str]) -> dict[str, Decisions]:
    """Return what people decided on cases, by all their records."""
    verdicts: dict[str, list[bytes]] = {case: [] for case in cases}
    records: dict[str, list[bytes]] = {case: [] for case in cases}
    for part, marks in parts(cases):
        for case, raw in of.execute(f'SELECT id, value FROM verdict WHERE id IN ({marks}) ORDER BY "offset"', part):
            verdicts[case].append(raw)
        for case, raw in of.execute(f"SELECT id, value FROM desk WHERE id IN ({marks}) ORDER BY time, record", part):
            records[case].append(raw)
    return {case: _folded(verdicts[case], records[case]) for case in cases}


def _folded(verdicts: Iterable[bytes], records: Iterable[bytes]) -> Decisions:
    chain: list[verdict.Verdict] = []
    count, touched = 0, 0.0
    for raw in verdicts:
        one = verdict.decode(raw)
        revise(chain, one, lambda word: (word.decision, word.time, word.by))
        count, touched = count + 1, max(touched, one.time)
    stands = chain[-1].decision if chain else (WITHDRAWN if count else "")
    assignee, snoozed, merged, split, reopened = "", 0.0, "", set[str](), 0.0
    for raw in records:
        record = noted.decode(raw)
        count, touched = count + 1, max(touched, record.time)
        match record:
            case noted.Assign():
                assignee = record.to
            case noted.Snooze():
                snoozed = record.until
            case noted.Reopen():
                snoozed, reopened = 0.0, record.time
            case noted.Merge():
                merged = record.of
            case noted.Split():
                split |= set(record.accounts)
                merged = merged if record.accounts else ""
            case _:
                pass
    return Decisions(stands, assignee, snoozed, merged, frozenset(split), reopened, count, touched)


def _members(of: Connection, cases: Sequence[str]) -> dict[str, dict[str, bool]]:
    """The accounts of cases, and whether somebody took each out."""
    found: dict[str, dict[str, bool]] = {}
    for part, marks in parts(cases):
        for case, account, split in of.execute(f"SELECT id, account, split FROM member WHERE id IN ({marks})", part):
            found.setdefault(case, {})[account] = bool(split)
    return found


def headline(alert: Alert) -> str:
    """Return why a case is there, in a few words: its strongest signals, each feature once."""
    said: dict[str, str] = {}
    for signal in alert.own.signals:
        try:
            text = signal_text(signal.name, signal.observed, signal.direction, signal.baseline, signal.unit)
        except OverflowError:  # a logarithm that counts more than a float can
            text = signal.name
        said.setdefault(signal.name, text)
    return "; ".join(list(said.values())[:REASONS])


def newest_alert(raw: bytes) -> bytes:
    """Return the record that stands deflated in `newest.alert`."""
    return zlib.decompress(raw)


def facts_of(raw: bytes) -> Facts:
    """Return what stands in `newest.facts`."""
    return _facts.decode(raw)


def _kept(record: Record) -> Alert | None:
    """The alert of a record; None where it is none, of a time ahead of its record's stamp, or counts too far."""
    try:
        found = alerts.decode(record.value)
    except alerts.NotAnAlert:
        return None
    if found.data.time / 1000 > record.sent + MAX_AHEAD or max(found.own.sequence, found.own.requests_seen) > MAX_COUNT:
        return None
    return found


def _facts_of(alert: Alert) -> bytes | None:
    try:
        return msgspec.msgpack.encode(verdict.facts_of_alert(alert))
    except verdict.NotAVerdict:  # a figure beyond what a verdict may hold: such a case is ranked last
        return None
