"""Features, scores and evidence of a data set's requests, made again by the scorer as replay and workers run it.

The whole archive up to a request makes its features, and nothing after it: what an earlier moment gives is what a later
one gives of it.
"""

from __future__ import annotations

import time as clock
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from siphonwatch.models.account.features import FEATURES, NAMES
from siphonwatch.models.account.request import names
from siphonwatch.models.engine.engine import Trace
from siphonwatch.models.engine.patterns import detectors
from siphonwatch.models.evidence.cases import Finding
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.lab.dataset.read import Dataset, Known
from siphonwatch.streams.lab.dataset.rows import (
    COMPUTED,
    DEFAULT,
    ArrowRows,
    At,
    Judged,
    Tell,
    check_pattern,
    chosen,
    facts,
    field,
)
from siphonwatch.streams.lab.offline import Offline
from siphonwatch.streams.worker.opening import keys_of

BLOCK = 8192
"""Requests scored at a time; any other number gives the same rows."""
HOUR = 3600.0


class _Rows(NamedTuple):
    """What the scorer said of some requests, in the order of the archive."""

    sequence: npt.NDArray[np.int64]
    partition: npt.NDArray[np.int32]
    offset: npt.NDArray[np.int64]
    time: npt.NDArray[np.float64]
    account: npt.NDArray[Any]
    hour: npt.NDArray[np.int64]
    """Of the account, hours since 1970: never earlier than that of its request before."""
    inside: npt.NDArray[np.bool_]
    features: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    log_e: npt.NDArray[np.float32]

    def at(self, chosen: npt.NDArray[Any]) -> _Rows:
        return _Rows(*(column[chosen] for column in self))


