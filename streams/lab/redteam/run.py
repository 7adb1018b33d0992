"""Every chosen trick on every log, one after the other or in processes side by side. Each replay is a whole one."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import reduce
from itertools import islice, starmap
from operator import add

from siphonwatch.models.evaluate.evasion import cost, kept, pooled
from siphonwatch.models.evaluate.report import Evasion, Outcome
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.lab.evasions import parts
from siphonwatch.streams.lab.redteam.ground import Ground
from siphonwatch.streams.lab.redteam.play import Played, plain, play

Call = tuple[Ground, str, Settings, int]


def evade(
    grounds: Sequence[Ground],
    before: Sequence[Outcome],
    tricks: Sequence[str],
    settings: Settings,
    *,
    seed: int = 1,
    jobs: int = 1,
    tell: Callable[[str], None] = lambda text: None,
) -> list[Evasion]:
    """Play tricks and hold each against the log as it is.

    Parameters
    ----------
    grounds
        The logs, made ready; counts of several are added up.
    before
        What was found in each as it is.
    tricks
        Names of variants; one that rewrites no format of the logs is left out.
    jobs
        Processes to replay in at a time; 1 is this one.
    tell
        Called with what goes on.
    """
    formats = {ground.format for ground in grounds}
    if idle := [trick for trick in tricks if not any(formats & part.kind.formats for part in parts(trick))]:
        tell(f"left out, as they rewrite no {' or '.join(sorted(formats))} record: {', '.join(idle)}")
    tricks = [trick for trick in tricks if trick not in idle]
    first = pooled(before)
    spent = reduce(add, map(plain, grounds))
    calls = [(ground, trick, settings, seed) for trick in tricks for ground in grounds]
    found: list[Evasion] = []
    for trick, played in zip(tricks, _batches(calls, len(grounds), jobs), strict=True):
        after = pooled([one.outcome for one in played])
        tell(f"{trick}: {after.all.alerted:,} of {after.all.accounts:,} attack accounts alerted")
        found.append(
            Evasion(
                name=trick,
                says=" ".join(part.says for part in parts(trick)),
                before=first,
                after=after,
                kept=kept(first, after),
                cost=cost(spent, reduce(add, (one.effort for one in played))),
            )
        )
    return found


def _batches(calls: Sequence[Call], size: int, jobs: int) -> Iterator[list[Played]]:
    """What came of the calls, in their order, so many at a time."""
    if jobs <= 1 or len(calls) == 1:
        yield from _grouped(starmap(play, calls), size)
        return
    # Spawned: a fork would take over threads of compiled code.
    with ProcessPoolExecutor(min(jobs, len(calls)), multiprocessing.get_context("spawn")) as pool:
        yield from _grouped(pool.map(play, *zip(*calls, strict=True)), size)


def _grouped(played: Iterator[Played], size: int) -> Iterator[list[Played]]:
    while batch := list(islice(played, size)):
        yield batch
