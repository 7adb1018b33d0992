"""Gateway topics consumed directly: alerts come out, bad records go to the dead letters, and no text gets anywhere."""

from __future__ import annotations

import asyncio
import re
import time
import urllib.request
from pathlib import Path

import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from kafka.admin import NewTopic
from worker_tools import KEY, Worker, assert_applied_once, prepare, read, running, scored, until

from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts.telemetry import Telemetry
from siphonwatch.streams.lab.broker.process import free_port
from siphonwatch.streams.lab.scenario import Scenario
from siphonwatch.streams.operate.topics import connect
from siphonwatch.streams.worker.state.kafka import open_state
from siphonwatch.streams.worker.state.pages import from_page

pytestmark = pytest.mark.broker
RECORDS = 1200
"""Of each gateway."""
WORDS = 5
"""Words in a row of a prompt or reply that count as having leaked."""


def gateway_log() -> dict[str, list[bytes]]:
    """The first records that two gateways wrote, by format."""
    logs: dict[str, list[bytes]] = {"litellm": [], "nginx": []}
    for event in Scenario(3, 20, 0.5):
        if len(logs[event.format]) < RECORDS:
            logs[event.format].append(msgspec.json.encode(event.record))
    return logs


def private_strings(logs: dict[str, list[bytes]]) -> set[str]:
    """Names, keys, addresses and runs of words that must stay at the gateway."""
    found: set[str] = set()
    for raw in logs["litellm"]:
        record = msgspec.json.decode(raw)
        meta = record["metadata"]
        for field in ("user_api_key_org_id", "user_api_key_hash", "user_api_key_user_id", "user_api_key_end_user_id"):
            found.add(meta.get(field) or "")
        found.add(record.get("requester_ip_address") or "")
        found.add(record.get("user_agent") or "")
        texts = [m["content"] for m in record["messages"] if isinstance(m.get("content"), str)]
        texts += [c["message"].get("content") or "" for c in (record.get("response") or {}).get("choices", [])]
        for text in texts:
            words = re.findall(r"[^\s\"\\]+", text)
            found.update(" ".join(words[i : i + WORDS]) for i in range(0, max(len(words) - WORDS, 1), 7))
    for raw in logs["nginx"]:
        record = msgspec.json.decode(raw)
        found.update(str(record.get(name) or "") for name in ("remote_addr", "remote_user", "account", "api_key"))
    return {text for text in found if len(text) >= 7}


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310 - our own worker
        text: str = answer.read().decode()
        return text


async def kept(settings: Settings, partition: int) -> list[bytes]:
    """What the state topic holds of a partition, decompressed: pages as bytes, and the models."""
    log = open_state(settings, partition)
    try:
        snapshot = await log.restore()
        assert snapshot is not None
        pages = [from_page(page.data).tobytes() async for part in snapshot.hot() for _, page in part]
        return [*pages, snapshot.models]
    finally:
        await log.stop()


async def test_gateway_topics_are_scored_once_though_a_worker_is_killed_and_no_text_leaves_them(
    settings: Settings, tmp_path: Path
) -> None:
    topics = {f"{settings.topics.prefix}.{name}": name for name in ("litellm", "nginx")}
    settings.ingest.topics = dict(topics)  # type: ignore[arg-type]
    settings.ingest.processes = 2
    settings.accounts.nginx = ["account", "api_key", "remote_user", "remote_addr"]
    prepare(settings, 2)
    settings.web.port = free_port()
    with connect(settings.kafka) as admin:
        admin.create_topics([NewTopic(name, 2, 1) for name in topics])
    logs = gateway_log()
    broken = [b"{", b'{"id": "no account"}', b"\xff\xfe"]
    total = sum(map(len, logs.values()))
    sent: list[bytes] = []

    async def arrived() -> int:
        """How much came out, what a killed worker's successor made again counted once."""
        await asyncio.sleep(0.5)
        sent[:] = [value for p in range(2) for value in await read(settings, "telemetry", p)]
        return len(set(sent))

    async def arrive(least: int, worker: Worker) -> None:
        deadline = time.monotonic() + 900.0  # a busy machine sketches a few hundred records a second
        while await arrived() < least and time.monotonic() < deadline:
            pass
        assert len(set(sent)) >= least, worker.log.read_text()

    async def produce(start: int, end: int) -> None:
        async with AIOKafkaProducer(bootstrap_servers=settings.kafka.bootstrap) as producer:
            for topic, name in topics.items():
                log = logs[name][:500] + (broken if name == "litellm" else []) + logs[name][500:]
                for i, raw in enumerate(log[start:end]):
                    await producer.send(topic, raw, partition=i % 2)
            await producer.flush()

    with Worker(settings, tmp_path) as first:
        await produce(0, 600)
        await arrive(1, first)
        await produce(600, 2 * RECORDS)
        children = running(first.children())
        assert len(children) >= 2  # those that adapt
        first.kill()
        await until(lambda: not running(children), 60.0)
    with Worker(settings, tmp_path) as worker:
        await arrive(total, worker)
        assert len(set(sent)) == total
        await scored(settings, total)
        metrics = await asyncio.to_thread(fetch, f"http://127.0.0.1:{settings.web.port}/metrics")
        worker.stop()
        log = first.log.read_text() + worker.log.read_text()
    await assert_applied_once(settings, again=True)

    letters = [value for p in range(2) for value in await read(settings, "dlq", p)]
    assert set(letters) == set(broken)
    alerts = [value for p in range(2) for value in await read(settings, "alerts", p)]
    state = [part for p in range(2) for part in await kept(settings, p)]
    assert "siphonwatch_requests_total" in metrics
    everything = b"\n".join(sent + alerts + state).decode("latin-1") + log + metrics
    leaked = [text for text in private_strings(logs) if text in everything]
    assert not leaked, leaked[:5]
    assert KEY not in everything
    assert all(msgspec.json.decode(value, type=Telemetry) for value in sent[:100])
