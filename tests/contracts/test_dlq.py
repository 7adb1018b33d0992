"""Dead letters keep every byte, say why and where from, and are acknowledged before anyone commits."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError, MessageSizeTooLargeError
from hypothesis import given, settings
from hypothesis import strategies as st

from siphonwatch.streams.contracts.dead_letter import (
    MAX_WHOLE,
    DeadLetter,
    DeadLetters,
    Joiner,
    Undelivered,
    Unreadable,
    read,
)

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
    headers=st.lists(st.tuples(st.text(max_size=10), st.none() | st.binary(max_size=20)), max_size=3).map(tuple),
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


@settings(deadline=None)
@given(letters, st.integers(1, 70), st.randoms())
def test_a_letter_comes_back_byte_for_byte_whatever_its_parts(letter: DeadLetter, limit: int, random: Any) -> None:
    messages = letter.to_messages(limit)
    assert all(message.value is None or len(message.value) <= limit for message in messages)
    assert all(message.key == letter.key for message in messages)
    assert not any(message.key is None and message.value is None for message in messages), "no client sends these"
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
    assert asyncio.run(DeadLetters(producer, "dlq").send([LETTER, big])) == []
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


def size(message: Any) -> int:
    named = sum(len(name.encode()) + len(data or b"") for name, data in message.headers)
    return len(message.key or b"") + len(message.value or b"") + named


@settings(deadline=None)
@given(
    st.builds(
        DeadLetter,
        key=st.none() | st.integers(0, 3_000_000).map(bytes),
        value=st.none() | st.integers(0, 3_000_000).map(bytes),
        reason=st.just("json"),
        detail=st.text(st.characters(), max_size=2000) | st.just("\ud800" * 600),
        topic=st.just("t" * 249),
        partition=st.just(2**31 - 1),
        offset=st.just(2**63 - 1),
        timestamp=st.integers(-(2**63), 2**63 - 1),
        headers=st.lists(st.tuples(st.text(max_size=3), st.integers(0, 3_000_000).map(bytes)), max_size=5).map(tuple)
        | st.integers(0, 20_000).map(lambda n: (("", b""),) * n),
    ),
    st.sampled_from([900_000, 90_000, 9_000, 900]),
)
def test_no_record_of_a_letter_is_much_beyond_its_limit(letter: DeadLetter, limit: int) -> None:
    messages = letter.to_messages(limit)
    assert max(map(size, messages)) <= limit + max(limit // 4, 600) + 3_500
    found = read(messages[0].key, messages[0].value, messages[0].headers).letter
    assert (found.source, found.reason, found.timestamp) == (letter.source, letter.reason, letter.timestamp)
    assert ("key" in found.shortened) == (found.key != letter.key)
    assert ("headers" in found.shortened) == (found.headers != letter.headers)


def test_a_letter_says_what_of_its_record_it_does_not_hold() -> None:
    ours = (("source", b"raw:0:1:0"), ("redriven", b"1"), ("bad", b"0,3"))
    letter = DeadLetter(bytes(20_000), b"{", "json", "", "t", 0, 0, 0, headers=(("theirs", bytes(3_000_000)), *ours))
    (message,) = letter.to_messages()
    found = read(message.key, message.value, message.headers).letter
    assert found.headers == ours
    assert len(found.key or b"") == 16 * 1024
    assert found.shortened == "key 20000, headers 3000100"


def test_of_a_value_beyond_all_bounds_only_the_beginning_is_kept() -> None:
    (message,) = DeadLetter(None, bytes(MAX_WHOLE + 1), "size", "", "t", 0, 0, 0).to_messages()
    assert len(message.value or b"") == 900_000
    assert read(None, message.value, message.headers).letter.shortened == f"value {MAX_WHOLE + 1}"


class Narrow(Producer):
    """A topic that takes so many bytes a request, and puts what is sent at once for a partition into one."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit
        self.open: dict[int | None, int] = {}

    async def send(self, topic: str, value: Any, key: Any, partition: Any, **more: Any) -> asyncio.Future[None]:
        future = asyncio.get_running_loop().create_future()
        together = self.open[partition] = self.open.get(partition, 0) + len(value or b"")

        def settle() -> None:
            self.open.pop(partition, None)
            if future.done():
                return
            if together > self.limit:
                future.set_exception(MessageSizeTooLargeError())
            else:
                future.set_result(None)
                self.sent.append({"value": value, "key": key, "partition": partition, **more})

        asyncio.get_running_loop().call_later(0.001, settle)
        return future


def test_a_topic_that_takes_little_gets_letters_in_smaller_parts() -> None:
    producer = Narrow(20_000)
    letters = [DeadLetter(None, bytes([i]) * 100_000, "size", "", "t", 0, i, 9) for i in range(2)]
    small = [DeadLetter(None, b"%d" % i * 5_000, "size", "", "t", 0, i, 9) for i in range(2, 9)]
    assert asyncio.run(DeadLetters(producer, "dlq").send([*letters, *small])) == []
    joiner, found = Joiner(), []
    for i, sent in enumerate(producer.sent):
        assert len(sent["value"]) <= 20_000
        if (letter := joiner.add(read(None, sent["value"], sent["headers"]), i)) is not None:
            found.append((letter.offset, letter.value))
    assert sorted(set(found)) == [(letter.offset, letter.value) for letter in [*letters, *small]]
    assert joiner.first_open() is None


def test_a_letter_that_the_topic_takes_in_no_size_is_returned_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert asyncio.run(
        DeadLetters(Narrow(100), "dlq").send([big := DeadLetter(None, bytes(2000), "json", "", "raw", 3, 14, 0)])
    ) == [big]
    said = capsys.readouterr().out
    assert all(part in said for part in ("a record is lost", "raw", "14", "json", "MessageSizeTooLargeError")), said


def test_parts_that_never_become_a_letter_are_given_up() -> None:
    joiner = Joiner()
    first, *_ = LETTER.to_messages(4)
    assert joiner.add(read(first.key, first.value, first.headers), 70, 1000.0) is None
    assert (joiner.give_up(1000.0), joiner.first_open()) == (0, 70)
    assert (joiner.give_up(1000.1), joiner.first_open()) == (1, None)


def test_parts_of_two_sizes_are_not_mixed() -> None:
    """A letter whose parts were too large is cut anew; what was taken before stays on the topic."""
    last_of_large = LETTER.to_messages(4)[-1]
    joiner = Joiner()
    joiner.add(read(last_of_large.key, last_of_large.value, last_of_large.headers), 1)
    found = [joiner.add(read(m.key, m.value, m.headers), i) for i, m in enumerate(LETTER.to_messages(2))]
    assert found[-1] == LETTER
    assert joiner.first_open() is None


@pytest.mark.parametrize("name", ["reason", "topic", "offset", "part"])
def test_a_header_without_a_value_is_no_header(name: str) -> None:
    headers = [(n, None if n == name else v) for n, v in LETTER.to_messages(2)[0].headers]
    if name == "part":
        assert read(None, b"", headers).number == 0
    else:
        with pytest.raises(Unreadable, match=name):
            read(None, b"", headers)


@pytest.mark.parametrize("value", [None, b"9" * 5000])
def test_a_count_that_is_none_is_no_count(value: bytes | None) -> None:
    assert DeadLetter(b"", b"", "json", "", "t", 0, 0, 0, headers=(("redriven", value),)).redriven == 0
