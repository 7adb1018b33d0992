"""What the worker's tests share: real traffic of the scenario, processes, and what must come out of a topic's log."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path

import msgspec
import numpy as np
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from prometheus_client import CollectorRegistry

from siphonwatch.models.account.request import names
from siphonwatch.models.engine.stage import REFUSED
from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts.alert import encode as encode_alert
from siphonwatch.streams.contracts.alert import to_alert
from siphonwatch.streams.contracts.telemetry import Malformed, Telemetry, encode
from siphonwatch.streams.edge.adapters import make_adapter
from siphonwatch.streams.edge.sketch import Sketcher
from siphonwatch.streams.lab.scenario import Scenario
from siphonwatch.streams.operate.topics import connect, create
from siphonwatch.streams.worker.agents.score import TelemetryPartition
from siphonwatch.streams.worker.decode import Decoder
from siphonwatch.streams.worker.meter import Meter
from siphonwatch.streams.worker.metrics import TELEMETRY, Metrics
from siphonwatch.streams.worker.scoring import make_scorer
from siphonwatch.streams.worker.state.kafka import open_state
from siphonwatch.streams.worker.transport import Begin

KEY = "a key for the tests of the worker"
SCRIPT = Path(__file__).with_name("worker_process.py")


@cache
def traffic(seed: int = 3) -> list[Telemetry]:
    """Telemetry of a small scenario with attacks in it, by event time."""
    settings = Settings()
    settings.identity.key = KEY
    identity = Identity.from_settings(settings)
    sketcher = Sketcher(identity)
    adapters = {name: make_adapter(name, settings, sketcher, identity) for name in ("litellm", "nginx")}
    found: list[Telemetry] = []
    for event in Scenario(seed, 20, 0.5):
        for element in adapters[event.format].records(msgspec.json.encode(event.record)):
            assert not isinstance(element, Malformed), element
            found.append(element)
    return found


def prepare(settings: Settings, partitions: int) -> None:
    """Create the topics, with check points every second."""
    settings.topics.partitions = partitions
    settings.identity.key = KEY
    settings.state.checkpoint_interval = 1.0
    settings.web.port = 0
    with connect(settings.kafka) as admin:
        create(settings, admin)


def running(processes: list[int]) -> list[int]:
    """Those of some processes that have not ended."""
    found = []
    for process in processes:
        with contextlib.suppress(OSError):
            if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                found.append(process)
    return found


class Worker:
    """A worker process; its log is a file."""

    def __init__(self, settings: Settings, folder: Path, crash: str = "", *, afresh: bool = False) -> None:
        self.log = folder / f"worker-{time.monotonic_ns()}.log"
        config = folder / "settings.json"
        config.write_bytes(msgspec.json.encode(settings))
        command = [
            sys.executable,
            str(SCRIPT),
            str(config),
            *([crash] if crash else []),
            *(["afresh"] if afresh else []),
        ]
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=out)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def children(self) -> list[int]:
        """Processes that the worker has begun."""
        pid = self.process.pid
        return [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]

    def stop(self) -> None:
        """Stop gracefully; it must succeed."""
        self.process.terminate()
        assert self.process.wait(300) == 0, self.log.read_text()

    async def works(self, seconds: float = 300.0) -> None:
        """Wait until a partition was restored and is being read."""
        await until(lambda: "restored, reading on" in self.log.read_text(), seconds, self.log.read_text)

    async def dies(self, seconds: float = 300.0) -> None:
        """Wait until the process has killed itself."""
        await until(lambda: self.process.poll() is not None, seconds, self.log.read_text)
        assert self.process.returncode == -9, self.log.read_text()


async def until(done: Callable[[], bool], seconds: float, describe: Callable[[], str] = str) -> None:
    """Wait for a condition."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, describe()
        await asyncio.sleep(0.1)


async def produce(settings: Settings, records: list[Telemetry], rate: float = 0.0, part: int = 200) -> None:
    """Produce telemetry keyed by account, at most `rate` a second and `part` at once, stamped now."""
    async with AIOKafkaProducer(bootstrap_servers=settings.kafka.bootstrap, acks="all") as producer:
        topic = settings.topic("telemetry")
        for start in range(0, len(records), part):
            some = records[start : start + part]
            sent = [await producer.send(topic, encode(r), key=r.account.encode()) for r in some]
            await asyncio.gather(*sent)
            if rate:
                await asyncio.sleep(len(some) / rate)


