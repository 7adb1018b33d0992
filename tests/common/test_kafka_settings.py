"""Connection settings reach the client objects themselves, for each client and each way to log in."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth
from kafka.net.sasl.oauth import SaslMechanismOAuth
from kafka.net.sasl.plain import SaslMechanismPlain
from kafka.net.sasl.scram import SaslMechanismScram

from siphonwatch.streams.common.kafka import (
    aiokafka_config,
    bootstrap_servers,
    broker_credentials,
    broker_urls,
    client_config,
    make_async_consumer,
    make_async_producer,
)
from siphonwatch.streams.common.settings import Kafka, SettingsError


def issue_token() -> str:
    """Stand in for a deployment's token provider."""
    return "token-of-the-hour"


def no_token() -> bytes:
    """A provider that gets the type wrong."""
    return b"bytes"


NOT_CALLABLE = 3
SASL = {"sasl_username": "worker", "sasl_password": "secret"}
PROVIDER = f"{__name__}:issue_token"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-keyout", str(key), "-out", str(cert)]
    command += ["-days", "2", "-subj", "/CN=siphonwatch-test", "-passout", "pass:hunter22"]
    subprocess.run(command, check=True, capture_output=True)
    return cert, key


def tls(certificate: tuple[Path, Path], **changes: Any) -> Kafka:
    cert, key = certificate
    fields: dict[str, Any] = {
        "security_protocol": "SSL",
        "ssl_cafile": str(cert),
        "ssl_certfile": str(cert),
        "ssl_keyfile": str(key),
        "ssl_password": "hunter22",
    }
    return Kafka(**(fields | changes))


def started_with(kafka: Kafka, make: Callable[[Kafka], Any]) -> Any:
    """Make an aiokafka client inside a loop, as the worker does, without connecting."""

    async def build() -> Any:
        client = make(kafka)
        client._closed = True  # never started: nothing to stop
        return client._client if make is make_async_consumer else client.client

    return asyncio.run(build())


def test_several_brokers_are_split_and_stripped() -> None:
    kafka = Kafka(bootstrap="a:9092, b:9093 ,[::1]:9094")
    assert bootstrap_servers(kafka) == ["a:9092", "b:9093", "[::1]:9094"]
    assert [(u.scheme, u.host, u.port) for u in broker_urls(kafka)] == [
        ("siphonwatch", "a", 9092),
        ("siphonwatch", "b", 9093),
        ("siphonwatch", "::1", 9094),
    ]


@pytest.mark.parametrize("text", ["", " , ", "localhost", ":9092", "host:port"])
def test_a_broker_without_host_or_port_is_refused_by_name(text: str) -> None:
    with pytest.raises(SettingsError, match=r"kafka\.bootstrap"):
        bootstrap_servers(Kafka(bootstrap=text))


def test_plaintext_carries_no_credentials() -> None:
    kafka = Kafka()
    assert broker_credentials(kafka) is None
    assert client_config(kafka)["ssl_context"] is None
    assert "sasl_mechanism" not in client_config(kafka)
    assert "sasl_mechanism" not in aiokafka_config(kafka)


@pytest.mark.parametrize("make", [make_async_consumer, make_async_producer])
def test_tls_reaches_aiokafka(make: Callable[[Kafka], Any], certificate: tuple[Path, Path]) -> None:
    client = started_with(tls(certificate), make)
    assert client._security_protocol == "SSL"
    assert client._ssl_context.verify_mode is ssl.CERT_REQUIRED
    assert client._ssl_context.check_hostname
    assert [c["subject"] for c in client._ssl_context.get_ca_certs()] == [((("commonName", "siphonwatch-test"),),)]


def test_tls_reaches_kafka_python_and_faust(certificate: tuple[Path, Path]) -> None:
    kafka = tls(certificate, ssl_check_hostname=False)
    for context in (
        client_config(kafka)["ssl_context"],
        credentials_to_aiokafka_auth(broker_credentials(kafka))["ssl_context"],
    ):
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert not context.check_hostname
        assert len(context.get_ca_certs()) == 1
    assert credentials_to_aiokafka_auth(broker_credentials(kafka))["security_protocol"] == "SSL"


