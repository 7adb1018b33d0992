"""Keyed hashing of identifiers: requests of one account are recognised as such, and nobody can tell its name.

It turns names into hashes that only the holder of the key can recompute; it never stores a name beyond a bounded
cache in memory, and never writes one anywhere.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache

from siphonwatch.streams.common.settings import Settings, SettingsError

MIN_KEY = 16
"""Characters; below this a key can be guessed by trying."""

CACHED = 1 << 15
"""Hashes kept per kind: accounts and keys recur on every request, and 32,768 of them cost about 10 MB."""

CACHED_CHARS = 256
"""Longer values are hashed each time, so that the cache stays bounded in bytes and not only in entries."""

_PLAIN = re.compile(r"[\x21-\x7e]{1,64}\Z")


class Identity:
    """Keyed one-way names for accounts, keys, users, sessions and addresses.

    Each hash is keyed BLAKE2b (RFC 7693, a MAC by construction) under a key derived from the operator's secret for
    that one domain, so the same value in two fields gives two unrelated hashes.

    Parameters
    ----------
    key
        The deployment's secret, at least `MIN_KEY` characters; every gateway and worker shares it.
    plain_ids
        Keep account names readable where the telemetry contract allows them. Everything else stays hashed.

    Raises
    ------
    SettingsError
        If the key is missing or short.

    Notes
    -----
    Rotation: a new key gives new ids, and nothing links them to the old ones, which is the point of rotating. The
    price is that windows, baselines and open cases of the old ids end there. To rotate: pick a quiet hour, note open
    cases by account (analysts can recompute an old hash only while they hold the old key), set the new
    `SIPHONWATCH_IDENTITY_KEY` on **all** gateways and workers together, and restart them. Until the last one has it,
    one account appears under two ids. Allow a baseline's learning time before trusting own-baseline detectors again.
    What was sealed under the old key workers open with `identity.seal_key`: take what `siphonwatch doctor --seal-key`
    prints under it. Destroy the old key when the last alert that names an old id is no longer needed: from then on
    nobody can reverse it by trying names.

    Examples
    --------
    >>> identity = Identity("a secret of the deployment")
    >>> identity.hash64("ip", "192.0.2.7") == identity.hash64("user", "192.0.2.7")
    False
    >>> len(identity.account("acme")), identity.hash64("ip", "")
    (32, '')
    """

    def __init__(self, key: str, plain_ids: bool = False) -> None:
        if len(key) < MIN_KEY:
            state = "not set" if not key else f"only {len(key)} characters, at least {MIN_KEY} are needed"
            raise SettingsError(
                f"identity.key is {state}: identifiers and text cannot be hashed. "
                "Set SIPHONWATCH_IDENTITY_KEY to the same secret on every gateway and worker (`openssl rand -hex 32`)"
            )
        self.plain_ids = plain_ids
        self._root = hashlib.blake2b(_encode(key), digest_size=32, person=b"siphonwatch-v1").digest()
        self._cached_account = lru_cache(CACHED)(self._account)
        self._cached_hash64 = lru_cache(CACHED)(self._hash64)
        self._domain_key = lru_cache(256)(self._derive)

    @classmethod
    def from_settings(cls, settings: Settings) -> Identity:
        """Build from `[identity]` of the settings.

        Raises
        ------
        SettingsError
            If `identity.key` is empty or short; the message says how to make and set one.
        """
        return cls(settings.identity.key, settings.identity.plain_ids)

    def account(self, name: str) -> str:
        """Return the account's id: 32 hexadecimal digits, '' for ''.

        With `plain_ids`, the name itself where it is 1..64 printable ASCII characters without space.
        """
        if not name:
            return ""
        if self.plain_ids and _PLAIN.match(name):
            return name
        return self._cached_account(name) if len(name) <= CACHED_CHARS else self._account(name)

    def hash64(self, domain: str, value: str) -> str:
        """Return 16 hexadecimal digits for `value` in the field `domain`, '' for ''."""
        if not value:
            return ""
        return self._cached_hash64(domain, value) if len(value) <= CACHED_CHARS else self._hash64(domain, value)

    def key_of(self, domain: str) -> bytes:
        """Return the 32 bytes that the hashes of `domain` are keyed with, for code that computes them itself."""
        return self._domain_key(domain)

    def offset(self, domain: str, value: str) -> int:
        """Return a keyed offset in 0 .. 2**40-1: added to a counter it hides values and keeps differences."""
        return int.from_bytes(self._mac(f"offset {domain}", value, 8), "big") >> 24

    def secret(self, purpose: str) -> bytes:
        """Return 32 bytes that only the key's holder can derive, for keyed constructions beyond plain hashing."""
        return self._domain_key(f"secret {purpose}")

    def __repr__(self) -> str:
        return f"Identity(plain_ids={self.plain_ids})"

    def _derive(self, domain: str) -> bytes:
        return hashlib.blake2b(_encode(domain), key=self._root, digest_size=32, person=b"domain").digest()

    def _mac(self, domain: str, value: str, size: int) -> bytes:
        return hashlib.blake2b(_encode(value), key=self._domain_key(domain), digest_size=size).digest()

    def _account(self, name: str) -> str:
        return self._mac("account", name, 16).hex()

    def _hash64(self, domain: str, value: str) -> str:
        return self._mac(domain, value, 8).hex()


def _encode(text: str) -> bytes:
    """UTF-8 that takes lone surrogates too: logs hold them, and two different ones must stay different."""
    return text.encode("utf-8", "surrogatepass")
