"""Compiles, or loads from the cache, what a worker's first batches would wait for, and says what it compiles.

Compiling takes a minute on a machine where no cache fits, in which a worker would neither read, commit nor answer:
so it is done before it joins its group. `python -m siphonwatch.streams.worker.warm` compiles the sketch and the parser
of telemetry alone, beside a worker that compiles how it scores.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import structlog
from numba.core import event
from prometheus_client import CollectorRegistry

from siphonwatch.models.common.arrays import pack, unpack
from siphonwatch.models.common.vocabulary import PROJECTION
from siphonwatch.models.engine.config import ScorerConfig
from siphonwatch.models.engine.coordinator import Coordinator
from siphonwatch.models.engine.scorer import Scorer
from siphonwatch.models.evidence.process import severity, whole_second
from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.common.logs import configure
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts.dead_letter import DeadLetter
from siphonwatch.streams.contracts.provenance import SEAL, SIGHTINGS, UNKEYED
from siphonwatch.streams.contracts.sighting import pack as pack_sightings
from siphonwatch.streams.contracts.telemetry import Telemetry, encode
from siphonwatch.streams.edge.sketch import Sketcher
from siphonwatch.streams.worker.agents.coordinate import SightingsPartition
from siphonwatch.streams.worker.agents.placement import Placement
from siphonwatch.streams.worker.agents.score import TelemetryPartition
from siphonwatch.streams.worker.decode import Decoder
from siphonwatch.streams.worker.metrics import Metrics
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


class _Modules(event.Listener):
    """Passes each of our modules on once, when its first function begins to compile; never for one out of the cache."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._said: set[str] = set()

    def on_start(self, event: event.Event) -> None:
        module = event.data["dispatcher"].py_func.__module__
        if not module.startswith(FOREIGN) and module not in self._said:
            self._said.add(module)
            self._say(module)

    def on_end(self, event: event.Event) -> None:
        """Nothing is said at the end."""


@contextlib.contextmanager
def saying(say: Callable[[str], None]) -> Iterator[None]:
    """Call `say` with the name of each module whose functions are compiled inside, once, as that begins."""
    with event.install_listener("numba:compile", _Modules(say)):
        yield


class _Nowhere:
    """An outlet that drops what it is given."""

    async def alert(self, key: bytes, value: bytes) -> None:
        """Drop an alert."""

    async def dead_letters(self, letters: Iterable[DeadLetter]) -> list[DeadLetter]:
        """Drop dead letters."""
        return []

    async def flush(self) -> None:
        """Nothing is under way."""

    def blocked(self) -> float:
        """Nothing is ever refused."""
        return 0.0


def warm(say: Callable[[str], None] = lambda _: None, clock: Callable[[], float] = time.monotonic) -> float:
    """Score invented requests and sightings in memory, `say` each module that is compiled for it; return the seconds
    it took."""
    began = clock()
    with saying(say):
        asyncio.run(_play())
    return clock() - began


def warm_edge(say: Callable[[str], None] = lambda _: None) -> None:
    """Sketch a text and decode a request in memory, `say` each module that is compiled for it."""
    with saying(say):
        Sketcher(Identity("compiles and keeps nothing")).warm()
        Decoder().decode([encode(_request(account, 0)) for account in range(2)])


async def _one_partition() -> set[int]:
    """What the topic has."""
    return {0}


async def _play() -> None:
    metrics, outlet = Metrics(CollectorRegistry()), _Nowhere()
    scorer, decoder = Scorer(ScorerConfig()), Decoder()
    telemetry = TelemetryPartition(
        0, scorer, LocalStateLog(), outlet, metrics, hot_accounts=HOT, forget_after=math.inf,
        placement=Placement(0, _one_partition),
    )  # fmt: skip
    sightings = SightingsPartition(0, Coordinator(ScorerConfig()), LocalStateLog(), outlet, metrics)
    for number in range(ROUNDS):
        sent = FIRST + number * STEP + ACCOUNTS
        batch = _batch([encode(_request(account, number)) for account in range(ACCOUNTS)], number * ACCOUNTS, sent)
        await telemetry.process(batch)
        await telemetry.checkpoint()
        requests = decoder.decode([value or b"" for value in batch.values]).requests
        await sightings.process(
            _batch(pack_sightings("telemetry:0", requests, batch.offsets), number, sent, sealed=True)
        )
        await sightings.checkpoint()
    scorer.table.settle()  # as a restore does, and a table that outgrows its index
    severity(0.0)  # the case book's, which these requests open no case in
    whole_second(0.0)
    for dumped, fresh in ((scorer, Scorer(ScorerConfig())), (sightings.scorer, Coordinator(ScorerConfig()))):
        fresh.restore(unpack(pack(dumped.snapshot())))


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


if __name__ == "__main__":
    configure(Settings().log)
    log = structlog.get_logger(__name__)
    warm_edge(lambda module: log.info("compiling", module=module))
