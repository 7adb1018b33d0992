"""A partition with many accounts, written to the state topic and restored: `python -m bench.restore write|read CONFIG
ACCOUNTS [FILE]`. The rows are those of scored accounts, again and again under other names."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
from core_fakes import dump_of
from prometheus_client import CollectorRegistry

from bench.machine import resident_bytes
from siphonwatch.models.account.row import PAGE_ROWS, ROW
from siphonwatch.models.engine.scorer import Scorer
from siphonwatch.streams.common.settings import load
from siphonwatch.streams.worker.agents.score import TelemetryPartition
from siphonwatch.streams.worker.decode import Decoder
from siphonwatch.streams.worker.meter import Meter
from siphonwatch.streams.worker.metrics import TELEMETRY, Metrics
from siphonwatch.streams.worker.outlet import Outlet
from siphonwatch.streams.worker.scoring import make_scorer
from siphonwatch.streams.worker.state.kafka import open_state
from siphonwatch.streams.worker.state.pages import to_page
from siphonwatch.streams.worker.transport import Begin

PART = 2048
"""Pages a checkpoint: a real worker writes what changed, not all at once."""
NEXT_OFFSET = 1_000_000_000


async def write(config: Path, accounts: int, telemetry: bytes) -> dict[str, Any]:
    """Score telemetry, then checkpoint its accounts' rows under as many names as wanted."""
    settings = load({}, config).settings
    scorer = make_scorer(settings)
    requests = Decoder().decode(telemetry.splitlines()).requests
    scorer.score(requests, np.arange(len(requests)))
    real = scorer.table.rows[scorer.table.used()]
    log = open_state(settings, 0)
    await log.restore()
    draw = np.random.default_rng(42)
    started = time.perf_counter()
    pages = -(-accounts // PAGE_ROWS)
    for first in range(0, pages, PART):
        numbers = range(first, min(first + PART, pages))
        rows = real[draw.integers(0, len(real), len(numbers) * PAGE_ROWS)].copy()
        rows["hash"] = draw.integers(1, 2**63, len(rows), dtype=np.uint64)
        names = draw.bytes(16 * len(rows)).hex().encode()
        rows["account"] = 0
        rows["account"][:, :4] = np.frombuffer(names, np.uint64).reshape(len(rows), 4)
        if numbers[-1] == pages - 1 and (extra := pages * PAGE_ROWS - accounts):
            rows[-extra:] = np.zeros(1, ROW)
        packed = {n: to_page(rows[i * PAGE_ROWS : (i + 1) * PAGE_ROWS]) for i, n in enumerate(numbers)}
        await log.checkpoint(packed, dump_of(scorer), NEXT_OFFSET + first)
        await log.committed()
    await log.stop()
    return {"seconds": time.perf_counter() - started}


async def read(config: Path, accounts: int) -> dict[str, Any]:
    """Restore as a worker does at an assignment."""
    settings = load({}, config).settings
    scorer: Scorer = make_scorer(settings)
    partition = TelemetryPartition(
        scorer, open_state(settings, 0), cast(Outlet, None), Meter(Metrics(CollectorRegistry()), TELEMETRY, "", 0),
        hot_accounts=2 * accounts, forget_after=settings.state.forget_after,
    )  # fmt: skip
    before = resident_bytes()
    started = time.perf_counter()
    await partition.restore(Begin())
    seconds = time.perf_counter() - started
    held = resident_bytes() - before
    await partition.close()
    if len(scorer.table) != accounts:
        raise RuntimeError(f"restored {len(scorer.table):,} of {accounts:,} accounts")
    return {
        "seconds": seconds, "row": ROW.itemsize, "table": scorer.table.nbytes / accounts, "resident": held / accounts,
    }  # fmt: skip


def main() -> dict[str, Any]:
    """Do what the command line says."""
    action, config, accounts, *file = sys.argv[1:]
    if action == "write":
        return asyncio.run(write(Path(config), int(accounts), Path(file[0]).read_bytes()))
    return asyncio.run(read(Path(config), int(accounts)))


if __name__ == "__main__":
    print(json.dumps(main()))
