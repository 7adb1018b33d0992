"""One telemetry partition at work: restore, decode, score, send alerts, checkpoint. Orders steps, computes nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from importlib.metadata import version
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import structlog

from models.cases import Finding
from models.request import Array
from models.table import AccountTable
from models.verdict_book import VerdictBook
from streams.agents.sources import Sources, fresh
from streams.alerts import encode, to_alert
from streams.allow import Allowed
from streams.contract import Malformed
from streams.decode import Decoder
from streams.dlq import DeadLetter
from streams.metrics import Metrics
from streams.state.log import Fenced, StateLog
from streams.state.memory import MemoryStateLog
from streams.state.pages import ColdPages, from_page, to_page
from streams.transport import Batch

_log = structlog.get_logger(__name__)


class Outlet(Protocol):
    """Where alerts and dead letters go."""

    async def alert(self, key: bytes, value: bytes) -> None:
        """Send one alert; may wait for room."""

    async def dead_letters(self, letters: Iterable[DeadLetter]) -> None:
        """Send bad records with their reasons; returns when they are acknowledged."""

    async def flush(self) -> None:
        """Wait until every alert is acknowledged; raises where one was not."""


class BatchScorer(Protocol):
    """What a partition runs: `models.scorer.Scorer` or `models.coordinator.Coordinator`."""

    table: AccountTable

    @property
    def now(self) -> float:
        """Event time, seconds since 1970."""

    @property
    def late(self) -> int:
        """Requests later than the grace."""

    def score(self, requests: Array, offsets: npt.NDArray[np.int64]) -> list[Finding]:
        """Take requests with their offsets; return what came of them."""

    def dump(self) -> bytes:
        """Serialise everything but the rows."""

    def load(self, data: bytes) -> None:
        """Take over what `dump` wrote."""


class Onward(Protocol):
    """Where requests that were sighted go on to."""

    async def send(self, batch: Batch, requests: Array, offsets: npt.NDArray[np.int64]) -> None:
        """Send what was sighted of a batch's requests, which were just scored."""

    async def flush(self) -> None:
        """Wait until every one is acknowledged; raises where one was not."""


class Read(NamedTuple):
    """What a batch holds that was not applied before."""

    requests: Array
    """In their order, `(n,) REQUEST`."""
    offsets: npt.NDArray[np.int64]
    """What the scorer knows each one by, increasing, `(n,)`."""
    rows: npt.NDArray[np.int64]
    """Which of the batch's records each one came from, `(n,)`."""
    rejected: list[tuple[int, Malformed]]
    """Records that cannot be read: place in the batch and reason."""
    skipped: int
    """Requests that were applied before."""


def dead_letter(batch: Batch, row: int, error: Malformed, index: int = 0) -> DeadLetter:
    """Return a record of a batch as a dead letter."""
    return DeadLetter(
        key=batch.keys[row], value=batch.values[row], reason=error.reason, detail=str(error), topic=batch.topic,
        partition=batch.partition, offset=int(batch.offsets[row]), timestamp=int(batch.timestamps[row]), index=index,
        version=version("siphonwatch"), headers=batch.headers[row],
    )  # fmt: skip


