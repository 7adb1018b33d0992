"""A worker, a deliverer, an archiver and a desk on Apache Kafka, fed for a Prometheus that scrapes them."""

from __future__ import annotations

import asyncio
import http.server
import threading
from pathlib import Path
from types import TracebackType

import msgspec
import numpy as np
from aiokafka import AIOKafkaProducer
from service_process import Archiver, Deliverer, DeskProcess, get
from worker_tools import Worker, prepare, produce, read, scored, traffic

from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts.alert import decode as decode_alert
from siphonwatch.streams.contracts.telemetry import encode
from siphonwatch.streams.contracts.verdict import encode as encode_verdict
from siphonwatch.streams.contracts.verdict import judge
from siphonwatch.streams.lab.broker.process import free_port
from siphonwatch.streams.lab.scenario import Scenario
from siphonwatch.streams.operate.topics import connect
from siphonwatch.streams.worker.decode import Decoder
from siphonwatch.streams.worker.scoring import make_scorer

SECRET = "whsec_c2lwaG9ud2F0Y2g6IGEgc2VjcmV0IG9mIGEgdGVzdC4="
PARTITIONS = 2


class Hook(http.server.BaseHTTPRequestHandler):
    """Takes every alert."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Stack:
    """A context manager; `workers` and `deliverers` are targets for Prometheus."""

    def __init__(self, bootstrap: str, prefix: str, folder: Path) -> None:
        settings = Settings()
        settings.kafka.bootstrap = bootstrap
        settings.kafka.group = settings.topics.prefix = prefix
        self.gateway = f"{prefix}.gateway"
        settings.ingest.topics = {self.gateway: "litellm"}
        prepare(settings, PARTITIONS)
        with connect(settings.kafka) as admin:
            admin.create_topics({self.gateway: {"num_partitions": 1, "replication_factor": 1}})
        settings.web.port = free_port()
        self.settings = settings
        self.folder = folder

    def __enter__(self) -> Stack:
        self.settings.accounts.allow = self._spared()
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
        self._serving = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._serving.start()
        self.deliverer = Deliverer(
            self.settings, self.folder,
            hook={"kind": "webhook", "url": f"http://127.0.0.1:{self._server.server_port}/", "secret": SECRET},
            away={"kind": "webhook", "url": f"http://127.0.0.1:{free_port()}/", "secret": SECRET},
        )  # fmt: skip
        self.worker = Worker(self.settings, self.folder)
        self.archiver = Archiver(self.settings, self.folder / "archive", self.folder, "--step-seconds", "5")
        self.desk = DeskProcess(self.settings, self.folder)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.worker.__exit__()
        self.deliverer.__exit__()
        self.archiver.__exit__()
        self.desk.__exit__()
        self._server.shutdown()
        self._server.server_close()
        self._serving.join()
        if error is not None:
            print(self.worker.log.read_text()[-3000:], self.deliverer.log.read_text()[-3000:])

    @property
    def jobs(self) -> dict[str, list[str]]:
        """Targets by job."""
        return {
            "siphonwatch": [f"127.0.0.1:{self.settings.web.port}"],
            "siphonwatch-deliver": [f"127.0.0.1:{self.deliverer.port}"],
            "siphonwatch-archive": [f"127.0.0.1:{self.archiver.port}"],
            "siphonwatch-desk": [f"127.0.0.1:{self.desk.port}"],
        }

    def _spared(self) -> list[str]:
        """Half of the accounts that raise alerts."""
        requests = Decoder().decode([encode(record) for record in traffic()]).requests
        findings = make_scorer(self.settings).score(requests, np.arange(len(requests)))
        return sorted({finding.accounts[0] for finding in findings})[::2]

    async def restart(self) -> None:
        """Stop the worker gracefully and start it again."""
        await asyncio.to_thread(self.worker.stop)
        self.worker = Worker(self.settings, self.folder)
        await self.worker.works()
        await asyncio.sleep(2)  # the new process is scraped before it has anything to count

    async def feed(self) -> None:
        """Send attacks; broken, late, early and repeated records; a gateway's own; a verdict; open the desk."""
        settings, records = self.settings, traffic()
        half = len(records) // 2
        await produce(settings, records[:half])
        await scored(settings)
        await self.restart()
        await produce(settings, records[half:])
        newest = records[-1]
        async with AIOKafkaProducer(bootstrap_servers=settings.kafka.bootstrap, acks="all") as producer:
            telemetry, key = settings.topic("telemetry"), newest.account.encode()
            late = msgspec.structs.replace(newest, id="late", time=newest.time - 7200)
            ahead = msgspec.structs.replace(newest, id="ahead", time=newest.time + 1e6)
            repeated = [("source", b"elsewhere:0:1:0")]
            for value, headers in ((encode(late), []), (encode(ahead), []), *([(encode(newest), repeated)] * 2)):
                await producer.send_and_wait(telemetry, value, key, headers=headers)
            await producer.send_and_wait(telemetry, b"{broken", key)
            raw = [event.record for event in Scenario(5, 20, 0.5) if event.format == "litellm"]
            for value in (*map(msgspec.json.encode, raw[:60]), b"no log record"):
                await producer.send_and_wait(self.gateway, value)
        await scored(settings)
        alerts = [decode_alert(value) for p in range(PARTITIONS) for value in await read(settings, "alerts", p)]
        assert alerts, "the traffic was to raise alerts"
        verdict = judge(alerts[0], "true-positive", by="Ann", time=1.8e9, note="")
        async with AIOKafkaProducer(bootstrap_servers=settings.kafka.bootstrap, acks="all") as producer:
            await producer.send_and_wait(settings.topic("verdicts"), encode_verdict(verdict), verdict.case.encode())
        address = await self.desk.address()
        for _ in range(2):
            assert (await asyncio.to_thread(get, f"{address}/"))[0] == 200
            await asyncio.sleep(2)  # it is scraped in between: a counter that begins at 2 has no rate
