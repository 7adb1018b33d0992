"""`siphonwatch status` says what Kafka knows of a deployment, and fails where nobody scores."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from alert_samples import fill, findings
from click.testing import CliRunner, Result
from worker_tools import KEY, Worker, prepare, produce, traffic

from siphonwatch.streams.cli import cli
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.common.sink_settings import Sink
from siphonwatch.streams.lab.broker.process import free_port
from siphonwatch.streams.operate import doctor


def status(settings: Settings, *arguments: str) -> Result:
    env = {
        "SIPHONWATCH_KAFKA_BOOTSTRAP": settings.kafka.bootstrap,
        "SIPHONWATCH_KAFKA_GROUP": settings.kafka.group,
        "SIPHONWATCH_TOPICS_PREFIX": settings.topics.prefix,
        "SIPHONWATCH_IDENTITY_KEY": KEY,
        "SIPHONWATCH_SINKS_SOC_KIND": "webhook",
        "SIPHONWATCH_SINKS_SOC_URL": "https://soc.example/hook",
        "SIPHONWATCH_SINKS_SOC_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    }
    return CliRunner().invoke(cli, ["status", *arguments], env=env)


def asked(settings: Settings) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(status(settings, "--json").stdout)
    return found


@pytest.mark.broker
async def test_it_tells_who_scores_what_waits_and_since_when(settings: Settings, tmp_path: Path) -> None:
    prepare(settings, 2)
    records = traffic()[:600]
    await produce(settings, records[:400])
    before = time.time()
    idle = await asyncio.to_thread(status, settings, "--json")
    assert idle.exit_code == 1 and "nobody scores" in idle.stderr
    found = json.loads(idle.stdout)
    assert not found["ok"] and not found["scoring"] and found["workers"] == []
    # The embedded broker says that its logs end a little earlier than they do.
    assert 0 < found["waiting"] <= 400 and len(found["unowned"]) == 4, "telemetry and sightings"
    assert before - 300 < found["oldest_waiting"] <= before
    with Worker(settings, tmp_path) as worker:
        await worker.works()
        end = time.monotonic() + 300
        while not (found := await asyncio.to_thread(asked, settings))["ok"] or found["waiting"]:
            assert time.monotonic() < end, found
            await asyncio.sleep(0.5)
        assert found["scoring"] and found["unowned"] == [] and found["oldest_waiting"] is None
        (member,) = found["workers"]
        tells = member["partitions"] is not None  # the embedded broker does not
        assert not tells or len(member["partitions"]) == 4
        telemetry = [one for one in found["partitions"] if one["stream"] == "telemetry"]
        assert sum(one["committed"] for one in telemetry) == 400
        assert all(one["worker"] == member["name"] for one in telemetry) == tells
        assert all(one["last_checkpoint"] > before for one in telemetry)
        assert found["sinks"] == [{
            "name": "soc", "kind": "webhook", "state": found["sinks"][0]["state"], "deliverers": 0, "waiting": None,
        }]  # fmt: skip
        good = await asyncio.to_thread(status, settings)
        assert good.exit_code == 0, good.output
        for text in ("Workers", "Partitions", "Sinks", "soc", "waiting: 0 records; open cases:"):
            assert text in good.stdout
        assert (await asyncio.to_thread(doctor.group, settings)).state == "ok"
        worker.stop()
    if not tells:  # nor that a member has left
        return
    gone = await asyncio.to_thread(status, settings)
    assert gone.exit_code == 1 and "nobody scores" in gone.stderr and "none" in gone.stdout
    waiting = await asyncio.to_thread(doctor.group, settings)
    assert waiting.state == "warning" and "no worker" in waiting.message


def test_open_cases_are_counted_and_what_is_no_alert_is_passed_over(settings: Settings) -> None:
    found = findings(3)
    fill(settings, found, junk=b'{"type": 1}')
    assert asked(settings)["open_cases"] == 3


def test_without_topics_it_says_which_are_missing(settings: Settings) -> None:
    result = status(settings)
    assert result.exit_code == 1
    assert settings.topic("telemetry") in result.stderr and "topics --create" in result.stderr


def test_a_broker_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("siphonwatch.streams.operate.deployment.LIMIT_MS", 500)
    settings = Settings()
    settings.kafka.bootstrap = f"127.0.0.1:{free_port()}"
    result = status(settings)
    assert result.exit_code == 1 and settings.kafka.bootstrap in result.stderr


def test_a_topic_of_gateways_that_is_not_there_is_missing(settings: Settings) -> None:
    from siphonwatch.streams.operate.deployment import look

    prepare(settings, 1)
    settings.ingest.topics = {"gateway-logs": "litellm"}
    settings.sinks = {"ops": Sink(kind="webhook")}
    found = look(settings)
    assert found.missing == ["gateway-logs"] and [sink.name for sink in found.sinks] == ["ops"]
