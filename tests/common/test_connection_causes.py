"""A connection that fails names its cause, from what the clients log and against listeners that are set up wrongly."""

from __future__ import annotations

import gc
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from click.testing import CliRunner
from gateway_fakes import OneField, record

from siphonwatch.streams.cli import cli
from siphonwatch.streams.common.connection import ClientLog, explain
from siphonwatch.streams.common.settings import load
from siphonwatch.streams.edge.producer import Outbox, connect
from siphonwatch.streams.edge.sender import Sender
from siphonwatch.streams.lab.broker.process import free_port
from siphonwatch.streams.operate.doctor import cluster

KEY = "a secret of the tests only"

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
"""kafka-python leaves the sockets of a failed bootstrap to the garbage collector, which warns of them."""


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """Collect those sockets where the warning is expected."""
    yield
    gc.collect()


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("TopicAuthorizationFailedError: [Error 29]", "an ACL is missing"),
        ("[Error 30] GroupAuthorizationFailedError", "an ACL is missing"),
        ("SaslAuthenticationFailedError: Authentication failed: Invalid username or password", "refused the login"),
        ("SaslHandshake failed: UnsupportedSaslMechanismError", "does not offer this login"),
        ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate", "is not trusted"),
        ("certificate verify failed: IP address mismatch, certificate is not valid for '10.0.0.1'", "is not trusted"),
        ("[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert certificate required", "refused our certificate"),
        ("[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)", "does not speak TLS as we do"),
        ("[SSL: RECORD_LAYER_FAILURE] record layer failure", "does not speak TLS as we do"),
        ("[Errno -2] Name or service not known", "name is not known"),
        ("[Errno 111] Connection refused", "nothing listens there"),
        ("KafkaConnectionError: socket disconnected", "closed the connection at once"),
        ("KafkaTimeoutError: Unable to bootstrap from ['broker:9092']", "no answer"),
    ],
)
def test_what_a_client_says_has_a_cause(text: str, cause: str) -> None:
    assert cause in explain(text)


def test_the_telling_line_wins_over_the_later_and_vague_one() -> None:
    with ClientLog().listening() as heard:
        logging.getLogger("kafka.net.manager").error("Connection failed: [SSL: WRONG_VERSION_NUMBER] wrong version")
        logging.getLogger("aiokafka").warning("timed out")
    cause = heard.cause(TimeoutError("bootstrap"))
    assert "does not speak TLS" in cause
    assert "WRONG_VERSION_NUMBER" in cause


@contextmanager
def plain_listener() -> Iterator[str]:
    """A port that answers like something that is no TLS server."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    peer, _ = server.accept()
                except OSError:
                    return
                with peer:
                    peer.recv(1024)
                    peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)


COMMANDS = (["topics", "--check"], ["worker"], ["produce", "-"])


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: arguments[0])
def test_a_command_says_that_the_port_does_not_speak_tls(arguments: list[str]) -> None:
    with plain_listener() as bootstrap:
        env = {
            "SIPHONWATCH_KAFKA_BOOTSTRAP": bootstrap,
            "SIPHONWATCH_KAFKA_SECURITY_PROTOCOL": "SSL",
            "SIPHONWATCH_IDENTITY_KEY": KEY,
        }
        result = CliRunner().invoke(cli, arguments, env=env)
    assert result.exit_code == 1
    assert "kafka.security_protocol" in result.stderr, result.stderr


def test_doctor_says_that_nothing_listens() -> None:
    settings = load({"SIPHONWATCH_KAFKA_BOOTSTRAP": f"127.0.0.1:{free_port()}"}).settings
    check = cluster(settings)[0]
    assert "nothing listens there" in str(check)


def test_a_gateway_says_why_its_records_wait(caplog: pytest.LogCaptureFixture) -> None:
    with plain_listener() as bootstrap:
        env = {"SIPHONWATCH_KAFKA_BOOTSTRAP": bootstrap, "SIPHONWATCH_KAFKA_SECURITY_PROTOCOL": "SSL"}
        settings = load(env).settings
        tried = threading.Event()

        def attempt() -> Outbox:
            try:
                return Outbox(connect(settings, bootstrap_timeout_ms=1500), "topic")
            finally:
                tried.set()

        sender = Sender(OneField(), attempt)
        sender.offer(record("a"))
        assert tried.wait(60)
        sender.close(0.1)
    assert "does not speak TLS" in caplog.text
