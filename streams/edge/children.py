"""Adapts messages of gateways' topics beside the event loop: in a thread, and where there is much to do in child
processes, each of which takes some messages and gives encoded telemetry back. Which one did it makes no difference.

A child that ends is replaced, and what it had is adapted again. A message under which two children end is given up as
malformed, so that none can end a worker.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import multiprocessing
import signal
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import NamedTuple

import msgspec

from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts.telemetry import Malformed, encode
from siphonwatch.streams.edge.adapters import Adapter, make_adapter
from siphonwatch.streams.edge.sketch import Sketcher

log = logging.getLogger(__name__)

ALONE = 4096
"""Messages adapted in this process before others are begun: some seconds of work, as much as a child takes to begin."""
TRIES = 2
"""Children that may end under the same messages before these are cut in halves, and under one before it is given up."""

Adapters = Mapping[str, Adapter]
"""By topic."""


class Element(NamedTuple):
    """One element of a message: telemetry, or the reason why it is none."""

    value: bytes
    """Encoded telemetry; empty where it is malformed."""
    account: str
    reason: str
    detail: str

    def malformed(self) -> Malformed | None:
        """Return the reason, where there is one."""
        return Malformed(self.reason, self.detail) if self.reason else None


class Failure(NamedTuple):
    """An adapter failed on a message; it quotes nothing of it."""

    row: int
    error: str


class Made(msgspec.Struct, array_like=True):
    """What came of some messages."""

    rows: list[list[Element]]
    """Of each message its elements."""
    passed_over: dict[str, int]
    """Elements that were no requests, by what they were."""
    failures: list[Failure]


class Work(msgspec.Struct, array_like=True):
    """Messages for a child."""

    topic: str
    values: list[bytes | None]


class Died(RuntimeError):
    """A child ended before it answered."""


def adapters_of(settings: Settings) -> dict[str, Adapter]:
    """Return the adapter of each topic in `[ingest]`, all with one sketcher.

    Raises
    ------
    SettingsError
        Where identity.key is missing.
    """
    identity = Identity.from_settings(settings)
    sketcher = Sketcher(identity)
    return {topic: make_adapter(name, settings, sketcher, identity) for topic, name in settings.ingest.topics.items()}


def adapt(adapter: Adapter, values: Sequence[bytes | None]) -> Made:
    """Adapt messages; of one that an adapter fails on, what came before the failure and its reason.

    An adapter is not to fail on anything. One that does costs that message, kept as a dead letter, and not the worker.
    """
    rows: list[list[Element]] = []
    failures: list[Failure] = []
    for row, value in enumerate(values):
        found: list[Element] = []
        try:
            for record in adapter.records(value) if value is not None else ():  # a tombstone says nothing
                if isinstance(record, Malformed):
                    found.append(Element(b"", "", record.reason, str(record)[len(record.reason) + 2 :]))
                else:
                    found.append(Element(encode(record), record.account, "", ""))
        except Exception as error:  # noqa: BLE001 - see above
            place = traceback.extract_tb(error.__traceback__)[-1]  # what it says may quote the message
            failures.append(Failure(row, f"{type(error).__name__} in {place.name}, line {place.lineno}"))
            found.append(Element(b"", "", "schema", f"the adapter failed: {type(error).__name__}"))
        rows.append(found)
    return Made(rows, adapter.take_passed_over(), failures)


class Beside:
    """Adapts beside the event loop of a worker; shared by its partitions.

    Memory is bounded: each child has the messages of one call, and each caller waits for what it asked for.

    Parameters
    ----------
    adapters
        Of this process, by topic.
    make
        Makes the children's; other processes can import it.
    processes
        Children at most; with 1 there are none.
    alone
        Messages adapted in this process before there are any.
    """

    def __init__(self, adapters: Adapters, make: Callable[[], Adapters], processes: int, alone: int = ALONE) -> None:
        self._adapters = adapters
        self._make = make
        self._left = alone
        self.processes = processes
        self._threads = ThreadPoolExecutor(max(1, processes), "siphonwatch-adapt") if processes > 1 else None
        self._mine = threading.local()
        self._children: set[_Child] = set()
        self._closed = False
        if self._threads is not None:
            atexit.register(self.close)  # before multiprocessing waits for its children to end by themselves

    @property
    def at_once(self) -> int:
        """How many calls of one partition are worth making before the first is answered."""
        return self.processes + 1 if self._threads is not None and self._left <= 0 else 1

    async def adapt(self, topic: str, values: Sequence[bytes | None]) -> Made:
        """Adapt messages of one topic."""
        if self._threads is None or self._left > 0:
            self._left -= len(values)
            return await asyncio.to_thread(adapt, self._adapters[topic], values)
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._ask, topic, list(values), TRIES)

    def close(self) -> None:
        """End the children; what they have is not answered."""
        self._closed = True
        atexit.unregister(self.close)
        for child in list(self._children):
            child.process.kill()  # which ends what its thread waits for
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)
        while self._children:
            self._children.pop().close()

    def _ask(self, topic: str, values: list[bytes | None], tries: int) -> Made:
        """Have this thread's child adapt messages, and a new one where it ends."""
        for left in reversed(range(tries)):
            if (child := self._child()) is None:
                return adapt(self._adapters[topic], values)
            try:
                return child.ask(Work(topic, values))
            except Died:
                self._forget(child)
                if self._closed:
                    raise
                log.warning(
                    "a process that adapts messages of %s ended by itself, perhaps for lack of memory; %s", topic,
                    "another one adapts them again" if left or len(values) > 1 else "the message is given up",
                )  # fmt: skip
        if len(values) == 1:
            return Made([[Element(b"", "", "schema", "processes ended that adapted it")]], {}, [])
        middle = len(values) // 2
        first, second = (
            self._ask(topic, half, TRIES if len(half) == 1 else 1) for half in (values[:middle], values[middle:])
        )
        passed = Counter(first.passed_over)
        passed.update(second.passed_over)
        failures = [*first.failures, *(Failure(middle + row, error) for row, error in second.failures)]
        return Made(first.rows + second.rows, passed, failures)

    def _child(self) -> _Child | None:
        """The child of this thread; None where none can be begun, which each thread says once."""
        child: _Child | None = getattr(self._mine, "child", None)
        if self._closed:
            raise Died
        if child is None and not getattr(self._mine, "alone", False):
            try:
                child = _Child(self._make)
            except (OSError, Died) as error:
                self._mine.alone = True
                log.error("no process can be begun to adapt messages, it is done in this one: %s", type(error).__name__)
            else:
                self._mine.child = child
                self._children.add(child)
        return child

    def _forget(self, child: _Child) -> None:
        self._mine.child = None
        self._children.discard(child)
        child.close()


