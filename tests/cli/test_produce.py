"""`siphonwatch produce` sends every good record once, at its event time, and says what it could not send."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from kafka import KafkaConsumer, TopicPartition

from siphonwatch.streams.cli import cli, produce
from siphonwatch.streams.cli.produce import Live, Pace
from siphonwatch.streams.common.settings import Settings, load
from siphonwatch.streams.contracts.rejected import Rejected
from siphonwatch.streams.contracts.telemetry import Telemetry, decode
from siphonwatch.streams.edge.adapters import make_adapter, read_records
from siphonwatch.streams.edge.spread import Adapted, adapted
from siphonwatch.streams.lab.broker.process import free_port
from siphonwatch.streams.operate.topics import connect, create

KEY = "a secret of the tests only"


def line(i: int) -> str:
    """One LiteLLM record of an invented account."""
    return json.dumps(
        {
            "id": f"r-{i}",
            "call_type": "acompletion",
            "startTime": 1767571200 + i,
            "status": "success",
            "metadata": {"user_api_key_org_id": f"org-{i % 7}"},
            "messages": [{"role": "user", "content": f"question {i}"}],
        }
    )


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A hundred good records, two bad ones among them."""
    path = tmp_path / "gateway.ndjson"
    path.write_text("\n".join([*map(line, range(50)), "not json", '{"startTime": 1}', *map(line, range(50, 100))]))
    return path


def run(bootstrap: str, prefix: str, *arguments: str) -> Result:
    """The command against one broker."""
    env = {
        "SIPHONWATCH_KAFKA_BOOTSTRAP": bootstrap,
        "SIPHONWATCH_TOPICS_PREFIX": prefix,
        "SIPHONWATCH_IDENTITY_KEY": KEY,
    }
    return CliRunner().invoke(cli, ["produce", *arguments], env=env)


def consumed(settings: Settings, topic: str, count: int) -> list[Any]:
    """What stands in the topic: `count` records, then nothing."""
    consumer = KafkaConsumer(bootstrap_servers=settings.kafka.bootstrap, consumer_timeout_ms=1500)
    partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
    consumer.assign(partitions)
    consumer.seek_to_beginning(*partitions)
    found: list[Any] = []
    for _ in range(5):
        found += list(consumer)
        if len(found) >= count:
            break
    consumer.close()
    return found


def test_a_file_becomes_telemetry_keyed_by_account_at_event_time(settings: Settings, log: Path) -> None:
    with connect(settings.kafka) as admin:
        create(settings, admin)
    result = run(settings.kafka.bootstrap, settings.topics.prefix, str(log))
    assert result.exit_code == 0, result.output
    assert f"100 records to {settings.topic('telemetry')}" in result.output
    assert "2 malformed, not produced:" in result.output
    found = consumed(settings, settings.topic("telemetry"), 100)
    records = [decode(message.value) for message in found]
    assert sorted(record.id for record in records) == sorted(f"r-{i}" for i in range(100))
    for message, record in zip(found, records, strict=True):
        assert message.key == record.account.encode()
        assert message.timestamp > record.time * 1000 + 86_400_000  # stamped now: retention goes by it
        assert b"question" not in message.value
    assert len({(message.key, message.partition) for message in found}) == len({message.key for message in found})


def test_raw_records_arrive_unchanged_bad_ones_included(settings: Settings, log: Path) -> None:
    settings.topics.prefix += "-raw"
    with connect(settings.kafka) as admin:
        create(settings, admin)
    topic = settings.topic("dlq")  # any topic: to `produce --raw` it is a gateway's
    result = run(settings.kafka.bootstrap, settings.topics.prefix, str(log), "--raw", "--topic", topic)
    assert result.exit_code == 0, result.output
    found = consumed(settings, topic, 102)
    assert sorted(message.value for message in found) == sorted(log.read_bytes().split(b"\n"))


def test_records_of_long_ago_are_played_as_if_they_had_begun_so_long_ago(settings: Settings, log: Path) -> None:
    settings.topics.prefix += "-start"
    with connect(settings.kafka) as admin:
        create(settings, admin)
    began = time.time()
    result = run(settings.kafka.bootstrap, settings.topics.prefix, str(log), "--start", "97s")
    assert result.exit_code == 0, result.output
    records = {r.id: r for r in (decode(m.value) for m in consumed(settings, settings.topic("telemetry"), 100))}
    assert len(records) == 100
    assert began - 97 <= records["r-0"].time <= time.time() - 97
    for i in range(100):
        assert records[f"r-{i}"].time == pytest.approx(records["r-0"].time + i, abs=0.01)
    assert time.time() - began >= 2  # the last ones had not happened when it began
    assert records["r-99"].time <= time.time()


