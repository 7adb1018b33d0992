"""Signed webhooks as Standard Webhooks (standardwebhooks.com) has them: signs what we send, and verifies what a
receiver got. It keeps no secret and sends nothing.

The standardwebhooks package (1.1) is not used: it signs with one key where secrets rotate, takes text in the place of
the body's bytes, accepts secrets shorter than the standard allows, and reads the time itself.

A receiver in Python may use `verify` as it is; any Standard Webhooks library does the same:

1. take the headers `webhook-id`, `webhook-timestamp` (seconds since 1970), `webhook-signature`, and the body's bytes;
2. refuse a timestamp more than five minutes from now, which an old message sent again would have;
3. compute base64(HMAC-SHA256(key, id + "." + timestamp + "." + body)); the key is the base64 after `whsec_`, decoded;
4. compare it, in constant time, with each `v1,...` of the signature header, which holds several while secrets rotate;
5. take a `webhook-id` that was taken before for a repetition: it is the alert's id, and delivery is at least once.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence

PREFIX = "whsec_"
TOLERANCE_SECONDS = 300.0
LEAST_BYTES = 24
"""Of a secret, as the standard has it."""


class BadSecret(ValueError):
    """A webhook's secret cannot be used; the message does not show it."""


class BadSignature(ValueError):
    """A message is not from who shares the secret, or is too old; the message says which."""


def keys(text: str) -> list[bytes]:
    """Return the keys of one or several secrets, separated by blanks or commas.

    Raises
    ------
    BadSecret
        When there is none, or one is not `whsec_` and the base64 of 24 bytes or more.
    """
    found = [part for part in re.split(r"[\s,]+", text) if part]
    if not found:
        raise BadSecret("no secret: make one with `echo whsec_$(openssl rand -base64 32)`")
    return [_key(part) for part in found]


def _key(secret: str) -> bytes:
    cure = "make one with `echo whsec_$(openssl rand -base64 32)`"
    if not secret.startswith(PREFIX):
        raise BadSecret(f"a secret does not begin with {PREFIX}: {cure}")
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        raise BadSecret(f"what follows {PREFIX} in a secret is not base64: {cure}") from None
    if len(key) < LEAST_BYTES:
        raise BadSecret(f"a secret has {len(key)} bytes, {LEAST_BYTES} are the least: {cure}")
    return key


def sign(keys: Sequence[bytes], id: str, timestamp: int, body: bytes) -> str:
    """Return the value of `webhook-signature`, one signature a key."""
    return " ".join("v1," + base64.b64encode(_mac(key, id, timestamp, body)).decode() for key in keys)


def verify(
    keys: Sequence[bytes],
    headers: Mapping[str, str],
    body: bytes,
    now: float,
    tolerance: float = TOLERANCE_SECONDS,
) -> str:
    """Return the id of a message that is genuine and fresh.

    Parameters
    ----------
    keys
        Of the secrets that are good now.
    headers
        Of the request, with names in lower case or a mapping that ignores case.
    body
        Bytes as they came.
    now
        Seconds since 1970.
    tolerance
        Seconds that the timestamp may differ from `now`.

    Raises
    ------
    BadSignature
        When a header is missing or malformed, the timestamp is too old or ahead, or no signature fits.
    """
    try:
        id, stamp, given = (headers[f"webhook-{name}"] for name in ("id", "timestamp", "signature"))
    except KeyError as error:
        raise BadSignature(f"header {error.args[0]} is missing") from None
    if not re.fullmatch(r"[0-9]{1,12}", stamp):
        raise BadSignature("webhook-timestamp is no number of seconds")
    timestamp = int(stamp)
    if abs(now - timestamp) > tolerance:
        raise BadSignature(f"webhook-timestamp is {abs(now - timestamp):.0f} s from now, {tolerance:.0f} at most")
    signatures = [
        part.partition(",")[2].encode(errors="replace") for part in given.split(" ") if part.startswith("v1,")
    ]
    expected = [base64.b64encode(_mac(key, id, timestamp, body)) for key in keys]
    # Every pair is compared, so that the time tells nothing of which one fits.
    if not any([hmac.compare_digest(one, other) for one in expected for other in signatures]):
        raise BadSignature("no signature fits")
    return id


def _mac(key: bytes, id: str, timestamp: int, body: bytes) -> bytes:
    signed = f"{id}.{timestamp}.".encode(errors="surrogateescape")  # bytes of a header that are no UTF-8
    return hmac.digest(key, signed + body, hashlib.sha256)
