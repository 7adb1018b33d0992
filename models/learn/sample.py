"""What a card is fitted on: the features of accounts at chosen requests, with labels. Reads and fits nothing."""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.features import WIDTH

HOUR = 3600.0
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


class Sample(NamedTuple):
    """Account-hours of `n` accounts, in `m` rows ordered by account: each at the request that scored highest then."""

    values: npt.NDArray[np.float32]
    """`(m, F)` features."""
    account: Ints
    """`(m,)` place of the row's account among the following, ascending."""
    time: Floats
    """`(m,)` event time, seconds since 1970."""
    name: list[str]
    attack: Bools
    """`(n,)`."""
    weight: Floats
    """`(n,)` how sure the label is, in (0, 1]."""
    campaign: list[str]
    """`(n,)`; an honest account, or one whose campaign is not known, stands for itself."""
    kind: list[str]
    """`(n,)` family of attacks, or kind of honest customer; empty where the labels do not say."""
    source: list[str]
    """`(n,)` the data set."""

    def where(self, accounts: Bools, rows: Bools | None = None) -> Sample:
        """Return the sample of some accounts, `(n,)`, and of some rows, `(m,)`; who has no row is left out."""
        kept = accounts[self.account] if rows is None else accounts[self.account] & rows
        old = np.unique(self.account[kept])
        place = np.full(len(self.name), -1)
        place[old] = np.arange(len(old))
        of: Any = [[column[i] for i in old.tolist()] for column in (self.name, self.campaign, self.kind, self.source)]
        return Sample(
            self.values[kept], place[self.account[kept]], self.time[kept], of[0], self.attack[old], self.weight[old],
            of[1], of[2], of[3],
        )  # fmt: skip

    def highest(self, scores: npt.NDArray[np.float32]) -> Floats:
        """Return each account's highest of its rows' scores, `(m,)`, as `(n,)`."""
        starts = np.searchsorted(self.account, np.arange(len(self.name)))
        return np.maximum.reduceat(scores, starts).astype(np.float64) if len(starts) else np.zeros(0)

    def digest(self) -> str:
        """Return the sha256 of features, times, accounts and labels: two samples of one digest fit the same card."""
        found = hashlib.sha256(repr(self.values.shape).encode())
        for column in (self.values, self.account, self.time, self.attack, self.weight):
            found.update(np.ascontiguousarray(column).data)
        found.update(repr((self.name, self.campaign, self.kind, self.source)).encode())
        return found.hexdigest()


def joined(samples: list[Sample]) -> Sample:
    """Return several samples as one: accounts of one name in two data sets are two accounts."""
    starts = np.cumsum([0, *(len(one.name) for one in samples)]).tolist()
    return Sample(
        np.concatenate([one.values for one in samples]),
        np.concatenate([one.account + start for one, start in zip(samples, starts, strict=False)]),
        np.concatenate([one.time for one in samples]),
        [name for one in samples for name in one.name],
        np.concatenate([one.attack for one in samples]),
        np.concatenate([one.weight for one in samples]),
        [f"{source} {campaign}" for one in samples for source, campaign in zip(one.source, one.campaign, strict=True)],
        [kind for one in samples for kind in one.kind],
        [source for one in samples for source in one.source],
    )


class Hours:
    """Keeps, of each account and hour, the features at the request that scored highest.

    Examples
    --------
    >>> hours = Hours()
    >>> hours.take(np.array([0, 0]), np.array([10.0, 20.0]), np.zeros((2, WIDTH), np.float32), np.array([0.1, 0.7]))
    >>> hours.rows()[1].tolist(), hours.rows()[2].tolist()
    ([0], [20.0])
    """

    def __init__(self) -> None:
        self._place: dict[tuple[int, int], int] = {}
        self._values = np.zeros((1024, WIDTH), np.float32)
        self._time = np.zeros(1024)
        self._score = np.zeros(1024)

    def take(self, account: Ints, time: Floats, values: npt.NDArray[np.float32], scores: npt.NDArray[Any]) -> None:
        """Take requests: accounts by number, event times, features and scores; each `(m, ...)`."""
        hour = (time // HOUR).astype(np.int64)
        order = np.lexsort((-scores, hour, account))
        first = np.ones(len(order), np.bool_)
        first[1:] = (np.diff(account[order]) != 0) | (np.diff(hour[order]) != 0)
        for i in order[first].tolist():
            place = self._place.setdefault((int(account[i]), int(hour[i])), len(self._place))
            if place >= len(self._time):
                self._values = np.concatenate([self._values, np.zeros_like(self._values)])
                self._time, self._score = (np.concatenate([a, np.zeros_like(a)]) for a in (self._time, self._score))
            if self._time[place] == 0.0 or scores[i] > self._score[place]:
                self._values[place], self._time[place], self._score[place] = values[i], time[i], scores[i]

    def rows(self) -> tuple[npt.NDArray[np.float32], Ints, Floats]:
        """Return features, accounts and times, ordered by account and time."""
        n = len(self._place)
        account = np.array([account for account, _ in self._place], np.int64)
        order = np.lexsort((self._time[:n], account))
        return self._values[:n][order], account[order], self._time[:n][order]
