"""Mail goes over TLS to a real SMTP server, a case is one thread, and no header or body is another's to write."""

from __future__ import annotations

import asyncio
import ssl
import tempfile
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult
from hypothesis import given
from hypothesis import strategies as st
from sink_samples import grows_graver, life, told
from structlog.testing import capture_logs

from siphonwatch.streams.common.settings import Settings, SettingsError
from siphonwatch.streams.common.sink_settings import Sink
from siphonwatch.streams.deliver.mail import LATER_SECONDS, MailReceiver
from siphonwatch.streams.deliver.make import check, make
from siphonwatch.streams.lab.broker.process import free_port


class Box:
    """What a server took, and what it is to answer instead."""

    def __init__(self) -> None:
        self.taken: list[EmailMessage] = []
        self.envelopes: list[Any] = []
        self.data = "250 OK"
        self.recipient = "250 OK"
        self.each: dict[str, str] = {}

    async def handle_RCPT(self, server: SMTP, session: Any, envelope: Any, address: str, options: Any) -> str:
        if said := self.each.get(address):
            return said
        if self.recipient.startswith("2") or not address.startswith("bad"):
            if self.recipient.startswith("2") or not self.recipient.endswith("all"):
                envelope.rcpt_tos.append(address)
                return "250 OK"
        return self.recipient

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Any) -> str:
        if self.data.startswith("2"):
            self.envelopes.append(envelope)
            self.taken.append(message_from_bytes(envelope.content, policy=policy.default))  # type: ignore[arg-type]
        return self.data


