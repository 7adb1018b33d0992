"""Requests a second into an archive and out of it, and the memory that takes: `python -m bench.archive [REQUESTS]`.

Telemetry is decoded, archived and read back in one process; making it is not in the time. `synced` is the share of the
time of writing in which the disk was waited for.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time

import numpy as np

from siphonwatch.streams.contracts.telemetry import Telemetry, encode
from siphonwatch.streams.lab.archive.reader import Archive
from siphonwatch.streams.lab.archive.store import Store
from siphonwatch.streams.lab.archive.writer import STEP_ROWS, Writer

REQUESTS = 10_000_000
BATCH = 8192
HASHES = ("ip", "agent", "template", "prefix", "content", "said")


def made(start: int, dice: np.random.Generator) -> list[bytes]:
    """A batch of telemetry with the fields that a gateway of a model's API logs; an hour has 360,000 requests."""
    hashes = dice.integers(0, 2**63, (BATCH, len(HASHES))).tolist()
    return [
        encode(
            Telemetry(
                id=f"request-{start + i}", time=1.76e9 + (start + i) / 100, account=f"{i % 4001:032x}", model="gpt-4o",
                provider="openai", op="chat", client="openai-python", tokens_in=i % 3001, tokens_out=i % 977,
                duration=1.5, temperature=0.7, turns=1, chars=i % 5000, projection="A" * 43 + "=",
                chunks="AAECAwQF" * (i % 9), **dict(zip(HASHES, map("{:016x}".format, hashes[i]), strict=True)),
            )
        )
        for i in range(BATCH)
    ]  # fmt: skip


class Syncs:
    """Times `os.fsync` in its place."""

    def __init__(self) -> None:
        self.seconds, self.times = 0.0, 0
        self._sync = os.fsync

    def __call__(self, handle: int) -> None:
        started = time.perf_counter()
        self._sync(handle)
        self.seconds += time.perf_counter() - started
        self.times += 1


def main(requests: int) -> dict[str, float]:
    """Write and read an archive of so many requests."""
    dice, at, spent = np.random.default_rng(5), 0, 0.0
    os.fsync = syncs = Syncs()
    with tempfile.TemporaryDirectory() as folder:
        writer = Writer(Store(folder))
        writer.begin("telemetry", 0, "bench", 0)
        while at < requests:
            values = made(at, dice)
            started = time.perf_counter()
            writer.take("telemetry", 0, values, np.arange(at, at + BATCH), np.zeros(BATCH, np.int64))
            if writer.waiting >= STEP_ROWS:
                writer.close()
            spent += time.perf_counter() - started
            at += BATCH
        started = time.perf_counter()
        writer.close()
        spent += time.perf_counter() - started
        archive = Archive(folder)
        size = sum(file.size for file in archive.files("telemetry"))
        started = time.perf_counter()
        read = sum(len(batch.requests) for batch in archive.batches())
        seconds = time.perf_counter() - started
    return {
        "requests": read,
        "written_a_second": round(at / spent),
        "syncs": syncs.times,
        "synced": round(syncs.seconds / spent, 3),
        "sync_ms": round(1000 * syncs.seconds / syncs.times, 1),
        "read_a_second": round(read / seconds),
        "bytes_a_request": round(size / at, 1),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]) if len(sys.argv) > 1 else REQUESTS)))
