"""Makes Kafka clients from the connection settings; the one place that does.

There are two libraries: aiokafka is Faust's driver, so it is the worker's and the deliverer's, inside an event loop;
kafka-python does what aiokafka cannot: it administers topics and groups, produces idempotently with many batches under
way from a gateway's threads, and reads in commands that have no event loop. A library is loaded only when its client is
asked for, so a gateway that produces never loads Faust. No secret is kept beyond what is returned.
"""

from __future__ import annotations

import asyncio
import importlib
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from siphonwatch.streams.common.settings import Kafka, SettingsError

if TYPE_CHECKING:
    from aiokafka import AIOKafkaProducer
    from faust.auth import Credentials
    from kafka import KafkaConsumer
    from kafka.admin import KafkaAdminClient
    from yarl import URL

    from siphonwatch.streams.common.incarnation import KnowingConsumer

CLIENT_ID = "siphonwatch"
METADATA_MS = 20_000
"""How old a client's picture of the topics may get: with a rebalance, new partitions are read within a minute."""
CONNECT_MS = 10_000
"""How long the brokers may take to answer a command's or a gateway's first request."""
SCHEME = "siphonwatch"
"""URL scheme under which Faust finds our transport."""

Token = Callable[[], str]


def bootstrap_servers(kafka: Kafka) -> list[str]:
    """Return `host:port` of each bootstrap broker.

    Raises
    ------
    SettingsError
        When an entry has no port or `kafka.bootstrap` names no broker.
    """
    servers = [part.strip() for part in kafka.bootstrap.split(",") if part.strip()]
    for server in servers:
        host, _, port = server.rpartition(":")
        if not host or not port.isdigit():
            raise SettingsError(f"kafka.bootstrap has {server!r}: write host:port, several separated by commas")
    if not servers:
        raise SettingsError("kafka.bootstrap names no broker: write host:port, several separated by commas")
    return servers


def client_config(kafka: Kafka, client_id: str = CLIENT_ID) -> dict[str, Any]:
    """Return keyword arguments for kafka-python's admin client, producer and consumer.

    Raises
    ------
    SettingsError
        When a certificate or the token provider cannot be loaded.
    """
    config = _config(kafka, client_id)
    if kafka.sasl_mechanism == "OAUTHBEARER":
        config["sasl_oauth_token_provider"] = _blocking_token(kafka)
    return config


def make_consumer(kafka: Kafka, client_id: str, *, read_on: bool = False, **options: Any) -> KafkaConsumer:
    """Connect a kafka-python consumer: in no group, it commits nothing by itself and creates no topic.

    Parameters
    ----------
    kafka
        Connection settings.
    client_id
        As brokers log it.
    read_on
        Whether it passes over what it cannot read, see `siphonwatch.streams.common.readable`, instead of raising on it
        at every poll.
    options
        kafka-python settings that win over ours.

    Raises
    ------
    kafka.errors.KafkaError
        When no broker answers within `CONNECT_MS`, or refuses the login.
    SettingsError
        When a certificate or the token provider cannot be loaded.
    """
    from kafka import KafkaConsumer

    ours: dict[str, Any] = {
        "group_id": None,
        "enable_auto_commit": False,
        "auto_offset_reset": "earliest",  # also a topic that is made anew while it is read
        "allow_auto_create_topics": False,
        "bootstrap_timeout_ms": CONNECT_MS,
    }
    consumer = KafkaConsumer(**(client_config(kafka, client_id) | ours | options))
    if read_on:
        from siphonwatch.streams.common.readable import reading_on

        reading_on(consumer)
    return consumer


def make_admin(kafka: Kafka, client_id: str = CLIENT_ID, **options: Any) -> KafkaAdminClient:
    """Connect a kafka-python admin client; parameters and errors as `make_consumer`.

    It takes a group's description without what this user may do to it: kafka-python always asks for that, and fails on
    bits that it does not know; the embedded broker sets them all.
    """
    from kafka.admin import KafkaAdminClient

    class Admin(KafkaAdminClient):
        def _process_acl_operations(self, obj: dict[str, Any]) -> dict[str, Any]:
            obj.pop("authorized_operations", None)
            return obj

    return Admin(**(client_config(kafka, client_id) | {"bootstrap_timeout_ms": CONNECT_MS} | options))


def make_async_consumer(kafka: Kafka, *topics: str, client_id: str = CLIENT_ID, **options: Any) -> KnowingConsumer:
    """Return an aiokafka consumer, not started: in no group, it commits nothing by itself and begins at the start.

    Parameters
    ----------
    kafka
        Connection settings.
    topics
        To subscribe to; none for `assign` or a subscription of its own.
    client_id
        As brokers log it.
    options
        aiokafka settings that win over ours.

    Raises
    ------
    SettingsError
        When a certificate or the token provider cannot be loaded.
    """
    from siphonwatch.streams.common.incarnation import KnowingConsumer

    ours: dict[str, Any] = {"group_id": None, "enable_auto_commit": False, "auto_offset_reset": "earliest"}
    return KnowingConsumer(*topics, **(aiokafka_config(kafka, client_id) | ours | options))


