"""What runs a scorer over one partition, of telemetry or of sightings: state in, alerts out, checkpoints between.

Its steps are those of `siphonwatch.streams.worker.agents.partition`. It computes nothing: a scorer does, in
`siphonwatch.models.engine`. Its subclasses read the records.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import structlog

from siphonwatch.models.account.request import Array
from siphonwatch.models.common.arrays import as_bytes, pack, unpack
from siphonwatch.models.engine.engine import Engine
from siphonwatch.models.engine.vitals import Bound, Vitals
from siphonwatch.models.evidence.cases import Finding
from siphonwatch.models.learn.verdict_book import VerdictBook
from siphonwatch.streams.common.settings import DEFAULT_RUNBOOK
from siphonwatch.streams.contracts import receipt
from siphonwatch.streams.contracts.alert import encode, rfc3339, to_alert
from siphonwatch.streams.contracts.control import CHAMPION
from siphonwatch.streams.contracts.provenance import UNKEYED, Seals
from siphonwatch.streams.worker.agents.control_letters import ControlLetters, ControlLetterSender
from siphonwatch.streams.worker.agents.erasing import Eraser
from siphonwatch.streams.worker.agents.feature_log import FeatureLog, What
from siphonwatch.streams.worker.agents.judges import DeployList, Judges
from siphonwatch.streams.worker.agents.numbering import Numbering
from siphonwatch.streams.worker.agents.partition import Place
from siphonwatch.streams.worker.agents.placement import Placement
from siphonwatch.streams.worker.agents.read import Read
from siphonwatch.streams.worker.agents.sources import Sources
from siphonwatch.streams.worker.agents.timing import Timing
from siphonwatch.streams.worker.allow import Allowed
from siphonwatch.streams.worker.entries import CAPACITY, Entries, EntryList
from siphonwatch.streams.worker.gauges import Readings
from siphonwatch.streams.worker.meter import Meter
from siphonwatch.streams.worker.metrics import ALLOWED, ENTRY
from siphonwatch.streams.worker.orders import OrderList
from siphonwatch.streams.worker.outlet import Outlet, dead_letter
from siphonwatch.streams.worker.state.local import LocalStateLog
from siphonwatch.streams.worker.state.log import AFRESH, Fenced, StateError, StateLog
from siphonwatch.streams.worker.state.pages import from_page
from siphonwatch.streams.worker.state.tiers import COLD_ACCOUNTS, COLD_FILE_BYTES, SLICE, Tiers
from siphonwatch.streams.worker.transport import Batch, Begin

ENTRIES = "allow"
"""The part of a snapshot that holds the allow entries which apply from its offset on."""
ERASED = "erased"
"""The part of a snapshot that holds the orders to erase which were carried out."""
CONTROLS = "controls"
"""What of a snapshot's meta says up to where control records that cannot be read were sent as dead letters."""
VITALS_SECONDS = 60.0
"""Between two measurements of how detection does: 6 ms for 100,000 accounts."""

_log = structlog.get_logger(__name__)


class Onward(Protocol):
    """Sends sighted requests on, to the topic where campaigns are put together."""

    async def send(self, batch: Batch, requests: Array, offsets: npt.NDArray[np.int64]) -> None:
        """Send the sighted ones of a batch's requests, which were just scored."""

    async def flush(self) -> None:
        """Wait until every one is acknowledged."""

    async def close(self) -> None:
        """Stop sending."""