def test_a_client_certificate_is_presented_to_the_broker(certificate: tuple[Path, Path]) -> None:
    cert, key = certificate
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(cert, key, "hunter22")
    server.load_verify_locations(cert)
    server.verify_mode = ssl.CERT_REQUIRED
    context = client_config(tls(certificate, ssl_check_hostname=False))["ssl_context"]

    async def handshake() -> Any:
        seen: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen.set_result(writer.get_extra_info("peercert"))
            writer.close()

        listener = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=server)
        port = listener.sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        presented = await asyncio.wait_for(seen, 300)
        writer.close()
        listener.close()
        return presented

    assert asyncio.run(handshake())["subject"] == ((("commonName", "siphonwatch-test"),),)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"ssl_cafile": "/nonexistent/ca.pem"}, "kafka.ssl_cafile '/nonexistent/ca.pem'"),
        ({"ssl_certfile": "/nonexistent/cert.pem"}, "kafka.ssl_certfile '/nonexistent/cert.pem'"),
        ({"ssl_password": "wrong"}, "kafka.ssl_password"),
        ({"ssl_password": ""}, "kafka.ssl_password"),
    ],
)
def test_a_certificate_that_does_not_load_is_named(
    changes: dict[str, str], word: str, certificate: tuple[Path, Path]
) -> None:
    with pytest.raises(SettingsError) as error:
        client_config(tls(certificate, **changes))
    assert word in str(error.value)


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SASL_SSL"])
def test_password_logins_reach_every_client(mechanism: Any, protocol: Any) -> None:
    kafka = Kafka(security_protocol=protocol, sasl_mechanism=mechanism, **SASL)
    client = started_with(kafka, make_async_consumer)
    assert client._security_protocol == protocol
    assert (client._sasl_mechanism, client._sasl_plain_username, client._sasl_plain_password) == (
        mechanism,
        "worker",
        "secret",
    )
    assert (client._ssl_context is not None) == (protocol == "SASL_SSL")

    auth = credentials_to_aiokafka_auth(broker_credentials(kafka))
    assert auth["security_protocol"] == protocol
    assert auth["sasl_mechanism"] == mechanism
    assert (auth["sasl_plain_username"], auth["sasl_plain_password"]) == ("worker", "secret")

    config = client_config(kafka)
    if mechanism == "PLAIN":
        assert SaslMechanismPlain(host="broker", **config).auth_bytes().endswith(b"\0worker\0secret")
    else:
        assert b"n=worker" in SaslMechanismScram(**config).auth_bytes()


def test_a_bearer_token_comes_from_the_named_function_in_every_client() -> None:
    kafka = Kafka(security_protocol="SASL_PLAINTEXT", sasl_mechanism="OAUTHBEARER", oauth_token_provider=PROVIDER)
    assert b"Bearer token-of-the-hour" in SaslMechanismOAuth(**client_config(kafka)).auth_bytes()
    provider = started_with(kafka, make_async_producer)._sasl_oauth_token_provider
    assert asyncio.run(provider.token()) == "token-of-the-hour"
    auth = credentials_to_aiokafka_auth(broker_credentials(kafka))
    assert auth["sasl_mechanism"] == "OAUTHBEARER"
    assert asyncio.run(auth["sasl_oauth_token_provider"].token()) == "token-of-the-hour"


@pytest.mark.parametrize("path", ["no.such.module:f", f"{__name__}:missing", f"{__name__}:NOT_CALLABLE", ":f"])
def test_a_token_provider_that_cannot_be_used_is_named(path: str) -> None:
    kafka = Kafka(security_protocol="SASL_PLAINTEXT", sasl_mechanism="OAUTHBEARER", oauth_token_provider=path)
    with pytest.raises(SettingsError) as error:
        aiokafka_config(kafka)
    assert repr(path) in str(error.value)


def test_a_token_that_is_not_text_is_refused_when_it_is_asked_for() -> None:
    path = f"{__name__}:no_token"
    kafka = Kafka(security_protocol="SASL_PLAINTEXT", sasl_mechanism="OAUTHBEARER", oauth_token_provider=path)
    with pytest.raises(SettingsError, match="returned bytes"):
        client_config(kafka)["sasl_oauth_token_provider"].token()
