"""The engine of one partition: a stage makes the features of each request once, and any number of judges read them.

The scorer of accounts and the coordinator of campaigns are this engine over two plans of rows. Requests are taken
strictly in order and no result depends on how they are cut into batches: what a later step decides reaches an earlier
one only at fixed block boundaries of the partition's own request count.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any, Generic, NamedTuple, Protocol, Self, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.clock import make_clock, settled
from siphonwatch.models.account.request import Array
from siphonwatch.models.account.table import AccountTable
from siphonwatch.models.common.arrays import Parts, as_bytes, below, like, under
from siphonwatch.models.engine.config import ScorerConfig
from siphonwatch.models.engine.erase import Erased
from siphonwatch.models.engine.vectors import VectorLog
from siphonwatch.models.engine.vitals import Bound, Tally, Vitals
from siphonwatch.models.evidence.cases import CaseBook, Finding
from siphonwatch.models.evidence.places import Change

BLOCK = 512
"""Requests a block: large enough for array arithmetic, small enough that its arrays stay in the cache."""


PREVIOUS = "previous"
"""Name of the shadow that was the champion before."""


class Trace(NamedTuple):
    """What one judge saw and said of the requests of a block, as an output: for evaluation, training and comparison.

    `m` entries, one for each row that a request went into: of a scorer those are the requests, of a coordinator their
    fingerprints. The arrays are the engine's own: copy what is kept beyond the call.
    """

    offsets: npt.NDArray[np.int64]
    """`(m,)` of the entry's request."""
    which: npt.NDArray[np.int64]
    """`(m,)` place of the entry's request among those given to `score`."""
    taken: npt.NDArray[np.bool_]
    """`(m,)` False where the request had been applied before or was turned away: nothing else of it is meant."""
    features: npt.NDArray[np.float32]
    """`(m, F)` in the order of the table of features."""
    scores: npt.NDArray[np.float32]
    """`(m, P)` in the order of the judge's patterns."""
    log_e: npt.NDArray[np.float32]
    """`(m, P)` natural logarithm of the e-value after the request; NaN where there is none."""
    slots: npt.NDArray[np.int64]
    """`(m,)` place of the entry's row in the table; -1 where it was not taken."""


class Block(Protocol):
    """What an engine has to know of a block that a stage has made."""

    @property
    def sighted(self) -> npt.NDArray[np.int64]:
        """Which of its requests a further engine is to see, ascending places."""


B = TypeVar("B", bound=Block)
Seen = TypeVar("Seen", contravariant=True)
Watcher = Callable[[Trace], None]
Hear = Callable[[list[Finding]], None]
"""Who is given what a shadow finds."""


class Count(msgspec.Struct):
    """Running totals of a stage, kept with its state."""

    requests: int = 0
    skipped: int = 0
    refused: int = 0


class Stage(Generic[B]):
    """The clock and the rows of one partition, and the features that each request gives.

    Parameters
    ----------
    config
        The operator's choices.
    layout, layout_id
        Of a row, and what stands for the meaning of its bytes: state with rows of another meaning is refused.

    Attributes
    ----------
    table : AccountTable
        The rows.
    changes : list of Change
        Models that learn anew, as the state that was restored last was of others.
    """

    FORMAT: int
    """Of the state it writes."""
    READS: tuple[int, ...] = ()
    """Earlier formats that it also reads."""

    def __init__(self, config: ScorerConfig, layout: np.dtype[np.void], layout_id: str) -> None:
        self.config = config
        self.table = AccountTable(layout)
        self.layout_id = layout_id
        self.clock = make_clock()
        self.count = Count()
        self.changes: list[Change] = []
        self.vectors: VectorLog | None = None
        """Who keeps the features of what is evidence as the champion saw them; nobody by default."""

    @property
    def now(self) -> float:
        """The partition's event time that no single account can have brought about, seconds since 1970."""
        return float(settled(self.clock[0], self.config.max_ahead))

    @property
    def number(self) -> int:
        """Of the present block."""
        return self.count.requests // BLOCK

    def take(self, requests: Array, offsets: npt.NDArray[np.int64], arrived: npt.NDArray[np.float64], start: int) -> B:
        """Take requests of one block, `(n,) REQUEST`; `start` is the first one's place among those given to `score`."""
        raise NotImplementedError

    def judged(self, block: B, findings: Sequence[Finding]) -> None:
        """Take note of what the champion found in a block."""

    def tidy(self) -> bool:
        """At the end of a block, forget what may be forgotten; return whether anything was looked for."""
        return False

    def erase(self, accounts: Collection[str], *, remove: bool = True) -> Erased:
        """Remove what the rows hold of some accounts, or only count it."""
        raise NotImplementedError

    def bounds(self) -> list[Bound]:
        """Return what its memory is bounded by, beside the rows, which whoever gives them room bounds."""
        return []

    def snapshot(self) -> dict[str, npt.NDArray[Any] | bytes]:
        """Copy what it keeps beside the rows."""
        return {
            "count": msgspec.msgpack.encode(self.count),
            "clock": self.clock.copy(),
            "layout": self.layout_id.encode(),
        }

    def restore(self, parts: Parts) -> None:
        """Take over a snapshot.

        Raises
        ------
        ValueError
            Where it is of another format or does not fit this version.
        """
        if (layout := as_bytes(parts, "layout").decode(errors="replace")) != self.layout_id:
            raise ValueError(
                f"state has rows of layout {layout}, this version's is {self.layout_id}: written by another version"
            )
        count, clock = msgspec.msgpack.decode(as_bytes(parts, "count"), type=Count), like(parts, "clock", self.clock)
        self.count, self.clock = count, clock


