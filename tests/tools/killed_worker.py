"""A worker process for tests that kill it: counts records, keeps its checkpoints in files, says what it commits."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from pathlib import Path

from prometheus_client import CollectorRegistry
from transport_fakes import FAST

from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.worker.agents.partition import Place
from siphonwatch.streams.worker.app import run
from siphonwatch.streams.worker.gauges import Readings
from siphonwatch.streams.worker.metrics import Metrics
from siphonwatch.streams.worker.transport import Batch, Begin


class FileCounting:
    """Counts by value; a checkpoint replaces the partition's file."""

    def __init__(self, folder: Path, partition: int) -> None:
        self.file = folder / f"{partition}.json"
        self.counts: Counter[str] = Counter()
        self.position = 0
        self.saved = -1

    async def restore(self, begin: Begin) -> Place:
        if self.file.exists():
            state = json.loads(self.file.read_text())
            self.position = self.saved = state["next"]
            self.counts = Counter(state["counts"])
        print("restored", self.file.stem, self.position, flush=True)
        return Place(self.position)

    async def resume(self, begin: Begin) -> Place:
        print("kept", self.file.stem, self.position, flush=True)
        return Place(self.position)

    async def process(self, batch: Batch) -> None:
        if batch.first_offset != self.position:
            print("not contiguous", self.file.stem, self.position, batch.first_offset, flush=True)
        self.counts.update(value.decode() for value in batch.values if value is not None)
        self.position = batch.next_offset
        await asyncio.sleep(0.01)
        print("processed", self.file.stem, self.position, flush=True)

    async def checkpoint(self) -> int | None:
        if self.position == self.saved:
            return None
        fresh = self.file.with_suffix(".part")
        fresh.write_text(json.dumps({"next": self.position, "counts": self.counts}))
        fresh.replace(self.file)
        self.saved = self.position
        return self.position

    async def committed(self) -> None:
        print("committed", self.file.stem, self.saved, flush=True)

    def readings(self) -> Readings:
        return iter(())

    def blocked(self) -> float:
        return 0.0

    async def close(self) -> None:
        print("closed", self.file.stem, flush=True)


def main() -> None:
    """Run until killed or told to stop: BOOTSTRAP PREFIX PARTITIONS FOLDER."""
    bootstrap, prefix, partitions, folder = sys.argv[1:]
    settings = Settings()
    settings.kafka.bootstrap = bootstrap
    settings.kafka.group = settings.topics.prefix = prefix
    settings.topics.partitions = int(partitions)
    settings.state.checkpoint_interval = 0.2
    settings.web.port = 0
    make = lambda meter: FileCounting(Path(folder), meter.partition)  # noqa: E731
    registry = CollectorRegistry()
    sys.exit(asyncio.run(run(settings, make_partition=make, limits=FAST, registry=registry, metrics=Metrics(registry))))


if __name__ == "__main__":
    main()
