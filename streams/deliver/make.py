"""Makes the sinks that settings name, and refuses what cannot work before anything is sent."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable

import msgspec
import structlog

from siphonwatch.models.detect.registry import current
from siphonwatch.models.engine.patterns import patterns
from siphonwatch.streams.common import extensions
from siphonwatch.streams.common.settings import Settings, SettingsError
from siphonwatch.streams.common.sink_settings import (
    KIND_FIELDS,
    SECRET_FIELDS,
    Sink,
    UnusableSecret,
    UnusableSink,
    secret,
)
from siphonwatch.streams.deliver.changes import Wanted
from siphonwatch.streams.deliver.outcome import Backoff
from siphonwatch.streams.deliver.post import HTTP, BadUrl, check_url, tls
from siphonwatch.streams.deliver.receivers import HttpReceiver, Kind, Receiver, poster_of
from siphonwatch.streams.deliver.signature import BadSecret
from siphonwatch.streams.deliver.wanted import Filter, severities

EXAMPLE = """\
[sinks.on-call]                       # in the file that SIPHONWATCH_CONFIG names
kind = "slack"                        # one of {kinds}
url_file = "/run/secrets/slack-url"   # or url = "https://..."
severity = "high+\""""

_log = structlog.get_logger(__name__)


class Channel(msgspec.Struct, frozen=True):
    """One sink, ready to be used."""

    name: str
    sink: Sink
    wanted: Filter
    receiver: Receiver
    backoff: Backoff
    updates: Wanted = "all"


def check(settings: Settings, names: Iterable[str] = ()) -> dict[str, Sink]:
    """Return the sinks of these names, all without any, once everything about them that can be known is sound.

    Raises
    ------
    SettingsError
        When there is none, a name is unknown, or a sink lacks what its kind needs or has what it does not use.
    """
    if not settings.sinks:
        example = EXAMPLE.format(kinds=", ".join(extensions.names(extensions.SINKS)))
        raise SettingsError(f"no sink is set, so there is nowhere to deliver alerts to; for example:\n\n{example}")
    chosen = list(names) or list(settings.sinks)
    for name in chosen:
        if name not in settings.sinks:
            raise SettingsError(f"there is no sink {name!r}; settings have {', '.join(settings.sinks)}")
        _check(name, settings.sinks[name], settings)
    return {name: settings.sinks[name] for name in chosen}


def _check(name: str, sink: Sink, settings: Settings) -> None:
    where = f"sinks.{name}"
    known = [pattern.pattern for pattern in patterns()]
    if unknown := sorted(name for name in sink.patterns if current(name) not in known):
        raise SettingsError(f"{where}.patterns has {', '.join(unknown)}: there are {', '.join(known)}")
    kind = _kind(sink.kind)
    for field in SECRET_FIELDS:
        try:
            value = secret(sink, field)
        except UnusableSecret as error:
            raise SettingsError(f"{where}.{error}") from None
        if value and field not in kind.uses:
            raise SettingsError(
                f"{where}.{field} is set, but a sink of kind {sink.kind} has no use for it: leave it out"
            )
        if not value and field in kind.needs:
            raise SettingsError(f"{where}: a sink of kind {sink.kind} needs {field}, or {field}_file")
        if not value.isascii() or not value.isprintable():
            raise SettingsError(f"{where}.{field} has characters that no header or address can: look for line breaks")
    defaults = Sink(kind=sink.kind)
    for field in KIND_FIELDS:
        if getattr(sink, field) != getattr(defaults, field) and field not in getattr(kind, "fields", ()):
            raise SettingsError(f"{where}.{field}: a sink of kind {sink.kind} has no use for it: leave it out")
    if sink.updates not in ("", "all") and getattr(kind, "needs_all", False):
        raise SettingsError(f"{where}.updates: a sink of kind {sink.kind} needs all of them: leave it out")
    try:
        tls(sink.cafile)
        if check_more := getattr(kind, "check", None):
            check_more(settings, sink)
    except UnusableSink as error:
        raise SettingsError(f"{where}: {error}") from None
    except BadSecret as error:
        raise SettingsError(f"{where}.secret: {error}") from None
    except OSError as error:
        raise SettingsError(f"{where}.cafile {sink.cafile} cannot be loaded: {error}") from None
    for field, address in {"url": secret(sink, "url"), "proxy": sink.proxy}.items():
        schemes = getattr(kind, "schemes", HTTP) if field == "url" else HTTP
        try:
            if address and schemes is not None:
                check_url(address, schemes)
        except BadUrl as error:
            raise SettingsError(f"{where}.{field} is no address to send to: {error}") from None


def _kind(name: str) -> type[Kind] | type[Receiver]:
    try:
        kind: type[Kind] | type[Receiver] = extensions.load(extensions.SINKS, name)
    except extensions.ExtensionError as error:
        raise SettingsError(str(error)) from None
    return kind


def make(settings: Settings, name: str, clock: Callable[[], float] = time.time) -> Channel:
    """Make one sink that `check` found sound; call it inside a running event loop and close its receiver.

    Parameters
    ----------
    clock
        Seconds since 1970.
    """
    sink, shared = settings.sinks[name], settings.deliver
    url, kind = secret(sink, "url"), _kind(sink.kind)
    schemes = getattr(kind, "schemes", HTTP)
    if url and schemes is not None and check_url(url, schemes):
        _log.warning("alerts travel unencrypted over a network: use https", sink=name)
    backoff = Backoff(shared.backoff, shared.backoff_max, shared.backoff_misconfigured, random.SystemRandom().uniform)
    wanted = Filter(patterns=sink.patterns, severities=severities(sink.severity), kinds=sink.kinds)
    updates: Wanted = sink.updates if sink.updates else getattr(kind, "updates", "all")
    return Channel(name, sink, wanted, _receiver(settings, name, clock), backoff, updates)


def _receiver(settings: Settings, name: str, clock: Callable[[], float]) -> Receiver:
    sink = settings.sinks[name]
    kind = _kind(sink.kind)
    if issubclass(kind, Receiver):
        return kind.make(settings, name, clock)
    return HttpReceiver(kind(sink, settings.links.runbook), poster_of(settings, sink, clock), clock)