class Features(ArrowRows):
    """The features of a data set at each request, at the end of each account's hour, at each alert, or at several.

    It speaks Arrow's PyCapsule interface and makes its rows while they are read; memory holds a block of requests and,
    by hour, one row for each account.

    Parameters
    ----------
    dataset
        Which one.
    at
        `request`; `hourly`: the account's last request of an hour with requests, and `closed`, the event time of the
        request that closed it, null where none has; `alert`: the request that made an account's alert, with the case.
        Several of these in one table: its column `at` says which a row is of.
    pattern
        Whose labels and alerts; all patterns' alerts, and labels of `extraction`, where it is empty.
    settings
        Of the scorer.
    tell
        Told now and then how far it has come.
    partitions
        Score in so many, by account, as workers over as many partitions do.

    Raises
    ------
    DatasetError
        Where there is no such time or pattern.
    """

    def __init__(
        self,
        dataset: Dataset,
        at: At | Sequence[At] = "alert",
        pattern: str = "",
        settings: Settings | None = None,
        tell: Tell = lambda text: None,
        partitions: int = 1,
    ) -> None:
        self.patterns = [detector.pattern for detector in detectors()]
        self._ats = chosen(at)
        check_pattern(pattern, self.patterns)
        self._dataset, self._pattern, self._partitions = dataset, pattern, partitions
        self._settings = settings or Settings()
        self._tell = tell
        self._judged = Judged(dataset)
        self.schema = _schema(self.patterns, self._ats)
        self.unopened = 0
        """Requests, of those last read, with sealed parts that no key opens: features of their texts are missing."""

    def _batches(self) -> Iterator[pa.RecordBatch]:
        begun, done = clock.monotonic(), 0
        hours = _Hours()
        self.unopened = 0
        with Offline(self._settings, self._partitions) as offline:
            watch = _Watch(offline)
            for known in self._dataset.batches(keys_of(self._settings)):
                self.unopened += known.unopened
                for start in range(0, len(known.requests), BLOCK):
                    rows, findings = watch.score(_part(known, slice(start, start + BLOCK)))
                    done += len(known.requests[start : start + BLOCK])
                    if "request" in self._ats:
                        yield from self._made(rows, "request")
                    if "hourly" in self._ats:
                        closed, closing = hours.take(rows)
                        yield from self._made(closed, "hourly", closed=closing)
                    if "alert" in self._ats:
                        yield from self._alerts(rows, findings)
                self._tell(f"{done:,} requests, {done / (clock.monotonic() - begun):,.0f}/s")
        for still in hours.open():
            yield from self._made(still, "hourly", closed=np.full(len(still.time), np.nan))

    def _alerts(self, rows: _Rows, findings: list[Finding]) -> Iterator[pa.RecordBatch]:
        """The rows of requests that made an alert of their account."""
        wanted = {self._pattern} if self._pattern else set(self.patterns)
        told = [finding for finding in findings if finding.kind != "close" and finding.pattern in wanted]
        there = np.searchsorted(rows.sequence, np.array([finding.offset for finding in told], np.int64))
        yield from self._made(rows.at(there), "alert", findings=told)

    def _made(
        self,
        rows: _Rows,
        at: At,
        closed: npt.NDArray[np.float64] | None = None,
        findings: list[Finding] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        kept = np.flatnonzero(rows.inside)
        if not len(kept):
            return
        rows = rows.at(kept)
        accounts = rows.account.tolist()
        columns: dict[str, Any] = {
            "partition": rows.partition, "offset": rows.offset, "time": rows.time, "account": accounts,
            "origin": [COMPUTED] * len(kept), "at": [at] * len(kept),
        }  # fmt: skip
        if closed is not None:
            columns["closed"] = pa.array(closed[kept], from_pandas=True)
        if findings is not None:
            told = [findings[i] for i in kept.tolist()]
            columns |= {"case": [f.case for f in told], "pattern": [f.pattern for f in told]}
        columns |= self._judged.columns(accounts, rows.time, [self._pattern or DEFAULT] * len(kept))
        columns |= {name: rows.features[:, i] for i, name in enumerate(NAMES)}
        for i, pattern in enumerate(self.patterns):
            columns[f"score_{pattern}"], columns[f"log_e_{pattern}"] = rows.scores[:, i], rows.log_e[:, i]
        arrays = [
            pa.array(columns[one.name], one.type) if one.name in columns else pa.nulls(len(kept), one.type)
            for one in self.schema
        ]
        yield pa.RecordBatch.from_arrays(arrays, schema=self.schema)


class _Watch:
    """Scores blocks and keeps what the champion's judge saw of them."""

    def __init__(self, offline: Offline) -> None:
        self._offline = offline
        for judge in offline.judges():
            judge.trace = self._take
        self._traces: list[Trace] = []
        self._hours: dict[str, int] = {}

    def _take(self, trace: Trace) -> None:
        kept = trace.taken
        self._traces.append(
            trace._replace(
                offsets=trace.offsets[kept], features=trace.features[kept].copy(), scores=trace.scores[kept].copy(),
                log_e=trace.log_e[kept].copy(),
            )
        )  # fmt: skip

    def score(self, known: Known) -> tuple[_Rows, list[Finding]]:
        """Score a block; return the rows of what was scored of it, and what was found."""
        self._traces = []
        time, account = known.requests["time"].copy(), np.array(names(known.requests["account"]), object)
        findings = self._offline.score(known.requests, known.sequence)
        sequence = np.concatenate([t.offsets for t in self._traces] or [np.zeros(0, np.int64)])
        order = np.argsort(sequence, kind="stable")
        sequence = sequence[order]
        at = np.searchsorted(known.sequence, sequence)
        features, scores, log_e = (
            np.concatenate([getattr(t, name) for t in self._traces])[order]
            if self._traces
            else np.zeros((0, width), np.float32)
            for name, width in (("features", len(NAMES)), ("scores", 0), ("log_e", 0))
        )
        hours = self._effective(account[at], np.floor(time[at] / HOUR).astype(np.int64))
        rows = _Rows(
            sequence, known.partition[at], known.offset[at], time[at], account[at], hours, known.inside[at], features,
            scores, log_e,
        )  # fmt: skip
        return rows, findings

    def _effective(self, accounts: npt.NDArray[Any], hours: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The hour that each request counts for: a late one counts for the hour that its account has reached."""
        reached = self._hours
        for i, (account, hour) in enumerate(zip(accounts.tolist(), hours.tolist(), strict=True)):
            hours[i] = reached[account] = max(hour, reached.get(account, hour))
        return hours


class _Hours:
    """The last row of each account, until its hour is over."""

    def __init__(self) -> None:
        self._slots: dict[str, int] = {}
        self._last: _Rows | None = None
        """By slot; longer than there are slots."""

    def take(self, rows: _Rows) -> tuple[_Rows, npt.NDArray[np.float64]]:
        """Return the last rows of hours that are over, and the event times that closed them."""
        if self._last is None:
            self._last = rows.at(np.zeros(0, np.int64))
        known = [slot for name in dict.fromkeys(rows.account.tolist()) if (slot := self._slots.get(name, -1)) >= 0]
        closed, closing, still = _close(self._last.at(np.array(known, np.int64)), rows)
        slots = np.array([self._slots.setdefault(name, len(self._slots)) for name in still.account.tolist()], np.int64)
        if (more := len(self._slots) - len(self._last.time)) > 0:
            more = max(more, len(self._last.time))  # doubled, so that each row is moved a few times at most
            self._last = _Rows(*(np.concatenate([c, np.zeros((more, *c.shape[1:]), c.dtype)]) for c in self._last))
        pairs: Any = zip(self._last, still, strict=True)
        for kept, new in pairs:
            kept[slots] = new
        return closed, closing

    def open(self) -> Iterator[_Rows]:
        """Give the last rows of hours that nothing closed, in the order of the archive, a block at a time."""
        if self._last is not None:
            order = np.argsort(self._last.sequence[: len(self._slots)], kind="stable")
            for start in range(0, len(order), BLOCK):
                yield self._last.at(order[start : start + BLOCK])


def _part(known: Known, chosen: slice) -> Known:
    return known._replace(
        requests=known.requests[chosen], sequence=known.sequence[chosen], partition=known.partition[chosen],
        offset=known.offset[chosen], inside=known.inside[chosen],
    )  # fmt: skip


def _close(waiting: _Rows, rows: _Rows) -> tuple[_Rows, npt.NDArray[np.float64], _Rows]:
    """Return the last rows of hours that are over, the event times that closed them, and the rows of open hours."""
    pairs: Any = zip(waiting, rows, strict=True)
    rows = _Rows(*(np.concatenate(pair) for pair in pairs))
    _, account = np.unique(rows.account.astype("U"), return_inverse=True)
    order = np.lexsort((rows.sequence, account))
    ends = np.ones(len(order), np.bool_)
    same = np.diff(account[order]) == 0
    ends[:-1] = ~same | (np.diff(rows.hour[order]) != 0)
    last = np.ones(len(order), np.bool_)
    last[:-1] = ~same
    over = np.flatnonzero(ends & ~last)
    closing = rows.time[order[over + 1]]
    in_order = np.argsort(rows.sequence[order[over + 1]], kind="stable")
    return rows.at(order[over][in_order]), closing[in_order], rows.at(np.sort(order[last]))


def _schema(patterns: list[str], ats: Sequence[At]) -> pa.Schema:
    columns = facts(ats)
    columns += [field(f.name, pa.float32(), f.unit, f.meaning) for f in FEATURES]
    for pattern in patterns:
        columns.append(field(f"score_{pattern}", pa.float32(), "0..1", "of the shipped card"))
        columns.append(field(f"log_e_{pattern}", pa.float32(), "log(e-value)", "after the request; NaN: none"))
    return pa.schema(columns)
