"""Mail by SMTP: a case is one thread. It reads no answers.

The first message of a case has an id made of the case; those after it answer it (RFC 5322, In-Reply-To and References)
under the same subject, so that mail programs show one conversation. A message that is sent again after a crash has the
same id as before, by which servers and programs drop it. Bodies are plain text: no HTML is ever sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import smtplib
import ssl
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email import policy
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from typing import ClassVar
from urllib.parse import urlsplit

import structlog

from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.common.sink_settings import Sink, UnusableSecret, UnusableSink, secret
from siphonwatch.streams.deliver.alert import AlertRecord
from siphonwatch.streams.deliver.dialect import Plain
from siphonwatch.streams.deliver.outcome import Outcome
from siphonwatch.streams.deliver.post import BadUrl, check_url
from siphonwatch.streams.deliver.receivers import Receiver
from siphonwatch.streams.deliver.template import Writer
from siphonwatch.streams.deliver.text import clean, clip

SCHEMES = {"smtps": True, "smtp": True, "smtp-plain": False}
"""TLS from the start; STARTTLS, without which nothing is sent; and no encryption."""
PORTS = {"smtps": 465, "smtp": 587, "smtp-plain": 25}
"""Of RFC 8314 and RFC 6409, where the address has none."""
LATER_SECONDS = 900.0
"""How long recipients whom a server does not take yet (4xx, mostly greylisting) are tried again while others
have the message; alerts behind it wait so long."""
LEFT = 1000
"""Messages whose remaining recipients are known; of one that is forgotten all are tried again."""
SUBJECT = 200
TEXT = 50_000
SHOWN = 200
TITLE = "[siphonwatch] {{ title }}: case {{ case }}"
"""The same for every message of a case: some programs begin a new conversation where a subject changes."""
PRIORITY = {"critical": "1 (Highest)", "high": "2 (High)", "medium": "3 (Normal)", "low": "5 (Lowest)"}
_log = structlog.get_logger(__name__)
_POLICY = policy.SMTP.clone(utf8=False, cte_type="7bit")
"""Any server takes ASCII; what is not is encoded, in headers as in bodies."""
_UNFOLDED = _POLICY.clone(max_line_length=998)
"""For headers that need no encoding: a subject that is longer than a line would begin on the next one."""


class MailReceiver(Receiver):
    """Sends a message an alert; smtplib blocks, so it has a thread, one message at a time.

    Parameters
    ----------
    settings
        Of everything; the sink is `settings.sinks[name]`: `url` of the server, `sender`, `recipients`, and `username`
        and `token` where it wants a login.
    name
        Of the sink.
    clock
        Seconds since 1970.
    """

    needs: tuple[str, ...] = ("url",)
    uses: tuple[str, ...] = ("url", "token")
    fields: tuple[str, ...] = ("username", "sender", "recipients", "title", "body")
    updates: ClassVar[str] = "changes"
    schemes: ClassVar[Mapping[str, bool] | None] = SCHEMES

    @classmethod
    def make(cls, settings: Settings, name: str, clock: Callable[[], float]) -> MailReceiver:
        """Return the receiver of a sink."""
        return cls(settings, name, clock)

    @staticmethod
    def check(settings: Settings, sink: Sink) -> None:
        """Try the templates, and refuse addresses that are none, or half a login.

        Raises
        ------
        UnusableSink
            When something is wrong.
        """
        if not sink.sender or not sink.recipients:
            raise UnusableSink("a sink of kind mail needs sender and recipients")
        if bool(sink.username) != bool(secret(sink, "token")):
            raise UnusableSink("a login needs username and token (or token_file), which is the password")
        if sink.proxy:
            raise UnusableSink("proxy: mail goes through no HTTP proxy: leave it out")
        for field, address in [("sender", sink.sender), *(("recipients", one) for one in sink.recipients)]:
            if not _is_address(address):
                raise UnusableSink(f"{field}: {clip(clean(address), 80)!r} is no address such as soc@example.com")
        Writer(sink, settings.links.runbook, Plain(), TITLE).check()

    def __init__(self, settings: Settings, name: str, clock: Callable[[], float] = time.time) -> None:
        self._name = name
        self._sink = settings.sinks[name]
        self._timeout = settings.deliver.timeout
        self._writer = Writer(self._sink, settings.links.runbook, Plain(), TITLE)
        self._clock = clock
        self._turn = asyncio.Lock()
        self._left: dict[str, tuple[float, list[str]]] = {}
        """By a message's id: when it was tried first, and who is to get it yet."""
        self._bare = self._may_be_bare()

    async def deliver(self, alert: AlertRecord) -> Outcome:
        """Send one message; every failure is an outcome."""
        try:
            message = self.message(alert)
        except (MessageError, ValueError) as error:
            return Outcome("refused", f"no message can be made of it: {type(error).__name__}: {error}")
        async with self._turn:
            return await asyncio.to_thread(self._send, message)

    def message(self, alert: AlertRecord) -> EmailMessage:
        """Return the message for an alert, with an id that is the same each time."""
        domain = self._sink.sender.rpartition("@")[2]
        subject = self._writer.title(alert, SUBJECT)
        message = EmailMessage(_UNFOLDED if subject.isascii() else _POLICY)
        message["From"] = self._sink.sender
        message["To"] = ", ".join(self._sink.recipients)
        message["Date"] = format_datetime(datetime.fromtimestamp(self._clock(), UTC))
        message["Message-ID"] = f"<{alert.id}.siphonwatch@{domain}>"
        if alert.own.sequence:
            first = f"<{alert.case}-0.siphonwatch@{domain}>"
            message["In-Reply-To"] = message["References"] = first
            subject = f"Re: {subject}"
        message["Subject"] = subject
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no vacation notes back
        message["X-Priority"] = PRIORITY[alert.severity]
        message["X-Siphonwatch-Case"] = alert.case
        message.set_content(self._writer.body(alert, TEXT) + "\n", charset="utf-8")
        return message

    def _may_be_bare(self) -> bool:
        """Whether the address at the start is one that does not encrypt, of which `make` warns."""
        try:
            return check_url(secret(self._sink, "url"), SCHEMES)
        except (UnusableSecret, BadUrl):
            return False

    def _send(self, message: EmailMessage) -> Outcome:
        id = str(message["Message-ID"])
        since, wanted = self._left.get(id, (self._clock(), self._sink.recipients))
        try:
            server = self._connect()
            try:
                if self._sink.username:
                    server.login(self._sink.username, secret(self._sink, "token"))
                refused = server.send_message(message, self._sink.sender, wanted)
            finally:
                _quit(server)
        except UnusableSecret as error:
            return Outcome("misconfigured", str(error))
        except smtplib.SMTPRecipientsRefused as error:
            codes = [code for code, _ in error.recipients.values()]
            later = any(400 <= code < 500 for code in codes)
            if id not in self._left:
                return Outcome("failed" if later else "misconfigured", f"no recipient is taken: {_said(error)}")
            refused = {one: error.recipients.get(one, (421, b"closed")) for one in wanted}
        except (smtplib.SMTPNotSupportedError, smtplib.SMTPAuthenticationError, smtplib.SMTPSenderRefused) as error:
            later = 400 <= getattr(error, "smtp_code", 500) < 500
            return Outcome("failed" if later else "misconfigured", _said(error))
        except smtplib.SMTPDataError as error:
            return Outcome("failed" if error.smtp_code < 500 else "refused", _said(error))
        except smtplib.SMTPResponseException as error:  # of a greeting or the like: it has not seen the alert
            return Outcome("failed" if error.smtp_code < 500 else "misconfigured", _said(error))
        except ssl.SSLCertVerificationError as error:
            return Outcome("failed", f"its certificate is not trusted: {error.verify_message}")
        except TimeoutError:
            return Outcome("failed", f"no answer within {self._timeout:g} s")
        except (smtplib.SMTPException, OSError) as error:
            return Outcome("failed", _said(error))
        return self._sent(id, since, refused)

    def _sent(self, id: str, since: float, refused: Mapping[str, tuple[int, bytes]]) -> Outcome:
        """What became of a message that some have: those who may have it later are kept for the next attempt."""
        later = [one for one, (code, _) in refused.items() if code < 500]
        if later and self._clock() - since < LATER_SECONDS:
            never = {one: what for one, what in refused.items() if one not in later}
        else:
            later, never = [], dict(refused)
        if never:
            said = _said(smtplib.SMTPRecipientsRefused(never))
            _log.warning(
                "recipients are refused and do not get this alert", sink=self._name, count=len(never), said=said
            )
        if later:
            self._left[id] = since, later
            if len(self._left) > LEFT:
                del self._left[next(iter(self._left))]
            said = _said(smtplib.SMTPRecipientsRefused({one: refused[one] for one in later}))
            return Outcome(
                "failed", f"{len(later)} of {len(self._sink.recipients)} recipients are to be tried again: {said}"
            )
        self._left.pop(id, None)
        return Outcome("delivered", f"{len(never)} of {len(self._sink.recipients)} refused" if never else "sent")

    def _connect(self) -> smtplib.SMTP:
        url = secret(self._sink, "url")
        try:
            bare = check_url(url, SCHEMES)
        except BadUrl as error:
            raise UnusableSecret(f"url is no address to send to: {error}") from None
        if bare and not self._bare:
            raise UnusableSecret("url was one that encrypts and is not now: start again if that is meant")
        parts = urlsplit(url)
        host, port = str(parts.hostname), parts.port or PORTS[parts.scheme]
        context = ssl.create_default_context(cafile=self._sink.cafile or None)
        if parts.scheme == "smtps":
            return smtplib.SMTP_SSL(host, port, timeout=self._timeout, context=context)
        server = smtplib.SMTP(host, port, timeout=self._timeout)
        if parts.scheme == "smtp":
            try:
                server.starttls(context=context)
            except BaseException:
                server.close()
                raise
        return server


def _quit(server: smtplib.SMTP) -> None:
    """Leave a server; what it says to that changes nothing."""
    with contextlib.suppress(smtplib.SMTPException, OSError):
        server.quit()
    server.close()


def _is_address(text: str) -> bool:
    """Whether a text is one address, without a name or anything else beside it."""
    try:
        one = Address(addr_spec=text)
    except (ValueError, MessageError, IndexError):
        return False
    return bool(one.username and one.domain) and clean(text) == text and text.isascii() and not set(text) & set(' ",<>')


def _said(error: Exception) -> str:
    """What a server said: on one line, and neither an alert nor a password."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return clip(clean("; ".join(f"{c} {s.decode(errors='replace')}" for c, s in error.recipients.values())), SHOWN)
    if isinstance(error, smtplib.SMTPResponseException):
        text = error.smtp_error
        said = text.decode(errors="replace") if isinstance(text, bytes) else str(text)
        return clip(clean(f"{error.smtp_code} {said}"), SHOWN)
    return clip(clean(f"{type(error).__name__}: {error}"), SHOWN)
