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

import msgspec
import pytest
from alert_samples import findings
from worker_tools import prepare, produce, traffic, until

from siphonwatch.models.account.request import names
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.common.tail import TailError
from siphonwatch.streams.contracts import control, verdict
from siphonwatch.streams.contracts.alert import encode as encode_alert
from siphonwatch.streams.contracts.alert import to_alert
from siphonwatch.streams.contracts.control import Erase
from siphonwatch.streams.edge.producer import connect as producer_of
from siphonwatch.streams.lab.archive.follow import Follower
from siphonwatch.streams.lab.archive.layout import Gap
from siphonwatch.streams.lab.archive.reader import Archive
from siphonwatch.streams.lab.archive.rewrite import rewrite
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


async def test_what_was_ordered_erased_before_a_step_is_not_written_and_what_came_later_is(
    settings: Settings, tmp_path: Path
) -> None:
    account = Counter(record.account for record in traffic()[:600]).most_common(1)[0][0]
    mine = [i for i, record in enumerate(traffic()[:600]) if record.account == account]
    assert len(mine) > 5
    order_time = traffic()[mine[len(mine) // 2]].time
    before = [i for i in mine if traffic()[i].time <= order_time]
    half = mine[1]
    await produce(settings, traffic()[:half])
    await once(settings, tmp_path)
    await produce(settings, traffic()[half:600])
    named, other = findings(2, start=order_time - 10_000.0)
    named = msgspec.structs.replace(named, accounts=[account])
    producer = producer_of(settings, "tests")
    for finding in (named, other):
        alert = to_alert(finding)
        producer.send(settings.topic("alerts"), encode_alert(alert), alert.subject.encode())
        said = verdict.judge(alert, "true-positive", by="Ann", time=order_time - 1.0, note="of ACME")
        producer.send(settings.topic("verdicts"), verdict.encode(said), said.case.encode())
    facts = {"account": account, "by": "Eve"}
    real = Erase(id="0" * 12, time=order_time, **facts)
    for order in (real, Erase(id="1" * 12, time=order_time + 1e6, dry_run=True, **facts)):
        producer.send(settings.topic("control"), control.encode(order), order.id.encode())
    producer.close(30)
    assert sum(rewrite(str(tmp_path), [account], "erase").rows.values()) == 1, "what was written before the order"
    await once(settings, tmp_path)
    assert held(tmp_path) == wanted(0, 600) - Counter(traffic()[i].id[:64] for i in before)
    archive = Archive(str(tmp_path))
    dropped = Counter[str]()
    for manifest in archive.manifests:
        for taken in manifest.ranges:
            dropped[taken.kind] += taken.dropped.get("erased", 0)
    assert dropped == {"telemetry": len(before) - 1, "alerts": 1, "verdicts": 1}
    for kind in ("alerts", "verdicts"):
        (left,) = [row for table in archive.tables(kind) for row in table.to_pylist()]  # type: ignore[arg-type]
        assert left["case"] == other.case
    assert rewrite(str(tmp_path), [account], "again", dry_run=True).rows == {
        "telemetry": len(mine) - len(before), "alerts": 0, "verdicts": 0, "features": 0,
    }, "what it sent after the order"  # fmt: skip


async def test_no_step_is_closed_while_orders_cannot_be_read(settings: Settings, tmp_path: Path) -> None:
    await produce(settings, traffic()[:50])
    with connect(settings.kafka) as admin:
        admin.delete_topics([settings.topic("control")])
        await until(lambda: settings.topic("control") not in admin.list_topics(), 60)
    with pytest.raises(TailError, match="control"):
        await once(settings, tmp_path)
    with connect(settings.kafka) as admin:
        create(settings, admin)
    await once(settings, tmp_path)
    assert held(tmp_path) == wanted(0, 50)


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
