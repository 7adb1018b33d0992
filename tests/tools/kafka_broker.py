"""The brokers that tests run against: Apache Kafka once a session, the embedded one once a module.

Without Java and Maven the Kafka tests are skipped, said in one line; `REQUIRE_KAFKA=1` makes that an error.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import pytest
from kafka_apache import ApacheKafka, missing

from siphonwatch.streams.lab.broker.embedded import EmbeddedBroker
from siphonwatch.streams.lab.broker.process import Broker

REQUIRE = "REQUIRE_KAFKA"
BOTH = [
    pytest.param("tansu", marks=pytest.mark.broker),
    pytest.param("kafka", marks=[pytest.mark.broker, pytest.mark.kafka]),
]


EMBEDDED_TOO = {
    *("test_status", "test_topics", "test_state_broker", "test_batches", "test_produce", "test_alerts_command"),
    *("test_worker_command", "test_worker_partitions", "test_verdict_feed", "test_control_feed"),
}
"""Files whose tests run over the embedded broker as well: between them they use all that the demo asks of it."""


def required() -> bool:
    """Whether a missing Apache Kafka is a failure, as in CI."""
    return os.environ.get(REQUIRE, "") not in ("", "0")


def unavailable() -> str:
    """One line on what is skipped and how to get it; empty where Apache Kafka can run."""
    reason = missing()
    return f"Apache Kafka tests skipped: {reason}" if reason else ""


@pytest.fixture(scope="session")
def kafka_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApacheKafka]:
    """One Apache Kafka node for the session; a test that stops it starts it again."""
    if reason := unavailable():
        (pytest.fail if required() else pytest.skip)(reason)
    with ApacheKafka(tmp_path_factory.mktemp("kafka")) as node:
        yield node


@pytest.fixture
def kafka(kafka_node: ApacheKafka) -> str:
    """Bootstrap address of Apache Kafka."""
    return kafka_node.bootstrap


@pytest.fixture(scope="module")
def tansu_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    """One embedded broker for the module."""
    with EmbeddedBroker(tmp_path_factory.mktemp("tansu") / "tansu.log") as node:
        yield node


@pytest.fixture
def tansu(tansu_node: EmbeddedBroker) -> str:
    """Bootstrap address of the embedded broker."""
    return tansu_node.bootstrap


def over(names: str, *, kafka: Sequence[object], tansu: Sequence[object]) -> pytest.MarkDecorator:
    """Parametrise a test that takes long: some values over Apache Kafka, and fewer over the embedded broker.

    `names` are the parameters', comma-separated; a value is one of them, or a tuple.
    """
    cases = [
        pytest.param(broker, *(value if isinstance(value, tuple) else (value,)), marks=marks)
        for broker, marks, values in (
            ("kafka", [pytest.mark.broker, pytest.mark.kafka], kafka),
            ("tansu", [pytest.mark.broker], tansu),
        )
        for value in values
    ]
    return pytest.mark.parametrize(f"broker_node,{names}", cases, indirect=["broker_node"])


def choose_brokers(metafunc: pytest.Metafunc) -> None:
    """Run a test that takes a broker over Apache Kafka, and over the embedded one where its file is to."""
    chosen = (mark.args[0] for mark in metafunc.definition.iter_markers("parametrize"))
    if "broker_node" in metafunc.fixturenames and not any("broker_node" in names for names in chosen):
        both = metafunc.module.__name__.rpartition(".")[2] in EMBEDDED_TOO
        metafunc.parametrize("broker_node", BOTH if both else BOTH[1:], indirect=True)


@pytest.fixture
def broker_node(request: pytest.FixtureRequest) -> Broker:
    """The broker, or each in turn."""
    node: Broker = request.getfixturevalue(f"{request.param}_node")
    return node


@pytest.fixture
def broker(broker_node: Broker) -> str:
    """Bootstrap address of the broker, or of each in turn."""
    return broker_node.bootstrap
