"""What a scored partition is built of, as interfaces, and what passes between its parts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.request import Array
from siphonwatch.models.account.table import AccountTable
from siphonwatch.models.engine.vitals import Bound, Tally, Vitals
from siphonwatch.models.evidence.cases import CaseBook, Finding
from siphonwatch.models.online.second_stage import SecondStage
from siphonwatch.streams.common.release import release
from siphonwatch.streams.contracts.dead_letter import DeadLetter
from siphonwatch.streams.contracts.telemetry import Malformed
from siphonwatch.streams.worker.transport import Batch


class Outlet(Protocol):
    """Where alerts and dead letters go."""

    async def alert(self, key: bytes, value: bytes) -> None:
        """Send one alert; may wait for room."""

    async def dead_letters(self, letters: Iterable[DeadLetter]) -> list[DeadLetter]:
        """Send bad records with their reasons; returns, once they are acknowledged, those that cannot be kept."""

    async def flush(self) -> None:
        """Wait until every alert is acknowledged."""

    def blocked(self) -> float:
        """Return for how many seconds a broker has not taken what is sent; 0 where nothing is refused."""


class BatchScorer(Protocol):
    """What a partition runs: `models.engine.scorer.Scorer` or `models.engine.coordinator.Coordinator`."""

    table: AccountTable
    cases: CaseBook
    patterns: tuple[str, ...]
    tally: Tally

    @property
    def second_stage(self) -> SecondStage | None:
        """The model that looks closer, where there is one."""

    @property
    def now(self) -> float:
        """Event time, seconds since 1970."""

    def end(self, spared: Callable[[Collection[str]], bool]) -> list[Finding]:
        """Close the cases that were told and are about such accounts alone; return what is to be told of it."""

    @property
    def late(self) -> int:
        """Requests later than the grace."""

    @property
    def refused(self) -> int:
        """Requests that were turned away, of accounts that had got nothing before."""

    @property
    def ahead(self) -> int:
        """Requests further ahead of the clock than one may be."""

    def vitals(self) -> Vitals:
        """Return how its detection stands."""

    def bounds(self) -> list[Bound]:
        """Return what its memory is bounded by."""

    def score(
        self, requests: Array, offsets: npt.NDArray[np.int64], arrived: npt.NDArray[np.float64] | None = None
    ) -> list[Finding]:
        """Take requests with their offsets and when the broker had them, seconds; return what came of them."""

    def dump(self) -> bytes:
        """Serialise everything but the rows."""

    def load(self, data: bytes) -> None:
        """Take over what `dump` wrote."""


class Onward(Protocol):
    """Where requests that were sighted go on to."""

    async def send(self, batch: Batch, requests: Array, offsets: npt.NDArray[np.int64]) -> None:
        """Send what was sighted of a batch's requests, which were just scored."""

    async def flush(self) -> None:
        """Wait until every one is acknowledged."""

    async def close(self) -> None:
        """Stop sending."""


class Read(NamedTuple):
    """What a batch holds that was not applied before."""

    requests: Array
    """In their order, `(n,) REQUEST`."""
    offsets: npt.NDArray[np.int64]
    """What the scorer knows each one by, increasing, `(n,)`."""
    rows: npt.NDArray[np.int64]
    """Which of the batch's records each one came from, `(n,)`."""
    rejected: list[tuple[int, Malformed]]
    """Records that cannot be read: place in the batch and reason."""
    skipped: int
    """Requests that were applied before."""
    forged: int
    """Records that claim an origin without the seal that goes with it."""


def dead_letter(batch: Batch, row: int, error: Malformed, index: int = 0) -> DeadLetter:
    """Return a record of a batch as a dead letter."""
    return DeadLetter(
        key=batch.keys[row], value=batch.values[row], reason=error.reason, detail=str(error), topic=batch.topic,
        partition=batch.partition, offset=int(batch.offsets[row]), timestamp=int(batch.timestamps[row]), index=index,
        version=release(), headers=batch.headers[row],
    )  # fmt: skip
