"""A partition stays within its settings while it reads, whatever the traffic, and finds the same as one without."""

from __future__ import annotations

import math

import numpy as np
from prometheus_client import CollectorRegistry
from worker_tools import traffic

from siphonwatch.models.account.row import PAGE_ROWS, ROW
from siphonwatch.models.engine.config import ScorerConfig
from siphonwatch.models.engine.scorer import Scorer
from siphonwatch.streams.contracts.telemetry import Telemetry, encode
from siphonwatch.streams.worker.agents import scored
from siphonwatch.streams.worker.agents.score import TelemetryPartition
from siphonwatch.streams.worker.decode import Decoder
from siphonwatch.streams.worker.meter import Meter
from siphonwatch.streams.worker.metrics import TELEMETRY, Metrics
from siphonwatch.streams.worker.state import tiers
from siphonwatch.streams.worker.state.codec import Page
from siphonwatch.streams.worker.state.local import LocalStateLog
from siphonwatch.streams.worker.state.tiers import SLICE
from siphonwatch.streams.worker.transport import Batch, Begin
from siphonwatch.streams.worker.transport.batch import Lease

HOT = 500


class Nowhere:
    async def alert(self, key: bytes, value: bytes) -> None: ...

    async def dead_letters(self, letters: object) -> int:
        return len(list(letters))  # type: ignore[call-overload]

    async def flush(self) -> None: ...


class Watched(LocalStateLog):
    """Notes how many pages it is given at once."""

    most = 0

    async def stage(self, pages: dict[int, Page]) -> None:  # type: ignore[override]
        self.most = max(self.most, len(pages))
        await super().stage(pages)


def batch(records: list[Telemetry], first: int) -> Batch:
    n = len(records)
    return Batch(
        Lease("telemetry", 0, 1, lambda _: None), keys=[None] * n, values=[encode(r) for r in records],
        headers=[()] * n, offsets=np.arange(first, first + n), timestamps=np.zeros(n, np.int64),
        next_offset=first + n, size=0,
    )  # fmt: skip


def strangers(n: int) -> list[Telemetry]:
    return [Telemetry(id=str(i), time=1.767e9 + i / 100, account=f"new-{i}") for i in range(n)]


async def test_a_flood_of_new_accounts_between_checkpoints_stays_within_the_bounds() -> None:
    log = Watched()
    partition = TelemetryPartition(
        Scorer(ScorerConfig()), log, Nowhere(), Meter(Metrics(CollectorRegistry()), TELEMETRY, "", 0),
        hot_accounts=HOT, forget_after=math.inf, cold_accounts=30_000, cold_file_bytes=1000 * PAGE_ROWS * ROW.itemsize,
    )  # fmt: skip
    await partition.restore(Begin())
    table = partition.scorer.table
    records = strangers(60_000)
    for start in range(0, len(records), 20_000):  # more than a slice at once
        await partition.process(batch(records[start : start + 20_000], start))
        assert len(table) <= HOT + SLICE
        assert len(table._room) <= HOT + 2 * SLICE + PAGE_ROWS, "no room beyond what was reserved"
    assert len(table) + len(partition._tiers.cold) == 60_000
    await partition.checkpoint()
    assert len(table) <= HOT and log.most <= 512
    bounds = {}
    for name, bound, value in partition.readings():
        if name.startswith("bound_"):
            bounds.setdefault(bound, {})[name] = value
    assert all(0 <= found["bound_used"] <= found["bound_limit"] for found in bounds.values())
    assert bounds["hot_accounts"]["bound_limit"] == HOT + SLICE
    assert 29_900 <= bounds["cold_accounts"]["bound_used"] <= 30_000 < 60_000 - bounds["cold_accounts"]["bound_dropped"]
    assert bounds["cold_file_bytes"]["bound_used"] == 1000 * PAGE_ROWS * ROW.itemsize
    assert {"open_cases", "verdicts"} < set(bounds)
    await partition.close()


async def test_what_is_found_does_not_depend_on_who_is_in_memory(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(tiers, "SLICE", 50)
    monkeypatch.setattr(scored, "SLICE", 50)
    records = traffic()
    alone = Scorer(ScorerConfig())
    requests = Decoder().decode([encode(r) for r in records]).requests
    expected = [f.id for f in alone.score(requests, np.arange(len(requests)))]
    told: list[str] = []

    class Outlet(Nowhere):
        async def alert(self, key: bytes, value: bytes) -> None:
            told.append(value.partition(b'"id":"')[2].partition(b'"')[0].decode())

    for file in (0, 3 * PAGE_ROWS * ROW.itemsize, 1 << 30):
        told.clear()
        partition = TelemetryPartition(
            Scorer(ScorerConfig()), LocalStateLog(), Outlet(), Meter(Metrics(CollectorRegistry()), TELEMETRY, "", 0),
            hot_accounts=4, forget_after=math.inf, cold_file_bytes=file,
        )  # fmt: skip
        await partition.restore(Begin())
        for start in range(0, len(records), 700):
            await partition.process(batch(records[start : start + 700], start))
            if start % 2100 == 0:
                await partition.checkpoint()
                assert len(partition.scorer.table) <= 4
        assert told == expected != []
        await partition.close()
