"""A shadow that fails is logged once and counted, and the partition goes on as without it."""

from __future__ import annotations

from typing import Any

import pytest
from partition_stay import LOG, Stay
from state_fakes import Topic
from structlog.testing import capture_logs

from siphonwatch.models.engine.judge import AccountJudge
from siphonwatch.models.engine.patterns import detectors
from siphonwatch.streams.worker.agents.scored import ScoredPartition
from siphonwatch.streams.worker.transport import Begin


class Failing(AccountJudge):
    """A candidate that fails at one thing."""

    at = "judge"

    def judge(self, block: Any) -> Any:
        if self.at == "judge":
            raise RuntimeError("a bug of the candidate")
        return super().judge(block)

    def snapshot(self) -> Any:
        raise RuntimeError("a bug of the candidate")


def off(partition: ScoredPartition) -> float:
    return next(value for name, _, value in partition.readings() if name == "shadows_off")


@pytest.mark.parametrize("at", ["judge", "snapshot"])
async def test_a_shadow_that_fails_is_logged_once_and_counted(at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Failing, "at", at)
    run = Stay(Topic())
    scorer = run.partition.scorer
    with capture_logs() as logs:
        await run.partition.restore(Begin())
        assert off(run.partition) == 0
        scorer.shadows["next"] = Failing(scorer.stage, list(detectors()), shadow=True), lambda _: None
        await run.feed(LOG, 0, 1000)
        assert await run.partition.checkpoint() == 1000
        await run.feed(LOG, 1000, 2000)
        assert await run.partition.checkpoint() == 2000
    assert off(run.partition) == 1
    said = [entry for entry in logs if entry["event"] == "shadow off"]
    assert said == [
        {
            "event": "shadow off", "log_level": "error", "stream": "telemetry", "partition": 0, "shadow": "next",
            "card": scorer.judge.id, "reason": "RuntimeError: a bug of the candidate",
        }
    ]  # fmt: skip
