"""Telemetry v1 itself: validates and passes on; what a gateway that sketches on its own already speaks."""

from __future__ import annotations

from collections.abc import Iterator

from siphonwatch.streams.contracts.telemetry import Malformed, Telemetry, decode
from siphonwatch.streams.edge.adapters.base import Adapter


class TelemetryV1(Adapter):
    """One telemetry record an element. Accounts are taken unchanged: they are ids already."""

    name = "telemetry"
    marks = frozenset(("account", "time"))

    def element(self, raw: bytes) -> Iterator[Telemetry]:
        try:
            record = decode(raw)
        except UnicodeError:
            raise Malformed("encoding", "a string is not UTF-8") from None
        yield record