def test_an_unreachable_broker_is_named(log: Path) -> None:
    # In a process of its own: kafka-python leaves the sockets of a failed start to the garbage collector.
    code = (
        "import siphonwatch.streams.common.kafka as k; k.CONNECT_MS = 1000;"
        "from siphonwatch.streams.cli import main; main()"
    )
    bootstrap = f"127.0.0.1:{free_port()}"
    result = subprocess.run(
        [sys.executable, "-c", code, "produce", str(log)],
        env={**os.environ, "SIPHONWATCH_KAFKA_BOOTSTRAP": bootstrap, "SIPHONWATCH_IDENTITY_KEY": KEY},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 1, result.stderr
    assert f"cannot reach Kafka at {bootstrap}" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--raw", "x"], "--raw needs --topic"),
        (["--speed", "fast", "x"], "'fast' is no speed"),
        (["--speed", "0", "x"], "'0' is no speed"),
        (["--format", "csv", "x"], "csv"),
        (["--start", "yesterday", "x"], "'yesterday' is no time: use now, or how long ago"),
        (["--start", "-2d", "x"], "'-2d' is no time"),
        (["--start", "", "x"], "'' is no time"),
        (["--start", "now", "--speed", "10x", "x"], "leave --speed out"),
        (["--start", "now", "--raw", "--topic", "t", "x"], "--raw changes no record"),
        ([], "Missing argument"),
    ],
)
def test_bad_usage_is_refused_before_anything_is_sent(arguments: list[str], message: str) -> None:
    result = run("127.0.0.1:1", "p", *arguments)
    assert result.exit_code == 2
    assert message in result.output


def test_a_file_of_no_known_format_fails_with_its_name(settings: Settings, tmp_path: Path) -> None:
    with connect(settings.kafka) as admin:
        create(settings, admin)
    path = tmp_path / "notes.txt"
    path.write_text("dear diary\n")
    result = run(settings.kafka.bootstrap, settings.topics.prefix, str(path))
    assert result.exit_code == 1
    assert "notes.txt: none of the first 1 records" in result.output


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def test_event_time_passes_at_a_multiple_of_real_time() -> None:
    clock = Clock()
    pace = Pace(10.0, clock.time, clock.sleep)
    for moment in (5000.0, 5010.0, 5005.0, None, 5030.0):
        pace.wait(moment)
    assert clock.slept == pytest.approx([1.0, 2.0])


def test_as_fast_as_possible_never_sleeps() -> None:
    clock = Clock()
    pace = Pace(0.0, clock.time, clock.sleep)
    pace.wait(1.0)
    pace.wait(1e9)
    assert clock.slept == []


def sample(moment: float) -> Telemetry:
    """Telemetry of one moment."""
    return Telemetry(id="r", time=moment, account="a")


@given(
    ago=st.floats(0, 1e6),
    times=st.lists(st.floats(1e9, 1.1e9), min_size=1, max_size=20),
)
def test_played_records_keep_their_distances_and_are_never_sent_before_they_happen(
    ago: float, times: list[float]
) -> None:
    clock = Clock()
    clock.now = 1.7e9
    live = Live(ago, clock.time, clock.sleep)
    moved = []
    for moment in times:
        record = live.moved(sample(moment))
        live.wait(record.time)
        assert record.time <= clock.now + 1e-3
        moved.append(record.time)
    assert moved[0] == pytest.approx(1.7e9 - ago, abs=0.01)
    for before, after in zip(times, moved, strict=True):
        assert after - moved[0] == pytest.approx(before - times[0], abs=0.01)


def test_what_happened_before_now_goes_at_once_and_the_rest_in_real_time() -> None:
    clock = Clock()
    live = Live(20.0, clock.time, clock.sleep)
    for moment in (5000.0, 5010.0, 5005.0, 5020.0, 5023.0, 5030.0):
        live.wait(live.moved(sample(moment)).time)
    assert clock.slept == pytest.approx([3.0, 7.0])


@pytest.mark.parametrize(
    ("pace", "processes"),
    [(Pace(0.0, time.monotonic, time.sleep), 3), (Pace(1e8, time.monotonic, time.sleep), 1),
     (Live(1e9, time.time, time.sleep), 1)],
    ids=["at once", "at a speed", "as it happens"],
)  # fmt: skip
def test_what_is_played_in_time_keeps_no_other_process_busy(
    monkeypatch: pytest.MonkeyPatch, log: Path, pace: Pace | Live, processes: int
) -> None:
    asked: list[int] = []

    def alone(settings: Settings, format: str, raw: Any, processes: int, at_once: int) -> Iterator[Adapted]:
        asked.append(processes)
        return adapted(settings, format, raw, 1, at_once=at_once)

    monkeypatch.setattr(produce, "adapted", alone)
    known = load({"SIPHONWATCH_IDENTITY_KEY": KEY}).settings
    items = list(produce._items(str(log), "auto", known, False, 3, pace, Rejected(), Counter()))
    assert len(items) == 100 and asked == [processes]


def test_every_record_of_the_file_is_read_by_the_adapter_it_is_given(log: Path) -> None:
    class NoText:
        def sketch(self, messages: object, reply: str = "") -> dict[str, object]:
            return {}

    records = read_records(log)
    adapter = make_adapter(records.format, load({"SIPHONWATCH_IDENTITY_KEY": KEY}).settings, NoText())
    found = [record for raw in records if isinstance(raw, bytes) for record in adapter.records(raw)]
    assert len(found) == 102
