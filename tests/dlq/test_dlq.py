"""Dead letters keep every byte, say why and where from, and are acknowledged before anyone commits."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError
from hypothesis import given
from hypothesis import strategies as st

from streams.dlq import DeadLetter, DeadLetters, Joiner, Undelivered, Unreadable, read

LETTER = DeadLetter(
    key=b"account",
    value=b'{"id":',
    reason="json",
    detail="truncated",
    topic="t",
    partition=3,
    offset=14,
    timestamp=1_700,
)

letters = st.builds(
    DeadLetter,
    key=st.none() | st.binary(max_size=20),
    value=st.none() | st.binary(max_size=200),
    reason=st.sampled_from(["json", "schema", "size"]),
    detail=st.text(max_size=50),
    topic=st.text("abc.", min_size=1, max_size=20),
    partition=st.integers(0, 1000),
    offset=st.integers(0, 2**60),
    timestamp=st.integers(0, 2**42),
    index=st.integers(0, 1000),
    version=st.just("0.1.0"),
    headers=st.lists(st.tuples(st.text(max_size=10), st.binary(max_size=20)), max_size=3).map(tuple),
)


class Producer:
    """Takes messages and acknowledges or refuses each."""

    def __init__(self, fail_at: int | None = None, *, late: bool = False) -> None:
        self.sent: list[dict[str, Any]] = []
        self._fail_at = fail_at
        self._late = late

    async def partitions_for(self, topic: str) -> set[int]:
        return {0, 1, 2}

    async def send(self, topic: str, value: Any, key: Any, partition: Any, **more: Any) -> asyncio.Future[None]:
        future = asyncio.get_running_loop().create_future()
        if len(self.sent) == self._fail_at:
            if not self._late:
                raise KafkaTimeoutError
            future.set_exception(KafkaTimeoutError())
        else:
            future.set_result(None)
        self.sent.append({"topic": topic, "value": value, "key": key, "partition": partition, **more})
        return future


@given(letters, st.integers(1, 70), st.randoms())
def test_a_letter_comes_back_byte_for_byte_whatever_its_parts(letter: DeadLetter, limit: int, random: Any) -> None:
    messages = letter.to_messages(limit)
    assert all(message.value is None or len(message.value) <= limit for message in messages)
    assert all(message.key == letter.key for message in messages)
    parts = [*messages, messages[0]] if len(messages) > 1 else messages
    random.shuffle(parts)
    joiner = Joiner()
    whole = [
        found
        for i, message in enumerate(parts)
        if (found := joiner.add(read(message.key, message.value, message.headers), i)) is not None
    ]
    assert whole[0] == letter


def test_headers_say_why_and_where_from() -> None:
    headers = dict(LETTER.to_messages()[0].headers)
    assert headers == {
        "reason": b"json",
        "detail": b"truncated",
        "topic": b"t",
        "partition": b"3",
        "offset": b"14",
        "index": b"0",
        "timestamp": b"1700",
        "version": b"",
    }


def test_reading_goes_on_at_the_first_part_of_a_letter_that_is_not_whole() -> None:
    messages = LETTER.to_messages(4)
    joiner = Joiner()
    assert joiner.first_open() is None
    assert joiner.add(read(messages[0].key, messages[0].value, messages[0].headers), 70) is None
    assert joiner.first_open() == 70
    assert joiner.add(read(messages[1].key, messages[1].value, messages[1].headers), 75) == LETTER
    assert joiner.first_open() is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"topic": None}, "header topic is missing"),
        ({"offset": b"x"}, "cannot be read"),
        ({"reason": b"\xff"}, "cannot be read"),
        ({"part": b"2", "parts": b"2"}, "part 2 of 2"),
    ],
)
def test_a_record_that_is_no_letter_is_refused(change: dict[str, bytes | None], says: str) -> None:
    headers = {**dict(LETTER.to_messages()[0].headers), **change}
    with pytest.raises(Unreadable, match=says):
        read(None, b"", [(name, value) for name, value in headers.items() if value is not None])


@pytest.mark.parametrize(("header", "count"), [((), 0), ((("redriven", b"2"),), 2), ((("redriven", b"many"),), 0)])
def test_a_letter_knows_how_often_it_was_sent_again(header: Any, count: int) -> None:
    message = DeadLetter(b"", b"", "json", "", "t", 0, 0, 0, headers=header).to_messages()[0]
    assert read(message.key, message.value, message.headers).letter.redriven == count


def test_parts_of_a_letter_share_a_partition_and_others_follow_their_key() -> None:
    producer = Producer()
    big = DeadLetter(None, b"x" * 2_000_000, "size", "", "t", 0, 5, 9)
    assert asyncio.run(DeadLetters(producer, "dlq").send([LETTER, big])) == 2
    assert producer.sent[0]["partition"] is None
    parts = producer.sent[1:]
    assert len(parts) == 3
    assert len({part["partition"] for part in parts} - {None}) == 1
    assert b"".join(part["value"] for part in parts) == big.value
    assert all("timestamp_ms" not in part for part in parts), "brokers delete by it: stamped when sent"


@pytest.mark.parametrize("late", [False, True])
def test_letters_that_are_not_acknowledged_are_an_error(late: bool) -> None:
    with pytest.raises(Undelivered, match=r"did not take all of .* KafkaTimeoutError"):
        asyncio.run(DeadLetters(Producer(1, late=late), "dlq").send([LETTER] * 3))
