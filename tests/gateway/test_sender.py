"""The gateway's sender never blocks and never raises, and every record offered is accounted for."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator

import pytest
from gateway_fakes import FakeProducer
from kafka.errors import KafkaTimeoutError, MessageSizeTooLargeError

from streams.adapters.base import Adapter
from streams.contract import Malformed, Telemetry, decode
from streams.gateway.producer import Outbox
from streams.gateway.sender import Sender


class OneField(Adapter):
    """Reads {"account": ...}; `bad` is malformed and `bug` raises with the record in its message."""

    name = "litellm"

    def __init__(self) -> None:
        pass

    def records(self, raw: bytes) -> Iterator[Telemetry | Malformed]:
        account = json.loads(raw)["account"]
        if account == "bug":
            raise RuntimeError(f"cannot handle {raw!r}")
        yield Malformed("time", "none") if account == "bad" else Telemetry(id="r", time=2.5, account=account)

    def element(self, raw: bytes) -> Iterator[Telemetry | Malformed]:
        raise NotImplementedError


def record(account: str) -> bytes:
    return json.dumps({"account": account}).encode()


Make = Callable[..., Sender]


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes senders and stops them after the test."""
    senders: list[Sender] = []

    def made(producer: FakeProducer | Callable[[], Outbox], **options: int) -> Sender:
        connect = (lambda: Outbox(producer, "topic")) if isinstance(producer, FakeProducer) else producer
        senders.append(Sender(OneField(), connect, **options))
        return senders[-1]

    yield made
    for sender in senders:
        sender.close(0.5)


def test_each_record_is_produced_under_its_account_at_its_event_time(make: Make) -> None:
    producer = FakeProducer()
    sender = make(producer)
    assert sender.offer(record("a"))
    assert sender.offer(record("b"))
    assert sender.flush(5)
    assert [(sent["topic"], sent["key"]) for sent in producer.sent] == [
        ("topic", b"a"),
        ("topic", b"b"),
    ]
    assert decode(producer.sent[0]["value"]).account == "a"
    assert (sender.counts().offered, sender.counts().delivered) == (2, 2)


def test_bad_records_and_bugs_are_counted_and_the_next_record_goes_out(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    producer = FakeProducer()
    sender = make(producer)
    for account in ("bad", "bug", "good"):
        sender.offer(record(account))
    assert sender.flush(5)
    counts = sender.counts()
    assert (counts.malformed, counts.failed, counts.delivered) == (1, 1, 1)
    assert "RuntimeError at" in caplog.text
    assert "cannot handle" not in caplog.text


def test_a_full_queue_drops_the_newest_without_waiting(make: Make) -> None:
    reached = threading.Event()

    def unreachable() -> Outbox:
        reached.set()
        raise KafkaTimeoutError("no broker")

    sender = make(unreachable, queue_bytes=3 * len(record("a")))
    assert [sender.offer(record("a")) for _ in range(5)] == [True, True, True, False, False]
    assert reached.wait(300)
    assert sender.counts().dropped == 2
    sender.close(0.1)
    assert sender.counts().dropped == 5


def test_what_waited_goes_out_when_kafka_comes_back(make: Make) -> None:
    producer = FakeProducer()
    attempts = []

    def flaky() -> Outbox:
        attempts.append(1)
        if len(attempts) == 1:
            raise KafkaTimeoutError("no broker")
        return Outbox(producer, "topic")

    sender = make(flaky)
    sender.offer(record("a"))
    assert sender.flush(10)
    assert [sent["key"] for sent in producer.sent] == [b"a"]


@pytest.mark.parametrize(
    "producer",
    [FakeProducer(error=KafkaTimeoutError("delivery")), FakeProducer(refuse=MessageSizeTooLargeError("big"))],
)
def test_a_record_kafka_does_not_take_is_counted_and_logged(
    make: Make, producer: FakeProducer, caplog: pytest.LogCaptureFixture
) -> None:
    sender = make(producer)
    sender.offer(record("a"))
    assert sender.flush(5)
    sender.close(1)
    assert (sender.counts().failed, sender.counts().delivered) == (1, 0)
    assert "1 failed" in caplog.text


def test_a_closed_sender_takes_nothing_more_and_closes_its_producer(make: Make) -> None:
    producer = FakeProducer()
    sender = make(producer)
    sender.offer(record("a"))
    sender.close(5)
    assert producer.closed
    assert not sender.offer(record("b"))
    assert sender.counts().dropped == 1


def test_the_outbox_waits_when_too_much_is_unacknowledged() -> None:
    producer = FakeProducer(hold=True)
    outbox = Outbox(producer, "topic", max_in_flight=2)
    outbox.send(b"1", None)
    outbox.send(b"2", None)
    third = threading.Thread(target=outbox.send, args=(b"3", None))
    third.start()
    third.join(0.2)
    assert third.is_alive()
    assert len(producer.sent) == 2
    producer.release()
    third.join(5)
    assert len(producer.sent) == 3
    assert outbox.delivered == 3


def test_the_outbox_counts_failures_by_name() -> None:
    outbox = Outbox(FakeProducer(error=KafkaTimeoutError("late")), "topic", max_in_flight=1)
    outbox.send(b"1", None)
    outbox.send(b"2", None)
    assert outbox.failures == {"KafkaTimeoutError": 2}
    assert outbox.failed == 2
