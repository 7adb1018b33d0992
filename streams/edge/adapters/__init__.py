"""Sources to telemetry: one file a source. `make_adapter` gives the adapter of a format, `read_records` the raw records
of a file, `detect` the format of a sample. Which formats there are, `siphonwatch.streams.common.extensions` says."""

from __future__ import annotations

from siphonwatch.streams.common import extensions
from siphonwatch.streams.common.addresses import Addresses
from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts.sealed import Sealer, seal_key
from siphonwatch.streams.edge.adapters.base import Adapter, TextSketcher
from siphonwatch.streams.edge.adapters.detect import detect
from siphonwatch.streams.edge.adapters.files import Records, Unreadable, read_records
from siphonwatch.streams.edge.adapters.standing import FIELDS

__all__ = ["Adapter", "Records", "TextSketcher", "Unreadable", "detect", "formats", "make_adapter", "read_records"]


def formats() -> tuple[str, ...]:
    """Return the formats there are, ours first."""
    return extensions.names(extensions.ADAPTERS)


def make_adapter(format: str, settings: Settings, sketcher: TextSketcher, identity: Identity | None = None) -> Adapter:
    """Build the adapter of one format.

    Parameters
    ----------
    format
        One of `formats`.
    settings
        `accounts.<format>`, `who`, `identity` and `ingest.max_record_bytes` are used.
    sketcher
        Turns text into its sketch.
    identity
        Hashes names; made from the settings where it is not given.

    Raises
    ------
    ValueError
        When the format is not known, or what another distribution adds cannot be used.
    SettingsError
        When identity.key is missing or short.
    """
    if format not in formats():
        raise ValueError(f"format {format!r} is not known: use one of {', '.join(formats())}")
    kind: type[Adapter] = extensions.load(extensions.ADAPTERS, format)
    accounts: list[str] = getattr(settings.accounts, format, [])
    identity = identity or Identity.from_settings(settings)
    addresses = Addresses(settings.accounts.trusted_proxies, settings.accounts.ipv6_prefix)
    adapter = kind(accounts, identity, sketcher, settings.ingest.max_record_bytes, addresses)
    adapter.look_for({field: paths for field in FIELDS if (paths := getattr(settings.who, field))})
    if settings.identity.seal:
        adapter.sealer = Sealer(seal_key(identity))
    return adapter
