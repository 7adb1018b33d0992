"""The gateway's sender never blocks and never raises, and every record offered is accounted for."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from gateway_fakes import FakeProducer, OneField, record
from kafka.errors import KafkaError, KafkaTimeoutError, MessageSizeTooLargeError, TopicAuthorizationFailedError
from prometheus_client import CollectorRegistry

from siphonwatch.streams.common.settings import load
from siphonwatch.streams.contracts.telemetry import decode
from siphonwatch.streams.edge.figures import export
from siphonwatch.streams.edge.producer import Outbox, connect
from siphonwatch.streams.edge.sender import Sender
from siphonwatch.streams.lab.broker.embedded import EmbeddedBroker
from siphonwatch.streams.operate.topics import connect as admin_of

Make = Callable[..., Sender]


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes senders and stops them after the test."""
    senders: list[Sender] = []

    def made(producer: FakeProducer | Callable[[], Outbox], **options: Any) -> Sender:
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
    [FakeProducer(error=MessageSizeTooLargeError("big")), FakeProducer(refuse=MessageSizeTooLargeError("big"))],
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


@pytest.mark.parametrize("error", [KafkaTimeoutError("delivery"), TopicAuthorizationFailedError("no ACL")])
def test_records_that_the_client_gave_up_are_sent_again_by_a_new_one(
    make: Make, error: KafkaError, caplog: pytest.LogCaptureFixture
) -> None:
    broken, whole = FakeProducer(error=error), FakeProducer()
    producers = iter([broken, whole])
    sender = make(lambda: Outbox(next(producers), "topic"))
    for account in "abc":
        sender.offer(record(account))
    assert sender.flush(60)
    assert {sent["key"] for sent in whole.sent} == {b"a", b"b", b"c"}
    assert (sender.counts().delivered, sender.counts().failed, sender.counts().waiting) == (3, 0, 0)
    assert "they are sent again" in caplog.text


def test_a_record_waits_while_the_client_takes_none(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    producer = FakeProducer(refuse=KafkaTimeoutError("no metadata"))
    sender = make(producer)
    sender.offer(record("a"))
    assert not sender.flush(0.2)
    assert sender.counts().waiting == 1
    producer.refuse = None
    assert sender.flush(60)
    assert (sender.counts().delivered, sender.counts().failed) == (1, 0)
    assert "Kafka takes no records, they wait" in caplog.text


def test_a_stop_counts_what_came_back_and_what_is_under_way(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    producer = FakeProducer(hold=True)
    sender = make(producer)
    producer.flush = lambda timeout=None: (_ for _ in ()).throw(KafkaTimeoutError("flush"))  # type: ignore[method-assign]
    sender.offer(record("a"))
    wait_until(lambda: len(producer.sent) == 1)
    sender.close(0.1)
    assert "closed with 0 of 1 records delivered, 0 dropped, 0 failed, 1 not acknowledged" in caplog.text


def test_a_silent_kafka_is_told_while_records_come(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("siphonwatch.streams.edge.sender.REPORT_SECONDS", 0.0)
    producer = FakeProducer(hold=True)
    sender = make(producer)
    sender.offer(record("a"))
    wait_until(lambda: len(producer.sent) == 1)
    sender.offer(record("b"))
    assert "Kafka has acknowledged nothing for" in caplog.text
    producer.release()


def test_a_preparation_comes_first_and_is_logged_where_it_takes_long(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("siphonwatch.streams.edge.sender.SLOW_SECONDS", 0.0)
    producer, go_on = FakeProducer(), threading.Event()
    sender = make(producer, prepare=lambda: bool(go_on.wait(60)) and None)
    sender.offer(record("a"))
    wait_until(lambda: "compiling the sketch" in caplog.text)
    assert not producer.sent
    go_on.set()
    assert sender.flush(60)
    assert "the sketch is ready after" in caplog.text


def test_counts_are_metrics_of_the_gateway(make: Make) -> None:
    registry = CollectorRegistry()
    sender = make(FakeProducer())
    export(sender.counts, registry)
    export(sender.counts, registry)
    for account in ("a", "bad"):
        sender.offer(record(account))
    assert sender.flush(5)

    def value(outcome: str) -> float | None:
        return registry.get_sample_value("siphonwatch_gateway_records_total", {"outcome": outcome})

    assert (value("delivered"), value("malformed"), value("dropped"), value("failed")) == (1, 1, 0, 0)
    assert registry.get_sample_value("siphonwatch_gateway_waiting_records") == 0


def wait_until(event: Callable[[], bool]) -> None:
    """Wait for what another thread does."""
    deadline = time.monotonic() + 300
    while not event():
        assert time.monotonic() < deadline
        time.sleep(0.005)


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


@pytest.mark.broker
def test_records_outlive_an_outage_in_which_the_client_gives_up(
    tansu_node: EmbeddedBroker, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    settings = load({"SIPHONWATCH_KAFKA_BOOTSTRAP": tansu_node.bootstrap}).settings
    with admin_of(settings.kafka) as admin:
        admin.create_topics({"outage": {"num_partitions": 1, "replication_factor": 1}}, wait_for_metadata=True)
    impatient = {"delivery_timeout_ms": 1500, "request_timeout_ms": 1000, "bootstrap_timeout_ms": 1000}
    sender = make(lambda: Outbox(connect(settings, **impatient), "outage"))
    sender.offer(record("before"))
    assert sender.flush(60)
    pid = tansu_node.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        for number in range(50):
            sender.offer(record(f"during-{number}"))
        wait_until(lambda: "they are sent again" in caplog.text)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert sender.flush(120)
    assert (sender.counts().delivered, sender.counts().failed, sender.counts().dropped) == (51, 0, 0)
