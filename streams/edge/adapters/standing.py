"""Reads what a gateway knows of a customer beyond its name: plan, age of the account, country, network, means of
payment. The last two leave it only as keyed hashes; what is not known, or makes no sense, stays empty."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.edge.adapters.values import name, number, text, timestamp

FIELDS = ("plan", "account_age", "country", "asn", "payment")
"""Of telemetry, and of the section `who` of the settings."""

DAY = 86_400.0
MOST_DAYS = 100_000
"""A number from here on is the time when the account was made, in seconds or finer, and no longer its age in days."""
EARLIEST = 946_684_800.0
"""The year 2000, in seconds since 1970: an account that is said to be older has no known age."""

ASN = re.compile(r"(?:AS)?(\d{1,10})(?:\.0)?(?![\d.])", re.ASCII | re.IGNORECASE)
NO_COUNTRY = ("XX", "ZZ")
"""Codes for an unknown country: Cloudflare's, and ISO 3166's for users to assign that CLDR took."""

Paths = Mapping[str, Sequence[str]]
"""Of each of `FIELDS`, where it stands: dotted paths, the first present one wins."""


def fields(find: Callable[[str], Any], paths: Paths, time: float, identity: Identity) -> dict[str, Any]:
    """Return the fields that a record has, as telemetry has them.

    Parameters
    ----------
    find
        Gives what stands at a path of the record.
    paths
        Where to look.
    time
        Of the request, seconds since 1970.
    identity
        Hashes network and means of payment.

    Examples
    --------
    >>> record = {"plan": "Pro", "born": "2026-01-01T00:00:00Z", "geo": "de", "as": "AS64500 Example"}
    >>> paths = {"plan": ["plan"], "account_age": ["born"], "country": ["geo"], "asn": ["as"], "payment": ["card"]}
    >>> found = fields(record.get, paths, 1769904000.0, Identity("a secret of the deployment"))
    >>> found["plan"], found["account_age"], found["country"], len(found["asn"]), "payment" in found
    ('pro', 31, 'DE', 16, False)
    """
    found: dict[str, Any] = {}
    for field, places in paths.items():
        for place in places:
            value = find(place)
            if value is not None and text(value):
                found[field] = _READERS[field](value, time, identity)
                break
    return found


def _plan(value: Any, _time: float, _identity: Identity) -> str:
    return name(value, 32).lower()


def _age(value: Any, time: float, _identity: Identity) -> int:
    days = number(value)
    if days is not None and days < MOST_DAYS:
        return int(days) if days >= 0 else -1
    made = timestamp(value)
    return -1 if made is None or made < EARLIEST else max(0, int((time - made) // DAY))


def _country(value: Any, _time: float, _identity: Identity) -> str:
    code = text(value).strip().upper()
    return code if len(code) == 2 and code.isascii() and code.isalpha() and code not in NO_COUNTRY else ""


def _asn(value: Any, _time: float, identity: Identity) -> str:
    """Of 64500, `AS64500`, `AS64500 Example Ltd` and `AS64500, Example` alike."""
    found = ASN.match(text(value).strip())
    return identity.hash64("asn", str(int(found[1]))) if found else ""


def _payment(value: Any, _time: float, identity: Identity) -> str:
    return identity.hash64("payment", text(value))


_READERS = {"plan": _plan, "account_age": _age, "country": _country, "asn": _asn, "payment": _payment}
