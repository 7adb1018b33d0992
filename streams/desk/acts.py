"""What can be decided at the desk, written to the topics and to nothing else: implements
`siphonwatch.streams.desk.views.Acts`. A decision returns when the index has it.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from kafka.errors import KafkaError

from siphonwatch.models.detect.registry import current
from siphonwatch.models.learn.verdict_book import Decision
from siphonwatch.streams.common.connection import reason
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts import control, desk, verdict
from siphonwatch.streams.contracts.alert import Alert
from siphonwatch.streams.desk.case_page import history, newest
from siphonwatch.streams.desk.index.feed import Feed, FeedError
from siphonwatch.streams.desk.index.store import Index
from siphonwatch.streams.desk.views import Act, NotSent, Overtaken, Unknown
from siphonwatch.streams.desk.wording import moment
from siphonwatch.streams.edge.producer import connect

ID_BYTES = 6
MOST = 500
"""Cases of one decision."""
SECONDS = 30.0
"""That a broker may take for a record, and the index to have it."""
AHEAD_SECONDS = 3.0
"""That a decision waits for the index to have what its page showed: a desk that keeps up lags by a poll, 0.2 s."""
LOOK_SECONDS = 0.05
PEOPLE = ("control", "desk", "verdicts", "alerts")
"""Kinds of topics that a decision rests on."""
SETTLED = frozenset({"opened", "updated", "closed"})
"""Events that nobody decided."""
_Sent = tuple[str, bytes, bytes]
"""Kind of topic, key, value."""


class TopicActs:
    """Decides; safe to share between threads.

    Parameters
    ----------
    index, feed
        The index, and what keeps it near the topics' ends; where no thread is in `Feed.run`, each decision reads them.
    settings
        Where the topics are.
    clock
        Seconds since 1970.
    """

    def __init__(self, index: Index, feed: Feed, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self._index = index
        self._feed = feed
        self._settings = settings
        self._clock = clock
        self._turn = threading.Lock()
        self._producer: Any = None

    def close(self) -> None:
        """Leave the brokers."""
        with self._turn:
            self._leave()

    def act(self, act: Act, by: str) -> str:
        """Decide; return one line of what was done.

        Raises
        ------
        Overtaken
            When somebody decided on a case since the version that the act names.
        Unknown
            For a case or an entry that is not there.
        NotSent
            When the broker did not take it.
        ValueError
            With what is wrong with it.
        """
        if len(act.cases) > MOST:
            raise ValueError(f"{len(act.cases):,} cases at once: {MOST} are the most")
        with self._turn:
            self._read()
            cases = list(dict.fromkeys(act.cases))
            seen = {case: version for case, version in act.versions.items() if case in cases}
            if act.version is not None and len(cases) == 1:
                seen[cases[0]] = act.version
            self._wait_for(seen)
            self._is_known(cases, act, seen)
            sent, said = self._records(act, cases, by, self._clock())
            before = {case: self._version(case) for case in cases}
            self._send(sent)
            return said + self._meanwhile(cases, before, sent, by)

    def _read(self) -> None:
        if not self._feed.runs:
            try:
                self._feed.catch_up(PEOPLE)
            except FeedError as error:
                raise NotSent(f"{error}. Nothing was decided") from None

    def _wait_for(self, seen: dict[str, int]) -> None:
        """Wait for what a page showed: it may be one of another desk, whose index was ahead of ours."""
        end = time.monotonic() + AHEAD_SECONDS
        while any(self._version(case) < version for case, version in seen.items()) and time.monotonic() < end:
            time.sleep(LOOK_SECONDS)

    def _is_known(self, cases: Sequence[str], act: Act, seen: dict[str, int]) -> None:
        if not cases and act.kind not in ("allow", "allow-end"):
            raise ValueError("name a case")
        for case in cases:
            if self._version(case) < 0:
                raise Unknown(f"case {case} has no alert on the alerts topic. Nothing was decided")
        changed = [case for case, version in seen.items() if self._version(case) != version]
        if changed:
            more = f" (and {len(changed) - 1:,} more of these cases changed)" if len(changed) > 1 else ""
            raise Overtaken(f"{self._last(changed[0])}{more}: look again. Nothing was decided")

    def _version(self, case: str) -> int:
        row = self._index.reader.execute("SELECT decisions FROM cases WHERE id = ?", (case,)).fetchone()
        return -1 if row is None else int(row[0])

    def _last(self, case: str) -> str:
        """Who decided on a case last, what and when."""
        with self._index.read() as of:
            decided = [event for event in history(of, case) if event.what not in SETTLED]
        if not decided:
            return f"what was decided on case {case} was taken back"
        last = decided[-1]
        return f"{last.by} decided on case {case} meanwhile ({last.what}, {moment(last.time)})"

    def _records(self, act: Act, cases: Sequence[str], by: str, now: float) -> tuple[list[_Sent], str]:
        """The records of a decision, and what to say of it."""
        many = cases[0] if len(cases) == 1 else f"{len(cases):,} cases"
        match act.kind:
            case "verdict":
                if act.decision is None:
                    raise ValueError("say what the case was")
                found = [self._verdict(one, act.decision, act, by, now) for one in cases]
                return found, f"{many}: {act.decision}"
            case "undo":
                return [self._undone(one, by, now) for one in cases], f"{many}: the last verdict was taken back"
            case "allow":
                return self._allow(act, cases, by, now)
            case "allow-end":
                return self._allow_end(act, by, now)
            case _:
                found = [self._noted(one, act, by, now) for one in cases]
                return found, f"{many}: {_said(act)}"

    def _verdict(self, case: str, decision: Decision, act: Act, by: str, now: float) -> _Sent:
        if act.of and self._version(act.of) < 0:
            raise Unknown(f"case {act.of} has no alert on the alerts topic. Nothing was decided")
        try:
            found = verdict.judge(self._alert(case), decision, by=by, time=now, note=act.text, of=act.of)
        except verdict.NotAVerdict as error:
            raise ValueError(f"case {case} cannot be judged: {error}") from None
        return "verdicts", case.encode(), verdict.encode(found)

    def _undone(self, case: str, by: str, now: float) -> _Sent:
        rows = self._index.reader.execute('SELECT value FROM verdict WHERE id = ? ORDER BY "offset"', (case,))
        try:
            found = verdict.undone((verdict.decode(raw) for (raw,) in rows.fetchall()), by=by, time=now)
        except verdict.NotAVerdict:
            raise ValueError(f"case {case} has no verdict to take back") from None
        return "verdicts", case.encode(), verdict.encode(found)

    def _noted(self, case: str, act: Act, by: str, now: float) -> _Sent:
        alert = self._alert(case)
        common: dict[str, Any] = {
            "id": secrets.token_hex(ID_BYTES), "case": case, "account": alert.own.accounts[0], "by": by, "time": now,
        }  # fmt: skip
        match act.kind:
            case "note":
                if not act.text.strip():
                    raise ValueError("the note is empty")
                record: desk.Desk = desk.Note(**common, text=act.text)
            case "assign":
                record = desk.Assign(**common, to=act.assignee)
            case "snooze":
                if act.until <= now:
                    raise ValueError("a snooze ends in the future")
                record = desk.Snooze(**common, until=act.until, text=act.text)
            case "reopen":
                record = desk.Reopen(**common, text=act.text)
            case "merge":
                if self._version(act.of) < 0:
                    raise Unknown(f"case {act.of} has no alert on the alerts topic. Nothing was decided")
                record = desk.Merge(**common, of=act.of, text=act.text)
            case _:
                self._can_split(case, act, alert)
                record = desk.Split(**common, accounts=act.accounts, text=act.text)
        return "desk", record.id.encode(), _valid_desk(record)

    def _can_split(self, case: str, act: Act, alert: Alert) -> None:
        if others := [account for account in act.accounts if account not in alert.own.accounts]:
            raise ValueError(f"account {others[0]} is not in case {case}")
        if act.accounts and len(set(act.accounts)) == len(set(alert.own.accounts)):
            raise ValueError("a case keeps one account at least")
        (merged,) = self._index.reader.execute("SELECT merged FROM cases WHERE id = ?", (case,)).fetchone()
        if not act.accounts and not merged:
            raise ValueError(f"case {case} is not merged with another one: name the accounts that do not belong to it")

    def _allow(self, act: Act, cases: Sequence[str], by: str, now: float) -> tuple[list[_Sent], str]:
        if act.until <= now:
            raise ValueError("an allow entry ends in the future")
        if not act.text.strip():
            raise ValueError("say why")
        about: list[tuple[str, str, list[str]]] = []
        for case in cases:
            own = self._alert(case).own
            if act.pattern and current(act.pattern) != current(own.pattern):
                raise ValueError(f"case {case} is one of {current(own.pattern)}: an entry about it is of that pattern")
            about.append((case, own.pattern, own.accounts[-control.MAX_ACCOUNTS :]))
        if not cases:
            if not act.accounts or not act.pattern:
                raise ValueError("name a case, or accounts and a pattern")
            about.append(("", act.pattern, act.accounts))
        sent: list[_Sent] = []
        for case, pattern, accounts in about:
            entry = control.Allow(
                id=secrets.token_hex(ID_BYTES), pattern=pattern, until=act.until, accounts=accounts, case=case,
                why=act.text, by=by, time=now,
            )  # fmt: skip
            sent.append(("control", entry.id.encode(), _valid_control(entry)))
        ids = ", ".join(key.decode() for _, key, _ in sent)
        return sent, f"allowed until {moment(act.until)} by entry {ids}: workers apply it at their next checkpoint"

    def _allow_end(self, act: Act, by: str, now: float) -> tuple[list[_Sent], str]:
        row = self._index.reader.execute("SELECT ended FROM allow WHERE id = ?", (act.entry,)).fetchone()
        if row is None:
            raise Unknown(f"{act.entry} is no allow entry")
        if row[0]:
            raise ValueError(f"entry {act.entry} was ended before")
        end = control.AllowEnd(id=act.entry, why=act.text, by=by, time=now)
        sent = ("control", act.entry.encode(), _valid_control(end))
        return [sent], f"entry {act.entry} ended: workers apply it at their next checkpoint"

    def _alert(self, case: str) -> Alert:
        return newest(self._index.reader, case)[1]

    def _send(self, sent: Sequence[_Sent]) -> None:
        """Send records; return when the index has them."""
        try:
            if self._producer is None:
                self._producer = connect(self._settings, "siphonwatch-desk")
            futures = [self._producer.send(self._settings.topic(kind), value, key) for kind, key, value in sent]
            self._producer.flush(SECONDS)
            placed = [future.get(SECONDS) for future in futures]
        except KafkaError as error:
            self._leave()
            why = reason(error)
            raise NotSent(f"the broker did not take it ({why}): look whether it stands, and try again") from None
        for place in placed:
            if not self._feed.wait_for(place.topic, place.partition, place.offset, SECONDS):
                raise NotSent("the broker has it, but the desk cannot read it back: look again before you repeat it")

    def _meanwhile(self, cases: Sequence[str], before: dict[str, int], sent: Sequence[_Sent], by: str) -> str:
        """What others decided on the same cases at the same time."""
        own = sum(kind in ("desk", "verdicts") for kind, _, _ in sent) // max(len(cases), 1)
        others = [case for case in cases if self._version(case) > before[case] + own]
        said = ""
        for case in others:
            with self._index.read() as of:
                theirs = [event for event in history(of, case) if event.what not in SETTLED and event.by != by]
            if theirs:
                said += f". At the same time {theirs[-1].by} decided on case {case} ({theirs[-1].what})"
        return said

    def _leave(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.close(timeout=SECONDS)


def _said(act: Act) -> str:
    match act.kind:
        case "assign":
            return f"assigned to {act.assignee}" if act.assignee else "assigned to nobody"
        case "snooze":
            return f"snoozed until {moment(act.until)}"
        case "reopen":
            return "open again"
        case "merge":
            return f"merged into case {act.of}"
        case "split":
            return f"{len(act.accounts):,} accounts split off" if act.accounts else "no longer merged"
        case _:
            return "noted"


def _valid_desk(record: desk.Desk) -> bytes:
    raw = desk.encode(record)
    try:
        desk.decode(raw)
    except desk.NotOfTheDesk as error:
        raise ValueError(str(error)) from None
    return raw


def _valid_control(record: control.Control) -> bytes:
    raw = control.encode(record)
    try:
        control.decode(raw)
    except control.NotAControl as error:
        raise ValueError(str(error)) from None
    return raw
