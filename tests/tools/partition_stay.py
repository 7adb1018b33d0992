"""One stay of a telemetry partition at a worker, without a broker: what it is told, and what it sends."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry
from state_fakes import Topic, state_log
from worker_tools import traffic

from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts.deployment import Applied
from siphonwatch.streams.contracts.deployment import decode as decode_applied
from siphonwatch.streams.contracts.features import Logged
from siphonwatch.streams.contracts.features import decode as decode_features
from siphonwatch.streams.contracts.measured import Measured, NotMeasured
from siphonwatch.streams.contracts.measured import decode as decode_measured
from siphonwatch.streams.contracts.receipt import Receipt, decode
from siphonwatch.streams.contracts.telemetry import encode
from siphonwatch.streams.worker.agents.feature_log import What
from siphonwatch.streams.worker.agents.judges import DeployList
from siphonwatch.streams.worker.agents.score import TelemetryPartition
from siphonwatch.streams.worker.entries import Entries, Entry, EntryList
from siphonwatch.streams.worker.meter import Meter
from siphonwatch.streams.worker.metrics import TELEMETRY, Metrics
from siphonwatch.streams.worker.orders import Order, OrderList, Orders
from siphonwatch.streams.worker.scoring import make_scorer
from siphonwatch.streams.worker.transport import Batch
from siphonwatch.streams.worker.transport.batch import Lease

STEP = 500
LOG = [encode(record) for record in traffic()]
MIDDLE = len(LOG) // 2 // STEP * STEP


class Kept:
    """An outlet that keeps what is sent."""

    def __init__(self) -> None:
        self.alerts: list[dict[str, Any]] = []
        self.hid: list[tuple[str, dict[str, Any]]] = []
        self.receipts: list[Receipt] = []
        self.shadowed: list[tuple[str, str, dict[str, Any]]] = []
        self.measured: list[Measured] = []
        self.applied: list[Applied] = []
        self.logged: list[Logged] = []

    async def alert(self, key: bytes, value: bytes) -> None:
        self.alerts.append(json.loads(value))

    async def hidden(self, key: bytes, value: bytes, entry: str) -> None:
        self.hid.append((entry, json.loads(value)))

    async def receipt(self, key: bytes, value: bytes) -> None:
        self.receipts.append(decode(value))
        assert key == self.receipts[-1].order.encode()

    async def features(self, key: bytes, value: bytes) -> None:
        logged = decode_features(value)
        sightings = b"sightings:" if logged.over == "campaign" else b""
        assert key == b"%s%d:%d" % (sightings, logged.partition, logged.offset)
        self.logged.append(logged)

    async def shadow(self, key: bytes, value: bytes, role: str, version: str) -> None:
        try:
            self.measured.append(decode_measured(value))
        except NotMeasured:
            self.shadowed.append((role, version, json.loads(value)))

    async def deployed(self, value: bytes) -> None:
        self.applied.append(decode_applied(value))

    async def dead_letters(self, letters: Iterable[object]) -> int:
        raise AssertionError("nothing here is bad")

    async def flush(self) -> None:
        pass


class Stay:
    """A partition; `list`, `orders` and `deploys` are what the control topic says."""

    def __init__(
        self, state: Topic, entries: Iterable[Entry] = (), *, orders: Iterable[Order] = (), hot_accounts: int = 1000,
        features: What = "off",
    ) -> None:  # fmt: skip
        self.outlet, self.registry = Kept(), CollectorRegistry()
        self.list, self.orders, self.deploys = EntryList(), OrderList(), DeployList()
        self.list.known, self.orders.known = Entries(entries), Orders(orders)
        self.scorer = make_scorer(Settings())
        self.partition = TelemetryPartition(
            self.scorer, state_log(state, max_value=1 << 20), self.outlet,
            Meter(Metrics(self.registry), TELEMETRY, "", 0), entries=self.list, orders=self.orders,
            deploys=self.deploys, features=features, hot_accounts=hot_accounts, forget_after=1e9,
        )  # fmt: skip

    async def feed(self, log: list[bytes], first: int, last: int, at: int = 0) -> None:
        """Give records `first` to `last` of a log, at offsets that are `at` higher."""
        for start in range(first, last, STEP):
            values = log[start : min(start + STEP, last)]
            n, offset = len(values), start + at
            await self.partition.process(
                Batch(
                    Lease("telemetry", 0, 1, lambda _: None), keys=[None] * n, values=values, headers=[()] * n,
                    next_offset=offset + n, offsets=np.arange(offset, offset + n), timestamps=np.zeros(n, np.int64),
                    size=1, missing=0,
                )
            )  # fmt: skip


def ids(alerts: Iterable[dict[str, Any]]) -> list[str]:
    return [alert["id"] for alert in alerts]


def kinds(alerts: Iterable[dict[str, Any]]) -> list[str]:
    return [alert["type"].split(".")[2] for alert in alerts]
