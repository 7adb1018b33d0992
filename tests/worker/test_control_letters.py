"""Control records that cannot be read become dead letters, once for the group, and are not sent back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from click.testing import CliRunner
from worker_tools import Worker, prepare, produce, scored, traffic

from siphonwatch.streams.cli.allow import send
from siphonwatch.streams.cli.redrive import command as redrive
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.common.tail import Tail
from siphonwatch.streams.contracts.control import Allow, NotAControl
from siphonwatch.streams.contracts.dead_letter import DeadLetter, read
from siphonwatch.streams.worker.agents import control_letters
from siphonwatch.streams.worker.agents.control_letters import ControlLetters, ControlLetterSender

BAD = NotAControl("json", "what is wrong")


class Record:
    """As aiokafka has it."""

    topic, partition, timestamp, headers, key = "control", 0, 0, (), None

    def __init__(self, offset: int, size: int = 1) -> None:
        self.offset, self.value = offset, b"x" * size


class Kept:
    """An outlet that keeps what is sent, and takes none of the offsets in `too_large`."""

    def __init__(self, *too_large: int) -> None:
        self.sent: list[int] = []
        self.too_large = too_large

    async def dead_letters(self, letters: Iterable[DeadLetter]) -> list[DeadLetter]:
        letters = list(letters)
        self.sent += [letter.offset for letter in letters]
        return [letter for letter in letters if letter.offset in self.too_large]


def letters_on(settings: Settings) -> list[DeadLetter]:
    """The letters of the dead-letter topic, by the offset of their records."""
    with Tail.connect(settings, settings.topic("dlq")) as tail:
        found = [read(record.key, record.value, record.headers).letter for record in tail.records()]
    return sorted(found, key=lambda letter: letter.offset)


def held(*offsets: int, incarnation: str = "one") -> ControlLetters:
    letters = ControlLetters()
    letters.incarnation = incarnation
    for offset in offsets:
        letters.add(Record(offset), BAD)
    return letters


def sender(letters: ControlLetters, outlet: Kept, kept: dict[str, Any] | None = None) -> ControlLetterSender:
    made = ControlLetterSender(letters, outlet)  # type: ignore[arg-type]
    if kept is not None:
        made.restore(kept)
    return made


async def test_each_is_sent_once_also_by_the_next_owner_who_read_the_topic_again() -> None:
    letters, outlet = held(3, 5), Kept(5)
    first = sender(letters, outlet)
    refused = await first.send()
    assert refused is not None and [letter.offset for letter in refused] == [5]
    assert await first.send() is None, "nothing is new"
    for offset in (3, 5, 9):  # the feed read the topic from its beginning again
        letters.add(Record(offset), BAD)
    assert await first.send() == []
    assert outlet.sent == [3, 5, 9]
    assert await sender(held(3, 5, 9, 11), outlet, first.snapshot()).send() == []
    assert outlet.sent == [3, 5, 9, 11]


async def test_a_topic_made_anew_begins_at_its_first_offset() -> None:
    outlet = Kept()
    first = sender(held(7), outlet)
    await first.send()
    assert await sender(held(2, incarnation="two"), outlet, first.snapshot()).send() == []
    assert await sender(held(2), outlet, first.snapshot()).send() is None
    assert outlet.sent == [7, 2]


async def test_a_topic_whose_broker_gives_no_id_goes_on_where_it_was() -> None:
    outlet = Kept()
    first = sender(held(7, incarnation=""), outlet)
    await first.send()
    assert await sender(held(2, 7, 8), outlet, first.snapshot()).send() == []
    assert outlet.sent == [7, 8]


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_letters, "MAX_BYTES", 10_000)
    letters = ControlLetters()
    for offset in range(20):
        letters.add(Record(offset, 1_000), BAD)
    assert [letter.offset for letter in letters.from_offset(0)] == [16, 17, 18, 19]
    letters.add(Record(20, 50_000), BAD)
    assert [letter.offset for letter in letters.from_offset(0)] == [20], "the newest is kept whatever its size"
    letters.clear()
    assert letters.from_offset(0) == []


@pytest.mark.broker
async def test_two_workers_and_restarts_send_each_record_once_and_redrive_refuses_it(
    settings: Settings, tmp_path: Path
) -> None:
    prepare(settings, 2)
    records = traffic()[:400]
    junk = [b"{", b'{"type":"promote","why":"private words"}', bytes(850_000)]

    async def write(value: bytes) -> None:
        async with AIOKafkaProducer(bootstrap_servers=settings.kafka.bootstrap) as producer:
            await producer.send_and_wait(settings.topic("control"), value, b"a key", headers=[("who", b"them")])

    async def found(count: int) -> list[DeadLetter]:
        letters: list[DeadLetter] = []
        for _ in range(300):
            letters = await asyncio.to_thread(letters_on, settings)
            if len(letters) >= count:
                break
            await asyncio.sleep(1.0)
        return letters

    with Worker(settings, tmp_path) as one, Worker(settings, tmp_path) as two:
        await one.works()
        await two.works()
        await produce(settings, records)
        await scored(settings)
        await write(junk[0])
        await write(junk[1])
        await found(2)
        one.stop()
        two.stop()
    with Worker(settings, tmp_path) as third:
        await third.works()
        await write(junk[2])
        letters = await found(3)
        third.stop()
        log = one.log.read_text() + third.log.read_text()
    assert [(letter.value, letter.reason, letter.offset) for letter in letters] == [
        (junk[0], "json", 0), (junk[1], "schema", 1), (junk[2], "size", 2)
    ]  # fmt: skip
    assert {(letter.topic, letter.partition, letter.key, letter.headers) for letter in letters} == {
        (settings.topic("control"), 0, b"a key", (("who", b"them"),))
    }
    assert "private words" not in log

    send(settings, Allow(id="0" * 12, pattern="shift", until=2e9, accounts=["a"], why="", by="Ann", time=1.8e9))
    environment = {
        "SIPHONWATCH_KAFKA_BOOTSTRAP": settings.kafka.bootstrap,
        "SIPHONWATCH_KAFKA_GROUP": settings.kafka.group,
        "SIPHONWATCH_TOPICS_PREFIX": settings.topics.prefix,
        "COLUMNS": "160",
    }
    result = CliRunner().invoke(redrive, [], env=environment)
    assert result.exit_code == 1
    assert "it could undo a newer decision of the same id" in result.output
    assert "3 letters cannot be sent" in result.output
    assert "no dead letters to send" in CliRunner().invoke(redrive, [], env=environment).output