class TelemetryPartition:
    """Runs one scorer over one partition.

    Parameters
    ----------
    number
        Of the partition.
    scorer
        Without any state yet.
    log
        Where checkpoints go; a new one for each assignment.
    outlet
        Where alerts and dead letters go.
    metrics
        What is counted.
    book
        The verdicts that stand, which rank what is told; another one follows them. None where there are none.
    onward
        Takes what the scorer sighted; None where nothing comes after it.
    allowed
        The accounts that raise no alert; nobody by default.
    hot_accounts, forget_after
        See `[state]` of the settings.
    clock
        Monotonic seconds, for metrics only.
    now
        Seconds since 1970, for metrics only.
    """

    def __init__(
        self,
        number: int,
        scorer: BatchScorer,
        log: StateLog | MemoryStateLog,
        outlet: Outlet,
        metrics: Metrics,
        *,
        book: VerdictBook | None = None,
        onward: Onward | None = None,
        allowed: Allowed | None = None,
        hot_accounts: int,
        forget_after: float,
        clock: Callable[[], float] = time.perf_counter,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.scorer = scorer
        self._log = log
        self._outlet = outlet
        self._metrics = metrics
        self._book = VerdictBook() if book is None else book
        self._onward = onward
        self._allowed = Allowed(()) if allowed is None else allowed
        self._label = str(number)
        self._hot_accounts = hot_accounts
        self._forget_after = forget_after
        self._clock = clock
        self._now = now
        self._cold = ColdPages()
        self._decoder = Decoder()
        self._sources: Sources = {}
        self._next: int | None = None  # telemetry offset after the last batch, while no snapshot holds it
        self._durable: int | None = None  # telemetry offset of the last snapshot
        self._fenced = False

    async def restore(self) -> int | None:
        """Load the newest snapshot; return the telemetry offset to go on from, None where there is none."""
        started = self._clock()
        snapshot = await self._log.restore()
        if snapshot is None:
            return None
        async for part in snapshot.hot():
            self.scorer.table.place({number: from_page(page.data) for number, page in part})
        self.scorer.table.settle()
        self.scorer.load(snapshot.models)
        self._cold.load(snapshot.cold, self.scorer.table)
        self._sources = snapshot.meta.get("sources", {})
        self._metrics.restore_seconds.labels(self._label).set(self._clock() - started)
        self._durable = snapshot.next_offset
        return snapshot.next_offset

    async def process(self, batch: Batch) -> None:
        """Score a batch and send what came of it; bad records go to the dead-letter topic, the others are unharmed.

        Raises
        ------
        StateError
            When another owner has claimed the partition.
        """
        if self._fenced:
            raise Fenced(f"partition {self._label}: another worker owns its state; nothing more is applied here")
        started = self._clock()
        read = self._read(batch)
        self._metrics.skipped.labels(self._label).inc(read.skipped)
        if read.rejected:
            for _, error in read.rejected:
                self._metrics.dead_letters.labels(self._label, error.reason).inc()
            await self._outlet.dead_letters(dead_letter(batch, row, error) for row, error in read.rejected)
        decoded_at = self._clock()
        if wanted := self._cold.wanted(read.requests):
            self._cold.thaw(self.scorer.table, read.requests, await self._log.fetch(wanted))
        thawed_at = self._clock()
        findings = self.scorer.score(read.requests, read.offsets)
        scored_at = self._clock()
        for finding in findings:
            await self._tell(finding)
        if self._onward is not None:
            await self._onward.send(batch, read.requests, read.offsets)
        self._next = batch.next_offset
        done_at = self._clock()
        self._measure(
            len(read.requests),
            (decoded_at - started, thawed_at - decoded_at, scored_at - thawed_at, done_at - scored_at),
        )

    def _read(self, batch: Batch) -> Read:
        """Read a batch's records, without what was ingested again after a crash."""
        values = [b"" if value is None else value for value in batch.values]
        rows = np.arange(len(values))
        if any(batch.headers):
            rows = np.flatnonzero(fresh(batch.headers, self._sources))
            values = [values[i] for i in rows.tolist()]
        requests, places, rejected = self._decoder.decode(values)
        rejected = [(int(rows[place]), error) for place, error in rejected]
        skipped = len(batch) - len(rows)
        rows = rows[places]
        return Read(requests, batch.offsets[rows], rows, rejected, skipped)

    async def _tell(self, finding: Finding) -> None:
        if self._allowed.spares(finding.accounts):
            self._metrics.allowed.labels(self._label, finding.pattern, finding.kind).inc()
            return
        self._metrics.findings.labels(self._label, finding.pattern, finding.severity, finding.kind).inc()
        await self._outlet.alert(finding.case.encode(), encode(to_alert(finding, self._book.rank_finding(finding))))

    def _measure(self, n: int, seconds: tuple[float, ...]) -> None:
        metrics, label = self._metrics, self._label
        metrics.requests.labels(label).inc(n)
        metrics.batch.labels(label).observe(n)
        metrics.watermark.labels(label).set(self.scorer.now)
        metrics.late.labels(label).set(self.scorer.late)
        for stage, spent in zip(("decode", "thaw", "score", "emit"), seconds, strict=True):
            metrics.stages.labels(label, stage).inc(spent)

    async def checkpoint(self) -> int | None:
        """Make everything up to the last batch durable, alerts first; return the offset to commit.

        Where nothing is new that is the last snapshot's: a crash may have come before it was committed. Returns None
        before any snapshot, or where another owner took the partition over.
        """
        if self._fenced:
            return None
        if self._next is None:
            return self._durable
        started = self._clock()
        await self._outlet.flush()
        if self._onward is not None:
            await self._onward.flush()
        table = self.scorer.table
        pages = self._cold.evict(table, self._hot_accounts)
        self._cold.forget(self.scorer.now - self._forget_after)
        changed = table.take_dirty()
        pages |= {number: None if rows is None else to_page(rows) for number, rows in changed.items()}
        pages |= dict.fromkeys(self._cold.take_dropped())
        try:
            offset = await self._log.checkpoint(pages, self.scorer.dump(), self._next, {"sources": self._sources})
        except Fenced as error:
            self._fenced = True
            _log.warning("fenced", partition=self._label, error=str(error))
            return None
        self._next, self._durable = None, offset
        self._metrics.checkpoint_seconds.labels(self._label).observe(self._clock() - started)
        self._metrics.checkpoint.labels(self._label).set(self._now())
        self._metrics.accounts.labels(self._label).set(len(table))
        self._metrics.cold.labels(self._label).set(len(self._cold))
        self._metrics.state.labels(self._label).set(table.nbytes)
        return offset

    async def committed(self) -> None:
        """Let the log clean up, now that the group holds the checkpoint's offset."""
        await self._log.committed()

    async def close(self) -> None:
        """Let go of the partition."""
        await self._log.stop()
