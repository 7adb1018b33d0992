"""The archive from Kafka: killed, doubled, and over topics that are made anew, it holds each record once."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from worker_tools import prepare, produce, traffic, until

from siphonwatch.models.account.request import names
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.lab.archive.follow import Follower
from siphonwatch.streams.lab.archive.layout import Gap
from siphonwatch.streams.lab.archive.reader import Archive
from siphonwatch.streams.lab.archive.store import Store
from siphonwatch.streams.operate.topics import connect, create

pytestmark = [pytest.mark.broker]


@pytest.fixture
def settings(tansu: str, prefix: str) -> Settings:
    made = Settings()
    made.kafka.bootstrap = tansu
    made.topics.prefix = prefix
    prepare(made, 3)
    return made


def held(folder: Path) -> Counter[str]:
    """How often each request is in the archive, by id."""
    return Counter(name for batch in Archive(str(folder)).batches() for name in names(batch.requests["id"]))


def wanted(first: int, last: int) -> Counter[str]:
    return Counter(record.id[:64] for record in traffic()[first:last])


async def once(settings: Settings, folder: Path, **options: int) -> None:
    await Follower(settings, Store(str(folder)), **options).run(asyncio.Event(), once=True)


def archiver(settings: Settings, folder: Path, *options: str) -> subprocess.Popen[bytes]:
    environ = os.environ | {
        "SIPHONWATCH_KAFKA_BOOTSTRAP": settings.kafka.bootstrap,
        "SIPHONWATCH_TOPICS_PREFIX": settings.topics.prefix,
        "SIPHONWATCH_IDENTITY_KEY": settings.identity.key,
    }
    code = "from siphonwatch.streams.cli import main; main()"
    command = [sys.executable, "-c", code, "archive", "--to", str(folder), *options]
    return subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL)


async def test_what_the_topics_hold_is_archived_once_however_often_it_is_run(
    settings: Settings, tmp_path: Path
) -> None:
    await produce(settings, traffic()[:900])
    await once(settings, tmp_path, step_rows=200)
    await once(settings, tmp_path)
    assert held(tmp_path) == wanted(0, 900)
    await produce(settings, traffic()[900:1000])
    await once(settings, tmp_path)
    assert held(tmp_path) == wanted(0, 1000)
    assert not [gap for manifest in Archive(str(tmp_path)).manifests for r in manifest.ranges for gap in r.gaps]


async def test_an_archiver_that_is_killed_again_and_again_holds_each_record_once(
    settings: Settings, tmp_path: Path
) -> None:
    dice = random.Random(5)
    sending = asyncio.create_task(produce(settings, traffic()[:2000], rate=250.0, part=50))
    kills = 0
    while not sending.done() or kills < 2:
        steps = len(list((tmp_path / "_manifests").glob("*.json")))
        process = archiver(settings, tmp_path, "--step-rows", "60")
        end = time.monotonic() + 120
        while len(list((tmp_path / "_manifests").glob("*.json"))) < steps + 2 and time.monotonic() < end:
            await asyncio.sleep(0.05)
            if sending.done() and kills >= 2:
                break
        await asyncio.sleep(dice.random() / 2)
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
        if kills > 8:
            break
    await sending
    await once(settings, tmp_path)
    assert kills >= 2
    assert held(tmp_path) == wanted(0, 2000)


async def test_two_archivers_at_one_archive_hold_each_record_once(settings: Settings, tmp_path: Path) -> None:
    stop = asyncio.Event()
    both = [
        asyncio.create_task(Follower(settings, Store(str(tmp_path)), step_rows=50, step_seconds=1).run(stop))
        for _ in range(2)
    ]
    await produce(settings, traffic()[:1200], rate=400.0, part=40)
    await until(lambda: (tmp_path / "_manifests").is_dir() and held(tmp_path).total() >= 1200, 120)
    stop.set()
    await asyncio.gather(*both)
    assert held(tmp_path) == wanted(0, 1200)


@pytest.mark.parametrize("running", [True, False])
async def test_a_topic_that_is_made_anew_is_archived_behind_the_old_one(
    settings: Settings, tmp_path: Path, running: bool
) -> None:
    topic = settings.topic("telemetry")
    await produce(settings, traffic()[:300])
    stop = asyncio.Event()
    follower = Follower(settings, Store(str(tmp_path)), step_seconds=1)
    if running:
        task = asyncio.create_task(follower.run(stop))
        await until(lambda: (tmp_path / "_manifests").is_dir() and held(tmp_path).total() >= 300, 120)
    else:
        await once(settings, tmp_path)
    with connect(settings.kafka) as admin:
        admin.delete_topics([topic])
        await until(lambda: topic not in admin.list_topics(), 60)
        create(settings, admin)
    await produce(settings, traffic()[300:500])
    if running:
        await until(lambda: held(tmp_path).total() >= 500, 120)
        stop.set()
        await task
    else:
        await once(settings, tmp_path)
    assert held(tmp_path) == wanted(0, 500)
    gaps = [gap for m in Archive(str(tmp_path)).manifests for r in m.ranges if r.kind == "telemetry" for gap in r.gaps]
    assert gaps
    assert all(isinstance(gap, Gap) and gap.reason == "anew" for gap in gaps)