class ScoredPartition(ABC):
    """Runs one scorer over one partition.

    Parameters
    ----------
    scorer
        Without any state yet.
    log
        Where checkpoints go; a new one for each assignment.
    outlet
        Where alerts and dead letters go.
    meter
        Counts, and says which partition it is.
    book
        The standing verdicts, by which alerts are ranked; a `VerdictFeed` keeps them up to date. None for no verdicts.
    onward
        Sends on what the scorer sighted; None where nothing is sent on.
    allowed
        The accounts that raise no alert; none by default.
    entries
        The allow entries as they are known now. The partition takes them over at a checkpoint, so that each applies
        from one offset on, after a crash too; a partition without any snapshot begins with those known then.
    orders
        The orders to erase accounts as they are known now; carried out at a checkpoint, too.
    controls
        The control records that cannot be read, where this partition is the one that sends them as dead letters.
    deploys
        The versions that judge as they are known now, taken over as entries are.
    features
        Which features are logged as they were when scored, see `siphonwatch.streams.worker.agents.feature_log`.
    hot_accounts, forget_after, cold_accounts, cold_file_bytes
        See `[state]` of the settings.
    placement
        Counts requests that belong to another partition; None to count none.
    seals
        Prove which worker wrote a record.
    afresh
        Whether a state that is gone or damaged is started afresh from the records that are left, instead of refused.
    clock
        Monotonic seconds, for metrics only.
    now
        Seconds since 1970, for metrics and as the latest that a record can have come.
    """

    def __init__(
        self,
        scorer: Engine[Any, Any],
        log: StateLog | LocalStateLog,
        outlet: Outlet,
        meter: Meter,
        *,
        book: VerdictBook | None = None,
        onward: Onward | None = None,
        allowed: Allowed | None = None,
        entries: EntryList | None = None,
        orders: OrderList | None = None,
        controls: ControlLetters | None = None,
        deploys: DeployList | None = None,
        features: What = "off",
        hot_accounts: int | None,
        forget_after: float,
        placement: Placement | None = None,
        cold_accounts: int = COLD_ACCOUNTS,
        cold_file_bytes: int = COLD_FILE_BYTES,
        seals: Seals = UNKEYED,
        runbook: str = DEFAULT_RUNBOOK,
        afresh: bool = False,
        clock: Callable[[], float] = time.perf_counter,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.scorer = scorer
        self._log = log
        self._outlet = outlet
        self._number = meter.partition
        self.meter = meter
        self._book = VerdictBook() if book is None else book
        self._runbook = runbook
        self._onward = onward
        self._allowed = Allowed(()) if allowed is None else allowed
        self._list = EntryList() if entries is None else entries
        self._controls = None if controls is None else ControlLetterSender(controls, outlet)
        self._judges = Judges(scorer, DeployList() if deploys is None else deploys, outlet, meter, now, clock)
        self._features = FeatureLog(scorer, self._judges, outlet, meter.partition, features)
        self._entries = Entries()
        self._expired_until = 0.0  # event time up to which it was looked for entries that expired
        self._forget_after = forget_after
        self._placement = placement
        self._seals = seals
        self._clock = clock
        self._timing = Timing(meter.stream, meter.partition, clock)
        self._now = now
        self._tiers = Tiers(scorer.table, log, hot_accounts, cold_accounts, cold_file_bytes)
        orders = OrderList() if orders is None else orders
        self._eraser = Eraser(orders, scorer, self._tiers, meter.stream, meter.partition)
        self._sources: Sources = {}
        self._afresh = afresh
        self._numbering = Numbering()
        self._next: int | None = None  # offset after the last batch, by `_numbering`, while no snapshot holds it
        self._durable: int | None = None  # offset of the last snapshot, by its numbering
        self._fenced = False
        self._vitals: Vitals | None = None
        self._vitals_at = -math.inf
        self._checkpoint_at: float | None = None

    async def restore(self, begin: Begin) -> Place:
        """Load the newest snapshot; return the telemetry offset to go on from.

        Open cases of accounts that have been allowed since are closed, so that no sink shows them for ever.

        Raises
        ------
        StateError
            When the state is gone or damaged although the group committed offsets, unless it may be started afresh.
        """
        # 1. Restore
        self.meter.begin()
        started = self._clock()
        snapshot = await self._log.restore(afresh=self._afresh)
        if snapshot is None:
            if begin.committed and not self._afresh:
                raise StateError(
                    f"{self._log.name} holds no state, and the group has committed offset {begin.committed} of "
                    f"{self.meter.topic}[{self._number}], so it held some: {AFRESH}"
                )
            self._numbering = Numbering(begin.incarnation)
            self._entries = self._known_entries()
            self._judges.begin()
            return Place(None)
        table = self.scorer.table
        async for part in snapshot.hot():
            table.place({number: from_page(page.data, table.layout) for number, page in part})
        table.settle()
        models = unpack(snapshot.models)
        self._judges.restore(models)
        self.scorer.restore(models)
        self._entries = Entries.decode(as_bytes(models, ENTRIES)) if ENTRIES in models else Entries()
        if ERASED in models:
            self._eraser.restore(as_bytes(models, ERASED))
        self._expired_until = self.scorer.now
        for change in self.scorer.changes:
            self.meter.changed(change)
        self._tiers.cold.load(snapshot.cold, self.scorer.table, self._eraser.gone())
        self._sources = snapshot.meta.get("sources", {})
        if self._placement is not None and "partitions" in snapshot.meta:
            self._placement.restore(snapshot.meta["partitions"])
        if self._controls is not None and CONTROLS in snapshot.meta:
            self._controls.restore(snapshot.meta[CONTROLS])
        self.meter.restored(self._clock() - started, self.scorer.late, self.scorer.ahead)
        self._timing.restored(self.scorer.late, self.scorer.ahead)
        self._look()
        self._durable = snapshot.next_offset
        self._numbering = Numbering(**snapshot.meta.get("topic", {}))
        self._judges.note()
        for closing in self.scorer.end(self._allowed.covers):
            await self._send(closing)
        await self._mute()
        await self._judges.send(self._alert)
        await self._judges.tell()
        self._judges.say_off()
        return self._place(begin, snapshot.next_offset)

    async def resume(self, begin: Begin) -> Place | None:
        """Go on after a rebalance with the state in memory, where the last snapshot holds it and nobody wrote since.

        Return the telemetry offset to go on from; None where it is to be restored, by a new one of these.

        Raises
        ------
        StateError
            When the state topic does not answer or was made anew.
        """
        if self._fenced or self._next is not None or self._durable is None or not await self._log.resume():
            return None
        return self._place(begin, self._durable)

    def _place(self, begin: Begin, due: int) -> Place:
        """The offset to read on from in the topic as it is now, given the next one by the numbering of the state."""
        known = self._numbering
        self._numbering = known.after(begin.incarnation, begin.anew, due)
        if anew := self._numbering.base != known.base:
            self.meter.made_anew(begin.incarnation)
            self._next = due  # so that the next checkpoint notes it, with or without a record
        sure = anew or bool(begin.incarnation and begin.incarnation == known.incarnation)
        return Place(due - self._numbering.base, sure)

    async def process(self, batch: Batch) -> None:
        """Score a batch and send its alerts; bad records go to the dead-letter topic and hold up no other.

        Raises
        ------
        StateError
            When another owner has claimed the partition.
        """
        if self._fenced:
            raise Fenced(
                f"{self.meter.stream} {self._number}: another worker owns its state; nothing more is applied here"
            )
        # 3. Apply: decode, then score slice by slice
        started = self._clock()
        read, erased = self._eraser.without(self._read(batch))
        self.meter.skipped(read.skipped)
        self.meter.erased(erased)
        self.meter.forged(read.forged)
        self.meter.unopened(read.unopened)
        if read.rejected:
            for _, error in read.rejected:
                self.meter.dead_letter(error)
            letters = (dead_letter(batch, row, error) for row, error in read.rejected)
            self.meter.lost_letters(await self._outlet.dead_letters(letters))
        if self._placement is not None:
            self.meter.misplaced(await self._placement.misplaced(read.requests, batch.timestamps[read.rows]))
        decoded_at = self._clock()
        spent = [decoded_at - started, 0.0, 0.0, 0.0]
        refused, arrived = self.scorer.refused, self._arrived(batch, read.rows)
        base = self._numbering.base
        for start in range(0, len(read.requests), SLICE):
            part = slice(start, start + SLICE)
            at = self._clock()
            await self._tiers.admit(read.requests[part])
            thawed_at = self._clock()
            findings = self.scorer.score(read.requests[part], read.offsets[part], arrived[part])
            scored_at = self._clock()
            self._judges.scored(len(read.offsets[part]), scored_at - thawed_at)
            for finding in findings:  # 4. Emit
                await self._emit(finding)
            await self._judges.send(self._alert)
            await self._features.send(self._numbering)
            if self._onward is not None:
                await self._onward.send(batch, read.requests[part], read.offsets[part] - base)
            for stage, seconds in enumerate((thawed_at - at, scored_at - thawed_at, self._clock() - scored_at), 1):
                spent[stage] += seconds
        self._next = batch.next_offset + base
        self.meter.refused(self.scorer.refused - refused)
        self.meter.batch(self._now() - batch.timestamps[read.rows] / 1000.0)
        self.meter.scored(spent, self.scorer.late, self.scorer.ahead, self.scorer.tally.take())
        self._timing.note(len(read.requests), self.scorer.late, self.scorer.ahead)
        self._judges.say_off()
        self._announce_expired()

    @abstractmethod
    def _read(self, batch: Batch) -> Read:
        """Read a batch's records, without those that were applied before under another offset."""

    def _arrived(self, batch: Batch, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """When the broker had the records at `rows`, `(n,)` seconds.

        A producer may have set the timestamps, so none counts beyond now; a record without one counts as of now.
        """
        now = self._now()
        stamps = batch.timestamps[rows] / 1000.0
        return np.where(stamps > 0.0, np.minimum(stamps, now), now)

    async def _emit(self, finding: Finding) -> None:
        if self._allowed.covers(finding.accounts):
            self.meter.suppressed(finding, ALLOWED)
            self.scorer.cases.withhold(finding)
        elif (entry := self._entries.covering(finding)) is not None:
            self.meter.suppressed(finding, ENTRY)
            self.scorer.cases.withhold(finding)
            await self._outlet.hidden(finding.case.encode(), self._alert(finding), entry.id)
        elif (announced := self.scorer.cases.announce(finding)) is not None:
            await self._send(announced)

    async def _send(self, finding: Finding) -> None:
        self.meter.alert(finding)
        self._features.sent(finding)
        await self._outlet.alert(finding.case.encode(), self._alert(finding))

    def _alert(self, finding: Finding, role: str = CHAMPION) -> bytes:
        checkpoint = -1 if self._durable is None else self._durable - self._numbering.base
        judged = self._judges.judged(role, self._offset_of(finding), checkpoint)
        return encode(to_alert(finding, self._book.rank_finding(finding), self._runbook, judged))

    def _offset_of(self, finding: Finding) -> int:
        """The offset of the newest record that is evidence, in the topic as it is now; negative where it has none."""
        return finding.offset - self._numbering.base

    def _known_entries(self) -> Entries:
        """The entries as they are known now; those that apply already while nothing is known."""
        return self._entries if self._list.known is None else self._list.known

    async def _mute(self) -> None:
        """Tell the end of the cases that were told and are covered by an entry now; they stay open, and are hidden."""
        for closing in self.scorer.mute(lambda finding: self._entries.covering(finding) is not None):
            await self._send(closing)

    def _announce_expired(self) -> None:
        """Log the entries that expired, each once a worker."""
        now, self._expired_until = self._expired_until, max(self.scorer.now, self._expired_until)
        for entry in self._entries.expired(now, self._expired_until):
            if self._list.announce(entry):
                _log.warning(
                    "an allow entry has expired: what goes on is told again",
                    id=entry.id, pattern=entry.pattern, until=rfc3339(entry.until),
                )  # fmt: skip

    async def checkpoint(self) -> int | None:
        """Make everything up to the last batch durable, alerts first; return the offset to commit.

        Where nothing is new that is the last snapshot's: a crash may have come before it was committed. Returns None
        before any snapshot, or where another owner took the partition over.
        """
        if self._fenced:
            return None
        entries, sent = self._known_entries(), await self._send_controls()
        due = self._durable if self._next is None else self._next
        sent = await self._erase(due) or sent
        if due is None:
            self._entries = entries  # nothing was judged yet
            self._judges.begin()
            return None
        switching = self._judges.due
        if self._next is None and entries == self._entries and not sent and not switching:
            return due - self._numbering.base
        # 5. Checkpoint: what was sent first, then the state, with the entries that apply to what comes after it
        started, written = self._clock(), self._log.written
        if switching:
            for finding in self._judges.apply(due - self._numbering.base):
                await self._send(finding)
        await self._outlet.flush()
        if self._onward is not None:
            await self._onward.flush()
        dropped = await self._tiers.settle(self.scorer.now - self._forget_after)
        try:
            kept = {ENTRIES: entries.encode(), ERASED: self._eraser.snapshot()}
            models = pack(self.scorer.snapshot() | kept | self._judges.snapshot())
            offset = await self._log.checkpoint(dropped, models, due, self._meta())
        except Fenced as error:
            self._fenced = True
            _log.warning("fenced", stream=self.meter.stream, partition=self._number, error=str(error))
            return None
        self._judges.say_off()
        self._next, self._durable = None, offset
        self._judges.note()
        await self._judges.tell()
        self.meter.checkpoint(self._clock() - started, self._log.written - written)
        self._checkpoint_at = self._now()
        if self._clock() - self._vitals_at >= VITALS_SECONDS:
            self._look()
        if entries != self._entries:
            self._entries = entries
            await self._mute()
            await self._outlet.flush()
        return offset - self._numbering.base

    async def _erase(self, due: int | None) -> bool:
        """Carry out the orders to erase accounts, and send receipts; whether there was any."""
        offset = 0 if due is None else due - self._numbering.base
        receipts, ended = await self._eraser.carry_out(offset, self._now())
        for one in receipts:
            await self._outlet.receipt(one.order.encode(), receipt.encode(one))
        for closing in ended:
            await self._send(closing)
        if receipts and due is None:
            await self._outlet.flush()  # no checkpoint comes
        return bool(receipts)

    async def _send_controls(self) -> bool:
        """Send control records that cannot be read as dead letters, where it is up to this one; whether any was new."""
        if self._controls is None or (refused := await self._controls.send()) is None:
            return False
        self.meter.lost_letters(refused)
        return True

    def _meta(self) -> dict[str, Any]:
        """What a checkpoint keeps beside the scorer's state."""
        meta: dict[str, Any] = {"sources": self._sources, "topic": self._numbering._asdict()}
        if self._placement is not None:
            meta["partitions"] = self._placement.snapshot()
        if self._controls is not None:
            meta[CONTROLS] = self._controls.snapshot()
        return meta

    async def committed(self) -> None:
        """Let the log clean up, now that the group holds the checkpoint's offset."""
        await self._log.committed()

    def _look(self) -> None:
        """Measure how detection does: it reads every account, so only now and then."""
        self._vitals, self._vitals_at = self.scorer.vitals(), self._clock()

    def readings(self) -> Readings:
        """Give the gauges of what is kept and of how detection does."""
        table = self.scorer.table
        yield "hot_accounts", "", len(table)
        yield "cold_accounts", "", len(self._tiers.cold)
        yield "state_bytes", "", table.nbytes
        if self._checkpoint_at is not None:
            yield "last_checkpoint_timestamp_seconds", "", self._checkpoint_at
        if self.scorer.now > 0:
            yield "watermark_timestamp_seconds", "", self.scorer.now
        yield from self._bounds()
        yield from self._cases()
        yield "shadows_off", "", len(self.scorer.failed)
        if (vitals := self._vitals) is not None:
            yield "budget_spent_ratio", "", vitals.budget_spent
            for name, values in (
                ("release_threshold_e", vitals.release_e),
                ("held_cases", vitals.held),
                ("reference_hours", vitals.reference_hours),
                ("drift_ratio", vitals.drift),
            ):
                for pattern, value in values.items():
                    yield name, pattern, value

    def _bounds(self) -> Readings:
        """The bounds of memory and disk, how much of each is used, and what was dropped for it."""
        verdicts = Bound("verdicts", len(self._book), self._book.capacity)
        entries = Bound("allow_entries", sum(e.places for e in self._entries), CAPACITY, self._list.dropped)
        bounds = [*self.scorer.bounds(), *self._tiers.bounds(), verdicts, entries]
        for name, used, limit, dropped in bounds:
            yield "bound_used", name, used
            yield "bound_limit", name, limit
            yield "bound_dropped", name, dropped

    def _cases(self) -> Readings:
        """How many cases are open, and for how long without a verdict."""
        now, cases = self.scorer.now, self.scorer.cases.standing()
        for pattern in self.scorer.patterns:
            opened = [case for case in cases if case.pattern == pattern]
            waiting = [case.opened for case in opened if case.case not in self._book]
            yield "open_cases", pattern, len(opened)
            yield "unjudged_cases", pattern, len(waiting)
            yield "oldest_unjudged_case_seconds", pattern, max(now - min(waiting, default=now), 0.0)

    def blocked(self) -> float:
        """Return for how many seconds a broker has refused or not answered a send; 0 where it has not."""
        return self._outlet.blocked()

    async def close(self) -> None:
        """Release what the partition holds."""
        if self._onward is not None:
            await self._onward.close()
        self._tiers.close()
        await self._log.stop()