class Judge(Protocol[Seen]):
    """One way to judge features: its cards, their evidence, its budget, its cases."""

    patterns: tuple[str, ...]
    """Names of its patterns, in the order of the columns of scores."""
    tally: Tally
    """How what it judged since the tally was last taken has scored."""
    cases: CaseBook
    changes: list[Change]
    """Cards that were others when the state that was restored last was written."""
    trace: Watcher | None
    """Who is given a trace of each block."""

    def judge(self, block: Seen) -> list[Finding]:
        """Take a block's features into the evidence; return what came of it."""

    def tidy(self, looked: bool) -> None:
        """At the end of a block, forget what may be forgotten; `looked` says whether the stage did."""

    def end(self, spared: Callable[[Collection[str]], bool]) -> list[Finding]:
        """Close the cases that were told and are about such accounts alone; return what is to be told of it."""

    def mute(self, wanted: Callable[[Finding], bool]) -> list[Finding]:
        """Withhold the wanted cases that were told; return what tells their end. They stay open."""

    def erase(self, accounts: Collection[str], *, remove: bool = True) -> Erased:
        """Remove what it keeps of some accounts beside the rows, or only count it."""

    def suspicion(self) -> dict[str, float]:
        """Return the highest suspicion that each account has reached by it."""

    def bounds(self) -> list[Bound]:
        """Return what its memory is bounded by."""

    def succeeded_by(self, shadow: Self) -> tuple[Self, Self]:
        """Return the judge that goes on from here by a shadow's cards, and this one as a shadow; this one is done."""

    def vitals(self) -> Vitals:
        """Return how its detection stands."""

    @property
    def id(self) -> str:
        """Stands for what it computes."""

    @property
    def reference_id(self) -> str:
        """Stands for what it has learnt of what is ordinary; empty where it learns nothing of that."""

    def snapshot(self) -> dict[str, npt.NDArray[Any] | bytes]:
        """Copy what it keeps beside the rows."""

    def restore(self, parts: Parts) -> None:
        """Take over a snapshot, whole or not at all.

        Raises
        ------
        ValueError
            Where it does not fit this version.
        """


J = TypeVar("J", bound=Judge[Any])


class Failed(NamedTuple):
    """A shadow that failed and was switched off."""

    card: str
    """The `id` of its judge, which stands for its cards; empty where that failed as well."""
    reason: str
    """The exception, by type and message."""


