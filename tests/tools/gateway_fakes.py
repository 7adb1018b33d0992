"""A gateway's parts: a Kafka producer that remembers what it was given, and fails or stalls on demand; an adapter of
records of one field."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from siphonwatch.streams.contracts.telemetry import Malformed, Telemetry
from siphonwatch.streams.edge.adapters.base import Adapter


class FakeFuture:
    """Calls back at once, or when the test says."""

    def __init__(self) -> None:
        self._ok: list[Callable[[Any], None]] = []
        self._bad: list[Callable[[BaseException], None]] = []
        self.error: BaseException | None = None
        self.done = False

    def add_callback(self, call: Callable[[Any], None]) -> None:
        self._ok.append(call)
        self.settle()

    def add_errback(self, call: Callable[[BaseException], None]) -> None:
        self._bad.append(call)
        self.settle()

    def settle(self) -> None:
        if self.done and self.error is None:
            while self._ok:
                self._ok.pop()(None)
        elif self.done and self.error is not None:
            while self._bad:
                self._bad.pop()(self.error)


class FakeProducer:
    """Stands in for kafka.KafkaProducer."""

    def __init__(self, error: BaseException | None = None, refuse: BaseException | None = None, hold: bool = False):
        self.sent: list[dict[str, Any]] = []
        self.futures: list[FakeFuture] = []
        self.error = error
        """Every delivery fails with it."""
        self.refuse = refuse
        """`send` itself raises it."""
        self.hold = hold
        """Deliveries wait for `release`."""
        self.closed = False

    def send(self, topic: str, value: bytes, key: bytes | None) -> FakeFuture:
        if self.refuse is not None:
            raise self.refuse
        self.sent.append({"topic": topic, "value": value, "key": key})
        future = FakeFuture()
        future.error = self.error
        future.done = not self.hold
        self.futures.append(future)
        return future

    def release(self) -> None:
        self.hold = False
        for future in self.futures:
            future.done = True
            future.settle()

    def flush(self, timeout: float | None = None) -> None:
        self.release()

    def close(self, timeout: float | None = None) -> None:
        self.closed = True


class OneField(Adapter):
    """Reads {"account": ...}; `bad` is malformed and `bug` raises with the record in its message."""

    name = "litellm"

    def __init__(self) -> None:
        pass

    def records(self, raw: bytes) -> Iterator[Telemetry | Malformed]:
        account = json.loads(raw)["account"]
        if account == "bug":
            raise RuntimeError(f"cannot handle {raw!r}")
        yield Malformed("time", "none") if account == "bad" else Telemetry(id="r", time=2.5, account=account)

    def element(self, raw: bytes) -> Iterator[Telemetry | Malformed]:
        raise NotImplementedError


def record(account: str) -> bytes:
    return json.dumps({"account": account}).encode()
