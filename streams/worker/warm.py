"""Compiles, or loads from the cache, what a worker's first batches would wait for, and reports what it compiles.

Compiling takes a minute on a machine where no cache fits, in which a worker would neither read, commit nor answer:
so it is done before it joins its group, and by two processes. `python -m siphonwatch.streams.worker.warm` is the other
one: it compiles how telemetry is parsed and scored, while the worker's own compiles all else.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Self

import numpy as np
import structlog
from numba.core import event
from prometheus_client import CollectorRegistry

from siphonwatch.models.account import request as rq
from siphonwatch.models.account.features import FEATURES, WIDTH
from siphonwatch.models.account.row import ROW
from siphonwatch.models.common.arrays import pack, unpack
from siphonwatch.models.common.vocabulary import PROJECTION
from siphonwatch.models.detect.support import Support, arrays_of
from siphonwatch.models.engine.config import ScorerConfig
from siphonwatch.models.engine.coordinator import Coordinator
from siphonwatch.models.engine.rarity import RarityStage
from siphonwatch.models.engine.scorer import Scorer
from siphonwatch.models.evidence.process import severity, whole_second
from siphonwatch.streams.common.cores import cores
from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.common.logs import configure
from siphonwatch.streams.common.settings import load
from siphonwatch.streams.contracts.dead_letter import DeadLetter
from siphonwatch.streams.contracts.provenance import SEAL, SIGHTINGS, UNKEYED
from siphonwatch.streams.contracts.sealed import KEY_BYTES, Sealer
from siphonwatch.streams.contracts.sighting import pack as pack_sightings
from siphonwatch.streams.contracts.telemetry import Telemetry, encode
from siphonwatch.streams.edge.sketch import Sketcher
from siphonwatch.streams.worker.agents.coordinate import SightingsPartition
from siphonwatch.streams.worker.agents.placement import Placement
from siphonwatch.streams.worker.agents.score import TelemetryPartition
from siphonwatch.streams.worker.decode import to_request
from siphonwatch.streams.worker.meter import Meter
from siphonwatch.streams.worker.metrics import SIGHTINGS as SIGHTINGS_STREAM
from siphonwatch.streams.worker.metrics import TELEMETRY, Metrics
from siphonwatch.streams.worker.state.local import LocalStateLog
from siphonwatch.streams.worker.transport import Batch
from siphonwatch.streams.worker.transport.batch import Headers, Lease

ACCOUNTS, ROUNDS = 48, 30
HOT = 16
"""Accounts kept in memory, so that some leave it and come back."""
TEXT_PROJECTION = base64.b64encode(bytes(range(PROJECTION))).decode()
STEP = 600.0
"""Event-time seconds between two rounds."""
FIRST = 1.7e9
"""In the past of every clock, so that no request is ahead of it."""
FOREIGN = "numba."
"""Modules whose functions are parts of ours."""


OTHER = (sys.executable, "-m", "siphonwatch.streams.worker.warm")
"""The process beside; it ends when its standard input does."""
_log = structlog.get_logger(__name__)


class Beside:
    """A process that compiles beside this one, where there is a core for it; a context manager that ends it.

    Parameters
    ----------
    command
        What it runs. It is to end when its standard input does, so that it never outlives us.
    """

    def __init__(self, command: Sequence[str] = OTHER) -> None:
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            assert self._process.stdin is not None  # noqa: S101 - for the type checker: it is a pipe
            self._process.stdin.close()
            self._process.wait()

    def start(self) -> None:
        """Start it, unless it would only take turns with this process."""
        if self._process is None and cores() > 1:
            try:
                self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE)  # noqa: S603 - our own command line
            except OSError as error:
                _log.warning("compiling alone: no process can be started beside this one", error=str(error))

    def wait(self) -> None:
        """Wait until it is done, if it was started; what it failed at is left to compile here."""
        if self._process is not None:
            self._process.wait()


class _Compilation(event.Listener):
    """Passes each of our modules on once, when its first function begins to compile; never for one out of the cache.

    Parameters
    ----------
    say
        Called with the module's name.
    begin
        Called when the first function of all begins to compile.
    """

    def __init__(self, say: Callable[[str], None], begin: Callable[[], None]) -> None:
        self._say = say
        self._begin = begin
        self._said: set[str] = set()

    def on_start(self, event: event.Event) -> None:
        module = event.data["dispatcher"].py_func.__module__
        if not module.startswith(FOREIGN) and module not in self._said:
            if not self._said:
                self._begin()
            self._said.add(module)
            self._say(module)

    def on_end(self, event: event.Event) -> None:
        """Nothing is said at the end."""


@contextlib.contextmanager
def compiling(say: Callable[[str], None], begin: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Call `say` with the name of each module whose functions are compiled inside, once, as that begins, and `begin`
    before the first.

    The garbage collector rests while something is compiled: it took a sixth of the time, and finds little.
    """

    def first() -> None:
        gc.disable()
        begin()

    collecting = gc.isenabled()
    try:
        with event.install_listener("numba:compile", _Compilation(say, first)):
            yield
    finally:
        if collecting:
            gc.enable()


class _Nowhere:
    """An outlet that drops what it is given."""

    async def alert(self, key: bytes, value: bytes) -> None:
        """Drop an alert."""

    async def hidden(self, key: bytes, value: bytes, entry: str) -> None:
        """Drop an alert that an entry hides."""

    async def dead_letters(self, letters: Iterable[DeadLetter]) -> list[DeadLetter]:
        """Drop dead letters."""
        return []

    async def flush(self) -> None:
        """Nothing is under way."""

    def blocked(self) -> float:
        """Nothing is ever refused."""
        return 0.0