def accounts(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
    good = data.login == b"siphonwatch" and data.password == b"s3cret"
    return AuthResult(success=good, handled=False)


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


class Server:
    """A mail server of one of the three schemes."""

    def __init__(self, scheme: str, authority: trustme.CA) -> None:
        self.box = Box()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        tls: dict[str, Any] = {"smtps": {"ssl_context": context}, "smtp": {"tls_context": context}}.get(scheme, {})
        self._controller = Controller(
            self.box, hostname="127.0.0.1", port=free_port(), authenticator=accounts, auth_require_tls=False,
            require_starttls=scheme == "smtp", **tls,
        )  # fmt: skip
        self._scheme = scheme
        self._folder = tempfile.TemporaryDirectory()
        self._cafile = str(Path(self._folder.name) / "ca.pem")
        authority.cert_pem.write_to_path(self._cafile)

    def __enter__(self) -> Server:
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()
        self._folder.cleanup()

    def settings(self, **more: Any) -> Settings:
        assert self._controller.server is not None
        port = self._controller.server.sockets[0].getsockname()[1]
        settings = Settings()
        settings.deliver.timeout = 5.0
        settings.links.runbook = "https://wiki.example/r.md"
        fields = {
            "url": f"{self._scheme}://127.0.0.1:{port}", "sender": "siphonwatch@soc.example",
            "recipients": ["soc@soc.example", "duty@soc.example"], "cafile": self._cafile,
        }  # fmt: skip
        settings.sinks["mail"] = Sink(kind="mail", **(fields | more))
        return settings


@pytest.fixture
def server(authority: trustme.CA) -> Iterator[Server]:
    with Server("smtp", authority) as running:
        yield running


@pytest.mark.parametrize("scheme", ["smtps", "smtp", "smtp-plain"])
@pytest.mark.parametrize("login", [{}, {"username": "siphonwatch", "token": "s3cret"}])
async def test_a_message_arrives_by_each_way(scheme: str, login: dict[str, str], authority: trustme.CA) -> None:
    with Server(scheme, authority) as server:
        settings = server.settings(**login)
        check(settings)
        outcome = await make(settings, "mail").receiver.deliver(told(life("org-7")[0]))
        assert (outcome.verdict, outcome.detail) == ("delivered", "sent")
        (message,) = server.box.taken
        assert (
            message["Subject"] == f"[siphonwatch] Model extraction by a sweep of prompts: case {life('org-7')[0].case}"
        )
        assert server.box.envelopes[0].rcpt_tos == ["soc@soc.example", "duty@soc.example"]
        assert message["X-Priority"] == "3 (Normal)" and message.get_content_type() == "text/plain"
        assert "* sweep_1d 0.94 (above 0.35)" in message.get_content()


async def test_a_case_is_one_thread_and_a_repeated_alert_has_the_same_id(server: Server) -> None:
    receiver = make(server.settings(), "mail").receiver
    alerts = [told(finding) for finding in grows_graver("org-7")]
    for alert in [*alerts, alerts[1]]:
        assert (await receiver.deliver(alert)).verdict == "delivered"
    first, second, third, again = server.box.taken
    assert first["Message-ID"] == f"<{alerts[0].id}.siphonwatch@soc.example>" and first["In-Reply-To"] is None
    for later in (second, third):
        assert later["In-Reply-To"] == later["References"] == first["Message-ID"]
        assert later["Subject"] == f"Re: {first['Subject']}"
    assert again["Message-ID"] == second["Message-ID"] != third["Message-ID"]


@pytest.mark.parametrize(
    ("data", "verdict"),
    [("451 try later", "failed"), ("554 no thanks", "refused"), ("421 closing", "failed")],
)
async def test_what_a_server_says_of_a_message_has_an_outcome(server: Server, data: str, verdict: str) -> None:
    server.box.data = data
    outcome = await make(server.settings(), "mail").receiver.deliver(told(life("org-7")[0]))
    assert outcome.verdict == verdict and data in outcome.detail


@pytest.mark.parametrize(
    ("recipient", "verdict"), [("550 unknown all", "misconfigured"), ("450 greylisted all", "failed")]
)
async def test_recipients_that_none_is_taken_of_are_the_sink_s_fault(
    server: Server, recipient: str, verdict: str
) -> None:
    server.box.recipient = recipient
    outcome = await make(server.settings(), "mail").receiver.deliver(told(life("org-7")[0]))
    assert outcome.verdict == verdict and "no recipient is taken" in outcome.detail


async def test_one_recipient_that_is_refused_stops_no_message_to_the_others(server: Server) -> None:
    server.box.recipient = "550 unknown"
    settings = server.settings(recipients=["bad@soc.example", "soc@soc.example"])
    outcome = await make(settings, "mail").receiver.deliver(told(life("org-7")[0]))
    assert (outcome.verdict, outcome.detail) == ("delivered", "1 of 2 refused") and len(server.box.taken) == 1


async def test_recipients_that_are_taken_later_get_it_alone_and_nobody_twice(
    server: Server,
) -> None:
    now = [1_790_000_000.0]
    settings = server.settings(recipients=[f"{name}@soc.example" for name in ("full", "never", "soc")])
    receiver, alert = MailReceiver(settings, "mail", lambda: now[0]), told(life("org-7")[0])
    server.box.each = {"full@soc.example": "452 greylisted", "never@soc.example": "550 unknown"}
    with capture_logs() as logs:
        outcome = await receiver.deliver(alert)
    assert outcome.verdict == "failed" and "1 of 3 recipients are to be tried again: 452" in outcome.detail
    assert [(log["log_level"], log["count"], log["said"]) for log in logs] == [("warning", 1, "550 unknown")]
    assert (await receiver.deliver(alert)).verdict == "failed" and len(server.box.taken) == 1
    del server.box.each["full@soc.example"]
    assert (await receiver.deliver(alert)).verdict == "delivered"
    assert [one.rcpt_tos for one in server.box.envelopes] == [["soc@soc.example"], ["full@soc.example"]]
    assert len({one["Message-ID"] for one in server.box.taken}) == 1
    assert (await receiver.deliver(alert)).detail == "1 of 3 refused", "what is asked for anew is for all"


async def test_one_recipient_s_full_mailbox_holds_up_alerts_for_a_while_only(server: Server) -> None:
    now = [1_790_000_000.0]
    receiver, alert = MailReceiver(server.settings(), "mail", lambda: now[0]), told(life("org-7")[0])
    server.box.each = {"duty@soc.example": "452 full"}
    assert (await receiver.deliver(alert)).verdict == "failed"
    now[0] += LATER_SECONDS
    with capture_logs() as logs:
        outcome = await receiver.deliver(alert)
    assert (outcome.verdict, outcome.detail) == ("delivered", "1 of 2 refused") and logs[0]["said"] == "452 full"


@pytest.mark.parametrize(("greeting", "verdict"), [("554 no mail here", "misconfigured"), ("421 busy", "failed")])
async def test_a_server_that_has_not_seen_the_message_gives_none_up(greeting: str, verdict: str) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"{greeting}\r\n".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with server:
        settings = Settings()
        url = f"smtp-plain://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        settings.sinks["mail"] = Sink(kind="mail", url=url, sender="s@soc.example", recipients=["a@soc.example"])
        outcome = await make(settings, "mail").receiver.deliver(told(life("org-7")[0]))
    assert (outcome.verdict, outcome.detail) == (verdict, greeting)


@pytest.mark.parametrize("goodbye", ["421 closing", "554 go away"])
async def test_what_a_server_says_to_a_goodbye_sends_nothing_again(
    server: Server, monkeypatch: pytest.MonkeyPatch, goodbye: str
) -> None:
    async def said(self: Any, *args: Any) -> str:
        return goodbye

    monkeypatch.setattr(Box, "handle_QUIT", said, raising=False)
    assert (await make(server.settings(), "mail").receiver.deliver(told(life("org-7")[0]))).verdict == "delivered"


@pytest.mark.parametrize(
    ("url", "said"),
    [("https://mail.example", "write one of smtps"), ("smtp://h:x", "Port"), ("smtp-plain://mail.example", "encrypts")],
)
async def test_an_address_that_changes_for_the_worse_is_for_a_person(tmp_path: Path, url: str, said: str) -> None:
    file = tmp_path / "url"
    file.write_text("smtps://mail.example")
    settings = Settings()
    settings.sinks["mail"] = Sink(kind="mail", url_file=str(file), sender="s@soc.example", recipients=["a@soc.example"])
    receiver = make(settings, "mail").receiver
    file.write_text(url)
    outcome = await receiver.deliver(told(life("org-7")[0]))
    assert outcome.verdict == "misconfigured" and said in outcome.detail, outcome


async def test_a_wrong_password_is_for_a_person_and_is_never_shown(server: Server) -> None:
    settings = server.settings(username="siphonwatch", token="wr0ng-pass")
    outcome = await make(settings, "mail").receiver.deliver(told(life("org-7")[0]))
    assert outcome.verdict == "misconfigured" and "535" in outcome.detail and "wr0ng" not in outcome.detail, outcome


async def test_without_encryption_or_trust_nothing_is_sent(authority: trustme.CA) -> None:
    with Server("smtp", authority) as server:
        outcome = await make(server.settings(cafile=""), "mail").receiver.deliver(told(life("org-7")[0]))
        assert outcome.verdict == "failed" and "certificate is not trusted" in outcome.detail
        assert server.box.taken == []
    with Server("smtp-plain", authority) as server:
        url = server.settings().sinks["mail"].url.replace("smtp-plain", "smtp")
        outcome = await make(server.settings(url=url), "mail").receiver.deliver(told(life("org-7")[0]))
        assert outcome.verdict == "misconfigured" and "STARTTLS" in outcome.detail and server.box.taken == []


async def test_a_server_that_is_away_is_tried_again(authority: trustme.CA) -> None:
    with Server("smtp", authority) as server:
        settings = server.settings()
    assert (await make(settings, "mail").receiver.deliver(told(life("org-7")[0]))).verdict == "failed"


hostile = st.text(st.characters(exclude_categories=("Cs",)), max_size=100) | st.sampled_from(
    ["a\r\nBcc: evil@example.com", "x\n\n<script>", "\x00", "é" * 80, "=?utf-8?q?x?=", ".\r\nQUIT", "\u202egnp"]
)


@given(name=hostile, text=hostile)
def test_no_text_of_an_alert_writes_a_header_or_ends_the_message(name: str, text: str) -> None:
    settings = Settings()
    settings.sinks["mail"] = Sink(
        kind="mail", url="smtp://mail.example", sender="s@soc.example", recipients=["a@soc.example"],
        title="{{ accounts | first }} {{ counterfactual }}",
    )  # fmt: skip
    alert = told(life("org-7")[1], accounts=[name, "b"], counterfactual=text, pattern=text)
    raw = bytes(MailReceiver(settings, "mail").message(alert))
    read = message_from_bytes(raw, policy=policy.default)
    assert sorted(read.keys()) == sorted([
        "From", "To", "Date", "Message-ID", "In-Reply-To", "References", "Subject", "Auto-Submitted", "X-Priority",
        "X-Siphonwatch-Case", "Content-Type", "Content-Transfer-Encoding", "MIME-Version",
    ])  # fmt: skip
    assert read["To"] == "a@soc.example" and raw.isascii()
    assert max(map(len, raw.split(b"\r\n"))) <= 998


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sender": ""}, "needs sender and recipients"),
        ({"recipients": []}, "needs sender and recipients"),
        ({"recipients": ["a@b.example\nBcc: c@d.example"]}, "recipients: 'a@b.example Bcc: c@d.example' is no address"),
        ({"sender": "SOC <a@b.example>"}, "is no address"),
        ({"recipients": ["a@b.example, c@d.example"]}, "is no address"),
        ({"username": "me"}, "a login needs username and token"),
        ({"url": "https://mail.example"}, "write one of smtps, smtp, smtp-plain://host:port"),
        ({"proxy": "http://p.example:1"}, "no HTTP proxy"),
        ({"project": "SEC"}, "sinks.mail.project: a sink of kind mail has no use for it"),
    ],
)
def test_a_mail_sink_that_cannot_work_is_refused(fields: dict[str, Any], message: str) -> None:
    settings = Settings()
    good = {"url": "smtp://mail.example", "sender": "s@soc.example", "recipients": ["a@soc.example"]}
    settings.sinks["mail"] = Sink(kind="mail", **(good | fields))
    with pytest.raises(SettingsError) as caught:
        check(settings)
    assert message in str(caught.value)
