"""A case opened: everything that the index knows about it, in the order in which an analyst asks. Writes nothing."""

from __future__ import annotations

import zlib
from collections.abc import Collection
from datetime import UTC, datetime

import msgspec

from siphonwatch.models.evidence.cases import ERASED
from siphonwatch.streams.contracts import desk, verdict
from siphonwatch.streams.contracts.alert import Alert, decode
from siphonwatch.streams.contracts.control import Allow
from siphonwatch.streams.desk import wording
from siphonwatch.streams.desk.exposure import exposure, hashes, hours
from siphonwatch.streams.desk.index.sql import Connection
from siphonwatch.streams.desk.index.traffic import DAY, parts
from siphonwatch.streams.desk.likeness import alike
from siphonwatch.streams.desk.looked import When, nobody
from siphonwatch.streams.desk.names import Names
from siphonwatch.streams.desk.peers import Peers, cohort_of
from siphonwatch.streams.desk.queue import COLUMNS, case_rows, split_off
from siphonwatch.streams.desk.views import CasePage, CaseRow, Event, Member, Signal, Unknown
from siphonwatch.streams.worker.entries import Entry

SHOWN_DAYS = 14
"""Of the timeline: the last ones of the case."""
RELATED = 50
MEMBERS = 1000
END = 253_402_300_800.0
"""Of the year 9999, beyond which nothing can write a time."""
SILENT = DAY
"""A member that sent nothing for so long while others did has left."""


def newest(of: Connection, case: str) -> tuple[bytes, Alert]:
    """Return the newest alert of a case that says something, as it stands on the topic and decoded.

    Raises
    ------
    Unknown
        When there is none.
    """
    row = of.execute("SELECT alert FROM newest WHERE id = ?", (case,)).fetchone()
    if row is None:
        raise Unknown(f"case {case} has no alert on the alerts topic")
    value = zlib.decompress(row[0])
    return value, decode(value)


def row_of(of: Connection, case: str, names: Names, now: float, looked: When = nobody) -> CaseRow:
    """Return a case as lists show it.

    Raises
    ------
    Unknown
        When there is none.
    """
    rows = of.execute(f"SELECT {COLUMNS} FROM cases WHERE id = ?", (case,)).fetchall()
    if not rows:
        raise Unknown(f"case {case} has no alert on the alerts topic")
    return case_rows(of, rows, names, now, looked)[0]


def case_page(
    of: Connection,
    case: str,
    names: Names,
    peers: Peers,
    standing: list[Allow],
    now: float,
    looked: When = nobody,
) -> CasePage:
    """Return the page of a case.

    Parameters
    ----------
    of
        A connection whose statements see one moment.
    case
        Its whole id.
    names
        Of customers.
    peers
        To compare its signals with.
    standing
        The allow entries that were not ended.
    now
        Seconds since 1970.
    looked
        When who asks looked at cases.

    Raises
    ------
    Unknown
        When there is no such case.
    """
    row = row_of(of, case, names, now, looked)
    value, alert = newest(of, case)
    own = alert.own
    (decisions,) = of.execute("SELECT decisions FROM cases WHERE id = ?", (case,)).fetchone()
    taken_out = split_off(of, [case]).get(case, set())
    stay = [account for account in own.accounts if account not in taken_out]
    known = hashes(of, stay)
    first = alert.data.finding_info.first_seen_time / 1000
    (updated,) = of.execute("SELECT max(time) FROM told WHERE id = ?", (case,)).fetchone()
    related = of.execute(
        f"SELECT {COLUMNS} FROM cases WHERE belongs = ? AND id != ? ORDER BY closed, updated DESC, id LIMIT ?",
        (row.group, case, RELATED),
    ).fetchall()
    judged, unjudged = alike(of, case, alert, names, now)
    return CasePage(
        row=row,
        sentence=wording.sentence(alert, names.of(own.accounts[0])),
        observed=wording.observed(alert),
        inferred=wording.inferred(alert),
        chance=wording.likelihood(alert),
        budget=own.budget,
        signals=_signals(of, alert, known, peers),
        indicators=[(one.name, one.scored) for one in own.indicators],
        atlas=own.atlas,
        owasp=own.owasp,
        counterfactual=own.counterfactual,
        samples=own.sample_requests,
        carried_by=[(one.kind, one.name, one.share) for one in own.carried_by],
        hours=hours(of, list(known.values()), max(first, updated - SHOWN_DAYS * DAY), updated + DAY),
        members=members(of, case, alert, names),
        shared=own.shared,
        history=history(of, case),
        related=case_rows(of, related, names, now, looked),
        alike=judged,
        alike_unjudged=unjudged,
        exposure=exposure(of, stay, first, updated),
        steps=wording.steps(row.pattern),
        runbook=own.runbook,
        alert=msgspec.Raw(value),
        hidden_by=[
            entry.id for entry in standing
            if entry.until > updated and Entry.of(entry).covers(own.pattern, case, own.accounts)
        ],
        version=decisions,
    )  # fmt: skip


