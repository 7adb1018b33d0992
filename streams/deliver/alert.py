"""One record of the alerts topic as sinks and commands take it: its bytes, and the alert they hold. Formats nothing."""

from __future__ import annotations

import msgspec

from siphonwatch.streams.contracts.alert import Alert, Own, decode


class AlertRecord(msgspec.Struct, frozen=True):
    """An alert with the record it came in."""

    value: bytes
    """The record's value, a CloudEvent in JSON."""
    event: Alert
    """The same, decoded."""
    sent: float
    """When the worker sent it, by the record's stamp, seconds since 1970."""

    @property
    def id(self) -> str:
        """Of the alert."""
        return self.event.id

    @property
    def kind(self) -> str:
        """`opened`, `updated` or `closed`."""
        return self.event.kind

    @property
    def severity(self) -> str:
        """`low` to `critical`."""
        return self.event.data.severity.lower()

    @property
    def title(self) -> str:
        """Of the pattern."""
        return self.event.data.finding_info.title

    @property
    def message(self) -> str:
        """The finding in one sentence."""
        return self.event.data.message

    @property
    def time(self) -> float:
        """Event time at which the evidence sufficed, seconds since 1970."""
        return self.event.data.time / 1000

    @property
    def opened(self) -> float:
        """Event time at which the case opened, seconds since 1970."""
        return self.event.data.finding_info.created_time / 1000

    @property
    def own(self) -> Own:
        """What OCSF has no place for."""
        return self.event.own

    @property
    def case(self) -> str:
        """Id of the case."""
        return self.own.case

    @property
    def test(self) -> bool:
        """Whether `deliver --check` made it: nothing was detected."""
        return self.own.test is True

    @property
    def version(self) -> str:
        """Of the models that found it."""
        return self.event.data.metadata.product.version


def read(value: bytes | None, sent: float) -> AlertRecord:
    """Read one record of the alerts topic.

    Parameters
    ----------
    value
        The record's value.
    sent
        Its stamp, seconds since 1970.

    Raises
    ------
    NotAnAlert
        When it is no alert.
    """
    return AlertRecord(value or b"", decode(value), sent)


class _Named(msgspec.Struct, frozen=True):
    id: str


_names = msgspec.json.Decoder(_Named)


def id_of(value: bytes | None) -> str:
    """Return an alert's id without reading the rest; empty where there is none."""
    try:
        return _names.decode(value or b"").id
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return ""