class _Child:
    """One child process and the pipe to it; used by one thread.

    Raises
    ------
    OSError, Died
        When it cannot be begun.
    """

    def __init__(self, make: Callable[[], Adapters]) -> None:
        context = multiprocessing.get_context("spawn")  # a copy of this process would have its threads' locks
        self._pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, make), daemon=True)
        try:
            self.process.start()
        finally:
            theirs.close()
        try:
            self._receive()
        except Died:
            self.close()
            raise

    def ask(self, work: Work) -> Made:
        """Return what came of messages.

        Raises
        ------
        Died
            When the child ends first.
        """
        try:
            self._pipe.send_bytes(_encoder.encode(work))
        except (OSError, ValueError):
            raise Died from None
        return _decoder.decode(self._receive())

    def close(self) -> None:
        """End the child; it keeps nothing."""
        self.process.kill()
        self.process.join()
        self._pipe.close()

    def _receive(self) -> bytes:
        try:
            return self._pipe.recv_bytes()
        except (OSError, EOFError):
            raise Died from None


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Made)


def _serve(pipe: Connection, make: Callable[[], Adapters]) -> None:
    """Adapt in a child until the parent closes the pipe or ends; signals are the parent's."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    adapters = make()
    decoder = msgspec.msgpack.Decoder(Work)
    with contextlib.suppress(OSError, EOFError):
        pipe.send_bytes(b"")
        while True:
            work = decoder.decode(pipe.recv_bytes())
            pipe.send_bytes(_encoder.encode(adapt(adapters[work.topic], work.values)))
