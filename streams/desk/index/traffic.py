"""Requests in the index: sums by account and hour, sketches of contents by day, and what accounts share. A batch is
summed up in arrays and then written row by row, so that a busy account costs no more than a quiet one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from siphonwatch.models.account import request as rq
from siphonwatch.streams.contracts.telemetry import Malformed
from siphonwatch.streams.desk.index import sketch
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
REMEMBERED = 100_000
"""Labels that are known to be written."""
Ints = npt.NDArray[np.int64]


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
        self._labels: set[int] = set()

    def take(self, to: sqlite3.Connection, values: Sequence[bytes], sent: npt.NDArray[np.float64]) -> int:
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
            self._label(to, requests, [values[row] for row in rows.tolist()])
            add(to, requests)
            self.prune(to, int(requests["time"].min() // DAY))
        return skipped

    def prune(self, to: sqlite3.Connection, oldest: int) -> None:
        """Remove what is older than `days` before the newest day, where a day as old as `oldest` may be."""
        there = days(to)
        before = there.stop - self._days
        if min(there.start, oldest) >= before:
            return
        to.execute("DELETE FROM hour WHERE hour < ?", (24 * before,))
        for table in ("day", "share", "account"):
            to.execute(f"DELETE FROM {table} WHERE day < ?", (before,))

    def _label(self, to: sqlite3.Connection, requests: rq.Array, values: Sequence[bytes]) -> None:
        """Keep the texts of labels, of which requests have hashes."""
        if len(self._labels) > REMEMBERED:
            self._labels = set()
        for name in LABELS:
            found, first = np.unique(requests[name], return_index=True)
            for hash_, at in zip(found.view(np.int64).tolist(), first.tolist(), strict=True):
                if hash_ and hash_ not in self._labels:
                    try:
                        text = getattr(decode_wrapped(values[at]), name)
                    except Malformed:
                        continue  # the scanner reads what the contract's decoder does; be that as it may
                    to.execute("INSERT OR IGNORE INTO label VALUES (?, ?)", (hash_, text))
                    self._labels.add(hash_)


def add(to: sqlite3.Connection, requests: rq.Array) -> None:
    """Add requests, `(n,) REQUEST` in the order of their log, to the sums."""
    account = requests["account_hash"].view(np.int64)
    hour = (requests["time"] // HOUR).astype(np.int64)
    _accounts(to, requests, account, hour // 24)
    _hours(to, requests, account, hour)
    _days(to, requests, account, hour // 24)
    _shares(to, requests, account, hour // 24)


def erase(to: sqlite3.Connection, account: str, until: float) -> None:
    """Remove what is kept of an account from up to a time, in whole hours and days."""
    for (hash_,) in to.execute("SELECT hash FROM account WHERE name = ?", (account,)).fetchall():
        there = days(to)
        to.executemany(
            "DELETE FROM hour WHERE hour = ? AND account = ?",
            ((hour, hash_) for hour in range(24 * there.start, int(until // HOUR) + 1)),
        )
        for table in ("day", "share"):
            to.executemany(
                f"DELETE FROM {table} WHERE day = ? AND account = ?",
                ((day, hash_) for day in range(there.start, int(until // DAY) + 1)),
            )
        to.execute("DELETE FROM account WHERE hash = ? AND day <= ?", (hash_, until // DAY))


def days(of: sqlite3.Connection) -> range:
    """Return the days of which there are requests, counted from 1970."""
    first, last = of.execute("SELECT (SELECT min(day) FROM day), (SELECT max(day) FROM day)").fetchone()
    return range(0) if first is None else range(first, last + 1)


def _accounts(to: sqlite3.Connection, requests: rq.Array, account: Ints, day: Ints) -> None:
    found, inverse = np.unique(account, return_inverse=True)
    newest = np.full(len(found), -1, np.int64)
    np.maximum.at(newest, inverse, day)
    first = np.zeros(len(found), np.int64)
    first[inverse[::-1]] = np.arange(len(account))[::-1]
    names = rq.names(requests["account"][first])
    to.executemany(
        "INSERT INTO account VALUES (?, ?, ?) ON CONFLICT (hash) DO UPDATE SET day = excluded.day "
        "WHERE excluded.day > day",
        zip(found.tolist(), names, newest.tolist(), strict=True),
    )


def _hours(to: sqlite3.Connection, requests: rq.Array, account: Ints, hour: Ints) -> None:
    keys, inverse = _groups(hour, account)
    n = len(keys[0])
    sums = [
        np.bincount(inverse, weights, n).astype(np.int64).tolist()
        for weights in (None, np.isin(requests["status"], REFUSED), requests["tokens_in"], requests["tokens_out"])
    ]
    to.executemany(
        "INSERT INTO hour VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (hour, account) DO UPDATE SET "
        "requests = requests + excluded.requests, refused = refused + excluded.refused, "
        "input = input + excluded.input, output = output + excluded.output",
        zip(*(key.tolist() for key in keys), *sums, strict=True),
    )


def _days(to: sqlite3.Connection, requests: rq.Array, account: Ints, day: Ints) -> None:
    """Sketches are read, joined with the batch's, and written again."""
    keys, inverse = _groups(day, account)
    n = len(keys[0])
    time = requests["time"]
    first, last = np.full(n, np.inf), np.full(n, -np.inf)
    np.minimum.at(first, inverse, time)
    np.maximum.at(last, inverse, time)
    rest = requests["rest"] == 1
    talks = ~rest & ((requests["session"] != 0) | (requests["stream"] == 1))  # as evidence has cohorts
    cohorts = [np.bincount(inverse, of, n).astype(np.int64).tolist() for of in (talks, ~rest & ~talks, rest)]
    wanted = list(zip(*(key.tolist() for key in keys), strict=True))
    said = np.where(requests["said"] != 0, requests["said"], requests["resource"])
    of = inverse[said != 0].astype(np.uint64)
    values = [(of << np.uint64(16)) | sketch.registers(said[said != 0])]
    for at, (_, _, blob) in _known(to, wanted, "day", "contents"):
        known = np.frombuffer(blob, "<u2").astype(np.uint64)
        values.append((np.uint64(at) << np.uint64(16)) | known)
    # Ordered by group, then as `sketch.merged` orders the registers of one.
    together = np.sort(np.concatenate(values))
    highest = np.ones(len(together), np.bool_)
    highest[:-1] = (together[1:] >> np.uint64(5)) != (together[:-1] >> np.uint64(5))
    together = together[highest]
    ends = np.searchsorted(together, np.arange(1, n + 1, dtype=np.uint64) << np.uint64(16))
    flat = (together & np.uint64(0xFFFF)).astype("<u2")
    blobs = [part.tobytes() for part in np.split(flat, ends[:-1])]
    to.executemany(
        "INSERT INTO day VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (day, account) DO UPDATE SET "
        "first = min(first, excluded.first), last = max(last, excluded.last), "
        "conversation = conversation + excluded.conversation, program = program + excluded.program, "
        "rest = rest + excluded.rest, contents = excluded.contents",
        (
            (*key, *row)
            for key, row in zip(wanted, zip(first.tolist(), last.tolist(), *cohorts, blobs, strict=True), strict=True)
        ),
    )


