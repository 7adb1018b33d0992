"""NGINX access logs of plain REST APIs: the combined (and common) format, and JSON formats whose fields carry the names
of NGINX variables. Apache's combined log, with its virtual host in front or without, is the same line.

What a client writes never costs its line: the line is read from what a client cannot forge, the address in front and
the time in brackets, and JSON whose quotes nobody escaped gives what still stands in it.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from siphonwatch.streams.common.addresses import Addresses, is_forwarded, parse
from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.contracts.telemetry import Malformed, Telemetry
from siphonwatch.streams.edge.adapters import rest, standing
from siphonwatch.streams.edge.adapters.base import Adapter, TextSketcher, load_flat, require_time
from siphonwatch.streams.edge.adapters.parsed import PEER, under_our_names
from siphonwatch.streams.edge.adapters.values import count, flat_fields, number, seconds, text, timestamp, unescaped
from siphonwatch.streams.edge.adapters.wrapping import is_array

_TIME = re.compile(r'\[(?P<time_local>\d{1,2}/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})\] "', re.ASCII)
"""What stands before the request. A client may put such brackets into its user's name, but no quote behind them."""

_REQUEST = re.compile(
    r'(?P<request>(?:[^"\\]++|\\.)*+)" (?P<status>\d{3}|-) (?P<body_bytes_sent>\d++|-)'
    r'(?: "(?P<http_referer>(?:[^"\\]++|\\.)*+)" "(?P<http_user_agent>(?:[^"\\]++|\\.)*+)")?+'
    r'(?: "(?P<http_x_forwarded_for>[^"]*+)")?+',
    re.ASCII,
)
"""Possessive throughout: a line of any content takes linear time."""

_UNESCAPED = re.compile(
    r'(?P<request>.*?)" (?P<status>\d{3}|-) (?P<body_bytes_sent>\d++|-)'
    r'(?: "(?P<http_referer>.*?)" "(?P<http_user_agent>.*)")?',
    re.ASCII,
)
"""A line of a server that writes quotes as they are."""

MAX_TIMES = 8
"""Brackets with a time that are tried; one is there unless a server writes quotes as they are."""

_FORWARDED = re.compile(r"(?P<hops>.{1,1024}, ?[0-9a-fA-F:.]{2,45}) \S{1,64} (?P<user>.*)", re.DOTALL)
"""X-Forwarded-For in the place of the address, as Apache's logs behind a proxy have it (`%{X-Forwarded-For}i %l`). The
hops in front are what the client wrote, the last one is whom the proxy heard."""

_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,253})(?::\d{1,5})?\Z", re.ASCII)

TIME = ("msec", "time_iso8601", "time_local", "@timestamp", "timestamp", "time")
AGENT = ("http_user_agent", "user_agent", "agent")
FORWARDED = "http_x_forwarded_for"
TARGET = ("request_uri", "uri", "path")
METHOD = ("request_method", "method")
ID = ("request_id", "http_x_request_id")
REMAINING = ("sent_http_x_ratelimit_remaining", "sent_http_ratelimit_remaining")
NOT_CLIENT = frozenset(("http_user_agent", "http_x_forwarded_for", "http_x_request_id", "http_referer", "http_host"))
UNAUTHENTICATED = 401
"""Status of a request whose credentials were not accepted: they may be made up, or somebody else's name."""
CREDENTIALS = frozenset(("api_key", "remote_user"))
FIELDS = frozenset((*PEER, *TARGET, *METHOD, "request", "status", "body_bytes_sent", "http_user_agent"))
"""Fields of which a record must have one; what a shipper adds beside a line is none of them."""
FLAT = frozenset((*TIME, *PEER, "request", "status"))
"""Fields of which a damaged line must still hold one to be read at all."""

WHO = {
    "plan": ("plan",),
    "account_age": ("account_age", "account_created"),
    "country": ("geoip2_data_country_code", "geoip_country_code", "country"),
    "asn": ("geoip2_data_asn", "asn"),
    "payment": ("payment_fingerprint",),
}
"""As the operator names them in the log's format; the first ones are the GeoIP modules' own variables, or as their
manuals name them."""


def combined(line: str) -> dict[str, str] | None:
    """Return the fields of one line of the combined or common format under NGINX's names; None where it is none.

    Where a list of hops stands in the address' place, it is X-Forwarded-For, and there is no `remote_addr`.

    Raises
    ------
    Malformed
        With reason `fields` where the line has the format's end but begins with no client.
    """
    times = list(itertools.islice(_TIME.finditer(line), MAX_TIMES))
    for time in times:
        request = _REQUEST.match(line, time.end()) or _UNESCAPED.match(line, time.end())
        if request is not None:
            found = {key: value for key, value in request.groupdict().items() if value is not None}
            if not is_forwarded(found.get(FORWARDED, "")):
                found.pop(FORWARDED, None)
            return _client(line[: time.start()]) | time.groupdict() | found
    if not times:
        return None
    time = times[0]  # cut off within the request, as container runtimes split long lines
    return _client(line[: time.start()]) | time.groupdict() | {"request": unescaped(line[time.end() :])}


