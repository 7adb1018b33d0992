"""Archive, data set and features at size, rows a second and peak memory: `python -m bench.lab [REQUESTS]`.

The traffic is a scenario's telemetry over and over: several copies beside each other, each with accounts and requests
of its own, and all of them again when their days are over. Each step runs in a process of its own, whose peak of
memory is its own; making the traffic is not in the time of writing.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from bench.data import base
from siphonwatch.streams.contracts.telemetry import decode, encode
from siphonwatch.streams.lab.archive.reader import Archive
from siphonwatch.streams.lab.archive.store import Store
from siphonwatch.streams.lab.archive.writer import STEP_ROWS, Writer
from siphonwatch.streams.lab.dataset.features import Features
from siphonwatch.streams.lab.dataset.make import Wish, make
from siphonwatch.streams.lab.dataset.read import Dataset

REQUESTS = 10_000_000
ACCOUNTS, DAYS, SEED = 400, 3.0, 42
BESIDE = 8
"""Copies at the same time."""
BATCH = 8192
ATTACK_EVERY = 20
"""One account in so many is labelled an attack; what labels say costs nothing here."""


def traffic(requests: int) -> Iterator[list[bytes]]:
    """Give batches of telemetry by event time, so many requests."""
    path = base(ACCOUNTS, DAYS, SEED)
    batch: list[bytes] = []
    made = rounds = 0
    while made < requests:
        with path.open("rb") as lines:
            for line in lines:
                record = decode(line)
                account, request, at = record.account, record.id, record.time + rounds * DAYS * 86_400
                for copy in range(rounds * BESIDE, (rounds + 1) * BESIDE):
                    record.account, record.id, record.time = f"{copy:08x}{account[8:]}", f"{request}-{copy}", at
                    batch.append(encode(record))
                made += BESIDE
                if len(batch) >= BATCH:
                    yield batch
                    batch = []
                if made >= requests:
                    break
        rounds += 1
    yield batch


def write(folder: Path, requests: int) -> tuple[int, float]:
    """Archive the traffic."""
    writer, at, spent = Writer(Store(str(folder / "archive"))), 0, 0.0
    writer.begin("telemetry", 0, "bench", 0)
    for values in traffic(requests):
        started = time.perf_counter()
        writer.take("telemetry", 0, values, np.arange(at, at + len(values)), np.full(len(values), at + 1))
        at += len(values)
        if writer.waiting >= STEP_ROWS:
            writer.close()
        spent += time.perf_counter() - started
    started = time.perf_counter()
    writer.close()
    return at, spent + time.perf_counter() - started


def read(folder: Path, _: int) -> tuple[int, float]:
    """Read the archive as records, as replay does."""
    started = time.perf_counter()
    rows = sum(len(batch.requests) for batch in Archive(str(folder / "archive")).batches())
    return rows, time.perf_counter() - started


def dataset(folder: Path, _: int) -> tuple[int, float]:
    """Make a data set with a label of every account."""
    accounts: set[str] = set()
    for table in Archive(str(folder / "archive")).tables("telemetry", ["account"]):
        accounts.update(table["account"].unique().to_pylist())
    lines = [f"{name},{int(i % ATTACK_EVERY == 0)}" for i, name in enumerate(sorted(accounts))]
    labels = folder / "labels.csv"
    labels.write_text("\n".join(["account,extracting", *lines]) + "\n")
    started = time.perf_counter()
    wish = Wish(labels=[str(labels)], by=["account"])
    made = make(folder / "data", str(folder / "archive"), wish)
    return sum(one.rows for one in made.ranges), time.perf_counter() - started


def features(folder: Path, _: int) -> tuple[int, float]:
    """Make features at alerts and hours."""
    started = time.perf_counter()
    found = Features(Dataset(folder / "data"), ("alert", "hourly"))
    rows = found.write(folder / "features.parquet")
    print(f"{rows:,} rows of features", file=sys.stderr)
    taken = sum(one.rows for one in Dataset(folder / "data").manifest.ranges)
    return taken, time.perf_counter() - started


STEPS: dict[str, Callable[[Path, int], tuple[int, float]]] = {
    "write": write, "read": read, "dataset": dataset, "features": features,
}  # fmt: skip


def measured(step: str, folder: Path, requests: int) -> dict[str, int | float | str]:
    """Run one step here."""
    rows, seconds = STEPS[step](folder, requests)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return {"step": step, "requests": rows, "seconds": round(seconds, 1), "a_second": round(rows / seconds), "mb": peak}


def main() -> None:
    """Run every step, each in a process of its own, and print a line of each."""
    parser = argparse.ArgumentParser(prog="bench.lab")
    parser.add_argument("requests", type=int, nargs="?", default=REQUESTS)
    parser.add_argument("--folder", type=Path, help="Where archive, data set and features go, and stay.")
    parser.add_argument("--step", choices=STEPS, action="append", help="Only this one, of what the folder has.")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.here:
        print(json.dumps(measured(asked.step[0], asked.folder, asked.requests)))
        return
    with tempfile.TemporaryDirectory() as made:
        folder = asked.folder or Path(made)
        for step in asked.step or STEPS:
            command = [sys.executable, "-m", "bench.lab", str(asked.requests), "--folder", str(folder)]
            subprocess.run([*command, "--step", step, "--here"], check=True)
        files = [path for path in folder.rglob("*") if path.is_file()]
        print(f"{sum(path.stat().st_size for path in files) / 1e6:,.0f} MB on disk")


if __name__ == "__main__":
    main()
