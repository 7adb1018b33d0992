"""Why a Kafka client cannot connect: the clients raise "unable to bootstrap" and give the reason only in their log.

It reads that log, names the cause and the setting that mends it, and repeats no secret: clients log none.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

CLIENTS = ("kafka", "aiokafka")

_CAUSES: tuple[tuple[str, str], ...] = (
    (
        r"Topic ?Authorization|Group ?Authorization|Cluster ?Authorization|TransactionalIdAuthorization"
        r"|not authorized|Authorization ?Failed",
        "an ACL is missing: `siphonwatch topics --acls` prints what each role needs",
    ),
    (
        r"SaslAuthenticationFailed|Authentication failed|Invalid (?:username|credentials)|invalid credentials",
        "the broker refused the login: kafka.sasl_username, kafka.sasl_password or kafka.sasl_mechanism is wrong",
    ),
    (
        r"UnsupportedSaslMechanism|SaslHandshake failed|IllegalSaslState|mechanism",
        "the listener does not offer this login: check kafka.sasl_mechanism and kafka.security_protocol",
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED|certificate verify failed|[Hh]ostname mismatch|not valid for",
        "the broker's certificate is not trusted: kafka.ssl_cafile must hold its CA, and kafka.bootstrap must use the "
        "name that the certificate is for",
    ),
    (
        r"CERTIFICATE_REQUIRED|certificate required|BAD_CERTIFICATE|bad certificate|UNKNOWN_CA|unknown ca"
        r"|CERTIFICATE_EXPIRED|certificate expired|HANDSHAKE_FAILURE|handshake failure",
        "the broker refused our certificate: check kafka.ssl_certfile and kafka.ssl_keyfile",
    ),
    (
        r"WRONG_VERSION_NUMBER|wrong version number|RECORD_LAYER_FAILURE|record layer failure|UNEXPECTED_EOF"
        r"|EOF occurred|UNKNOWN_PROTOCOL|HTTP_REQUEST|PACKET_LENGTH|SSL|TLS",
        "the port does not speak TLS as we do: kafka.security_protocol (SSL or SASL_SSL against PLAINTEXT or "
        "SASL_PLAINTEXT) does not fit the listener of kafka.bootstrap",
    ),
    (
        r"[Nn]ame or service not known|nodename nor servname|[Nn]o address associated|DNS|getaddrinfo"
        r"|[Tt]emporary failure in name",
        "the broker's name is not known here: kafka.bootstrap, or what the broker calls itself (advertised.listeners)",
    ),
    (
        r"[Cc]onnection refused|ECONNREFUSED|Errno 111",
        "nothing listens there: is the broker running, and is kafka.bootstrap right?",
    ),
    (
        r"[Ss]ocket disconnected|Connection reset|Broken pipe|closed during|Connection lost|CorruptRecord|EOFError"
        r"|0 bytes read|Server closed",
        "the broker closed the connection at once: a TLS or SASL listener spoken to without (set "
        "kafka.security_protocol), or a proxy in between",
    ),
    (r"[Tt]imed? ?out|[Tt]imeout", "no answer: a firewall, or a stopped broker"),
)
_PATTERNS = tuple((re.compile(pattern), cause) for pattern, cause in _CAUSES)
_SAID = 300
"""Characters of the client's own words that are repeated."""
_KEPT = 50
_RECENT = 120.0
"""Seconds after which a line no longer tells why something fails now."""


def explain(*texts: str) -> str:
    """Return the cause that the texts give, '' where none does; the most specific one, not the last."""
    for pattern, cause in _PATTERNS:
        if any(pattern.search(text) for text in texts):
            return cause
    return ""


def reason(error: BaseException) -> str:
    """Return an error's message, with its cause where it gives one."""
    said = f"{type(error).__name__}: {error}"
    cause = explain(said)
    return f"{cause} ({said[:_SAID]})" if cause else said[:_SAID]


class ClientLog(logging.Handler):
    """Keeps the last warnings of the Kafka clients, so that a failure can name its cause.

    Examples
    --------
    >>> with ClientLog().listening() as heard:
    ...     logging.getLogger("kafka.net").error("Connection failed: [SSL] wrong version number")
    >>> heard.cause().split(":")[0]
    'the port does not speak TLS as we do'
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._lines: list[tuple[float, str]] = []
        self._guard = threading.Lock()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one record's text, and that of the exception it came with."""
        text = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            text = f"{text}: {record.exc_info[1]!r}"
        with self._guard:
            self._lines = [*self._lines[1 - _KEPT :], (time.monotonic(), text)]

    @contextmanager
    def listening(self) -> Iterator[Self]:
        """Listen to the clients' loggers for a while."""
        loggers = [logging.getLogger(name) for name in CLIENTS]
        for logger in loggers:
            logger.addHandler(self)
        try:
            yield self
        finally:
            for logger in loggers:
                logger.removeHandler(self)

    def cause(self, error: BaseException | None = None) -> str:
        """Return the cause and the client's own words for it; of the error alone where the log has none."""
        with self._guard:
            lines = [text for moment, text in self._lines if time.monotonic() - moment < _RECENT]
        if found := explain(*lines):
            telling = next(text for text in reversed(lines) if explain(text) == found)
            return f"{found} (the client says: {telling[:_SAID]})"
        return reason(error) if error is not None else "the client gave no reason"
