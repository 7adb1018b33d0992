"""Receivers that alerts are delivered to, over HTTP or by Grafana's client. A call makes one attempt; lanes repeat."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import ClassVar, Protocol

import structlog

from siphonwatch.streams.common.grafana import Connection, GrafanaError, connect
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.common.sink_settings import Sink, UnusableSecret
from siphonwatch.streams.deliver.alert import AlertRecord
from siphonwatch.streams.deliver.alertmanager import AGAIN_SECONDS, Alertmanager
from siphonwatch.streams.deliver.annotate import Annotator
from siphonwatch.streams.deliver.dialect import Chat
from siphonwatch.streams.deliver.outcome import Outcome, Verdict, judge
from siphonwatch.streams.deliver.post import HTTP, Message, Poster, tls
from siphonwatch.streams.deliver.signature import BadSecret
from siphonwatch.streams.deliver.template import checks

_log = structlog.get_logger(__name__)


class Kind(Protocol):
    """How one kind of receiver wants alerts: what an entry point of `siphonwatch.sinks` names.

    One that takes more than a POST an alert is a subclass of `Receiver` with `needs`, `uses` and `make` instead. Either
    may have a static method `check(settings, sink)`, which raises `SettingsError` for what can be known to be wrong.

    Parameters
    ----------
    sink
        Its settings.
    runbook
        `settings.links.runbook`.
    """

    needs: tuple[str, ...]
    """Of `siphonwatch.streams.common.sink_settings.SECRET_FIELDS`: what must be set."""
    uses: tuple[str, ...]
    """What may be set. A class may say more: `fields`, those of `KIND_FIELDS` that it has a use for; `updates`, which
    updates of a case it gets where the sink does not say; `needs_all`, that it can do with no fewer; `schemes`, of its
    addresses, by whether they encrypt."""

    def __init__(self, sink: Sink, runbook: str) -> None: ...

    def message(self, alert: AlertRecord, now: float) -> Message:
        """Return the request for an alert."""
        ...

    def judge(self, status: int, said: bytes) -> Verdict:
        """Return what an answer means."""
        ...


class Receiver:
    """Something alerts are delivered to; this one has no state to keep up."""

    needs: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    updates: ClassVar[str] = "all"
    schemes: ClassVar[Mapping[str, bool] | None] = HTTP
    """None for whatever the kind itself checks."""
    reach: float = 0.0
    """Seconds back from now whose alerts it wants to be shown again at the start, by `note`."""

    @classmethod
    def make(cls, settings: Settings, name: str, clock: Callable[[], float]) -> Receiver:
        """Return the receiver of a sink, for a subclass that an entry point names."""
        raise NotImplementedError

    async def deliver(self, alert: AlertRecord) -> Outcome:
        """Try once to deliver an alert; every failure is an outcome."""
        raise NotImplementedError

    def note(self, partition: int, alert: AlertRecord, at: float) -> None:
        """Take note of an alert that was delivered at a time, seconds since 1970."""

    def leave(self, partition: int) -> None:
        """Forget what was noted of a partition."""

    def took(self) -> None:
        """Partitions were assigned: another deliverer may have delivered their alerts until now."""

    async def keep(self, ready: Callable[[], bool]) -> None:
        """Keep the receiver's state up until cancelled; `ready` tells whether all that is known was noted."""

    async def close(self) -> None:
        """Close connections."""


def poster_of(settings: Settings, sink: Sink, clock: Callable[[], float]) -> Poster:
    """Return what posts to a sink, as settings say."""
    return Poster(settings.deliver.timeout, tls(sink.cafile), sink.proxy, clock)


class HttpReceiver(Receiver):
    """A receiver that takes one POST an alert.

    Parameters
    ----------
    kind
        Its format.
    poster
        Closed with this.
    clock
        Seconds since 1970.
    """

    def __init__(self, kind: Kind, poster: Poster, clock: Callable[[], float] = time.time) -> None:
        self._kind = kind
        self._poster = poster
        self._clock = clock

    async def deliver(self, alert: AlertRecord) -> Outcome:
        """Post an alert; a secret whose file cannot be read makes the sink misconfigured until it can."""
        try:
            message = self._kind.message(alert, self._clock())
        except (UnusableSecret, BadSecret) as error:
            return Outcome("misconfigured", str(error))
        return await self._poster.post(message, self._kind.judge)

    async def close(self) -> None:
        """Close the connections."""
        await self._poster.close()


