"""Account-hours of others, to compare an account's features with: percentiles by cohort, where features are logged."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.features import FEATURES, INDEX, WIDTH
from siphonwatch.models.evidence.calibration import COHORTS
from siphonwatch.models.learn.version import table_id
from siphonwatch.streams.desk.exposure import hashes
from siphonwatch.streams.desk.index.sql import Connection
from siphonwatch.streams.desk.index.traffic import days, days_of, parts

FEWEST = 20
"""Account-hours of a cohort below which nothing is said."""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
Floats = npt.NDArray[np.float32]


class Compared(NamedTuple):
    """A value beside those of a cohort."""

    percentile: float
    typical: list[float]
    """Quantiles of the cohort, see `QUANTILES`."""


class Peers:
    """Account-hours drawn by chance, by cohort.

    Parameters
    ----------
    cohorts
        `(n, F) float32` each, by cohort.
    """

    def __init__(self, cohorts: dict[str, Floats]) -> None:
        self._sorted = {name: np.sort(rows, axis=0) for name, rows in cohorts.items() if len(rows) >= FEWEST}

    def compare(self, cohort: str, feature: str, value: float) -> Compared | None:
        """Return where a value stands; None where the feature is of no account or too few are known."""
        rows, at = self._sorted.get(cohort), INDEX.get(feature)
        if rows is None or at is None:
            return None
        column = rows[:, at]
        column = column[np.isfinite(column)]
        if len(column) < FEWEST:
            return None
        value32 = np.float32(value)
        below = 0.5 * (np.searchsorted(column, value32, "left") + np.searchsorted(column, value32, "right"))
        return Compared(
            round(100.0 * float(below) / len(column), 1), [float(q) for q in np.quantile(column, QUANTILES)]
        )


def load(of: Connection) -> Peers:
    """Return the account-hours that the index has, each under its account's cohort of now."""
    rows = of.execute("SELECT account, features FROM sample WHERE layout = ?", (table_id(),)).fetchall()
    known = hashes(of, {account for account, _ in rows})
    by_hash = cohorts_of(of, known.values())
    cohort = {account: by_hash[hash_] for account, hash_ in known.items()}
    found: dict[str, list[Floats]] = {}
    for account, raw in rows:
        if len(raw) == 4 * WIDTH and (name := cohort.get(account, "")):
            found.setdefault(name, []).append(np.frombuffer(raw, "<f4"))
    return Peers({name: np.array(vectors, np.float32) for name, vectors in found.items()})


def cohort_of(of: Connection, account: int) -> str:
    """Return the cohort that most of an account's requests are of; empty where none is known."""
    return cohorts_of(of, [account])[account]


def cohorts_of(of: Connection, accounts: Collection[int]) -> dict[int, str]:
    """Return the cohort of each of several accounts, likewise."""
    found = dict.fromkeys(accounts, "")
    on, marked = days_of(days(of))
    for part, marks in parts(sorted(found)):
        for account, *sums in of.execute(
            "SELECT account, CAST(sum(conversation) AS BIGINT), CAST(sum(program) AS BIGINT), "
            f"CAST(sum(rest) AS BIGINT) FROM day WHERE day IN ({marked}) AND account IN ({marks}) GROUP BY account",
            [*on, *part],
        ):
            found[account] = COHORTS[int(np.argmax(sums))] if any(sums) else ""
    return found


def newest(of: Connection, account: str) -> Floats | None:
    """Return an account's newest logged features, `(F,)`; None where there are none of this release's tables."""
    row = of.execute("SELECT features FROM vector WHERE account = ? AND layout = ?", (account, table_id())).fetchone()
    if row is None or len(row[0]) != 4 * WIDTH:
        return None
    return np.frombuffer(row[0], "<f4")


def described(name: str) -> tuple[str, str]:
    """Return a feature's meaning and unit."""
    feature = FEATURES[INDEX[name]]
    return feature.meaning, feature.unit
