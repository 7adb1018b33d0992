"""Requests in the index: sums by account and hour, sketches of contents by day, and what accounts share. A batch is
summed up in arrays and then written row by row, so that a busy account costs no more than a quiet one.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar, get_args

import numpy as np
import numpy.typing as npt

from siphonwatch.models.account import request as rq
from siphonwatch.streams.contracts.telemetry import Malformed
from siphonwatch.streams.desk.index import sketch
from siphonwatch.streams.desk.index.sql import Connection
from siphonwatch.streams.desk.views import Kind
from siphonwatch.streams.worker.decode import Decoder, decode_wrapped
from siphonwatch.streams.worker.orders import Order, Orders

HOUR, DAY = 3600, 86_400
KINDS: tuple[Kind, ...] = get_args(Kind)
"""Of shares, by the number that the index has for each."""
FIELDS: dict[Kind, tuple[str, ...]] = {
    "key": ("key",), "user": ("user",), "client": ("headers", "client"), "wrapper": ("template",),
    "system": ("system",), "address": ("net",), "payment": ("payment",), "model": ("model",), "network": ("asn",),
    "country": ("country",),
}  # fmt: skip
"""Fields of telemetry that are one."""
LABELS = ("client", "model", "country")
"""Those that telemetry has in clear."""
MOST = 32
"""Values of one kind, account and day, the first ones: who draws a key for each request fills no disk."""
REFUSED = (401, 403, 407, 429)
MAX_AHEAD = 600.0
"""Seconds that a request's time may be ahead of its record's stamp; what is beyond is of no time that one can trust."""
ENTRY = np.dtype([("kind", "u1"), ("value", "<i8"), ("requests", "<u4")])
"""One share of an account's day."""
COUNTED = 2000
"""Accounts that have something, beyond which the most on one day stand for all."""
MONTH = 30
"""Days that one statement counts accounts in."""
IN = 500
"""Values of one statement: SQLite takes 999 at least, some of which are days."""
AT_MOST = 10_000
"""Accounts that are counted: it stands for that or more."""
T = TypeVar("T")
Ints = npt.NDArray[np.int64]
Places = npt.NDArray[np.intp]
_PAIR = np.dtype([("place", "i8"), ("value", "i8")])


class _Known(NamedTuple):
    """What the index has of a day of an account."""

    group: int
    """Place of the pair among those that were asked for."""
    contents: bytes
    shares: bytes


