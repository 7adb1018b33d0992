"""Model-based test: whatever crashes, interleaves or is compacted, a restore gives one whole and recent snapshot."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from state_fakes import FakeJournal, Topic, contents, drive, inline, tick

from siphonwatch.streams.worker.state import Fenced, Page, StateError, StateLog
from siphonwatch.streams.worker.state.codec import CLAIM

Change = dict[int, tuple[bool, int]]
"""Page -> (dropped, hot or cold)."""

changes = st.dictionaries(st.integers(0, 5), st.tuples(st.booleans(), st.integers(0, 1)), max_size=4)


class Owner:
    """One assignment of the partition: restores, then checkpoints and commits whatever it is given to do."""

    def __init__(self, machine: Machine, number: int) -> None:
        self.machine = machine
        self.id = f"owner{number}"
        self.journal = FakeJournal(machine.topic, max_value=150)
        self.log = StateLog(self.journal, self.id, run=inline)
        self.confirmed = machine.confirmed
        self.work: list[tuple[Change, int] | None] = []
        """Checkpoints to take; None to go on after a rebalance that gave the partition back."""
        self.idle = False
        self.restored = self.resuming = False
        self.life: Coroutine[Any, Any, None] | None = self._live()

    @property
    def holds(self) -> bool:
        return self.machine.holder is self

    def step(self) -> None:
        if self.life is None:
            return
        try:
            self.life.send(None)
        except StopIteration:
            self.life = None

    def run(self) -> None:
        """Go on until there is nothing to do."""
        self.step()
        while self.life is not None and (self.work or not self.idle):
            self.step()

    def crash(self) -> None:
        if self.life is not None:
            self.life.close()
            self.life = None

    async def _live(self) -> None:
        machine = self.machine
        try:
            snapshot = await self.log.restore()
            pages = {} if snapshot is None else await contents(self.log, snapshot)
        except StateError:
            # Whoever was superseded while it read may find things cleaned away; the holder may only lose its own claim
            # or reads to a failing broker.
            claims = [record.value for record in machine.topic.entries.values() if record.key == CLAIM]
            assert not self.holds or self.journal.late or machine.failed or claims[-1] != self.id.encode()
            return
        self.restored = True
        offset = 0
        if snapshot is not None:
            assert machine.handed[snapshot.meta["id"]] == (pages, snapshot.models, snapshot.next_offset)
            offset = snapshot.next_offset
        if self.holds:
            assert offset >= self.confirmed
        pending: dict[int, Page | None] = {}
        while True:
            while not self.work:
                self.idle = True
                await tick()
            self.idle = False
            work = self.work.pop(0)
            if work is None:
                if pending or not await self._resumes():
                    return
                if self.holds:
                    assert offset >= machine.confirmed
                self.resuming = False
                continue
            change, step = work
            offset += step
            label = f"{self.id}@{len(machine.handed)}"
            for number, (dropped, cold) in change.items():
                page = Page(f"{label}/{number}".encode() * 3, label.encode(), bool(cold))
                pending[number] = None if dropped else page
            pages = {n: p for n, p in {**pages, **pending}.items() if p is not None}
            models = label.encode() * (len(machine.handed) % 40)
            machine.handed[label] = (dict(pages), models, offset)
            try:
                if step % 2:
                    ahead = {n: p for n, p in pending.items() if p is not None and n % 2}
                    await self.log.stage(ahead)
                    pending = {n: p for n, p in pending.items() if n not in ahead}
                assert await self.log.checkpoint(pending, models, offset, {"id": label}) == offset
            except Fenced:
                claims = [r.value for r in machine.topic.entries.values() if r.key == CLAIM]
                assert claims[-1] != self.id.encode()
                return
            except StateError:
                continue
            pending = {}
            await tick()
            if not self.holds:
                return  # the group refuses the commit of an older generation
            machine.confirmed = offset
            await tick()
            await self.log.committed()

    async def _resumes(self) -> bool:
        try:
            return await self.log.resume()
        except StateError:
            assert self.journal.late or self.machine.failed
            return False


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.topic = Topic()
        self.handed: dict[str, tuple[dict[int, Page], bytes, int]] = {}
        self.confirmed = 0
        self.failed = False
        self.owners: list[Owner] = []
        self.holder: Owner | None = None

    def teardown(self) -> None:
        for owner in self.owners:
            owner.crash()

    @rule()
    def assign(self) -> None:
        self.holder = Owner(self, len(self.owners))
        self.owners.append(self.holder)

    @rule()
    def assign_and_restore(self) -> None:
        self.assign()
        assert self.holder is not None
        self.holder.run()

    @precondition(lambda self: self.owners)
    @rule(data=st.data(), steps=st.integers(0, 12))
    def assign_again(self, data: st.DataObject, steps: int) -> None:
        owner = data.draw(st.sampled_from(self.owners[-3:]))
        if owner.life is None or not owner.restored or owner.resuming:
            return  # one that is revoked while it restores or resumes is not kept
        owner.resuming = True
        self.holder = owner
        owner.work.append(None)
        for _ in range(steps):
            owner.step()

    @precondition(lambda self: self.owners)
    @rule(data=st.data(), steps=st.integers(1, 25))
    def go_on(self, data: st.DataObject, steps: int) -> None:
        owner = data.draw(st.sampled_from(self.owners[-3:]))
        for _ in range(steps):
            owner.step()

    @precondition(lambda self: self.owners)
    @rule(data=st.data(), change=changes, step=st.integers(0, 5), steps=st.integers(0, 12))
    def begin_a_checkpoint(self, data: st.DataObject, change: Change, step: int, steps: int) -> None:
        owner = data.draw(st.sampled_from(self.owners[-3:]))
        owner.work.append((change, step))
        for _ in range(steps):
            owner.step()

    @precondition(lambda self: self.owners)
    @rule(data=st.data(), change=changes, step=st.integers(0, 5))
    def complete_a_checkpoint(self, data: st.DataObject, change: Change, step: int) -> None:
        owner = data.draw(st.sampled_from(self.owners[-3:]))
        owner.work.append((change, step))
        owner.run()

    @precondition(lambda self: self.owners)
    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.owners[-3:])).crash()

    @precondition(lambda self: self.owners)
    @rule(data=st.data(), how=st.sampled_from(["lost", "late", "applied"]), after=st.integers(0, 6))
    def broker_fails(self, data: st.DataObject, how: str, after: int) -> None:
        owner = data.draw(st.sampled_from(self.owners[-3:]))
        left = after
        self.failed = True

        def fail(record: Any) -> str:
            nonlocal left
            left -= 1
            return how if left == -1 else ""

        owner.journal.fail = fail

    @precondition(lambda self: any(owner.journal.late for owner in self.owners))
    @rule()
    def late_records_land(self) -> None:
        for owner in self.owners:
            for record in owner.journal.late:
                self.topic.put(record)
            owner.journal.late.clear()

    @rule(data=st.data())
    def compact(self, data: st.DataObject) -> None:
        spared = data.draw(st.integers(1, 7))
        self.topic.compact(lambda offset: offset % spared == spared - 1)

    @invariant()
    def what_is_there_is_one_whole_snapshot(self) -> None:
        log = StateLog(FakeJournal(self.topic.copy(), max_value=150), "auditor", run=inline)
        snapshot = drive(log.restore())
        if snapshot is None:
            assert self.confirmed == 0
            return
        pages = drive(contents(log, snapshot))
        assert self.handed[snapshot.meta["id"]] == (pages, snapshot.models, snapshot.next_offset)
        assert snapshot.next_offset >= self.confirmed


TestAnyHistory = Machine.TestCase
TestAnyHistory.settings = settings(
    max_examples=300, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
