"""Whatever the apprise library reaches, by its URLs: chat, push, SMS. A message an alert; none is changed later.

A service says nothing of why it did not take a message, and one that takes it twice shows it twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.common.sink_settings import Sink, UnusableSecret, UnusableSink, secret
from siphonwatch.streams.deliver.alert import AlertRecord
from siphonwatch.streams.deliver.dialect import Chat
from siphonwatch.streams.deliver.outcome import Outcome
from siphonwatch.streams.deliver.receivers import Receiver
from siphonwatch.streams.deliver.template import Writer

TITLE = "[{{ severity }}] {{ title }}{% if kind != 'opened' %} ({{ kind }}){% endif %}"
TITLE_LIMIT = 250
TEXT = 10_000
"""Of a body, in characters; apprise cuts it to what a service takes."""
TYPE = {"low": "info", "medium": "warning", "high": "warning", "critical": "failure"}


class AppriseReceiver(Receiver):
    """Sends a message an alert to one URL; apprise blocks, so it has a thread, one message at a time.

    Parameters
    ----------
    settings
        Of everything; the sink is `settings.sinks[name]`: `url` as apprise has it.
    name
        Of the sink.
    """

    needs: tuple[str, ...] = ("url",)
    uses: tuple[str, ...] = ("url",)
    fields: tuple[str, ...] = ("title", "body")
    updates: ClassVar[str] = "changes"
    schemes: ClassVar[Mapping[str, bool] | None] = None

    @classmethod
    def make(cls, settings: Settings, name: str, clock: Callable[[], float]) -> AppriseReceiver:
        """Return the receiver of a sink."""
        return cls(settings, name)

    @staticmethod
    def check(settings: Settings, sink: Sink) -> None:
        """Try the templates, and refuse a URL that apprise does not know, or that runs something on this machine.

        Raises
        ------
        UnusableSink
            When something is wrong, or apprise is not installed.
        """
        if sink.proxy or sink.cafile:
            raise UnusableSink("proxy and cafile: apprise reads the variables HTTPS_PROXY and REQUESTS_CA_BUNDLE")
        _service(secret(sink, "url"))
        Writer(sink, settings.links.runbook, Chat(), TITLE).check()

    def __init__(self, settings: Settings, name: str) -> None:
        self._sink = settings.sinks[name]
        self._writer = Writer(self._sink, settings.links.runbook, Chat(), TITLE)
        self._turn = asyncio.Lock()
        logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)  # it logs addresses, which are secrets

    async def deliver(self, alert: AlertRecord) -> Outcome:
        """Send one message; every failure is an outcome."""
        title, body = self._writer.title(alert, TITLE_LIMIT), self._writer.body(alert, TEXT)
        async with self._turn:
            try:
                taken = await asyncio.to_thread(self._send, title, body, TYPE[alert.severity])
            except (UnusableSecret, UnusableSink) as error:
                return Outcome("misconfigured", str(error))
            except Exception as error:  # noqa: BLE001 - a service's plug-in may fail in any way, and its text may be secret
                return Outcome("failed", f"the service's plug-in failed: {type(error).__name__}")
        return Outcome("delivered", "sent") if taken else Outcome("failed", "the service did not take it")

    def _send(self, title: str, body: str, kind: str) -> bool:
        service = _service(secret(self._sink, "url"))
        return bool(service.notify(body=body, title=title, body_format="text", notify_type=kind))


def _service(url: str) -> Any:
    """The one service of a URL, read anew each time, as a mounted secret may change."""
    try:
        import apprise
    except ImportError:
        raise UnusableSink("kind: apprise is not installed: pip install 'siphonwatch[apprise]'") from None
    found = apprise.Apprise()
    if url.partition("://")[0].lower() in ("syslog", "windows", "macosx", "dbus", "qt", "kde", "glib", "gnome"):
        raise UnusableSink("url: it leads to this machine's own screen or log, where nobody looks")
    if not found.add(url) or len(found) != 1:
        raise UnusableSink("url: apprise knows no such service, or its parts are wrong: see its list of services")
    return found
