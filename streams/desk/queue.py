"""Lists of cases: filters, orders, and pages that begin behind the last row of the page before, so that nothing is left
out or shown twice by what comes meanwhile. Reads the index alone.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from siphonwatch.models.detect.registry import current
from siphonwatch.streams.desk.index.sql import Connection
from siphonwatch.streams.desk.index.traffic import parts
from siphonwatch.streams.desk.looked import When, nobody
from siphonwatch.streams.desk.names import Names
from siphonwatch.streams.desk.views import Ask, CaseRow, Queue

COLUMNS = (
    "id, pattern, title, severity, account, accounts, requests, log_e, rank, opened, updated, sequence, belongs,"
    " verdict, assignee, snoozed, headline, closed, touched, decisions"
)


class _Order(NamedTuple):
    """How a list is sorted: by a column, then by id."""

    column: str
    down: bool


_ORDERS = {"rank": _Order("rank", True), "age": _Order("opened", False), "changed": _Order("touched", True)}
_After = tuple[str, float, str]


def page(of: Connection, ask: Ask, names: Names, now: float, looked: When = nobody) -> Queue:
    """Return a page of a list.

    Parameters
    ----------
    of
        A connection whose statements see one moment.
    ask
        Which cases, in which order.
    names
        Of customers.
    now
        Seconds since 1970: snoozes are over by then.
    looked
        When who asks looked at cases.

    Raises
    ------
    ValueError
        Where `ask.after` is of no page of such a list.
    """
    order = _ORDERS[ask.order]
    behind, place = "", []
    if ask.after:
        key, last = _read(ask)
        sign = "<" if order.down else ">"
        behind, place = f" AND {order.column} {sign}= ? AND ({order.column} {sign} ? OR id > ?)", [key, key, last]
    direction = "DESC" if order.down else "ASC"
    # The order's own index gives the first rows without sorting, another one counts all; those of an account are few.
    by, counting = f"cases_{ask.order}", "cases_count"
    if ask.account:
        by = counting = "sqlite_autoindex_cases_1"
    total, rows = 0, []
    for closed in (0, 1):
        if (ask.state == "closed") != bool(closed) and ask.state != "all":
            continue
        where, values = _where(ask, now, closed)
        total += of.execute(f"SELECT count(*) FROM cases {of.by(counting)} WHERE {where}", values).fetchone()[0]
        rows += of.execute(
            f"SELECT {COLUMNS}, {order.column} FROM cases {of.by(by)} WHERE {where}{behind} "
            f"ORDER BY {order.column} {direction}, id LIMIT ?",
            [*values, *place, ask.limit + 1],
        ).fetchall()
    rows.sort(key=lambda row: (-row[-1] if order.down else row[-1], row[0]))
    after = ""
    if len(rows) > ask.limit:
        rows = rows[: ask.limit]
        after = _written((ask.order, rows[-1][-1], rows[-1][0]))
    return Queue(case_rows(of, [row[:-1] for row in rows], names, now, looked), total, after)


def case_rows(
    of: Connection, rows: Iterable[Sequence[Any]], names: Names, now: float, looked: When = nobody
) -> list[CaseRow]:
    """Return rows of `COLUMNS` as a list shows them, without the accounts that were taken out."""
    found = list(rows)
    seen = looked([row[0] for row in found])
    gone = split_off(of, [row[0] for row in found])
    return [
        _row(row, _first(of, row, gone.get(row[0], set())), len(gone.get(row[0], ())), names, now, seen.get(row[0]))
        for row in found
    ]


def split_off(of: Connection, cases: Sequence[str]) -> dict[str, set[str]]:
    """Return the accounts that somebody took out of cases, by case, of those that have such."""
    found: dict[str, set[str]] = {}
    for part, marks in parts(cases):
        for case, account in of.execute(f"SELECT id, account FROM member WHERE id IN ({marks}) AND split = 1", part):
            found.setdefault(case, set()).add(account)
    return found


def _first(of: Connection, row: Sequence[Any], gone: set[str]) -> str:
    """Who stands for a case: the first one of its alert, or of those that stay."""
    case, account = row[0], str(row[4])
    if account in gone:
        (stays,) = of.execute("SELECT min(account) FROM member WHERE id = ? AND split = 0", (case,)).fetchone()
        return stays or account
    return account


def _row(row: Sequence[Any], first: str, gone: int, names: Names, now: float, looked: float | None) -> CaseRow:
    (
        case, pattern, title, severity, _, accounts, requests, log_e, rank, opened, updated, sequence, belongs,
        verdict, assignee, snoozed, headline, closed, touched, decisions,
    ) = row  # fmt: skip
    return CaseRow(
        case=case, pattern=pattern, title=title, severity=severity, account=first, name=names.of(first),
        accounts=max(accounts - gone, 0), requests=requests, log_e=log_e, rank=rank, opened=opened, updated=updated,
        sequence=sequence, group=belongs, verdict=verdict, assignee=assignee, snoozed_until=snoozed, headline=headline,
        state="closed" if closed else "snoozed" if snoozed > now else "open",
        changed=looked is not None and touched > looked, version=decisions,
    )  # fmt: skip


def _where(ask: Ask, now: float, closed: int) -> tuple[str, list[Any]]:
    parts = [f"closed = {closed}"]
    values: list[Any] = []
    if ask.state in ("open", "snoozed"):
        parts.append(f"snoozed {'<=' if ask.state == 'open' else '>'} ?")
        values.append(now)
    if ask.unjudged:
        parts.append("verdict IN ('', 'withdrawn')")
    given = {
        "assignee = ?": ask.assignee, "pattern = ?": current(ask.pattern) if ask.pattern else "",
        "severity = ?": ask.severity, "id IN (SELECT id FROM member WHERE account = ?)": ask.account,
        "updated >= ?": ask.since, "opened <= ?": ask.until,
    }  # fmt: skip
    for part, value in given.items():
        if value not in ("", None):
            parts.append(part)
            values.append(value)
    return " AND ".join(parts), values


def _written(after: _After) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(after)).decode().rstrip("=")


def _read(ask: Ask) -> tuple[float, str]:
    try:
        raw = base64.urlsafe_b64decode(ask.after + "=" * (-len(ask.after) % 4))
        order, key, last = msgspec.json.decode(raw, type=_After)
    except (ValueError, msgspec.DecodeError):
        order, key, last = "", 0.0, ""
    if order != ask.order:
        raise ValueError("`after` is of no page of this list: begin it again")
    return key, last
