"""Access-log entries that somebody parsed already, under the names of NGINX's variables: grok's patterns, Vector's and
Fluent Bit's parsers, the Elastic Common Schema, and the JSON that Traefik and Caddy write themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from siphonwatch.streams.common.addresses import parse
from siphonwatch.streams.edge.adapters.values import at, mapping, number, sequence, text

PEER = ("remote_addr", "client_ip", "realip_remote_addr")
"""NGINX's own names of who connected."""
OURS = frozenset(PEER)

ADDRESSES = ("clientip", "client", "remote", "ClientHost", "source.ip", "source.address", "request.remote_ip")
"""Where others write who connected: only an address is one."""

NAMES = {
    "request_method": ("verb", "RequestMethod", "http.request.method", "request.method"),
    "request_uri": ("RequestPath", "url.original", "request.uri"),
    "status": ("code", "response", "DownstreamStatus", "http.response.status_code"),
    "remote_user": ("user", "auth", "ClientUsername", "user.name"),
    "http_user_agent": ("request_User-Agent", "user_agent.original"),
    "time": ("StartUTC", "ts", "date"),
    "request_time": ("duration",),
}
"""NGINX's name -> dotted paths at which others write the same."""

REQUEST = ("request", "request_uri", "path")
"""One of which must be there: a shipper's own address beside a line makes no request."""
NANOSECONDS = 1e9
"""In a second; Traefik's unit of a duration."""


def under_our_names(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an entry with NGINX's names beside those it has; the entry itself where it is in no form that is known.

    Examples
    --------
    >>> found = under_our_names({"clientip": "192.0.2.7", "verb": "GET", "request": "/v1/parts", "response": "200"})
    >>> found["remote_addr"], found["request_method"], found["request_uri"], found["status"]
    ('192.0.2.7', 'GET', '/v1/parts', '200')
    """
    if not OURS.isdisjoint(entry):
        return entry
    address = next((found for path in ADDRESSES if parse(found := text(at(entry, path))) is not None), "")
    if not address:
        return entry
    named: dict[str, Any] = {"remote_addr": address}
    for name, paths in NAMES.items():
        value = next((value for path in paths if text(value := at(entry, path))), None)
        if value is not None and not text(entry.get(name)):
            named[name] = value
    if "verb" in entry and "request" in entry:  # grok's request is the path alone
        named.setdefault("request_uri", entry["request"])
    if (taken := number(entry.get("Duration"))) is not None:
        named["request_time"] = taken / NANOSECONDS
    if agents := sequence(mapping(at(entry, "request.headers")).get("User-Agent")):  # Caddy
        named["http_user_agent"] = agents[0]
    whole = {**entry, **named}
    return whole if text(whole.get("status")) and any(text(whole.get(name)) for name in REQUEST) else entry
