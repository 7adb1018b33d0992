"""Whatever analysts say, the same alerts come with the same evidence at the same time: only ranks differ."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from prometheus_client import CollectorRegistry
from worker_tools import KEY, expected_alerts, traffic, without_model

from siphonwatch.models.learn.verdict_book import VerdictBook
from siphonwatch.streams.cli import cli
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts.alert import decode as decode_alert
from siphonwatch.streams.contracts.dead_letter import DeadLetter
from siphonwatch.streams.contracts.telemetry import encode as encode_telemetry
from siphonwatch.streams.contracts.verdict import decode, encode, judge
from siphonwatch.streams.worker.agents.score import TelemetryPartition
from siphonwatch.streams.worker.meter import Meter
from siphonwatch.streams.worker.metrics import TELEMETRY, Metrics
from siphonwatch.streams.worker.scoring import make_scorer
from siphonwatch.streams.worker.state.local import LocalStateLog
from siphonwatch.streams.worker.transport import Batch
from siphonwatch.streams.worker.transport.batch import Lease


class Kept:
    """An outlet that keeps what is sent."""

    def __init__(self) -> None:
        self.alerts: list[bytes] = []

    async def alert(self, key: bytes, value: bytes) -> None:
        assert json.loads(value)["subject"].encode() == key
        self.alerts.append(value)

    async def dead_letters(self, letters: Any) -> list[DeadLetter]:
        assert not list[DeadLetter](letters)
        return []

    async def flush(self) -> None:
        """All is kept at once."""

    def blocked(self) -> float:
        return 0.0


def batches(log: list[bytes], size: int) -> list[Batch]:
    lease = Lease("telemetry", 0, 1, lambda _: None)
    return [
        Batch(
            lease, keys=[None] * len(part), values=part, headers=[()] * len(part), next_offset=start + len(part),
            offsets=np.arange(start, start + len(part)), timestamps=np.zeros(len(part), np.int64), size=1, missing=0,
        )
        for start in range(0, len(log), size)
        for part in [log[start : start + size]]
    ]  # fmt: skip


def ran(log: list[bytes], book: VerdictBook, verdicts: list[bytes]) -> list[bytes]:
    """The alerts of a worker's partition that learns of verdicts as it goes."""
    outlet = Kept()
    partition = TelemetryPartition(
        make_scorer(Settings()), LocalStateLog(), outlet, Meter(Metrics(CollectorRegistry()), TELEMETRY, "", 0),
        book=book, hot_accounts=1000, forget_after=1e9,
    )  # fmt: skip

    async def feed() -> None:
        for i, batch in enumerate(batches(log, 1500)):
            await partition.process(batch)
            book.take(decode(value).vote for value in verdicts[3 * i : 3 * i + 3])

    asyncio.run(feed())
    return outlet.alerts


def without_ranks(alerts: list[bytes]) -> list[dict[str, Any]]:
    found = [json.loads(alert) for alert in alerts]
    for alert in found:
        del alert["data"]["unmapped"]["siphonwatch"]["rank"]
        del alert["data"]["unmapped"]["siphonwatch"]["ranking"]
    return found


@pytest.fixture(scope="module")
def log() -> list[bytes]:
    return [encode_telemetry(record) for record in traffic()]


@pytest.fixture(scope="module")
def verdicts(log: list[bytes]) -> list[bytes]:
    """A decision on every case, each kind in turn."""
    decisions = ("true-positive", "false-positive", "benign-expected")
    alerts = {alert.subject: alert for alert in map(decode_alert, expected_alerts(Settings(), log))}
    assert len(alerts) >= 6
    return [
        encode(judge(alert, decisions[i % 3], by="Ann", time=1.8e9, note="private words"))
        for i, alert in enumerate(alerts.values())
    ]


def test_verdicts_change_ranks_and_no_alert_s_id_evidence_or_time(log: list[bytes], verdicts: list[bytes]) -> None:
    plain, judged = ran(log, VerdictBook(), []), ran(log, VerdictBook(), verdicts)
    assert list(map(without_model, plain)) == expected_alerts(Settings(), log)
    assert plain != judged
    assert without_ranks(plain) == without_ranks(judged)
    assert b"private words" not in b"".join(judged) and b"Ann" not in b"".join(judged)


def test_a_replay_with_verdicts_differs_in_its_ranks_alone(
    log: list[bytes], verdicts: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIPHONWATCH_IDENTITY_KEY", KEY)
    (tmp_path / "t.ndjson").write_bytes(b"\n".join(log))
    (tmp_path / "verdicts.ndjson").write_bytes(b"\n".join(verdicts))
    for name, options in {"plain": [], "judged": ["--verdicts", str(tmp_path / "verdicts.ndjson")]}.items():
        arguments = ["replay", str(tmp_path / "t.ndjson"), "--quiet", "--alerts", str(tmp_path / name), *options]
        done = CliRunner().invoke(cli, arguments, catch_exceptions=False)
        assert done.exit_code == 0, done.output
    plain, judged = ((tmp_path / name).read_bytes().splitlines() for name in ("plain", "judged"))
    assert list(map(without_model, plain)) == expected_alerts(Settings(), log)
    assert without_ranks(plain) == without_ranks(judged)
    known = {json.loads(alert)["data"]["unmapped"]["siphonwatch"]["ranking"]["verdicts"] for alert in judged}
    assert known == {len(verdicts)}


def test_a_replay_names_the_line_that_is_no_verdict(
    verdicts: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIPHONWATCH_IDENTITY_KEY", KEY)
    (tmp_path / "v").write_bytes(verdicts[0] + b'\n{"note": "private words"}\n')
    done = CliRunner().invoke(cli, ["replay", "-", "--verdicts", str(tmp_path / "v")], input=b"")
    assert done.exit_code == 1
    assert "line 2 is no verdict" in done.output and "private" not in done.output
