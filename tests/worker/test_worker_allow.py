"""An account that is allowed while its case is open: the case ends at every sink, and begins anew if it is not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry
from state_fakes import Topic, state_log
from worker_tools import traffic

from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts.telemetry import encode
from siphonwatch.streams.worker.agents.score import TelemetryPartition
from siphonwatch.streams.worker.allow import Allowed
from siphonwatch.streams.worker.meter import Meter
from siphonwatch.streams.worker.metrics import TELEMETRY, Metrics
from siphonwatch.streams.worker.scoring import make_scorer
from siphonwatch.streams.worker.transport import Batch, Begin
from siphonwatch.streams.worker.transport.batch import Lease


class Kept:
    """An outlet that keeps alerts."""

    def __init__(self) -> None:
        self.alerts: list[dict[str, Any]] = []

    async def alert(self, key: bytes, value: bytes) -> None:
        self.alerts.append(json.loads(value))

    async def dead_letters(self, letters: Iterable[object]) -> int:
        raise AssertionError("nothing here is bad")

    async def flush(self) -> None:
        pass


def partition(state: Topic, outlet: Kept, *allowed: str) -> TelemetryPartition:
    log = state_log(state, max_value=1 << 20)
    return TelemetryPartition(
        make_scorer(Settings()), log, outlet, Meter(Metrics(CollectorRegistry()), TELEMETRY, "", 0),
        allowed=Allowed(allowed), hot_accounts=1000, forget_after=1e9,
    )  # fmt: skip


async def live(state: Topic, log: list[bytes], first: int, last: int, *allowed: str) -> list[dict[str, Any]]:
    """What a worker tells that starts at an offset with an allow-list, and ends at another with a checkpoint."""
    outlet = Kept()
    worker = partition(state, outlet, *allowed)
    assert (await worker.restore(Begin())).offset == (first or None)
    for start in range(first, last, 500):
        values = log[start : min(start + 500, last)]
        n = len(values)
        batch = Batch(
            Lease("telemetry", 0, 1, lambda _: None), keys=[None] * n, values=values, headers=[()] * n,
            next_offset=start + n, offsets=np.arange(start, start + n), timestamps=np.zeros(n, np.int64), size=1,
            missing=0,
        )  # fmt: skip
        await worker.process(batch)
    await worker.checkpoint()
    await worker.close()
    return outlet.alerts


def of(alerts: list[dict[str, Any]], account: str) -> list[tuple[str, str]]:
    """Kind and case of each alert of an account."""
    own = [alert for alert in alerts if alert["data"]["unmapped"]["siphonwatch"]["accounts"] == [account]]
    return [(alert["type"].split(".")[2], alert["subject"]) for alert in own]


def others(alerts: list[dict[str, Any]], account: str) -> list[dict[str, Any]]:
    """The alerts of everybody else, without the checkpoint and its reference that they name: a worker that ended in
    between made one more."""
    found = []
    for alert in alerts:
        own = dict(alert["data"]["unmapped"]["siphonwatch"])
        if own["accounts"] != [account]:
            own["model"] = {
                name: value for name, value in own["model"].items() if name not in {"checkpoint", "reference"}
            }
            found.append(alert | {"data": alert["data"] | {"unmapped": {"siphonwatch": own}}})
    return found


def test_allowing_an_account_closes_its_open_cases_and_what_follows_is_told_to_nobody() -> None:
    asyncio.run(_allow())


async def _allow() -> None:
    log = [encode(record) for record in traffic()]
    whole = await live(Topic(), log, 0, len(log))
    openings = [alert for alert in whole if alert["type"].endswith("opened.v1")]
    told = [(i, alert["data"]["unmapped"]["siphonwatch"]["accounts"][0]) for i, alert in enumerate(openings)]
    # An account whose case goes on being told after the middle of the log.
    middle = len(log) // 2
    state = Topic()
    before = await live(state, log, 0, middle)
    names = [name for _, name in told]
    rest = whole[len(before) :]
    account = next(name for name in names if of(before, name)[-1:] and of(before, name)[-1][0] != "closed"
                   and any(kind == "updated" for kind, _ in of(rest, name)))  # fmt: skip
    cases = {case for _, case in of(before, account)} - {case for kind, case in of(before, account) if kind == "closed"}

    after = await live(state, log, middle, len(log), account)
    ends = sorted(("closed", case) for case in cases)
    assert sorted(of(after, account)) == ends != [], "the end of each, and then nothing"
    assert others(after, account) == others(rest, account) != []

    again = await live(state, log, len(log), len(log), account)
    assert of(again, account) == [], "a case that was told to nobody has no end to tell"


def test_an_account_taken_off_the_list_has_its_case_opened_with_its_next_evidence() -> None:
    asyncio.run(_disallow())


async def _disallow() -> None:
    log = [encode(record) for record in traffic()]
    whole = await live(Topic(), log, 0, len(log))
    middle = len(log) // 2
    account = next(
        alert["data"]["unmapped"]["siphonwatch"]["accounts"][0] for alert in whole
        if alert["type"].endswith("updated.v1")
    )  # fmt: skip
    for end in range(middle, len(log), 500):
        state = Topic()
        hidden = await live(state, log, 0, end, account)
        assert of(hidden, account) == []
        shown = of(await live(state, log, end, len(log)), account)
        if shown:
            break
    assert shown[0][0] == "opened"
    assert {case for _, case in shown[1:]} <= {case for _, case in of(whole, account)}
