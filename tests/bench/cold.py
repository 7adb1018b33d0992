"""Requests of accounts that left memory: `python -m bench.cold CONFIG ACCOUNTS HOT REQUESTS FILE`.

One partition over the state topic, `HOT` of its accounts in memory. What is timed is the process's own processor time:
decoding, bringing accounts back, scoring, sending others away and the checkpoints. Two orders: the one in which the
accounts left, and at random.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from prometheus_client import CollectorRegistry

from bench.machine import resident_bytes
from siphonwatch.streams.common.settings import Settings, load
from siphonwatch.streams.contracts.telemetry import Telemetry, decode, encode
from siphonwatch.streams.worker.agents.score import TelemetryPartition
from siphonwatch.streams.worker.meter import Meter
from siphonwatch.streams.worker.metrics import TELEMETRY, Metrics
from siphonwatch.streams.worker.scoring import make_scorer
from siphonwatch.streams.worker.state.kafka import open_state
from siphonwatch.streams.worker.transport import Batch, Begin
from siphonwatch.streams.worker.transport.batch import Lease

PART = 8192
"""Requests a batch, as many as the transport hands over at most."""
CHECKPOINT = 32
"""Batches between two checkpoints: some seconds' worth."""


class Nowhere:
    """An outlet that drops what it is given."""

    async def alert(self, key: bytes, value: bytes) -> None:
        """Drop an alert."""

    async def dead_letters(self, letters: object) -> None:
        """Drop dead letters."""

    async def flush(self) -> None:
        """Nothing is under way."""


class Feed:
    """Telemetry of numbered accounts, each request another one of the file's; event time goes on steadily."""

    def __init__(self, records: list[Telemetry]) -> None:
        self._records = itertools.cycle(records)
        self._offset = 0

    def batches(self, accounts: npt.NDArray[np.int64]) -> Iterator[Batch]:
        """Make one request of each account, in this order."""
        for start in range(0, len(accounts), PART):
            values: list[bytes | None] = []
            for account in accounts[start : start + PART].tolist():
                record = next(self._records)
                record.account, record.id = f"account-{account:024x}", f"{self._offset + len(values):x}"
                record.time = 1.767e9 + (self._offset + len(values)) / 100
                values.append(encode(record))
            n = len(values)
            offsets = np.arange(self._offset, self._offset + n)
            self._offset += n
            yield Batch(
                Lease("telemetry", 0, 1, lambda _: None), keys=[None] * n, values=values, headers=[()] * n,
                offsets=offsets, timestamps=np.zeros(n, np.int64), next_offset=self._offset,
                size=sum(len(value or b"") for value in values),
            )  # fmt: skip


async def rate(partition: TelemetryPartition, batches: Iterator[Batch]) -> float:
    """Requests that one second of processor time is enough for, checkpoints and all."""
    spent, requests = 0.0, 0
    for number, batch in enumerate(batches, 1):
        began = time.process_time()
        await partition.process(batch)
        if number % CHECKPOINT == 0:
            await partition.checkpoint()
            await partition.committed()
        spent += time.process_time() - began
        requests += len(batch)
    return requests / spent


async def measure(settings: Settings, accounts: int, requests: int, telemetry: list[Telemetry]) -> dict[str, Any]:
    """Measure all orders on one partition."""
    partition = TelemetryPartition(
        make_scorer(settings), open_state(settings, 0), Nowhere(),
        Meter(Metrics(CollectorRegistry()), TELEMETRY, "", 0),
        hot_accounts=settings.state.hot_accounts, forget_after=settings.state.forget_after,
        cold_accounts=settings.state.cold_accounts, cold_file_bytes=settings.state.cold_file_bytes,
    )  # fmt: skip
    await partition.restore(Begin())
    feed, draw = Feed(telemetry), np.random.default_rng(42)
    await rate(partition, feed.batches(np.arange(PART)))  # compiled code is loaded by then
    before = resident_bytes()
    figures: dict[str, Any] = {}
    figures["hot"] = await rate(partition, feed.batches(np.arange(requests) % min(PART, settings.state.hot_accounts)))
    figures["new"] = await rate(partition, feed.batches(np.arange(accounts)))
    figures["resident"] = resident_bytes() - before
    await partition.checkpoint()
    await partition.committed()
    figures["in order"] = await rate(partition, feed.batches(np.arange(requests) % accounts))
    gone = np.arange(accounts - settings.state.hot_accounts)  # of the others some are in memory
    figures["at random"] = await rate(partition, feed.batches(draw.choice(gone, requests)))
    await partition.close()
    return figures


def main() -> dict[str, Any]:
    """Do what the command line says."""
    config, accounts, hot, requests, file = sys.argv[1:]
    settings = load({}, Path(config)).settings
    settings.state.hot_accounts = int(hot)
    telemetry = [decode(line) for line in Path(file).read_bytes().splitlines()[:PART]]
    return asyncio.run(measure(settings, int(accounts), int(requests), telemetry))


if __name__ == "__main__":
    print(json.dumps(main()))
