"""Reads a plain REST request's path: the route with identifiers taken out, the resource, an item and the page.

The resource is the path with those query parameters that say what is asked for, so that a reload or a poll for changes
names the same one again, and each page of a listing another.

Values leave only as keyed hashes, or under a keyed offset that keeps differences.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.edge.adapters.values import COUNT_MAX

PATH_CHARS = 2048
"""Characters of a target that are read; servers refuse longer ones by default (RFC 9110 asks for 8000 at least, but
what enumerates stands in front)."""

MAX_ITEM = 2**52
"""A numeric identifier plus its offset stays an exact double."""

PAGES = frozenset(("page", "p", "page_number", "pagenumber", "paged", "offset", "start", "skip", "from"))
"""Query parameters that walk a listing by number."""

CURSORS = frozenset(
    ("cursor", "after", "next", "next_token", "nexttoken", "page_token", "pagetoken", "continuation", "scroll_id",
     "starting_after", "marker", "continue", "bookmark")
)  # fmt: skip
"""Query parameters that name the next page of a listing by a token."""

VOLATILE = frozenset(
    ("since", "updated_since", "modified_since", "updated_after", "modified_after", "created_after", "changed_since",
     "updated_at", "until", "before", "timestamp", "ts", "t",
     "_", "nonce", "sig", "signature", "expires", "token", "access_token", "api_key", "apikey", "request_id",
     "session", "v", "utm_source", "utm_medium", "utm_campaign")
)  # fmt: skip
"""Query parameters that change although the same is asked for again: what is new since, and the client's own."""

EPOCH_SECONDS = 10**9
"""A page number from here on is a time."""

IDS = frozenset(
    ("id", "ids", "key", "slug", "uuid", "sku", "isbn", "asin", "name", "user", "username", "email", "doc", "item")
)
"""Query parameters that name a resource, beside those that end in `id`."""

METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"))

_VERSION = re.compile(r"v\d{1,2}(\.\d{1,2})?\Z", re.ASCII)
_NUMBER = re.compile(r"\d++", re.ASCII)
_OPAQUE = re.compile(r"(?=.*\d)[A-Za-z0-9_-]{16,}\Z|[0-9a-fA-F]{8,}\Z|.*@.*\.", re.ASCII)
_SLUG = re.compile(r"[^-_]++(?:[-_][^-_]++){2,}\Z")
_EXTENSION = re.compile(r"(.*?)(\.[A-Za-z]{1,5})\Z", re.ASCII)


def fields(method: str, target: str, identity: Identity) -> dict[str, Any]:
    """Return telemetry's REST fields of one request line.

    Parameters
    ----------
    method
        HTTP method; anything else (a broken request line) gives no route.
    target
        Path with query, or an absolute URL.

    Examples
    --------
    >>> identity = Identity("a secret of the deployment")
    >>> a = fields("GET", "/v1/items/41?page=3", identity)
    >>> b = fields("GET", "/v1/items/42?page=4", identity)
    >>> a["route"] == b["route"], b["item"] - a["item"], b["page"]
    (True, 1, 4)
    """
    verb = method.upper()
    if verb not in METHODS or not target:
        return {"kind": "rest", "op": verb.lower() if verb in METHODS else ""}
    path, _, query = target[:PATH_CHARS].partition("#")[0].partition("?")
    if "://" in path:
        path = "/" + path.partition("://")[2].partition("/")[2]
    template, item, page = _path(path)
    named = [path]
    for parameter, value in parse_qsl(query, max_num_fields=None, encoding="utf-8", errors="replace"):
        name = parameter.lower()
        number = int(value) if value.isascii() and value.isdigit() and len(value) <= 15 else -1
        if name in VOLATILE or (name in PAGES and number >= EPOCH_SECONDS):
            continue
        named.append(f"{name}={value}")
        if name in CURSORS:
            page = COUNT_MAX
        elif name in PAGES and number >= 0:
            page = number
        elif item < 0 and (name in IDS or name.endswith(("_id", "-id"))):
            item = number
    route = f"{verb} {template}"
    return {
        "kind": "rest",
        "op": verb.lower(),
        "route": identity.hash64("route", route),
        "resource": identity.hash64("resource", "\n".join(named)),
        "item": item + identity.offset("item", route) if 0 <= item <= MAX_ITEM else -1,
        "page": page,
    }


def _path(path: str) -> tuple[str, int, int]:
    """Return (template, last numeric identifier or -1, page or -1)."""
    parts: list[str] = []
    item = page = -1
    for segment in path.split("/"):
        segment = unquote_plus(segment) if "%" in segment else segment
        if not segment or _VERSION.match(segment):
            parts.append(segment)
            continue
        if segment.isascii() and segment.isdigit() and len(segment) <= 15:
            number = int(segment)
            if parts and parts[-1].lower() in PAGES:
                page = min(number, COUNT_MAX)
            else:
                item = number
            parts.append("{n}")
            continue
        extension = _EXTENSION.match(segment)
        stem, suffix = extension.groups() if extension else (segment, "")
        if _OPAQUE.match(segment) or _OPAQUE.match(stem):
            parts.append("{id}" + suffix)
        elif _SLUG.match(stem):
            parts.append("{slug}" + suffix)
        elif _NUMBER.search(stem):
            numeral = _NUMBER.findall(stem)[-1]
            item = int(numeral) if len(numeral) <= 15 else item
            parts.append(_NUMBER.sub("{n}", stem) + suffix)
        else:
            parts.append(segment)
    return "/".join(parts), item, page


def request_line(line: str) -> tuple[str, str]:
    """Return (method, target) of `GET /path HTTP/1.1`; empty strings for what is no request line."""
    method, _, rest = line.partition(" ")
    target = rest.rpartition(" ")[0] if rest.rpartition(" ")[2].startswith("HTTP/") else rest
    return (method, target) if method in METHODS else ("", "")
