"""An account opened: what it did for seven days, what it shares, how near it is to a case, and who allowed what."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import msgspec
import numpy as np

from siphonwatch.models.account.features import NAMES
from siphonwatch.models.detect.registry import covers, current
from siphonwatch.streams.contracts import control
from siphonwatch.streams.desk.exposure import exposure, hashes, hex16, hours, labels
from siphonwatch.streams.desk.index.sql import Connection
from siphonwatch.streams.desk.index.traffic import DAY, HOUR, KINDS, days, days_of, having, parts, shares_of
from siphonwatch.streams.desk.names import Names
from siphonwatch.streams.desk.peers import Peers, cohort_of, described, newest
from siphonwatch.streams.desk.queue import COLUMNS, case_rows
from siphonwatch.streams.desk.views import AccountPage, Allowed, CaseRow, Near, Percentile, Share, Unknown

WEEK = 7 * DAY
SHARES = 20
"""Of a kind, the ones that most of the account's requests have."""


def account_page(
    of: Connection, account: str, names: Names, peers: Peers, entries: Sequence[Allowed], alpha: float,
    now: float,
) -> AccountPage:  # fmt: skip
    """Return the page of an account.

    Parameters
    ----------
    of
        A connection whose statements see one moment.
    account
        Its whole id.
    names
        Of customers.
    peers
        To compare its features with.
    entries
        See `allowed`.
    alpha
        `scoring.alpha` of the workers.
    now
        Seconds since 1970.

    Raises
    ------
    Unknown
        When neither a request nor a case of it is known.
    """
    known = hashes(of, [account])
    rows = case_rows(
        of,
        of.execute(
            f"SELECT {COLUMNS} FROM cases WHERE id IN (SELECT id FROM member WHERE account = ?) "
            "ORDER BY closed, updated DESC, id",
            (account,),
        ).fetchall(),
        names, now,
    )  # fmt: skip
    if not known and not rows:
        raise Unknown(f"nothing is known of account {account}")
    mine = [entry for entry in entries if account in entry.accounts or entry.case in {row.case for row in rows}]
    taken = exposure(of, [account])
    first = min((taken.first or math.inf, *(row.opened for row in rows)))
    last = max((taken.last, *(row.updated for row in rows)))
    hash_ = known.get(account)
    cohort = "" if hash_ is None else cohort_of(of, hash_)
    return AccountPage(
        account=account, name=names.of(account), cohort=cohort, first=first, last=last,
        hours=[] if hash_ is None else hours(of, [hash_], taken.last - WEEK + HOUR, taken.last),
        shares=[] if hash_ is None else shares(of, hash_),
        percentiles=_percentiles(of, account, cohort, peers),
        near=_near(of, account, rows, mine, alpha, last),
        cases=rows, allowed=mine, exposure=taken,
    )  # fmt: skip


def shares(of: Connection, account: int) -> list[Share]:
    """Return what an account's requests have, by kind and then by how many have it."""
    there = days(of)
    counts = shares_of(of, [account], there)[account]
    total = _requests(of, account, there)
    texts = labels(of, [value for _, value in counts])
    found = []
    for kind, name in enumerate(KINDS):
        mine = [(count, value) for (k, value), count in counts.items() if k == kind]
        for count, value in sorted(mine, key=lambda one: (-one[0], one[1]))[:SHARES]:
            found.append(
                Share(
                    kind=name, value=texts.get(value, hex16(value)), requests=count,
                    share=round(min(count / max(total, 1), 1.0), 4), accounts=having(of, kind, value, there),
                )
            )  # fmt: skip
    return found


def allowed(of: Connection) -> list[Allowed]:
    """Return the allow entries, those that stand first, the newest first among either."""
    found = []
    (newest_told,) = of.execute("SELECT coalesce(max(time), 0) FROM told").fetchone()
    for raw, ended in of.execute("SELECT value, ended FROM allow"):
        entry = control.decode(raw)
        assert isinstance(entry, control.Allow)  # noqa: S101 - nothing else is in the table
        found.append((entry, bool(ended)))
    found.sort(key=lambda one: (one[1], -one[0].time, one[0].id))
    return [
        Allowed(
            id=entry.id, pattern=current(entry.pattern), accounts=entry.accounts, case=entry.case, until=entry.until,
            why=entry.why, by=entry.by, ended=ended, hides=_hides(of, entry, newest_told - WEEK),
        )
        for entry, ended in found
    ]  # fmt: skip