def make_async_producer(kafka: Kafka, **options: Any) -> AIOKafkaProducer:
    """Return an aiokafka producer, not started, that waits for all replicas; `options` and errors as above."""
    from aiokafka import AIOKafkaProducer

    return AIOKafkaProducer(**(aiokafka_config(kafka) | {"acks": "all"} | options))


def aiokafka_config(kafka: Kafka, client_id: str = CLIENT_ID) -> dict[str, Any]:
    """Return keyword arguments for aiokafka's producer, consumer and admin client.

    Raises
    ------
    SettingsError
        When a certificate or the token provider cannot be loaded.
    """
    config = _config(kafka, client_id) | {"metadata_max_age_ms": METADATA_MS}
    if kafka.sasl_mechanism == "OAUTHBEARER":
        config["sasl_oauth_token_provider"] = _async_token(kafka)
    return config


def broker_urls(kafka: Kafka) -> list[URL]:
    """Return the bootstrap brokers as Faust URLs that select our transport."""
    from yarl import URL

    return [URL(f"{SCHEME}://{server}") for server in bootstrap_servers(kafka)]


def broker_credentials(kafka: Kafka) -> Credentials | None:
    """Return Faust's credentials object, None for plaintext.

    Raises
    ------
    SettingsError
        When a certificate or the token provider cannot be loaded.
    """
    from faust.auth import OAuthCredentials, SASLCredentials, SSLCredentials

    context = ssl_context(kafka)
    if kafka.security_protocol == "PLAINTEXT":
        return None
    if kafka.security_protocol == "SSL":
        return SSLCredentials(context=context)
    if kafka.sasl_mechanism == "OAUTHBEARER":
        return OAuthCredentials(oauth_cb=_async_token(kafka), ssl_context=context)
    return SASLCredentials(
        username=kafka.sasl_username,
        password=kafka.sasl_password,
        mechanism=kafka.sasl_mechanism,
        ssl_context=context,
    )


def ssl_context(kafka: Kafka) -> ssl.SSLContext | None:
    """Return the TLS context that every client shares, None when the protocol has no TLS.

    Raises
    ------
    SettingsError
        When the CA, the client certificate or its key cannot be loaded.
    """
    if kafka.security_protocol not in ("SSL", "SASL_SSL"):
        return None
    try:
        context = ssl.create_default_context(cafile=kafka.ssl_cafile or None)
    except OSError as error:
        raise SettingsError(f"kafka.ssl_cafile {kafka.ssl_cafile!r} cannot be loaded: {error}") from None
    context.check_hostname = kafka.ssl_check_hostname
    if kafka.ssl_certfile:
        try:
            # A password callback keeps OpenSSL from asking on the terminal when the key needs one and none is set.
            context.load_cert_chain(kafka.ssl_certfile, kafka.ssl_keyfile or None, lambda: kafka.ssl_password)
        except OSError as error:
            files = f"kafka.ssl_certfile {kafka.ssl_certfile!r} with kafka.ssl_keyfile {kafka.ssl_keyfile!r}"
            raise SettingsError(f"{files} cannot be loaded (is kafka.ssl_password right?): {error}") from None
    return context


def load_token_provider(path: str) -> Token:
    """Return the function that `package.module:function` names; it takes nothing and returns a token.

    Raises
    ------
    SettingsError
        When the module or the function does not exist, or it is not callable.
    """
    module_name, _, name = path.partition(":")
    try:
        function = getattr(importlib.import_module(module_name), name)
    except (ImportError, ValueError, AttributeError) as error:
        raise SettingsError(f"kafka.oauth_token_provider {path!r} cannot be imported: {error}") from None
    if not callable(function):
        raise SettingsError(f"kafka.oauth_token_provider {path!r} is not a function that returns a token")

    def token() -> str:
        value = function()
        if not isinstance(value, str) or not value:
            kind = type(value).__name__
            raise SettingsError(f"kafka.oauth_token_provider {path!r} returned {kind}, not a token as a string")
        return value

    return token


def _config(kafka: Kafka, client_id: str) -> dict[str, Any]:
    config: dict[str, Any] = {
        "bootstrap_servers": bootstrap_servers(kafka),
        "client_id": client_id,
        "security_protocol": kafka.security_protocol,
        "ssl_context": ssl_context(kafka),
    }
    if kafka.security_protocol.startswith("SASL"):
        config["sasl_mechanism"] = kafka.sasl_mechanism
        if kafka.sasl_mechanism != "OAUTHBEARER":
            config["sasl_plain_username"] = kafka.sasl_username
            config["sasl_plain_password"] = kafka.sasl_password
    return config


def _blocking_token(kafka: Kafka) -> Any:
    """A token provider for kafka-python, whose clients ask from their own thread."""
    from kafka.net.sasl.oauth import AbstractTokenProvider

    function = load_token_provider(kafka.oauth_token_provider)

    class Provider(AbstractTokenProvider):
        def token(self) -> str:
            return function()

    return Provider()


def _async_token(kafka: Kafka) -> Any:
    """A token provider for aiokafka; the function may take its time, so it runs beside the event loop."""
    from aiokafka.abc import AbstractTokenProvider

    function = load_token_provider(kafka.oauth_token_provider)

    class Provider(AbstractTokenProvider):
        async def token(self) -> str:
            return await asyncio.get_running_loop().run_in_executor(None, function)

    return Provider()
