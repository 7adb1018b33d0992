"""`siphonwatch redrive` on real brokers: what goes back, what stays, what is counted, and the exit code."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from click.testing import CliRunner, Result
from kafka import KafkaConsumer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

from siphonwatch.streams.cli.redrive import command
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts.dead_letter import DeadLetter, DeadLetters
from siphonwatch.streams.contracts.provenance import Seals

pytestmark = pytest.mark.broker

Redrive = Callable[..., Result]


@pytest.fixture
def topics(settings: Settings) -> Settings:
    admin = KafkaAdminClient(bootstrap_servers=settings.kafka.bootstrap)
    names = [settings.topic("dlq"), settings.topic("telemetry"), f"{settings.topics.prefix}.raw"]
    large = {"max.message.bytes": "4000000"}
    admin.create_topics([NewTopic(n, num_partitions=2, replication_factor=1, topic_configs=large) for n in names])
    admin.close()
    return settings


@pytest.fixture
def redrive(topics: Settings) -> Redrive:
    environment = {
        "SIPHONWATCH_KAFKA_BOOTSTRAP": topics.kafka.bootstrap,
        "SIPHONWATCH_KAFKA_GROUP": topics.kafka.group,
        "SIPHONWATCH_TOPICS_PREFIX": topics.topics.prefix,
        "COLUMNS": "160",
    }

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(command, arguments, env=environment)

    return run


def letter(settings: Settings, number: int, **changes: Any) -> DeadLetter:
    fields: dict[str, Any] = {
        "key": b"account%d" % number,
        "value": b"value%d" % number,
        "reason": "json",
        "detail": "",
        "topic": settings.topic("telemetry"),
        "partition": 0,
        "offset": number,
        "timestamp": 1_760_000_000_000 + number * 1000,
    }
    return DeadLetter(**(fields | changes))


def bury(settings: Settings, letters: Sequence[DeadLetter]) -> None:
    async def run() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=settings.kafka.bootstrap, acks="all")
        await producer.start()
        try:
            await DeadLetters(producer, settings.topic("dlq")).send(letters)
        finally:
            await producer.stop()

    asyncio.run(run())


def arrived(settings: Settings, topic: str) -> list[Any]:
    consumer = KafkaConsumer(bootstrap_servers=settings.kafka.bootstrap, max_partition_fetch_bytes=8_000_000)
    partitions = [TopicPartition(topic, n) for n in range(2)]
    consumer.assign(partitions)
    consumer.seek_to_beginning()
    ends = consumer.end_offsets(partitions)  # too low on the embedded broker: go on until a poll brings nothing
    records: list[Any] = []
    batches: dict[Any, Any] = {}
    while batches or not records or any(consumer.position(tp) < end for tp, end in ends.items()):
        if not (batches := consumer.poll(timeout_ms=700)) and not any(ends.values()):
            break
        records += [record for batch in batches.values() for record in batch]
    consumer.close()
    return sorted(records, key=lambda record: record.value)


def test_letters_go_back_as_they_came_and_a_second_run_sends_only_new_ones(topics: Settings, redrive: Redrive) -> None:
    telemetry = topics.topic("telemetry")
    bury(topics, [letter(topics, 1, headers=(("source", b"raw:0:1:0"),)), letter(topics, 2, key=None)])
    result = redrive()
    assert result.exit_code == 0, result.output
    assert [word for word in ("json", telemetry, "2") if word not in result.stdout] == [], result.output
    first, second = arrived(topics, telemetry)
    assert (first.key, first.value) == (b"account1", b"value1")
    assert time.time() - first.timestamp / 1000 < 600, "a record of long ago would be deleted, and count as late"
    assert list(first.headers) == [("source", b"raw:0:1:0"), ("redriven", b"1")]
    assert (second.key, second.value) == (None, b"value2")
    result = redrive()
    assert result.exit_code == 0 and "no dead letters to send" in result.output
    bury(topics, [letter(topics, 3)])
    assert redrive().exit_code == 0
    assert [record.value for record in arrived(topics, telemetry)] == [b"value1", b"value2", b"value3"]
    assert redrive("--all").exit_code == 0
    assert len(arrived(topics, telemetry)) == 6


def test_a_letter_goes_back_to_its_partition_as_long_as_there_is_one(topics: Settings, redrive: Redrive) -> None:
    bury(topics, [letter(topics, n, key=None, partition=n % 2) for n in range(8)])
    bury(topics, [letter(topics, 8, partition=7)])
    result = redrive()
    assert result.exit_code == 0, result.output
    records = arrived(topics, topics.topic("telemetry"))
    assert [(r.value, r.partition) for r in records[:8]] == [(b"value%d" % n, n % 2) for n in range(8)]
    assert records[8].value == b"value8"


def test_a_dry_run_sends_nothing_and_keeps_no_position(topics: Settings, redrive: Redrive) -> None:
    bury(topics, [letter(topics, n) for n in range(5)])
    result = redrive("--dry-run")
    assert result.exit_code == 0 and "would send" in result.output and "5" in result.output
    assert arrived(topics, topics.topic("telemetry")) == []
    assert redrive().exit_code == 0
    assert len(arrived(topics, topics.topic("telemetry"))) == 5


def test_filters_leave_the_others_for_later_runs(topics: Settings, redrive: Redrive) -> None:
    raw = f"{topics.topics.prefix}.raw"
    bury(topics, [letter(topics, 1), letter(topics, 2, reason="schema"), letter(topics, 3, topic=raw)])
    assert redrive("--reason", "schema").exit_code == 0
    assert [r.value for r in arrived(topics, topics.topic("telemetry"))] == [b"value2"]
    assert "no dead letters to send" in redrive("--reason", "schema").output
    assert redrive("--topic", raw).exit_code == 0
    assert [r.value for r in arrived(topics, raw)] == [b"value3"]
    assert redrive("--reason", "json", "--topic", topics.topic("telemetry")).exit_code == 0
    assert [r.value for r in arrived(topics, topics.topic("telemetry"))] == [b"value1", b"value2"]


def test_since_takes_records_that_are_new_enough(topics: Settings, redrive: Redrive) -> None:
    bury(topics, [letter(topics, n) for n in range(4)])
    assert redrive("--since", "2025-10-09T08:53:22").exit_code == 0  # 1,760,000,002 seconds since 1970
    assert [r.value for r in arrived(topics, topics.topic("telemetry"))] == [b"value2", b"value3"]


def test_a_limit_is_met_exactly_and_the_next_run_goes_on_there(topics: Settings, redrive: Redrive) -> None:
    bury(topics, [letter(topics, n) for n in range(10)])
    sizes = []
    for _ in range(4):
        assert redrive("--limit", "4").exit_code == 0
        sizes.append(len(arrived(topics, topics.topic("telemetry"))))
    assert sizes == [4, 8, 10, 10]


def test_a_record_that_failed_three_redrives_is_refused_unless_forced(topics: Settings, redrive: Redrive) -> None:
    bury(topics, [letter(topics, 1, headers=(("redriven", b"3"),)), letter(topics, 2, headers=(("redriven", b"2"),))])
    result = redrive()
    assert result.exit_code == 1
    assert "1 letters failed 3 redrives already: --all --force sends them again" in result.output
    assert "gone" in result.output and "do not exist" not in result.output
    (record,) = arrived(topics, topics.topic("telemetry"))
    assert (record.value, dict(record.headers)) == (b"value2", {"redriven": b"3"})
    assert redrive("--all", "--force").exit_code == 0
    assert [dict(r.headers) for r in arrived(topics, topics.topic("telemetry")) if r.value == b"value1"] == [
        {"redriven": b"4"}
    ]


def test_a_letter_in_parts_goes_back_whole(topics: Settings, redrive: Redrive) -> None:
    raw = f"{topics.topics.prefix}.raw"
    value = bytes(range(256)) * 9_000
    bury(topics, [letter(topics, 1, topic=raw, value=value), letter(topics, 2, topic=raw)])
    result = redrive()
    assert result.exit_code == 0, result.output
    assert [record.value for record in arrived(topics, raw)] == [value, b"value2"]
    assert "no dead letters to send" in redrive().output


def test_a_letter_whose_topic_is_gone_is_said_and_does_not_hold_up_the_others(
    topics: Settings, redrive: Redrive
) -> None:
    bury(topics, [letter(topics, 1, topic="nowhere"), letter(topics, 2)])
    result = redrive()
    assert result.exit_code == 1
    assert "1 letters came from topics that do not exist any more" in result.output
    assert [record.value for record in arrived(topics, topics.topic("telemetry"))] == [b"value2"]


def test_a_record_that_is_no_letter_is_counted_and_left(topics: Settings, redrive: Redrive) -> None:
    async def run() -> None:
        async with AIOKafkaProducer(bootstrap_servers=topics.kafka.bootstrap) as producer:
            await producer.send_and_wait(topics.topic("dlq"), b"hello")

    asyncio.run(run())
    result = redrive()
    assert result.exit_code == 0
    assert "1 records on" in result.output and "no dead letters" in result.output


def test_a_topic_that_does_not_exist_is_named(settings: Settings) -> None:
    environment = {
        "SIPHONWATCH_KAFKA_BOOTSTRAP": settings.kafka.bootstrap,
        "SIPHONWATCH_TOPICS_PREFIX": settings.topics.prefix,
    }
    result = CliRunner().invoke(command, [], env=environment)
    assert result.exit_code == 1
    assert f"topic {settings.topic('dlq')} does not exist" in result.output


def test_no_broker_is_a_failure_that_names_it() -> None:
    """In a process of its own: kafka-python leaves sockets open that it could not connect."""
    code = "from siphonwatch.streams.common import kafka; kafka.CONNECT_MS = 500;"
    code += "from siphonwatch.streams.cli import redrive; redrive.command([])"
    environment = {**os.environ, "SIPHONWATCH_KAFKA_BOOTSTRAP": "127.0.0.1:9"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Kafka at 127.0.0.1:9 failed" in done.stderr


@pytest.mark.parametrize("arguments", [["--limit", "0"], ["--since", "yesterday"], ["--nonsense"]])
def test_bad_usage_exits_2(arguments: list[str]) -> None:
    assert CliRunner().invoke(command, arguments).exit_code == 2


def poisoned(settings: Settings) -> list[DeadLetter]:
    """Letters that cannot be sent, whatever is done."""
    return [
        letter(settings, 20, topic=settings.topic("state")),
        letter(settings, 21, topic=settings.topic("dlq")),
        letter(settings, 22, topic="no topic's\x1b[2J name"),
        letter(settings, 23, value=b"cut", shortened="value 99999999"),
    ]


def test_a_poisoned_letter_is_reported_and_passed_and_the_others_go_on(
    topics: Settings, redrive: Redrive, request: pytest.FixtureRequest
) -> None:
    good = [
        letter(topics, 1, key=None, value=None),
        letter(topics, 2, headers=(("source", None), ("é" * 9, b"\xff"), ("redriven", b"9" * 5000))),
        letter(topics, 3, partition=2**40, offset=-1, timestamp=2**70),
        letter(topics, 4, reason="\x1b[31m", topic=topics.topic("telemetry")),
    ]
    poison = poisoned(topics)
    said = ["offset 20", "offset 21", "offset 23", "3 letters cannot be sent"]
    if "[kafka]" in request.node.name:  # the embedded broker takes records of any size
        poison.append(letter(topics, 24, value=random.Random(1).randbytes(5_000_000)))
        said = [*said[:3], "offset 24", "MessageSizeTooLarge", "4 letters cannot be sent"]
    bury(topics, [good[0], *poison, *good[1:]])
    result = redrive()
    assert result.exit_code == 1
    assert [r.value for r in arrived(topics, topics.topic("telemetry"))] == [b"", b"value2", b"value3", b"value4"]
    assert [words for words in said if words not in result.output] == [], result.output
    assert "\x1b" not in result.output
    again = redrive()
    assert again.exit_code == 0 and "no dead letters to send" in again.output, "the position went on"


def test_a_letter_of_which_a_part_is_missing_holds_up_nothing(
    topics: Settings, redrive: Redrive, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        part = letter(topics, 1, value=bytes(2_000_000)).to_messages()[1]
        async with AIOKafkaProducer(bootstrap_servers=topics.kafka.bootstrap) as producer:
            await producer.send_and_wait(topics.topic("dlq"), part.value, part.key, 0, headers=part.headers)

    asyncio.run(run())
    bury(topics, [letter(topics, 2, key=None), letter(topics, 3)])
    assert redrive().exit_code == 0
    assert len(arrived(topics, topics.topic("telemetry"))) == 2
    monkeypatch.setattr("siphonwatch.streams.cli.redrive.PART_SECONDS", -60.0)
    result = redrive()
    assert result.exit_code == 0
    assert "1 letters lack parts" in result.output
    sent = len(arrived(topics, topics.topic("telemetry")))
    result = redrive()
    assert "no dead letters to send" in result.output and "lack parts" not in result.output
    assert len(arrived(topics, topics.topic("telemetry"))) == sent


@pytest.mark.kafka
@pytest.mark.parametrize("broker_node", ["kafka"], indirect=True)
def test_letters_behind_one_that_is_not_whole_are_sent_once(topics: Settings, redrive: Redrive) -> None:
    """On Apache Kafka: the embedded broker keeps no metadata beside an offset."""

    async def run() -> None:
        part = letter(topics, 1, value=bytes(2_000_000)).to_messages()[1]
        async with AIOKafkaProducer(bootstrap_servers=topics.kafka.bootstrap) as producer:
            for partition in range(2):
                await producer.send_and_wait(topics.topic("dlq"), part.value, part.key, partition, headers=part.headers)

    asyncio.run(run())
    bury(topics, [letter(topics, n) for n in range(2, 8)])
    for _ in range(2):
        assert redrive().exit_code == 0
        assert len(arrived(topics, topics.topic("telemetry"))) == 6


def test_redriven_sightings_carry_the_seal_of_who_sent_them_again(topics: Settings, redrive: Redrive) -> None:
    sightings = topics.topic("sightings")
    admin = KafkaAdminClient(bootstrap_servers=topics.kafka.bootstrap)
    admin.create_topics([NewTopic(sightings, num_partitions=2, replication_factor=1)])
    admin.close()
    bury(topics, [letter(topics, 1, topic=sightings, partition=1, headers=(("seal", b"0" * 16),))])
    assert redrive().exit_code == 0
    (record,) = arrived(topics, sightings)
    seal = Seals.from_settings(topics).mac("redriven", 1)(record.value)
    assert dict(record.headers) == {"seal": b"0" * 16, "redriven": b"1", "redriven-seal": seal}


def test_show_prints_origin_detail_and_fields_and_no_text(topics: Settings, redrive: Redrive) -> None:
    raw = f"{topics.topics.prefix}.raw"
    value = (
        b'{"id": "r1", "metadata": {"org": "acme corp"}, "messages": [{"role": "user", "content": "my secret words"}],'
        b' "what the user wrote": 1}'
    )
    bury(
        topics,
        [
            letter(topics, 1, topic=raw, value=value, reason="time", detail="time: `startTime` holds no time"),
            letter(topics, 2, value=b"\x1b[2Jnot json", headers=(("source", b"a:0:1:0"), ("\x1b]0;x\x07", b""))),
            letter(topics, 3, value=None, detail="\x1b[31mred\n\nline", timestamp=2**70, partition=1),
        ],
    )
    result = redrive("--show")
    assert result.exit_code == 0, result.output
    for said in (
        f"{raw}[0] offset 1 (time), written 2025-10-09T08:53:21Z",
        "time: `startTime` holds no time",
        "fields: id text, metadata {org text}, messages list of 1 {role text, content text}, and 1 more",
        "fields: none, it is no JSON",
        "headers source, ?",
        "fields: none, it is empty",
        "?[31mred??line",
    ):
        assert said in result.output, result.output
    assert not [word for word in ("secret", "acme", "wrote", "\x1b", "\x07") if word in result.output]
    assert redrive("--show", "--reason", "time").output.count("fields:") == 1
    assert redrive("--show", "--limit", "2").output.count("fields:") == 2
    assert redrive("--show", "--force").exit_code == 2
    assert arrived(topics, topics.topic("telemetry")) == [], "it sends nothing"
    redrive()
    assert "no dead letters to show" in redrive("--show").output
    assert redrive("--show", "--all").output.count("fields:") == 3
