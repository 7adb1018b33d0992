"""The archiver serves how far it is, and says what it wrote, dropped and could not read."""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from click.testing import CliRunner
from service_process import Archiver
from worker_tools import prepare, produce, traffic, until

from siphonwatch.streams.cli.archive import command
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.lab.archive.follow import Follower
from siphonwatch.streams.lab.archive.reader import Archive
from siphonwatch.streams.lab.archive.store import Store
from siphonwatch.streams.lab.archive.writer import read_manifests

pytestmark = [pytest.mark.broker]


@pytest.fixture
def settings(tansu: str, prefix: str) -> Settings:
    made = Settings()
    made.kafka.bootstrap = tansu
    made.topics.prefix = prefix
    prepare(made, 3)
    return made


async def until_metric(archiver: Archiver, name: str, value: float) -> dict[str, float]:
    """Wait until a series has a value; return all of them."""
    end = time.monotonic() + 300
    while (found := await archiver.metrics()).get(name) != value:
        assert archiver.process.poll() is None and time.monotonic() < end, f"{name}: {found}"
        await asyncio.sleep(0.2)
    return found


async def test_what_is_in_no_step_is_behind_and_what_is_in_one_is_counted(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    with Archiver(settings, folder, tmp_path, "--step-seconds", "3600", "--step-rows", "500") as archiver:
        await archiver.ready()
        begun = await archiver.metrics()
        assert begun['archive_behind_seconds{kind="telemetry"}'] == 0
        assert begun['archived_rows_total{kind="verdicts"}'] == 0
        await produce(settings, traffic()[:120])
        waiting = await until_metric(archiver, 'archive_lag_records{kind="telemetry"}', 120)
        assert waiting['archive_behind_seconds{kind="telemetry"}'] > 0
        assert waiting["archive_steps_total"] == waiting['archived_rows_total{kind="telemetry"}'] == 0
        async with AIOKafkaProducer(bootstrap_servers=settings.kafka.bootstrap, acks="all") as producer:
            await producer.send_and_wait(settings.topic("telemetry"), b"{broken", b"key")
        await produce(settings, traffic()[120:500])
        await produce(settings, traffic()[500:501])
        found = await until_metric(archiver, "archive_steps_total", 1)
        assert found['archive_dropped_records_total{kind="telemetry",reason="json"}'] == 1
        manifest = read_manifests(Store(str(folder)))[0]
        assert found['archived_rows_total{kind="telemetry"}'] == sum(r.rows for r in manifest.ranges) >= 500
        assert found['archived_bytes_total{kind="telemetry"}'] == sum(file.size for file in manifest.files)
        assert found["last_archive_step_timestamp_seconds"] == pytest.approx(manifest.at, abs=1e-3)
        assert (await archiver.get("/healthz"))[0] == 200
        await archiver.stop()
    assert sum(r.rows for m in Archive(str(folder)).manifests for r in m.ranges) == 501, "the last step is closed"


async def test_a_follower_that_cannot_read_is_behind_since_it_could(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    follower = Follower(settings, Store(str(tmp_path)))
    assert follower.waiting and all(behind.records is None for behind in follower.behind().values())
    await follower.run(asyncio.Event(), once=True)
    assert not follower.waiting
    assert {behind.records for behind in follower.behind().values()} == {0}
    assert {behind.seconds for behind in follower.behind().values()} == {0.0}
    monkeypatch.setattr("siphonwatch.streams.lab.archive.follow.RETRY_SECONDS", 0.05)
    settings.kafka.bootstrap = "127.0.0.1:9"
    stop = asyncio.Event()
    running = asyncio.create_task(follower.run(stop))
    await until(lambda: bool(follower.waiting), 60)
    first = follower.behind()["telemetry"].seconds
    await asyncio.sleep(0.3)
    assert follower.waiting.startswith("topics cannot be read")
    assert follower.behind()["telemetry"].seconds > first and follower.behind()["telemetry"].records is None
    stop.set()
    await running


def test_a_port_that_is_taken_and_a_port_for_log_files_are_refused(settings: Settings, tmp_path: Path) -> None:
    environ = {"SIPHONWATCH_KAFKA_BOOTSTRAP": settings.kafka.bootstrap, "SIPHONWATCH_IDENTITY_KEY": "x" * 16}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = CliRunner().invoke(command, ["--to", str(tmp_path), "--metrics-port", port], env=environ)
        assert result.exit_code == 1 and f"cannot listen on 127.0.0.1:{port}" in result.output
    log = tmp_path / "log.ndjson"
    log.write_text("{}")
    arguments = ["--to", str(tmp_path), "--from", str(log), "--metrics-port", "0"]
    assert CliRunner().invoke(command, arguments, env=environ).exit_code == 2