def _hides(of: Connection, entry: control.Allow, since: float) -> int:
    """Alerts since a time that it covers: those that it hid, and those that were sent before it stood."""
    (hid,) = of.execute("SELECT count(*) FROM hidden WHERE entry = ? AND time > ?", (entry.id, since)).fetchone()
    sent = 0
    for case in covered(of, entry.pattern, entry.accounts, entry.case):
        sent += of.execute("SELECT count(*) FROM told WHERE id = ? AND time > ?", (case, since)).fetchone()[0]
    return int(hid) + int(sent)


def covered(of: Connection, pattern: str, accounts: Collection[str], case: str = "") -> list[str]:
    """Return the ids of the cases that an entry covers, as workers do: its own one, and others whose accounts are all
    in it.
    """
    having = {case} - {""}
    for part, marks in parts(sorted(set(accounts))):
        having |= {one for (one,) in of.execute(f"SELECT id FROM member WHERE account IN ({marks})", part)}
    found = []
    for one in sorted(having):
        row = of.execute("SELECT pattern FROM cases WHERE id = ?", (one,)).fetchone()
        if row is None or not covers(pattern, row[0]):
            continue
        members = {name for (name,) in of.execute("SELECT account FROM member WHERE id = ?", (one,))}
        if one == case or members <= set(accounts):
            found.append(one)
    return found


def _requests(of: Connection, account: int, there: range) -> int:
    on, marks = days_of(there)
    (total,) = of.execute(
        "SELECT CAST(coalesce(sum(conversation + program + rest), 0) AS BIGINT) FROM day "
        f"WHERE day IN ({marks}) AND account = ?",
        [*on, account],
    ).fetchone()
    return int(total)


def _percentiles(of: Connection, account: str, cohort: str, peers: Peers) -> list[Percentile]:
    vector = newest(of, account)
    if vector is None or not cohort:
        return []
    found = []
    for name, value in zip(NAMES, vector.tolist(), strict=True):
        if np.isfinite(value) and (compared := peers.compare(cohort, name, value)) is not None:
            meaning, unit = described(name)
            found.append(Percentile(name=name, meaning=meaning, unit=unit, value=value, percentile=compared.percentile))
    return sorted(found, key=lambda one: (-abs(one.percentile - 50.0), one.name))


def _near(
    of: Connection, account: str, rows: Sequence[CaseRow], entries: Sequence[Allowed], alpha: float,
    last: float,
) -> list[Near]:  # fmt: skip
    """By pattern, the nearest first: from the newest logged features, and from its cases."""
    evidence: dict[str, float] = {}
    row = of.execute("SELECT log_e FROM vector WHERE account = ?", (account,)).fetchone()
    if row is not None:
        for pattern, value in msgspec.msgpack.decode(row[0], type=dict[str, float]).items():
            evidence[current(pattern)] = value
    open_ = {one.pattern: one for one in rows if one.state != "closed" and one.accounts == 1}
    for pattern, one in open_.items():
        evidence[pattern] = max(evidence.get(pattern, -math.inf), one.log_e)
    bar = -math.log(alpha)
    found = []
    for pattern, log_e in evidence.items():
        held = ""
        if log_e >= bar and pattern not in open_:
            covering = [one for one in entries if not one.ended and one.until > last and covers(one.pattern, pattern)]
            held = (
                f"allow entry {covering[0].id} keeps it from being sent" if covering
                else "the false-discovery budget asked for more, or the case was closed"
            )  # fmt: skip
        found.append(Near(pattern=pattern, log_e=log_e, bar=bar, held=held))
    return sorted(found, key=lambda one: (-one.log_e, one.pattern))
