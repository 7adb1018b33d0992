"""One alert as sinks see it: the record's own bytes, and what is told to people, checked once. Formats nothing."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

KIND_OF = {
    "siphonwatch.case.opened.v1": "opened",
    "siphonwatch.case.updated.v1": "updated",
    "siphonwatch.case.closed.v1": "closed",
}


_Id = Annotated[str, Meta(pattern=r"^[!-~]+\Z", max_length=200)]
"""A header carries it: what no header can would be tried for ever."""
_Milliseconds = Annotated[int, Meta(ge=0, le=253_402_300_799_000)]
"""Since 1970, up to the year 9999."""


class NotAnAlert(ValueError):
    """A record of the alerts topic is no alert of ours; the message says why and quotes none of it."""


class Signal(msgspec.Struct, frozen=True):
    """One reason for the score."""

    name: str
    observed: float | None
    baseline: float | None
    direction: str
    unit: str = ""


class Own(msgspec.Struct, frozen=True):
    """What sinks tell of `data.unmapped.siphonwatch`."""

    pattern: str
    accounts: list[str]
    case: str
    requests_seen: int
    e_value: float
    first_seen: str = ""
    signals: list[Signal] = []
    counterfactual: str = ""
    sample_requests: list[str] = []
    test: bool = False
    """Of `deliver --check`: nothing was detected."""


class _Unmapped(msgspec.Struct, frozen=True):
    siphonwatch: Own


class _Info(msgspec.Struct, frozen=True):
    title: str
    created_time: _Milliseconds


class _Data(msgspec.Struct, frozen=True):
    severity: Literal["Low", "Medium", "High", "Critical"]
    message: str
    time: _Milliseconds
    finding_info: _Info
    unmapped: _Unmapped


class _Event(msgspec.Struct, frozen=True):
    id: _Id
    type: Literal["siphonwatch.case.opened.v1", "siphonwatch.case.updated.v1", "siphonwatch.case.closed.v1"]
    time: datetime
    data: _Data


class Told(msgspec.Struct, frozen=True):
    """One alert."""

    value: bytes
    """The record's value, a CloudEvent in JSON."""
    event: dict[str, Any]
    """The same, decoded."""
    id: str
    kind: str
    """`opened`, `updated` or `closed`."""
    severity: str
    title: str
    """Of the pattern."""
    message: str
    time: float
    """Event time at which the evidence sufficed, seconds since 1970."""
    opened: float
    """Event time at which the case opened, seconds since 1970."""
    own: Own
    sent: float
    """When the worker sent it, by the record's stamp, seconds since 1970."""

    @property
    def case(self) -> str:
        """Id of the case."""
        return self.own.case

    @property
    def version(self) -> str:
        """Of the models that found it; empty where it does not say."""
        try:
            return str(self.event["data"]["metadata"]["product"]["version"])
        except (KeyError, TypeError):
            return ""


_decoder = msgspec.json.Decoder(dict[str, Any])
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def read(value: bytes | None, sent: float) -> Told:
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
    try:
        event = _decoder.decode(value or b"")
        checked = msgspec.convert(event, _Event)
    except _UNREADABLE as error:
        raise NotAnAlert(str(error)) from None
    if not checked.data.unmapped.siphonwatch.case:
        raise NotAnAlert("its case is empty")
    data = checked.data
    return Told(
        value=value or b"",
        event=event,
        id=checked.id,
        kind=KIND_OF[checked.type],
        severity=data.severity.lower(),
        title=data.finding_info.title,
        message=data.message,
        time=data.time / 1000,
        opened=data.finding_info.created_time / 1000,
        own=data.unmapped.siphonwatch,
        sent=sent,
    )


class _Named(msgspec.Struct, frozen=True):
    id: str


_names = msgspec.json.Decoder(_Named)


def id_of(value: bytes | None) -> str:
    """Return an alert's id without reading the rest; empty where there is none."""
    try:
        return _names.decode(value or b"").id
    except _UNREADABLE:
        return ""