def warm(
    say: Callable[[str], None] = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
    *,
    sketches: bool = False,
    other: Sequence[str] = OTHER,
) -> float:
    """Score invented requests and sightings in memory, and sketch a text where this worker `sketches`; return the
    seconds it took.

    Parameters
    ----------
    say
        Called with the name of each module that is compiled for it.
    clock
        Monotonic seconds.
    sketches
        Whether the worker ingests what gateways log.
    other
        The process that compiles the other half, where something has to be compiled.
    """
    began = clock()
    with Beside(other) as beside, compiling(say, beside.start):
        _learned()
        _rank()  # early, as the other process comes to it only after a while
        if sketches:
            Sketcher(Identity("compiles and keeps nothing")).warm()
        asyncio.run(_coordinate())
        beside.wait()
        asyncio.run(_score())
    return clock() - began


def warm_scoring(say: Callable[[str], None] = lambda _: None) -> None:
    """Score invented requests in memory, `say` each module that is compiled for it."""
    with compiling(say):
        asyncio.run(_score())


async def _one_partition() -> set[int]:
    """What the topic has."""
    return {0}


def _learned() -> None:
    """Score nobody by a learned support: a deployed version may have one."""
    Support("warm", arrays_of([0], weights=[1.0]), FEATURES).raw(np.zeros((1, WIDTH), np.float32))


def _rank() -> None:
    """Rank one request of no account: nothing is done, all is compiled."""
    rarity, rows = RarityStage(seed=1), np.zeros(2, ROW)  # of fewer, a field is contiguous and has another type
    values = np.zeros((1, WIDTH), np.float32)
    rarity.rank(rows["judged"], np.full(1, -1), values, 0, np.ones(1, np.bool_))


async def _score() -> None:
    telemetry = TelemetryPartition(
        Scorer(ScorerConfig()), LocalStateLog(), _Nowhere(), Meter(Metrics(CollectorRegistry()), TELEMETRY, "", 0),
        hot_accounts=HOT, forget_after=math.inf, placement=Placement(0, _one_partition),
        keys=np.zeros((1, 4), np.uint64),
    )  # fmt: skip
    sealer = Sealer(bytes(KEY_BYTES))
    for number in range(ROUNDS):
        sent = FIRST + number * STEP + ACCOUNTS
        values = [encode(sealer.seal(_request(account, number))) for account in range(ACCOUNTS)]
        await telemetry.process(_batch(values, number * ACCOUNTS, sent))
        await telemetry.checkpoint()
    telemetry.scorer.table.settle()  # as a restore does, and a table that outgrows its index
    severity(0.0)  # the case book's, which these requests open no case in
    whole_second(0.0)
    Scorer(ScorerConfig()).restore(unpack(pack(telemetry.scorer.snapshot())))


async def _coordinate() -> None:
    meter = Meter(Metrics(CollectorRegistry()), SIGHTINGS_STREAM, "", 0)
    config = ScorerConfig(end_users=True)  # what is compiled for those is, where they are not looked for, not called
    sightings = SightingsPartition(Coordinator(config), LocalStateLog(), _Nowhere(), meter)
    requests = np.empty(ACCOUNTS, rq.REQUEST)
    for number in range(ROUNDS):
        sent = FIRST + number * STEP + ACCOUNTS
        for account in range(ACCOUNTS):
            requests[account] = to_request(_request(account, number))  # not parsed: that is compiled beside
        offsets = np.arange(number * ACCOUNTS, (number + 1) * ACCOUNTS)
        await sightings.process(_batch(pack_sightings("telemetry:0", requests, offsets), number, sent, sealed=True))
        await sightings.checkpoint()
    table = sightings.scorer.table  # its rows are others than an account's, and so is the code that finds them
    table.free(table.used())
    table.settle()
    Coordinator(config).restore(unpack(pack(sightings.scorer.snapshot())))


def _request(account: int, number: int) -> Telemetry:
    """A request that looks a little like everything: half are prompts, half resources read in order."""
    moment = FIRST + number * STEP + account
    if account % 2:
        return Telemetry(
            id=f"{account}-{number}", time=moment, account=f"warm-{account}", kind="rest",
            route="0123456789abcdef", resource=f"{number * 77 + 1:016x}", item=number, page=number,
        )  # fmt: skip
    text = f"{number * 7919 + account + 1:016x}"
    return Telemetry(
        id=f"{account}-{number}", time=moment, account=f"warm-{account}", template="0123456789abcdef", content=text,
        projection=TEXT_PROJECTION, chars=400, turns=1, tokens_in=100, tokens_out=300, masks=[1], finish="stop",
    )  # fmt: skip


def _batch(values: Sequence[bytes], first: int, sent: float, sealed: bool = False) -> Batch:
    n, mac = len(values), UNKEYED.mac(SIGHTINGS, 0)
    headers: list[Headers] = [((SEAL, mac(value)),) if sealed else () for value in values]
    return Batch(
        Lease("telemetry", 0, 1, lambda _: None), keys=[None] * n, values=list(values), headers=headers,
        offsets=np.arange(first, first + n), timestamps=np.full(n, int(sent * 1000)), next_offset=first + n,
        size=sum(map(len, values)), missing=0,
    )  # fmt: skip


def _end_with_parent() -> None:
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    configure(load().settings.log)
    log = structlog.get_logger(__name__)
    warm_scoring(lambda module: log.info("compiling", module=module))
