"""Sources to telemetry: one file a source. `make_adapter` gives the adapter of a format, `read_records` the raw records
of a file, `detect` the format of a sample. Adding a source is adding its file and its line here and in `detect`."""

from __future__ import annotations

from streams.adapters.base import Adapter, TextSketcher
from streams.adapters.detect import FORMATS, detect
from streams.adapters.envoy import Envoy
from streams.adapters.files import Records, Unreadable, read_records
from streams.adapters.kong import Kong
from streams.adapters.litellm import LiteLLM
from streams.adapters.nginx import Nginx
from streams.adapters.otlp import Otlp
from streams.adapters.telemetry import TelemetryV1
from streams.addresses import Addresses
from streams.identity import Identity
from streams.settings import Settings

__all__ = ["FORMATS", "Adapter", "Records", "TextSketcher", "Unreadable", "detect", "make_adapter", "read_records"]

ADAPTERS: dict[str, type[Adapter]] = {
    adapter.name: adapter for adapter in (TelemetryV1, LiteLLM, Otlp, Kong, Envoy, Nginx)
}


def make_adapter(format: str, settings: Settings, sketcher: TextSketcher, identity: Identity | None = None) -> Adapter:
    """Build the adapter of one format.

    Parameters
    ----------
    format
        One of `FORMATS`.
    settings
        `accounts.<format>`, `identity` and `ingest.max_record_bytes` are used.
    sketcher
        Turns text into its sketch.
    identity
        Hashes names; made from the settings where it is not given.

    Raises
    ------
    ValueError
        When the format is not known.
    SettingsError
        When identity.key is missing or short.
    """
    if format not in ADAPTERS:
        raise ValueError(f"format {format!r} is not known: use one of {', '.join(FORMATS)}")
    accounts: list[str] = getattr(settings.accounts, format, [])
    identity = identity or Identity.from_settings(settings)
    addresses = Addresses(settings.accounts.trusted_proxies, settings.accounts.ipv6_prefix)
    return ADAPTERS[format](accounts, identity, sketcher, settings.ingest.max_record_bytes, addresses)
