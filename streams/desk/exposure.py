"""How much accounts took, and what they did by hour: sums of the index over a span of event time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

import numpy as np

from siphonwatch.streams.desk.index import sketch
from siphonwatch.streams.desk.index.sql import Connection
from siphonwatch.streams.desk.index.traffic import DAY, ENTRY, HOUR, IN, KINDS, days, days_of, parts
from siphonwatch.streams.desk.views import Exposure, Hour

MODEL = KINDS.index("model")
TOTAL = ", ".join(f"sum(CAST({name} AS DOUBLE PRECISION))" for name in ("requests", "refused", "input", "output"))


def hashes(of: Connection, accounts: Collection[str]) -> dict[str, int]:
    """Return what the index calls accounts; those without a request are left out."""
    found: dict[str, int] = {}
    for part, marks in parts(sorted(accounts)):
        found.update(of.execute(f"SELECT name, hash FROM account WHERE name IN ({marks})", part))
    return found


def hours(of: Connection, accounts: Collection[int], since: float, until: float) -> list[Hour]:
    """Return what accounts did together, an hour with a request each, oldest first.

    Parameters
    ----------
    of
        A connection whose statements see one moment.
    accounts
        As `hashes` says.
    since, until
        Seconds since 1970: hours that overlap with that.
    """
    there = days(of)
    first, last = max(int(since // HOUR), 24 * there.start), min(int(until // HOUR), 24 * there.stop - 1)
    sums: dict[int, list[int]] = {}
    for part, marks in parts(sorted(accounts)):
        for begin in range(first, last + 1, IN - 1):
            some = range(begin, min(begin + IN - 1, last + 1))
            for hour, *counted in of.execute(
                f"SELECT hour, {TOTAL} FROM hour WHERE hour IN ({', '.join('?' * len(some))}) AND account IN ({marks}) "
                "GROUP BY hour",
                [*some, *part],
            ):
                sums[hour] = [a + int(b) for a, b in zip(sums.get(hour, [0] * 4), counted, strict=True)]
    return [
        Hour(time=float(hour * HOUR), requests=n, refused=refused, input_tokens=into, output_tokens=out)
        for hour, (n, refused, into, out) in sorted(sums.items())
        if n
    ]


def exposure(
    of: Connection, accounts: Collection[str], since: float | None = None, until: float | None = None
) -> Exposure:
    """Return how much accounts took together; requests and tokens in whole hours, the rest in whole days (UTC)."""
    known = list(hashes(of, accounts).values())
    there = days(of)
    since = DAY * there.start if since is None else since
    until = DAY * there.stop - 1 if until is None else until
    counted = hours(of, known, since, until)
    sketches: list[bytes] = []
    had: list[bytes] = []
    models: Counter[int] = Counter()
    first, last, active = 0.0, 0.0, set[int]()
    on, marked = days_of(range(max(int(since // DAY), there.start), min(int(until // DAY) + 1, there.stop)))
    for part, marks in parts(sorted(known)):
        for day, begin, end, contents, shares in of.execute(
            "SELECT day, first, last, contents, shares FROM day "
            f"WHERE day IN ({marked}) AND account IN ({marks}) ORDER BY day, account",
            [*on, *part],
        ):
            sketches.append(contents)
            had.append(shares)
            first, last = min(first or begin, begin), max(last, end)
            active.add(day)
    entries = np.frombuffer(b"".join(had), ENTRY)
    for value, count in entries[entries["kind"] == MODEL][["value", "requests"]].tolist():
        models[value] += count
    texts = labels(of, models)
    requests = sum(hour.requests for hour in counted)
    return Exposure(
        requests=requests,
        input_tokens=sum(hour.input_tokens for hour in counted),
        output_tokens=sum(hour.output_tokens for hour in counted),
        contents=min(round(sketch.estimate(sketch.union(sketches))), requests),
        contents_error=round(sketch.ERROR, 4),
        models={texts.get(value, hex16(value)): count for value, count in models.most_common()},
        days=len(active), first=first, last=last,
    )  # fmt: skip


def labels(of: Connection, values: Collection[int]) -> dict[int, str]:
    """Return the texts of those values that telemetry has in clear."""
    found: dict[int, str] = {}
    for part, marks in parts(sorted(values)):
        found.update(of.execute(f"SELECT hash, text FROM label WHERE hash IN ({marks})", part))
    return found


def hex16(value: int) -> str:
    """Return a value as telemetry writes hashes.

    Examples
    --------
    >>> hex16(-1), hex16(10)
    ('ffffffffffffffff', '000000000000000a')
    """
    return f"{value & 0xFFFF_FFFF_FFFF_FFFF:016x}"
