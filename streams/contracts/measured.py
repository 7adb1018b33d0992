"""What a challenger costs and how it scores in one partition: a record among what shadows find, every few minutes.

It names no account. A reader of alerts passes it over: it is none.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from siphonwatch.streams.contracts.telemetry import Malformed

_Amount = Annotated[float, Meta(ge=0)]
_Count = Annotated[int, Meta(ge=0)]


class Cohort(msgspec.Struct, frozen=True):
    """Mean scores of one pattern over the benign account-hours of one cohort that each judge has learnt."""

    champion: float
    challenger: float
    hours: _Amount
    """Their weight, of the judge that has fewer."""


class Measured(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="measured"):
    """Since the record before, of one partition."""

    stream: Literal["telemetry", "sightings"]
    partition: _Count
    version: str
    requests: _Count
    """That the challenger judged."""
    seconds: _Amount
    """That it took."""
    champion_seconds: _Amount
    """That scoring the same requests took without any shadow."""
    size: _Count
    """Bytes that it keeps beside the rows, at the end."""
    rows: _Count
    """Accounts, or fingerprints, in memory then."""
    cohorts: dict[str, dict[str, Cohort]] = {}
    """By pattern and cohort, at the end; of accounts only."""
    event_time: float
    """Of the partition then, seconds since 1970."""
    time: _Amount
    """When it was sent, seconds since 1970."""
    v: Literal[1] = 1


class NotMeasured(Malformed):
    """A record that is none; it quotes no content."""


_decoder = msgspec.json.Decoder(Measured)
_encoder = msgspec.json.Encoder()


def encode(measured: Measured) -> bytes:
    """Serialise one record as one line of JSON."""
    return _encoder.encode(measured)


def decode(raw: bytes) -> Measured:
    """Parse and validate one record.

    Raises
    ------
    NotMeasured
        When it is none of version 1.
    """
    try:
        return _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise NotMeasured("schema", str(error)) from None
