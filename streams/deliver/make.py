"""Makes the sinks that settings name, and refuses what cannot work before anything is sent."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable

import msgspec
import structlog

from siphonwatch.models.engine.patterns import patterns
from siphonwatch.streams.common import extensions
from siphonwatch.streams.common.grafana import connect
from siphonwatch.streams.common.settings import Settings, SettingsError
from siphonwatch.streams.common.sink_settings import SECRET_FIELDS, Sink, UnusableSecret, secret
from siphonwatch.streams.deliver.alertmanager import Alertmanager
from siphonwatch.streams.deliver.outcome import Backoff
from siphonwatch.streams.deliver.pagerduty import PagerDuty
from siphonwatch.streams.deliver.post import BadUrl, Poster, check_url, tls
from siphonwatch.streams.deliver.receivers import AlertmanagerReceiver, GrafanaReceiver, HttpReceiver, Kind, Receiver
from siphonwatch.streams.deliver.signature import BadSecret, keys
from siphonwatch.streams.deliver.slack import Slack
from siphonwatch.streams.deliver.wanted import Filter, severities
from siphonwatch.streams.deliver.webhook import Webhook

FORMATTERS: dict[str, type[Kind]] = {"webhook": Webhook, "slack": Slack, "pagerduty": PagerDuty}
"""Kinds that take one POST an alert."""
EXAMPLE = """\
[sinks.on-call]                       # in the file that SIPHONWATCH_CONFIG names
kind = "slack"                        # or webhook, pagerduty, alertmanager, grafana
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


def check(settings: Settings, names: Iterable[str] = ()) -> dict[str, Sink]:
    """Return the sinks of these names, all without any, once everything about them that can be known is sound.

    Raises
    ------
    SettingsError
        When there is none, a name is unknown, or a sink lacks what its kind needs or has what it does not use.
    """
    if not settings.sinks:
        raise SettingsError(f"no sink is set, so there is nowhere to deliver alerts to; for example:\n\n{EXAMPLE}")
    chosen = list(names) or list(settings.sinks)
    for name in chosen:
        if name not in settings.sinks:
            raise SettingsError(f"there is no sink {name!r}; settings have {', '.join(settings.sinks)}")
        _check(name, settings.sinks[name], settings)
    return {name: settings.sinks[name] for name in chosen}


def _check(name: str, sink: Sink, settings: Settings) -> None:
    where = f"sinks.{name}"
    known = [pattern.pattern for pattern in patterns()]
    if unknown := sorted(set(sink.patterns) - set(known)):
        raise SettingsError(f"{where}.patterns has {', '.join(unknown)}: there are {', '.join(known)}")
    needs, uses = _fields(sink.kind)
    for field in SECRET_FIELDS:
        try:
            value = secret(sink, field)
        except UnusableSecret as error:
            raise SettingsError(f"{where}.{error}") from None
        if value and field not in uses:
            raise SettingsError(
                f"{where}.{field} is set, but a sink of kind {sink.kind} has no use for it: leave it out"
            )
        if not value and field in needs:
            raise SettingsError(f"{where}: a sink of kind {sink.kind} needs {field}, or {field}_file")
        if not value.isascii() or not value.isprintable():
            raise SettingsError(f"{where}.{field} has characters that no header or address can: look for line breaks")
    try:
        if sink.kind == "webhook":
            keys(secret(sink, "secret"))
        tls(sink.cafile)
    except BadSecret as error:
        raise SettingsError(f"{where}.secret: {error}") from None
    except OSError as error:
        raise SettingsError(f"{where}.cafile {sink.cafile} cannot be loaded: {error}") from None
    for field, address in {"url": secret(sink, "url"), "proxy": sink.proxy}.items():
        try:
            if address:
                check_url(address)
        except BadUrl as error:
            raise SettingsError(f"{where}.{field} is no address to send to: {error}") from None
    if sink.kind == "grafana":
        connect(settings.grafana).close()


def _fields(kind: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The fields that a kind of sink needs, and those that it uses."""
    if kind == "grafana":
        return (), ()
    found = Alertmanager if kind == "alertmanager" else _formatter(kind)
    return found.needs, found.uses


def _formatter(kind: str) -> type[Kind]:
    if own := FORMATTERS.get(kind):
        return own
    try:
        added: type[Kind] = extensions.load(extensions.SINKS, kind, "needs", "uses", "message", "judge")
    except extensions.ExtensionError as error:
        raise SettingsError(str(error)) from None
    return added


def make(settings: Settings, name: str, clock: Callable[[], float] = time.time) -> Channel:
    """Make one sink that `check` found sound; call it inside a running event loop and close its receiver.

    Parameters
    ----------
    clock
        Seconds since 1970.
    """
    sink, shared = settings.sinks[name], settings.deliver
    url = secret(sink, "url")
    if url and check_url(url):
        _log.warning("alerts travel unencrypted over a network: use https", sink=name)
    backoff = Backoff(shared.backoff, shared.backoff_max, shared.backoff_misconfigured, random.SystemRandom().uniform)
    wanted = Filter(patterns=sink.patterns, severities=severities(sink.severity), kinds=sink.kinds)
    return Channel(name, sink, wanted, _receiver(settings, name, clock), backoff)


def _receiver(settings: Settings, name: str, clock: Callable[[], float]) -> Receiver:
    sink = settings.sinks[name]
    if sink.kind == "grafana":
        return GrafanaReceiver(connect(settings.grafana))
    poster = Poster(settings.deliver.timeout, tls(sink.cafile), sink.proxy, clock)
    if sink.kind == "alertmanager":
        manager = Alertmanager(sink, settings.links.runbook, settings.scoring.close_after)
        return AlertmanagerReceiver(name, manager, poster, clock)
    return HttpReceiver(_formatter(sink.kind)(sink, settings.links.runbook), poster, clock)