def _client(head: str) -> dict[str, str]:
    """What stands before the time: the client's address, the identity that nobody uses, and the user's name."""
    first, _, rest_of_head = head.partition(" ")
    second, _, behind = rest_of_head.partition(" ")
    if parse(first) is None and (forwarded := _FORWARDED.match(head)):
        return {FORWARDED: forwarded["hops"], "remote_user": forwarded["user"].strip()}
    if parse(second) is not None and (parse(first) is None or (behind.startswith("- ") and behind[2:].strip())):
        first, rest_of_head = second, behind  # a virtual host in front: any word that a client sends, an address too
    elif parse(first) is None and first != "unix:":
        if second != "-" or not _HOST.match(first) or ":" in first:
            raise Malformed(
                "fields", "the line begins with no client's address: a prefix or a log format that is not known"
            )
    return {"remote_addr": first, "remote_user": rest_of_head.partition(" ")[2].strip()}


class Nginx(Adapter):
    """One log line an element, combined or JSON."""

    name = "nginx"
    who = WHO
    marks = frozenset(("remote_addr", "request", "request_uri", "status", "body_bytes_sent"))

    def __init__(
        self,
        accounts: Sequence[str],
        identity: Identity,
        sketcher: TextSketcher,
        limit: int,
        addresses: Addresses | None = None,
    ) -> None:
        super().__init__(accounts, identity, sketcher, limit, addresses)
        self._once: list[bytes] = []
        """Fields that must stand in a line once: where a client wrote another, the first counts."""
        self.look_for({})

    def look_for(self, who: standing.Paths) -> None:
        super().look_for(who)
        fields = {*self.accounts, *PEER, *itertools.chain.from_iterable(self.who.values())}
        self._once = [f'"{field}"'.encode() for field in sorted(fields)]

    def element(self, raw: bytes) -> Iterator[Telemetry]:
        if raw[:1] in (b"{", b'"', b"") or is_array(raw):
            fields = under_our_names(self._fields(raw))
            if FIELDS.isdisjoint(fields):
                raise Malformed("fields", "no field of an access log is there, such as remote_addr, request or status")
            yield self._telemetry(fields, raw)
            return
        line = combined(raw.decode("utf-8", "replace"))
        if line is None:
            raise Malformed("fields", "neither JSON nor a line of the combined log format")
        if "remote_addr" not in line:
            line["remote_addr"] = self.addresses.client("", line[FORWARDED])
        yield self._telemetry(line, raw)

    def _fields(self, raw: bytes) -> Mapping[str, Any]:
        line = load_flat(raw, FLAT)
        if any(raw.count(field) > 1 for field in self._once):
            try:
                line = json.loads(raw, object_pairs_hook=_first_of_each)
            except ValueError:
                line = flat_fields(raw.decode("utf-8", "replace"))
        return line

    def _telemetry(self, line: Mapping[str, Any], raw: bytes) -> Telemetry:
        identity = self.identity
        moment = require_time(next((t for key in TIME if (t := timestamp(line.get(key))) is not None), None), TIME[2])
        agent, client = self.clients.agent(_any(line, AGENT))
        forwarded = text(line.get(FORWARDED))
        address = self.addresses.client(text(_any(line, PEER)), forwarded)
        ip, net = self.clients.address(address)
        status = count(line.get("status"))
        headers, n_headers = self.clients.headers(
            {
                key.removeprefix("http_").replace("_", "-"): value
                for key, value in line.items()
                if key.startswith("http_") and key not in NOT_CLIENT and text(value)
            }
        )
        method, target = text(_any(line, METHOD)), text(_any(line, TARGET))
        if not (method and target):
            method, target = rest.request_line(text(line.get("request")))
        remaining = _any(line, REMAINING)
        return Telemetry(
            id=self.request_id(text(_any(line, ID)), raw),
            time=moment,
            account=self.account(self._account(line, address, status)),
            key=identity.hash64("key", text(_any(line, ("api_key", "http_x_api_key")))),
            user=identity.hash64("user", text(line.get("remote_user"))),
            session=identity.hash64("session", text(_any(line, ("session", "cookie_session", "http_x_session_id")))),
            ip=ip,
            net=net,
            agent=agent,
            headers=headers,
            client=client,
            n_headers=n_headers,
            status=status if 100 <= status <= 999 else 0,
            duration=seconds(line.get("request_time")) or 0.0,
            remaining=count(remaining) if number(remaining) is not None else -1,
            **self.standing(line.get, moment),
            **rest.fields(method, target, identity),
        )

    def _account(self, line: Mapping[str, Any], address: str, status: int) -> str:
        """The first present of the named fields; a header may be named as clients send it (`X-Api-Key`).

        X-Forwarded-For stands for the client's address behind the operator's proxies. Credentials that the server
        refused name nobody.
        """
        for field in self.accounts:
            header = f"http_{field.lower().replace('-', '_')}"
            if FORWARDED in (field, header):
                found = address
            elif status == UNAUTHENTICATED and (field in CREDENTIALS or field.startswith("http_") or header in line):
                continue
            else:
                found = text(line.get(field)) or text(line.get(header))
            if found:
                return found
        return ""


def _first_of_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        found.setdefault(key, value)
    return found


def _any(line: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    """Return the first present value; a dash is absent."""
    for key in keys:
        if key in line and text(line[key]):
            return line[key]
    return None
