"""Raw LiteLLM records to telemetry: `python -m bench.edge ACCOUNTS RECORDS RUNS [FILE]`. The records are a scenario's,
or those of a file. Loading compiled code is not in the time."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import msgspec

from bench.data import KEY
from siphonwatch.streams.common.cores import cores
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts.telemetry import encode
from siphonwatch.streams.edge.adapters import Adapter
from siphonwatch.streams.edge.children import Beside, adapters_of
from siphonwatch.streams.edge.producer import Outbox
from siphonwatch.streams.edge.sender import Sender
from siphonwatch.streams.edge.spread import AHEAD, CHUNK_RECORDS, adapted, adapter_of
from siphonwatch.streams.lab.scenario import Scenario

TOPIC = "gateway"


class Nowhere:
    """Stands in for kafka-python's producer: takes each record and acknowledges it at once."""

    def send(self, topic: str, value: bytes, key: bytes | None) -> Acknowledged:
        """Take a record."""
        return Acknowledged()

    def flush(self, timeout: float | None = None) -> None:
        """Nothing waits."""

    def close(self, timeout: float | None = None) -> None:
        """Nothing is open."""


class Acknowledged(Future[None]):
    """kafka-python's future of a record that is acknowledged."""

    def add_callback(self, done: Any) -> None:
        """Say at once that it is."""
        done(None)

    def add_errback(self, failed: Any) -> None:
        """Never called."""


def raw_of(accounts: int, records: int, file: str = "") -> list[bytes]:
    """Return so many raw records."""
    if file:
        with Path(file).open("rb") as lines:
            return [line.strip() for line in islice(lines, records)]
    events = (event for event in Scenario(seed=42, accounts=accounts, days=3.0) if event.format == "litellm")
    return [msgspec.json.encode(event.record) for event in islice(events, records)]


def core(adapter: Adapter, raw: list[bytes]) -> float:
    """Return records a second of processor time, in this thread alone."""
    began = time.thread_time()
    for line in raw:
        for record in adapter.records(line):
            encode(record)  # type: ignore[arg-type]
    return len(raw) / (time.thread_time() - began)


def file(settings: Settings, raw: list[bytes]) -> float:
    """Return records a second over all cores as files are read, once all processes have begun."""

    lead = CHUNK_RECORDS * cores() * AHEAD

    def repeated() -> Iterator[bytes]:
        yield from islice(cycle(raw), lead)
        yield from raw
        yield from raw

    done, began = 0, 0.0
    for part in adapted(settings, "litellm", repeated(), cores(), alone=1):
        done += len(part.records)
        if not began and done > lead:
            done, began = 0, time.perf_counter()
    return done / (time.perf_counter() - began)


async def topic(settings: Settings, raw: list[bytes]) -> tuple[float, float]:
    """Return records a second over all cores as a worker adapts a topic, and microseconds a record of its own."""
    beside = Beside(adapters_of(settings), partial(adapters_of, settings), cores(), alone=0)
    turns = asyncio.Semaphore(beside.at_once)

    async def ask(start: int) -> None:
        async with turns:
            await beside.adapt(TOPIC, raw[start : start + 256])

    await asyncio.gather(*(ask(0) for _ in range(2 * cores())))
    began, own = time.perf_counter(), time.process_time()
    await asyncio.gather(*(ask(start) for start in range(0, len(raw), 256)))
    seconds, mine = time.perf_counter() - began, time.process_time() - own
    beside.close()
    return len(raw) / seconds, 1e6 * mine / len(raw)


def gateway(adapter: Adapter, raw: list[bytes]) -> float:
    """Return milliseconds of processor time a request, as the callback's payloads become telemetry in its sender."""
    payloads = [msgspec.json.decode(line) for line in raw]
    sender = Sender(adapter, lambda: Outbox(Nowhere(), "telemetry"), queue_bytes=2**40)
    began = time.process_time()
    for payload in payloads:
        sender.offer(msgspec.json.encode(payload, enc_hook=str))
    sender.flush(600.0)
    seconds = time.process_time() - began
    sender.close()
    return 1e3 * seconds / len(raw)


def main(accounts: int, records: int, runs: int, source: str = "") -> dict[str, Any]:
    """Measure all."""
    settings = Settings()
    settings.identity.key = KEY
    settings.ingest.topics = {TOPIC: "litellm"}
    raw = raw_of(accounts, records, source)
    adapter = adapter_of(settings, "litellm")
    core(adapter, raw[:200])
    topics = [asyncio.run(topic(settings, raw)) for _ in range(runs)]
    return {
        "records": len(raw),
        "bytes": statistics.mean(map(len, raw)),
        "cores": cores(),
        "core": [core(adapter_of(settings, "litellm"), raw) for _ in range(runs)],
        "file": [file(settings, raw) for _ in range(runs)],
        "topic": [rate for rate, _ in topics],
        "parent": [own for _, own in topics],
        "gateway": [gateway(adapter_of(settings, "litellm"), raw) for _ in range(runs)],
    }


if __name__ == "__main__":
    print(json.dumps(main(*map(int, sys.argv[1:4]), *sys.argv[4:])))
