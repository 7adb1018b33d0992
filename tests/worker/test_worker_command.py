"""The worker command says what is wrong before it starts anything."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from siphonwatch.streams.cli import cli
from siphonwatch.streams.common.settings import Settings


@pytest.mark.broker
def test_without_its_topics_it_stops_and_says_how_to_make_them(settings: Settings) -> None:
    env = {
        "SIPHONWATCH_KAFKA_BOOTSTRAP": settings.kafka.bootstrap,
        "SIPHONWATCH_TOPICS_PREFIX": settings.topics.prefix,
        "SIPHONWATCH_INGEST_TOPICS": '{"no-such-gateway": "litellm"}',
        "SIPHONWATCH_IDENTITY_KEY": "a key for this test",
    }
    result = CliRunner().invoke(cli, ["worker"], env=env)
    assert result.exit_code == 1
    assert f"{settings.topic('telemetry')} does not exist: run `siphonwatch topics --create`" in result.output
    assert "no-such-gateway" not in result.output, "a worker waits for a gateway's topic"


def test_without_a_broker_it_says_where_it_looked() -> None:
    result = CliRunner().invoke(cli, ["worker"], env={"SIPHONWATCH_KAFKA_BOOTSTRAP": "127.0.0.1:1"})
    assert result.exit_code == 1
    assert "127.0.0.1:1" in result.output


def test_a_worker_that_is_given_a_second_stage_says_what_took_its_place() -> None:
    result = CliRunner().invoke(
        cli, ["worker"], env={"SIPHONWATCH_SCORING_SECOND_STAGE": "river.anomaly:HalfSpaceTrees"}
    )
    assert result.exit_code != 0
    assert "is no longer a setting" in (text := str(result.exception)) and "`siphonwatch train --river`" in text