class Engine(Generic[B, J]):
    """Features once, judged by many.

    Parameters
    ----------
    stage
        Makes the features.
    judge
        The champion: its findings are the engine's, and it alone says which accounts may teach the stage's models.
    """

    def __init__(self, stage: Stage[B], judge: J) -> None:
        self.stage = stage
        self.judge = judge
        self.shadows: dict[str, tuple[J, Hear]] = {}
        """Judges beside the champion, by name, and who hears what each one finds. They change nothing."""
        self.failed: dict[str, Failed] = {}
        """Shadows that failed and were switched off, by name; workers log and count them."""
        self.clock: Callable[[], float] = _no_clock
        """Seconds, for what shadows take; whoever wants to know gives one."""
        self.shadow_seconds: dict[str, float] = {}
        """What each shadow has taken of the last `score`, and of what came since; by name."""
        self.sighted = np.zeros(0, np.int64)
        """Which of the requests last given to `score` a further engine is to see, ascending places."""

    def score(
        self, requests: Array, offsets: npt.NDArray[np.int64], arrived: npt.NDArray[np.float64] | None = None
    ) -> list[Finding]:
        """Take requests, `(n,) REQUEST`, with their increasing offsets, `(n,) int64`; return what came of them.

        A request whose offset its row has applied already changes nothing. `arrived`, `(n,)` seconds, is when the
        broker had each one, where that is known. A scorer changes some fields of a request that is not what it says
        (`siphonwatch.models.account.request.READ_OTHERWISE`), for whoever reads it afterwards.
        """
        if arrived is None:
            arrived = np.full(len(requests), np.inf)
        stage, findings, sighted, start = self.stage, [], [np.zeros(0, np.int64)], 0
        self.shadow_seconds = {}  # without snapshots and the like, which are no part of scoring
        while start < len(requests):
            number = stage.number
            end = min(start + BLOCK - stage.count.requests % BLOCK, len(requests))
            block = stage.take(requests[start:end], offsets[start:end], arrived[start:end], start)
            found = self.judge.judge(block)
            stage.judged(block, found)
            findings += found
            self._each_shadow(partial(_judge, block))
            if stage.number > number:
                looked = stage.tidy()
                self.judge.tidy(looked)
                self._each_shadow(partial(_tidy, looked))
            sighted.append(start + block.sighted)
            start = end
        self.sighted = np.concatenate(sighted)
        return findings

    @property
    def table(self) -> AccountTable:
        """The rows."""
        return self.stage.table

    @property
    def cases(self) -> CaseBook:
        """The champion's cases."""
        return self.judge.cases

    @property
    def patterns(self) -> tuple[str, ...]:
        """Names of the champion's patterns."""
        return self.judge.patterns

    @property
    def tally(self) -> Tally:
        """How what was judged since the tally was last taken has scored."""
        return self.judge.tally

    @property
    def changes(self) -> list[Change]:
        """Cards and models that were others when the state that was restored last was written."""
        return [*self.judge.changes, *self.stage.changes]

    @property
    def now(self) -> float:
        """The partition's event time that no single account can have brought about, seconds since 1970."""
        return self.stage.now

    @property
    def late(self) -> int:
        """Requests that came later than the grace; they were counted and sketched all the same."""
        return int(self.stage.clock["late"][0])

    @property
    def ahead(self) -> int:
        """Requests further ahead of the clock than one may be."""
        return int(self.stage.clock["ahead"][0])

    @property
    def refused(self) -> int:
        """Requests that were turned away, of accounts that had got nothing before; they count nowhere else."""
        return self.stage.count.refused

    @property
    def identity(self) -> tuple[str, str]:
        """What its state rests on: the state's format, and its cards."""
        return str(self.stage.FORMAT), self.judge.id

    def end(self, spared: Callable[[Collection[str]], bool]) -> list[Finding]:
        """Close the cases that were told and are about such accounts alone; return what is to be told of it.

        After `restore`, it returns the ends of the cases of cards that have changed as well.
        """
        self._each_shadow(lambda _, shadow, hear: hear(shadow.end(spared)))
        return self.judge.end(spared)

    def mute(self, wanted: Callable[[Finding], bool]) -> list[Finding]:
        """Withhold the champion's wanted cases that were told; return what tells their end. They stay open."""
        return self.judge.mute(wanted)

    def promote(self, name: str, hear: Hear) -> list[Finding]:
        """Let a shadow go on as the champion, and the champion as shadow `PREVIOUS`; return what is to be told of it.

        It is meant for between two batches; `succeeded_by` of the judge says what goes on and what begins anew.
        Promoting the previous one takes it back.

        Raises
        ------
        KeyError
            Where there is no such shadow.
        """
        shadow, _ = self.shadows.pop(name)
        self.judge, previous = self.judge.succeeded_by(shadow)
        self.shadows[PREVIOUS] = previous, hear
        return self.judge.end(lambda _: False)

    def suspicion(self) -> dict[str, float]:
        """Return the highest suspicion each account has reached by the champion; of those in memory."""
        return self.judge.suspicion()

    def bounds(self) -> list[Bound]:
        """Return what memory is bounded by."""
        return [*self.stage.bounds(), *self.judge.bounds()]

    def vitals(self) -> Vitals:
        """Return how the champion's detection stands; reads every row in memory."""
        return self.judge.vitals()

    def erase(self, accounts: Collection[str], *, remove: bool = True) -> Erased:
        """Remove everything that is kept of some accounts in memory, or only count it.

        What they taught aggregates (references, models, the sums of fingerprints) stays; it names nobody.
        """
        erased = self.judge.erase(accounts, remove=remove)
        self._each_shadow(partial(_erase, accounts, remove))
        return erased + self.stage.erase(accounts, remove=remove)

    def snapshot(self) -> dict[str, npt.NDArray[Any] | bytes]:
        """Copy everything but the rows: what the stage, the champion and each shadow keep."""
        parts = {"format": str(self.stage.FORMAT).encode(), **under("stage", self.stage.snapshot())}
        parts |= under("judge", self.judge.snapshot())
        self._each_shadow(lambda name, shadow, _: parts.update(under(_part_of(name), shadow.snapshot())))
        return parts

    def restore(self, parts: Parts) -> None:
        """Take over a snapshot, whole or not at all; call it when the rows are in place.

        Of a card that is another one now, its reference begins anew, its evidence with each row's next use, and its
        open cases are closed (`end`); likewise the stage's models where their inputs are others. `changes` says so.
        A shadow that the snapshot does not know begins afresh; one whose part does not fit is switched off.

        Raises
        ------
        ValueError
            Where it is of another format or does not fit this version.
        """
        before = self.stage.snapshot()
        try:
            written = as_bytes(parts, "format").decode(errors="replace")
            reads = [str(known) for known in (*self.stage.READS, self.stage.FORMAT)]
            if written not in reads:
                raise ValueError(f"state has format {written}, this version reads {' and '.join(reads)}")
            self.stage.restore(below("stage", parts))
            self.judge.restore(below("judge", parts))
        except (KeyError, IndexError, msgspec.DecodeError, ValueError) as error:
            self.stage.restore(before)
            raise ValueError(f"the models in the state do not fit this version: {error}") from None

        def restore(name: str, shadow: J, _: Hear) -> None:
            if kept := below(_part_of(name), parts):
                shadow.restore(kept)

        self._each_shadow(restore)

    def _each_shadow(self, act: Callable[[str, J, Hear], None]) -> None:
        """Do something with each shadow; one that fails is switched off, and the champion goes on."""
        for name, (shadow, hear) in list(self.shadows.items()):
            started = self.clock()
            try:
                act(name, shadow, hear)
            except Exception as error:  # noqa: BLE001 - a candidate may fail in any way
                del self.shadows[name]
                self.failed[name] = Failed(_id_of(shadow), f"{type(error).__name__}: {error}")
            self.shadow_seconds[name] = self.shadow_seconds.get(name, 0.0) + self.clock() - started


def _no_clock() -> float:
    return 0.0


def _judge(block: Block, _: str, shadow: Judge[Any], hear: Hear) -> None:
    hear(shadow.judge(block))


def _tidy(looked: bool, _: str, shadow: Judge[Any], __: Hear) -> None:
    shadow.tidy(looked)


def _erase(accounts: Collection[str], remove: bool, _: str, shadow: Judge[Any], __: Hear) -> None:
    shadow.erase(accounts, remove=remove)


def _id_of(shadow: Judge[Any]) -> str:
    try:
        return shadow.id
    except Exception:  # noqa: BLE001 - it has failed already, in whatever way
        return ""


def _part_of(shadow: str) -> str:
    """The name below which a shadow's snapshot stands; one shadow's is never the beginning of another's."""
    return "shadow." + shadow.replace("%", "%25").replace(".", "%2E")