def _shares(to: sqlite3.Connection, requests: rq.Array, account: Ints, day: Ints) -> None:
    """The first `MOST` values of each kind, account and day are counted."""
    group_keys, group = _groups(day, account)
    groups = list(zip(*(key.tolist() for key in group_keys), strict=True))
    columns = [(kind, requests[field].view(np.int64)) for kind, name in enumerate(KINDS) for field in FIELDS[name]]
    kinds = np.repeat(np.array([kind for kind, _ in columns]), len(requests))
    values = np.concatenate([column for _, column in columns])
    place = group[np.tile(np.arange(len(requests)), len(columns))] * len(KINDS) + kinds
    there = values != 0
    (places, found), inverse = _groups(place[there], values[there])
    counts = np.bincount(inverse, minlength=len(places))
    first = np.full(len(places), len(values), np.int64)
    at = np.tile(np.arange(len(requests)), len(columns))[there]
    np.minimum.at(first, inverse, at)
    known_place, known_value = [], []
    for where, (_, _, kind, value) in _known(to, groups, "share", "kind, value"):
        known_place.append(where * len(KINDS) + kind)
        known_value.append(value)
    pairs = np.dtype([("place", "i8"), ("value", "i8")])
    before = np.empty(len(known_place), pairs)
    before["place"], before["value"] = known_place, known_value
    mine = np.empty(len(places), pairs)
    mine["place"], mine["value"] = places, found
    old = np.isin(mine, before)
    room = MOST - np.bincount(before["place"], minlength=len(groups) * len(KINDS))
    new = np.flatnonzero(~old)
    new = new[np.lexsort((found[new], first[new], places[new]))]
    begins = np.searchsorted(places[new], places[new])
    fits = new[np.arange(len(new)) - begins < room[places[new]]]
    chosen = np.sort(np.concatenate([np.flatnonzero(old), fits]))
    where, kind = np.divmod(places[chosen], len(KINDS))
    to.executemany(
        "INSERT INTO share VALUES (?, ?, ?, ?, ?) ON CONFLICT (day, account, kind, value) DO UPDATE SET "
        "requests = requests + excluded.requests",
        zip(
            group_keys[0][where].tolist(), group_keys[1][where].tolist(), kind.tolist(), found[chosen].tolist(),
            counts[chosen].tolist(), strict=True,
        ),
    )  # fmt: skip


def _groups(first: Ints, second: Ints) -> tuple[tuple[Ints, Ints], npt.NDArray[np.intp]]:
    """The distinct pairs, ascending, and which of them each is."""
    order = np.lexsort((second, first))
    a, b = first[order], second[order]
    begins = np.ones(len(order), np.bool_)
    begins[1:] = (a[1:] != a[:-1]) | (b[1:] != b[:-1])
    inverse = np.empty(len(order), np.intp)
    inverse[order] = np.cumsum(begins) - 1
    return (a[begins], b[begins]), inverse


def _known(
    to: sqlite3.Connection, wanted: Sequence[tuple[int, int]], table: str, columns: str
) -> list[tuple[int, tuple[Any, ...]]]:
    """The rows of a table for days and accounts, each with the place of its pair in `wanted`."""
    to.execute("CREATE TEMP TABLE IF NOT EXISTS wanted (day, account, PRIMARY KEY (day, account)) WITHOUT ROWID")
    to.execute("DELETE FROM temp.wanted")
    to.executemany("INSERT INTO temp.wanted VALUES (?, ?)", wanted)
    place = {pair: at for at, pair in enumerate(wanted)}
    found = to.execute(
        f"SELECT w.day, w.account, {columns} FROM temp.wanted w CROSS JOIN {table} t "
        "ON t.day = w.day AND t.account = w.account"
    )
    return [(place[row[0], row[1]], row) for row in found]


def _erased(of: sqlite3.Connection) -> list[tuple[str, float]]:
    return of.execute("SELECT account, until FROM erased").fetchall()