class AlertmanagerReceiver(HttpReceiver):
    """An Alertmanager, which gets open cases again and again.

    It sends one request at a time, so that no closed case is sent as open.

    Parameters
    ----------
    name
        Of the sink, for the log.
    kind, poster, clock
        As for any other.
    every
        Seconds between telling again.
    """

    needs_all = True  # an alert fires for so long after the last update
    needs = Alertmanager.needs
    uses = Alertmanager.uses
    fields = Alertmanager.fields

    check = staticmethod(checks(Chat))

    @classmethod
    def make(cls, settings: Settings, name: str, clock: Callable[[], float]) -> AlertmanagerReceiver:
        """Return the receiver of a sink."""
        sink = settings.sinks[name]
        manager = Alertmanager(sink, settings.links.runbook, settings.scoring.close_after)
        return cls(name, manager, poster_of(settings, sink, clock), clock)

    def __init__(
        self,
        name: str,
        kind: Alertmanager,
        poster: Poster,
        clock: Callable[[], float] = time.time,
        every: float = AGAIN_SECONDS,
    ) -> None:
        super().__init__(kind, poster, clock)
        self._name = name
        self._manager = kind
        self._every = every
        self._turn = asyncio.Lock()
        self.reach = kind.reach

    async def deliver(self, alert: AlertRecord) -> Outcome:
        """Post an alert; the caller is to call `note` at once."""
        async with self._turn:
            return await super().deliver(alert)

    def note(self, partition: int, alert: AlertRecord, at: float) -> None:
        """Remember open cases."""
        self._manager.note(partition, alert, at)

    def leave(self, partition: int) -> None:
        """Forget the cases of a partition."""
        self._manager.leave(partition)

    async def keep(self, ready: Callable[[], bool]) -> None:
        """Send the open cases again and again; what fails is sent the next time."""
        while True:
            await asyncio.sleep(self._every)
            if not ready():  # a case that closed may still be known as open
                continue
            async with self._turn:
                await self._send_again()

    async def _send_again(self) -> None:
        try:
            messages = self._manager.again(self._clock())
        except UnusableSecret as error:
            _log.warning("open cases cannot be sent again", sink=self._name, reason=str(error))
            return
        for message in messages:
            outcome = await self._poster.post(message)
            if outcome.verdict != "delivered":
                _log.warning("open cases were not taken again", sink=self._name, reason=outcome.detail)
                return


class GrafanaReceiver(Receiver):
    """Annotations in Grafana: each alert, and each version of the models at the first alert it tells.

    Grafana's client blocks: it has a thread, one call at a time.

    Parameters
    ----------
    connection
        Of `siphonwatch.streams.common.grafana.connect(settings.grafana)`.
    """

    @classmethod
    def make(cls, settings: Settings, name: str, clock: Callable[[], float]) -> GrafanaReceiver:
        """Return the receiver of a sink."""
        return cls(connect(settings.grafana))

    @staticmethod
    def check(settings: Settings, sink: Sink) -> None:
        """Refuse settings without an address of Grafana, or without anything to log in with."""
        connect(settings.grafana).close()

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._annotator = Annotator(connection)
        self._turn = asyncio.Lock()
        self._versions: set[str] = set()

    async def deliver(self, alert: AlertRecord) -> Outcome:
        """Post an annotation, or make a region of one when its case closes."""
        async with self._turn:
            try:
                new = await asyncio.to_thread(self._annotate, alert)
            except GrafanaError as error:
                return Outcome("failed" if error.passing else judge(error.status), str(error))
        return Outcome("delivered", "annotated" if new else "was there already")

    def _annotate(self, alert: AlertRecord) -> bool:
        """Whether the alert was not there already."""
        if alert.version and not alert.test and alert.version not in self._versions:
            self._annotator.promotion("siphonwatch", alert.version, alert.sent)
            self._versions.add(alert.version)
        return self._annotator.alert(alert.event)

    async def close(self) -> None:
        """Close the connections."""
        await asyncio.to_thread(self._connection.close)