class Traffic:
    """Takes telemetry in, within the transaction of a connection that is given to each call.

    Parameters
    ----------
    decoder
        Of telemetry. It may have no keys: nothing of what is sealed is read.
    days
        That are kept.
    """

    def __init__(self, decoder: Decoder, days: int) -> None:
        self._decoder = decoder
        self._days = days

    def take(self, to: Connection, values: Sequence[bytes], sent: npt.NDArray[np.float64]) -> int:
        """Take records in; return how many are no requests, or of a time ahead of theirs.

        Parameters
        ----------
        values, sent
            The records of one partition in their order, `(n,)`, and their stamps, seconds since 1970.
        """
        decoded = self._decoder.decode(values)
        requests, rows = decoded.requests, decoded.rows
        timely = requests["time"] <= sent[rows] + MAX_AHEAD
        skipped = len(values) - int(timely.sum())
        erased = Orders(Order(until, "", account, False) for account, until in _erased(to)).erased(requests)
        keep = timely & ~erased
        requests, rows = requests[keep], rows[keep]
        if len(requests):
            add(to, requests)
            self._label(to, requests, [values[row] for row in rows.tolist()])
            self.prune(to, int(requests["time"].min() // DAY))
        return skipped

    def prune(self, to: Connection, oldest: int) -> None:
        """Remove what is older than `days` before the newest day, where a day as old as `oldest` may be."""
        there = days(to)
        before = there.stop - self._days
        if min(there.start, oldest) >= before:
            return
        to.execute("DELETE FROM hour WHERE hour < ?", (24 * before,))
        for table in ("day", "share", "account"):
            to.execute(f"DELETE FROM {table} WHERE day < ?", (before,))
        _unlabel(to)

    def _label(self, to: Connection, requests: rq.Array, values: Sequence[bytes]) -> None:
        """Keep the texts of labels that are kept as shares, of which requests have hashes."""
        day = (requests["time"] // DAY).astype(np.int64)
        for name in LABELS:
            (found, on), inverse = _groups(requests[name].view(np.int64), day)
            first = np.full(len(found), len(requests), np.int64)
            np.minimum.at(first, inverse, np.arange(len(requests)))
            for hash_, day_, at in zip(found.tolist(), on.tolist(), first.tolist(), strict=True):
                (wanted,) = to.execute(
                    "SELECT EXISTS (SELECT 1 FROM share WHERE day = ? AND kind = ? AND value = ?) "
                    "AND NOT EXISTS (SELECT 1 FROM label WHERE hash = ?)",
                    (day_, KINDS.index(name), hash_, hash_),
                ).fetchone()
                if hash_ and wanted:
                    try:
                        text = getattr(decode_wrapped(values[at]), name)
                    except Malformed:
                        continue  # the scanner reads what the contract's decoder does; be that as it may
                    to.execute("INSERT INTO label VALUES (?, ?) ON CONFLICT DO NOTHING", (hash_, text))


def add(to: Connection, requests: rq.Array) -> None:
    """Add requests, `(n,) REQUEST` in the order of their log, to the sums."""
    account = requests["account_hash"].view(np.int64)
    hour = (requests["time"] // HOUR).astype(np.int64)
    _accounts(to, requests, account, hour // 24)
    _hours(to, requests, account, hour)
    _days(to, requests, account, hour // 24)


def erase(to: Connection, account: str, until: float) -> None:
    """Remove what is kept of an account from up to a time, in whole hours and days."""
    for (hash_,) in to.execute("SELECT hash FROM account WHERE name = ?", (account,)).fetchall():
        there = days(to)
        to.executemany(
            "DELETE FROM hour WHERE hour = ? AND account = ?",
            ((hour, hash_) for hour in range(24 * there.start, int(until // HOUR) + 1)),
        )
        gone = range(there.start, int(until // DAY) + 1)
        for day in gone:
            for kind, value in shares_of(to, [hash_], range(day, day + 1))[hash_]:
                to.execute(
                    "DELETE FROM share WHERE day = ? AND kind = ? AND value = ? AND account = ?",
                    (day, kind, value, hash_),
                )
        to.executemany("DELETE FROM day WHERE day = ? AND account = ?", ((day, hash_) for day in gone))
        to.execute("DELETE FROM account WHERE hash = ? AND day <= ?", (hash_, int(until // DAY)))
        _unlabel(to)


def _unlabel(to: Connection) -> None:
    """Remove labels that no share has any more."""
    there = ", ".join(map(str, days(to))) or "NULL"
    kinds = ", ".join(str(KINDS.index(name)) for name in LABELS)
    to.execute(
        "DELETE FROM label WHERE NOT EXISTS "
        f"(SELECT 1 FROM share WHERE day IN ({there}) AND kind IN ({kinds}) AND value = label.hash)"
    )


def days(of: Connection) -> range:
    """Return the days of which there are requests, counted from 1970."""
    first, last = of.execute("SELECT (SELECT min(day) FROM day), (SELECT max(day) FROM day)").fetchone()
    return range(0) if first is None else range(first, last + 1)


def shares_of(of: Connection, accounts: Iterable[int], there: range) -> dict[int, Counter[tuple[int, int]]]:
    """Return how many requests of each account have what, by kind's place and value, in some days."""
    given = list(accounts)
    had: dict[int, list[bytes]] = {account: [] for account in given}
    for part, marks in parts(sorted(had)):
        on, marked = days_of(there)
        for account, shares in of.execute(
            f"SELECT account, shares FROM day WHERE day IN ({marked}) AND account IN ({marks}) ORDER BY day, account",
            [*on, *part],
        ):
            had[account].append(shares)
    found: dict[int, Counter[tuple[int, int]]] = {}
    for account in given:
        counts: Counter[tuple[int, int]] = Counter()
        found[account] = counts
        for kind, value, requests in np.frombuffer(b"".join(had[account]), ENTRY).tolist():
            counts[kind, value] += requests
    return found


def having(of: Connection, kind: int, value: int, there: range) -> int:
    """Return how many accounts have a value in some days, as `COUNTED` and `AT_MOST` say."""
    if not there:
        return 0
    one = f"(SELECT count(*) FROM (SELECT 1 FROM share WHERE day = ? AND kind = ? AND value = ? LIMIT {AT_MOST}) AS h)"
    most = 0
    for begin in range(there.start, there.stop, MONTH):
        on = range(begin, min(begin + MONTH, there.stop))
        counts = of.execute(f"SELECT {', '.join([one] * len(on))}", [v for day in on for v in (day, kind, value)])
        most = max(most, *counts.fetchone())
    if most > COUNTED:
        return most
    on_, marks = days_of(there)
    (accounts,) = of.execute(
        f"SELECT count(DISTINCT account) FROM share WHERE day IN ({marks}) AND kind = ? AND value = ?",
        [*on_, kind, value],
    ).fetchone()
    return int(accounts)


def parts(values: Collection[T]) -> Iterator[tuple[Sequence[T], str]]:
    """Yield values in parts of what one statement takes, each with its marks for `IN (...)`."""
    given = list(values)
    for start in range(0, len(given), IN):
        part = given[start : start + IN]
        yield part, ", ".join("?" * len(part))


def days_of(there: range) -> tuple[Sequence[int], str]:
    """Return days with their marks for `IN (...)`: at most 366 are kept."""
    return there, ", ".join("?" * len(there)) or "NULL"


def _accounts(to: Connection, requests: rq.Array, account: Ints, day: Ints) -> None:
    found, inverse = np.unique(account, return_inverse=True)
    newest = np.full(len(found), -1, np.int64)
    np.maximum.at(newest, inverse, day)
    first = np.zeros(len(found), np.int64)
    first[inverse[::-1]] = np.arange(len(account))[::-1]
    names = rq.names(requests["account"][first])
    to.insert(
        "account", (found.tolist(), names, newest.tolist()),
        "ON CONFLICT (hash) DO UPDATE SET day = excluded.day WHERE excluded.day > account.day",
    )  # fmt: skip


def _hours(to: Connection, requests: rq.Array, account: Ints, hour: Ints) -> None:
    keys, inverse = _groups(hour, account)
    n = len(keys[0])
    sums = [
        np.bincount(inverse, weights, n).astype(np.int64).tolist()
        for weights in (None, np.isin(requests["status"], REFUSED), requests["tokens_in"], requests["tokens_out"])
    ]
    to.insert(
        "hour", (*(key.tolist() for key in keys), *sums),
        "ON CONFLICT (hour, account) DO UPDATE SET "
        "requests = hour.requests + excluded.requests, refused = hour.refused + excluded.refused, "
        "input = hour.input + excluded.input, output = hour.output + excluded.output",
    )  # fmt: skip


def _days(to: Connection, requests: rq.Array, account: Ints, day: Ints) -> None:
    """Sketches and shares are read, joined with the batch's, and written again."""
    keys, group = _groups(day, account)
    wanted = list(zip(*(key.tolist() for key in keys), strict=True))
    n = len(wanted)
    known = _known(to, wanted)
    time = requests["time"]
    first, last = np.full(n, np.inf), np.full(n, -np.inf)
    np.minimum.at(first, group, time)
    np.maximum.at(last, group, time)
    rest = requests["rest"] == 1
    talks = ~rest & ((requests["session"] != 0) | (requests["stream"] == 1))  # as evidence has cohorts
    cohorts = [np.bincount(group, of, n).astype(np.int64).tolist() for of in (talks, ~rest & ~talks, rest)]
    contents = _contents(requests, group, n, known)
    shares = _shares(to, requests, group, keys, known)
    to.insert(
        "day", (*(key.tolist() for key in keys), first.tolist(), last.tolist(), *cohorts, contents, shares),
        "ON CONFLICT (day, account) DO UPDATE SET "
        "first = CASE WHEN excluded.first < day.first THEN excluded.first ELSE day.first END, "
        "last = CASE WHEN excluded.last > day.last THEN excluded.last ELSE day.last END, "
        "conversation = day.conversation + excluded.conversation, program = day.program + excluded.program, "
        "rest = day.rest + excluded.rest, contents = excluded.contents, shares = excluded.shares",
    )  # fmt: skip


def _contents(requests: rq.Array, group: Places, n: int, known: Sequence[_Known]) -> list[bytes]:
    """The sketch of each group: the batch's with what was known."""
    said = np.where(requests["said"] != 0, requests["said"], requests["resource"])
    there = said != 0
    old = np.frombuffer(b"".join(one.contents for one in known), "<u2").astype(np.uint64)
    of = np.repeat([one.group for one in known], [len(one.contents) // 2 for one in known]).astype(np.uint64)
    values = np.concatenate(
        [
            (group[there].astype(np.uint64) << np.uint64(16)) | sketch.registers(said[there]),
            (of << np.uint64(16)) | old,
        ]
    )
    # Ordered by group, then as `sketch.merged` orders the registers of one.
    together = np.sort(values)
    highest = np.ones(len(together), np.bool_)
    highest[:-1] = (together[1:] >> np.uint64(5)) != (together[:-1] >> np.uint64(5))
    together = together[highest]
    ends = np.searchsorted(together, np.arange(n + 1, dtype=np.uint64) << np.uint64(16))
    return _cut((together & np.uint64(0xFFFF)).astype("<u2"), ends)


def _shares(
    to: Connection, requests: rq.Array, group: Places, keys: tuple[Ints, Ints], known: Sequence[_Known]
) -> list[bytes]:
    """The shares of each group: the first `MOST` values of each kind are counted. Who has one is noted once."""
    columns = [(kind, requests[field].view(np.int64)) for kind, name in enumerate(KINDS) for field in FIELDS[name]]
    values = np.concatenate([column for _, column in columns])
    place = np.concatenate([group * len(KINDS) + kind for kind, _ in columns])
    there = values != 0
    at = np.tile(np.arange(len(requests)), len(columns))[there]
    (places, found), inverse = _groups(place[there], values[there])
    counts = np.bincount(inverse, minlength=len(places))
    first = np.full(len(places), len(requests), np.int64)
    np.minimum.at(first, inverse, at)
    before = np.frombuffer(b"".join(one.shares for one in known), ENTRY)
    of = np.repeat([one.group for one in known], [len(one.shares) // ENTRY.itemsize for one in known]).astype(np.int64)
    mine, old = np.empty(len(places), _PAIR), np.empty(len(before), _PAIR)
    mine["place"], mine["value"] = places, found
    old["place"], old["value"] = of * len(KINDS) + before["kind"], before["value"]
    is_known = np.isin(mine, old)
    room = MOST - np.bincount(old["place"], minlength=len(keys[0]) * len(KINDS))
    new = np.flatnonzero(~is_known)
    new = new[np.lexsort((found[new], first[new], places[new]))]
    begins = np.searchsorted(places[new], places[new])
    new = new[np.arange(len(new)) - begins < room[places[new]]]
    chosen = np.concatenate([np.flatnonzero(is_known), new])
    (places_, values_), inverse = _groups(
        np.concatenate([old["place"], places[chosen]]), np.concatenate([old["value"], found[chosen]])
    )
    entries = np.empty(len(places_), ENTRY)
    groups, entries["kind"] = np.divmod(places_, len(KINDS))
    entries["value"] = values_
    entries["requests"] = np.bincount(inverse, np.concatenate([before["requests"], counts[chosen]]))
    whose, kind = np.divmod(places[new], len(KINDS))
    rows = keys[0][whose], kind, found[new], keys[1][whose]
    order = np.lexsort(rows[::-1])  # neighbours in the tree are written together
    to.insert("share", [row[order].tolist() for row in rows], "ON CONFLICT DO NOTHING")
    return _cut(entries, np.searchsorted(groups, np.arange(len(keys[0]) + 1)))


def _cut(values: npt.NDArray[Any], ends: npt.NDArray[np.intp]) -> list[bytes]:
    """The bytes of parts of an array, given where each begins and the last ends."""
    raw, size = values.tobytes(), values.itemsize
    places = (size * ends).tolist()
    return [raw[begin:end] for begin, end in itertools.pairwise(places)]


def _groups(first: Ints, second: Ints) -> tuple[tuple[Ints, Ints], npt.NDArray[np.intp]]:
    """The distinct pairs, ascending, and which of them each is."""
    order = np.lexsort((second, first))
    a, b = first[order], second[order]
    begins = np.ones(len(order), np.bool_)
    begins[1:] = (a[1:] != a[:-1]) | (b[1:] != b[:-1])
    inverse = np.empty(len(order), np.intp)
    inverse[order] = np.cumsum(begins) - 1
    return (a[begins], b[begins]), inverse


def _known(to: Connection, wanted: Sequence[tuple[int, int]]) -> list[_Known]:
    """What the index has of days and accounts, each with the place of its pair in `wanted`."""
    to.execute("CREATE TEMP TABLE IF NOT EXISTS wanted (at BIGINT PRIMARY KEY, day BIGINT, account BIGINT)")
    to.execute("DELETE FROM wanted")
    days_, accounts = zip(*wanted, strict=True)
    to.insert("wanted", (range(len(wanted)), days_, accounts), "")
    rows = to.execute(
        "SELECT w.at, t.contents, t.shares FROM wanted w CROSS JOIN day t WHERE t.day = w.day AND t.account = w.account"
    )
    return [_Known(*row) for row in rows]


def _erased(of: Connection) -> list[tuple[str, float]]:
    return of.execute("SELECT account, until FROM erased").fetchall()