async def read(settings: Settings, name: str, partition: int) -> list[bytes]:
    """Everything on one partition of one of our topics, whatever it holds now."""
    tp = TopicPartition(settings.topic(name), partition)
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka.bootstrap, enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign([tp])
        await consumer.seek_to_beginning(tp)
        values: list[bytes] = []
        end = None  # known from the first answer to a fetch, which may take its time
        while end is None or await consumer.position(tp) < end:
            batch = await consumer.getmany(tp, timeout_ms=200)
            values += [record.value for record in batch.get(tp, ())]
            end = consumer.highwater(tp)
        return values
    finally:
        await consumer.stop()


async def scored(settings: Settings, least: int = 0, seconds: float = 600.0, name: str = "telemetry") -> None:
    """Wait until the group has committed all that the telemetry (or another) topic holds, `least` records or more.

    The topic's own count stands, as a producer that sends a record again may double it.
    """
    held = [len(await read(settings, name, p)) for p in range(settings.topics.partitions)]
    count = max(least, sum(held))
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka.bootstrap, group_id=settings.kafka.group, enable_auto_commit=False
    )
    await consumer.start()
    try:
        topic = settings.topic(name)
        end = time.monotonic() + seconds
        while True:
            offsets = [await consumer.committed(TopicPartition(topic, p)) for p in range(settings.topics.partitions)]
            if sum(offset or 0 for offset in offsets) >= count:
                return
            assert time.monotonic() < end, f"committed {offsets} of {count}"
            await asyncio.sleep(0.3)
    finally:
        await consumer.stop()


def without_model(alert: bytes) -> bytes:
    """An alert without `model`: where it was judged, and from which checkpoint on."""
    plain = msgspec.json.decode(alert)
    del plain["data"]["unmapped"]["siphonwatch"]["model"]
    return msgspec.json.encode(plain)


def expected_alerts(settings: Settings, log: list[bytes], again: bool = False) -> list[bytes]:
    """What the same scorer makes of a partition's log, offline, without `model`; `again` as below."""
    scorer = make_scorer(settings)
    first = {value: place for place, value in reversed([*enumerate(log)])}
    places = sorted(first.values()) if again else [*range(len(log))]
    requests = Decoder().decode([log[place] for place in places]).requests
    return [encode_alert(to_alert(f)) for f in scorer.score(requests, np.array(places))]


def counted(log: list[bytes]) -> Counter[str]:
    """Requests of each account from the first on that opens its row."""
    found: Counter[str] = Counter()
    for value in log:
        record = msgspec.json.decode(value)
        if record["account"] in found or record.get("status", 200) not in REFUSED:
            found[record["account"]] += 1
    return found


async def assert_applied_once(settings: Settings, again: bool = False) -> None:
    """Every record of the telemetry topic is in its account's counters once, and every alert is there, once by id.

    `again` says that a worker made it, and was killed: what it made again counts once too.
    """
    for partition in range(settings.topics.partitions):
        log = await read(settings, "telemetry", partition)
        state = TelemetryPartition(
            make_scorer(settings), open_state(settings, partition), None,
            Meter(Metrics(CollectorRegistry()), TELEMETRY, "", partition),
            hot_accounts=settings.state.hot_accounts, forget_after=settings.state.forget_after,
        )  # fmt: skip
        try:
            restored = await state.restore(Begin())
            assert restored.offset == (len(log) or None), f"partition {partition} restored at {restored} of {len(log)}"
            rows = state.scorer.table.rows[state.scorer.table.used()]
            applied = dict(zip(names(rows["account"]), rows["requests"].tolist(), strict=True))
            assert applied == counted([*dict.fromkeys(log)] if again else log)
        finally:
            await state.close()
    expected: list[bytes] = []
    for partition in range(settings.topics.partitions):
        expected += expected_alerts(settings, await read(settings, "telemetry", partition), again)
    found: list[bytes] = []
    for partition in range(settings.topics.partitions):
        found += await read(settings, "alerts", partition)
    assert set(map(without_model, found)) == set(expected)
    assert len({msgspec.json.decode(alert)["id"] for alert in found}) == len(set(found))
    assert expected, "the traffic was to raise alerts"
