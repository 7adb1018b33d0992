"""Search: accounts and cases by an id or its beginning, by a customer's name, or by what accounts share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from siphonwatch.streams.desk.exposure import hashes
from siphonwatch.streams.desk.index.sql import Connection
from siphonwatch.streams.desk.index.traffic import COUNTED, DAY, KINDS, LABELS, days, days_of, parts, shares_of
from siphonwatch.streams.desk.names import Names
from siphonwatch.streams.desk.views import Found

MOST = 1000
LONGEST = 200
"""Characters of what is searched for."""
SHORTEST = 3
"""Of a beginning."""
HASH = 16
_LAST = "\U0010ffff"


def find(
    of: Connection, text: str, kind: str, since: float | None, until: float | None, limit: int, names: Names
) -> list[Found]:
    """Return what matches: cases first, then accounts, those with most requests first.

    Parameters
    ----------
    of
        A connection whose statements see one moment.
    text
        An id or its beginning, a name or a part of it, or a hash or label that accounts share.
    kind
        `account`, `case`, or one of `KINDS`; empty for all.
    since, until
        Seconds since 1970: only what was there in the days that overlap with that.
    limit
        Answers, `MOST` at most.
    names
        Of customers.

    Raises
    ------
    ValueError
        For an unknown kind, or a text too short or too long to search by.
    """
    text = text.strip()
    if kind and kind not in (*KINDS, "account", "case"):
        raise ValueError(f"{kind!r} is nothing to search by: account, case, {', '.join(KINDS)}")
    if not SHORTEST <= len(text) <= LONGEST and not (kind in LABELS and text):
        raise ValueError(f"give {SHORTEST} to {LONGEST} characters to search by")
    limit = max(1, min(limit, MOST))
    there = days(of)
    first = there.start if since is None else max(there.start, int(since // DAY))
    stop = there.stop if until is None else min(there.stop, int(until // DAY) + 1)
    found: list[Found] = []
    if kind in ("", "case"):
        found += _cases(of, text, since, until, limit, names)
    accounts: dict[str, str] = {}
    if kind in ("", "account"):
        accounts.update(dict.fromkeys(_beginning(of, text, limit), "account"))
        accounts.update(dict.fromkeys(names.find(text, limit), "name"))
    sums: Counter[str] = Counter()
    for which, name in enumerate(KINDS):
        if kind not in ("", name):
            continue
        for account, requests in _having(of, which, _values(of, name, text), range(first, stop), limit):
            accounts.setdefault(account, name)
            sums[account] += requests
    dated = since is not None or until is not None
    found += _accounts(of, accounts, sums, range(first, stop), names, dated)
    found.sort(key=lambda one: (one.kind != "case", -one.requests, one.id))
    return found[:limit]


def _cases(
    of: Connection, text: str, since: float | None, until: float | None, limit: int, names: Names
) -> Iterable[Found]:
    low = text.lower()
    for case, account, requests, opened, updated in of.execute(
        "SELECT id, account, requests, opened, updated FROM cases WHERE id >= ? AND id < ? "
        "AND updated >= ? AND opened <= ? ORDER BY id LIMIT ?",
        (low, low + _LAST, since or 0.0, 2.0**40 if until is None else until, limit),
    ):
        yield Found(
            kind="case", id=case, name=names.of(account), by="case", requests=requests, first=opened, last=updated
        )


def _beginning(of: Connection, text: str, limit: int) -> list[str]:
    span = text, text + _LAST, limit
    found = of.execute("SELECT name FROM account WHERE name >= ? AND name < ? ORDER BY name LIMIT ?", span).fetchall()
    found += of.execute(
        "SELECT DISTINCT account FROM member WHERE account >= ? AND account < ? ORDER BY account LIMIT ?", span
    ).fetchall()
    return [name for (name,) in found]


def _values(of: Connection, kind: str, text: str) -> set[int]:
    """The values of a kind that a text stands for."""
    found: set[int] = set()
    if len(text) == HASH:
        try:
            value = int(text, 16)
            found.add(value - (1 << 64) if value >= 1 << 63 else value)
        except ValueError:
            pass
    if kind in LABELS:
        found |= {value for (value,) in of.execute("SELECT hash FROM label WHERE text = ?", (text,))}
    return found


def _having(of: Connection, kind: int, values: Iterable[int], there: range, limit: int) -> list[tuple[str, int]]:
    """The accounts that have most requests with one of the values, and how many; of very many the first ones."""
    found: set[int] = set()
    given = list(values)
    for value in given:
        for day in reversed(there):
            rows = of.execute(
                "SELECT account FROM share WHERE day = ? AND kind = ? AND value = ? LIMIT ?",
                (day, kind, value, COUNTED - len(found)),
            )
            found |= {account for (account,) in rows}
    had = shares_of(of, found, there)
    sums = Counter({account: sum(had[account][kind, value] for value in given) for account in found})
    top = sums.most_common(limit)
    called: dict[int, str] = {}
    for part, marks in parts([hash_ for hash_, _ in top]):
        called.update(of.execute(f"SELECT hash, name FROM account WHERE hash IN ({marks})", part))
    return [(called[hash_], n) for hash_, n in top if hash_ in called]


def _accounts(
    of: Connection, accounts: dict[str, str], sums: Counter[str], there: range, names: Names, dated: bool
) -> Iterable[Found]:
    known = hashes(of, accounts)
    on, marked = days_of(there)
    spans: dict[int, tuple[float, float, int]] = {}
    for part, marks in parts(sorted(known.values())):
        for hash_, *span in of.execute(
            "SELECT account, min(first), max(last), CAST(sum(conversation + program + rest) AS BIGINT) FROM day "
            f"WHERE day IN ({marked}) AND account IN ({marks}) GROUP BY account",
            [*on, *part],
        ):
            spans[hash_] = tuple(span)
    for account, by in accounts.items():
        first, last, requests = spans.get(known.get(account, 0), (0.0, 0.0, 0))
        if not requests:
            row = of.execute(
                "SELECT min(opened), max(updated), sum(CAST(requests AS DOUBLE PRECISION)) FROM cases "
                "WHERE id IN (SELECT id FROM member WHERE account = ?) HAVING count(*) > 0",
                (account,),
            ).fetchone()
            if row is None or dated:
                continue  # only named, or not there at that time
            first, last, requests = row[0], row[1], int(row[2])
        yield Found(
            kind="account", id=account, name=names.of(account), by=by, requests=sums.get(account, requests),
            first=first, last=last,
        )  # fmt: skip
