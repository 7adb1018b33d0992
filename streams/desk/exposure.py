"""How much accounts took, and what they did by hour: sums of the index over a span of event time."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator, Sequence

import numpy as np

from siphonwatch.streams.desk.index import sketch
from siphonwatch.streams.desk.index.traffic import DAY, ENTRY, HOUR, KINDS, days
from siphonwatch.streams.desk.views import Exposure, Hour

MODEL = KINDS.index("model")
IN = 500


def hashes(of: sqlite3.Connection, accounts: Collection[str]) -> dict[str, int]:
    """Return what the index calls accounts; those without a request are left out."""
    found: dict[str, int] = {}
    given = sorted(accounts)
    for start in range(0, len(given), IN):
        part = given[start : start + IN]
        marks = ", ".join("?" * len(part))
        found.update(of.execute(f"SELECT name, hash FROM account WHERE name IN ({marks})", part))
    return found


def hours(of: sqlite3.Connection, accounts: Collection[int], since: float, until: float) -> list[Hour]:
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
    found = []
    for hour in range(first, last + 1):
        sums = [0, 0, 0, 0]
        for part in _parts(accounts):
            row = of.execute(
                "SELECT total(requests), total(refused), total(input), total(output) FROM hour "
                f"WHERE hour = ? AND account IN ({', '.join('?' * len(part))})",
                [hour, *part],
            ).fetchone()
            sums = [a + int(b) for a, b in zip(sums, row, strict=True)]
        if sums[0]:
            found.append(
                Hour(
                    time=float(hour * HOUR), requests=sums[0], refused=sums[1], input_tokens=sums[2],
                    output_tokens=sums[3],
                )
            )  # fmt: skip
    return found


def exposure(
    of: sqlite3.Connection, accounts: Collection[str], since: float | None = None, until: float | None = None
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
    for day in range(max(int(since // DAY), there.start), min(int(until // DAY) + 1, there.stop)):
        for part in _parts(known):
            marks = ", ".join("?" * len(part))
            for begin, end, contents, shares in of.execute(
                f"SELECT first, last, contents, shares FROM day WHERE day = ? AND account IN ({marks})", [day, *part]
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


def labels(of: sqlite3.Connection, values: Collection[int]) -> dict[int, str]:
    """Return the texts of those values that telemetry has in clear."""
    found: dict[int, str] = {}
    for part in _parts(values):
        marks = ", ".join("?" * len(part))
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


def _parts(values: Collection[int]) -> Iterator[Sequence[int]]:
    given = sorted(values)
    for start in range(0, len(given), IN):
        yield given[start : start + IN]