def members(of: Connection, case: str, alert: Alert, names: Names) -> list[Member]:
    """Return the accounts of a case, without those that were split off; of one account, itself."""
    own = alert.own
    split = split_off(of, [case]).get(case, set())
    parts = {part.account: part for part in own.members}
    known = hashes(of, own.accounts)
    by_hash = _last(of, known.values())
    last = {name: by_hash.get(hash_, 0.0) for name, hash_ in known.items()}
    alone = _alone(of, own.accounts[:MEMBERS], case)
    newest_of_all = max(last.values(), default=0.0)
    found = []
    for account in own.accounts[:MEMBERS]:
        if account in split or account == ERASED:
            continue
        part = parts.get(account)
        seen = last.get(account, 0.0)
        joined = alert.data.finding_info.first_seen_time / 1000
        found.append(
            Member(
                account=account, name=names.of(account),
                requests=part.requests if part else (own.requests_seen if len(own.accounts) == 1 else 0),
                share=part.share if part else float(len(own.accounts) == 1),
                joined=_seconds(part.joined, joined) if part else joined,
                left=seen if seen and newest_of_all - seen > SILENT else None,
                follows=account in own.follows, alone=alone.get(account, []),
            )
        )  # fmt: skip
    return found


def history(of: Connection, case: str) -> list[Event]:
    """Return what happened to a case, oldest first: its alerts by event time, decisions by when they were made."""
    events = [
        Event(time=time, what=kind, log_e=log_e, requests=requests)
        for kind, time, log_e, requests in of.execute(
            "SELECT kind, time, log_e, requests FROM told WHERE id = ?", (case,)
        )
    ]
    for (raw,) in of.execute('SELECT value FROM verdict WHERE id = ? ORDER BY "offset"', (case,)):
        one = verdict.decode(raw)
        of_ = f"of {one.of}" if one.of else ""
        events.append(Event(time=one.time, what=one.decision, by=one.by, text=": ".join(filter(None, (of_, one.note)))))
    for (raw,) in of.execute("SELECT value FROM desk WHERE id = ? ORDER BY time, record", (case,)):
        events.append(_event(desk.decode(raw)))
    for (raw,) in of.execute("SELECT value FROM desk JOIN cases ON cases.id = desk.id WHERE cases.merged = ?", (case,)):
        record = desk.decode(raw)
        if isinstance(record, desk.Merge) and record.of == case:
            events.append(Event(time=record.time, what="merge", by=record.by, text=f"with case {record.case}"))
    return sorted(events, key=lambda event: event.time)


def _event(record: desk.Desk) -> Event:
    said = desk.text_of(record)
    match record:
        case desk.Assign():
            what, more = "assign", f"to {record.to}" if record.to else "to nobody"
        case desk.Snooze():
            what, more = "snooze", f"until {wording.moment(record.until)}"
        case desk.Merge():
            what, more = "merge", f"into case {record.of}"
        case desk.Split():
            what, more = "split", f"without {', '.join(record.accounts)}" if record.accounts else "no longer merged"
        case desk.Reopen():
            what, more = "reopen", ""
        case _:
            what, more = "note", ""
    return Event(time=record.time, what=what, by=record.by, text=": ".join(filter(None, (more, said))))


def _seconds(text: str, otherwise: float) -> float:
    """A time in seconds since 1970; the other one where the text, which the contract leaves open, is none."""
    try:
        found = datetime.fromisoformat(text)
        seconds = (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return otherwise
    return seconds if 0 <= seconds < END else otherwise


def _signals(of: Connection, alert: Alert, known: dict[str, int], peers: Peers) -> list[Signal]:
    own = alert.own
    alone = len(own.accounts) == 1 and own.accounts[0] in known
    cohort = cohort_of(of, known[own.accounts[0]]) if alone else ""
    found = []
    for one in own.signals:
        compared = peers.compare(cohort, one.name, one.observed) if cohort else None
        found.append(
            Signal(
                name=one.name, meaning=one.meaning, unit=one.unit, observed=one.observed, baseline=one.baseline,
                direction=one.direction, percentile=compared and compared.percentile,
                cohort=cohort if compared else "", typical=compared.typical if compared else [],
            )
        )  # fmt: skip
    return found


def _alone(of: Connection, accounts: Collection[str], case: str) -> dict[str, list[str]]:
    """The open cases that each account has by itself, but for one."""
    found: dict[str, list[str]] = {}
    for part, marks in parts(accounts):
        for account, other in of.execute(
            "SELECT m.account, c.id FROM member m CROSS JOIN cases c "
            f"WHERE m.account IN ({marks}) AND c.id = m.id AND c.id != ? AND c.closed = 0 AND c.accounts = 1 "
            "ORDER BY c.id",
            [*part, case],
        ):
            found.setdefault(account, []).append(other)
    return found


def _last(of: Connection, accounts: Collection[int]) -> dict[int, float]:
    """When each account sent its last request, by its newest day."""
    found: dict[int, float] = {}
    for part, marks in parts(accounts):
        found.update(
            of.execute(
                "SELECT a.hash, d.last FROM account a CROSS JOIN day d "
                f"WHERE a.hash IN ({marks}) AND d.day = a.day AND d.account = a.hash",
                part,
            )
        )
    return found
