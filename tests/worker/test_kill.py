"""A worker killed at any moment, or told to stop, goes on at its checkpoint and applies every record exactly once."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from kafka_apache import ApacheKafka
from transport_fakes import Counting, Store, committed, numbered, prepare, produce, running, until

from siphonwatch.streams.common.settings import Settings

SCRIPT = Path(__file__).parents[1] / "tools" / "killed_worker.py"


class Process:
    """A worker in a process of its own."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.log = folder / "worker.log"
        topics = settings.topics
        arguments = [settings.kafka.bootstrap, topics.prefix, str(topics.partitions), str(folder)]
        with self.log.open("ab") as out:
            self.process = subprocess.Popen([sys.executable, str(SCRIPT), *arguments], stdout=out, stderr=out)

    def end(self, how: signal.Signals) -> int:
        self.process.send_signal(how)
        return self.process.wait(300)


def saved(folder: Path) -> Counter[str]:
    total: Counter[str] = Counter()
    for file in folder.glob("*.json"):
        total.update(json.loads(file.read_text())["counts"])
    return total


def positions(folder: Path) -> dict[int, int]:
    return {int(file.stem): json.loads(file.read_text())["next"] for file in folder.glob("*.json")}


async def test_killed_again_and_again_it_applies_every_record_once(settings: Settings, tmp_path: Path) -> None:
    prepare(settings)
    chance, enough = random.Random(7), asyncio.Event()

    async def load() -> int:
        count = 0
        while not enough.is_set():
            await produce(settings, numbered(500, count))
            count += 500
            await asyncio.sleep(0.2)
        return count

    loading = asyncio.create_task(load())
    worker = Process(settings, tmp_path)
    try:
        for _ in range(2):
            before = saved(tmp_path).total()
            await until(lambda before=before: saved(tmp_path).total() > before, 300)
            await asyncio.sleep(chance.random())
            assert worker.end(signal.SIGKILL) == -signal.SIGKILL
            worker = Process(settings, tmp_path)
        before = saved(tmp_path).total()
        await until(lambda: saved(tmp_path).total() > before, 300)
        enough.set()
        count = await loading
        await until(lambda: saved(tmp_path).total() >= count, 300)
    finally:
        enough.set()
        code = worker.end(signal.SIGTERM)
    assert code == 0
    assert saved(tmp_path) == {value.decode(): 1 for value in numbered(count)}
    said = worker.log.read_text()
    assert "not contiguous" not in said
    assert said.count("closed") == 2, "only the last worker closed its partitions"
    assert await committed(settings) == positions(tmp_path) == {0: count // 2, 1: count // 2}


@pytest.mark.kafka
@pytest.mark.broker
async def test_a_broker_that_restarts_costs_no_record(kafka_node: ApacheKafka, prefix: str) -> None:
    settings = Settings()
    settings.kafka.bootstrap = kafka_node.bootstrap
    settings.kafka.group = settings.topics.prefix = prefix
    settings.topics.partitions = 2
    settings.state.checkpoint_interval = 0.3
    prepare(settings)
    store = Store()
    await produce(settings, numbered(4000))
    async with running(settings, lambda p: Counting(store, p)):
        await until(lambda: store.total() == 4000)
        await asyncio.to_thread(kafka_node.stop)
        await asyncio.sleep(1)
        await asyncio.to_thread(kafka_node.start)
        await produce(settings, numbered(4000, 4000))
        await until(lambda: store.total() == 8000, 300)
    assert sum(store.applied.values(), start=Counter()) == dict.fromkeys(numbered(8000), 1)
    assert await committed(settings) == store.next_offset
