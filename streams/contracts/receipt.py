"""The receipt contract, version 1: what one partition of a worker found of an account that was to be erased."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from siphonwatch.streams.contracts.control import Id, Time


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """The last one of an order and a partition counts: a crash may repeat one."""

    order: Id
    """Id of the control record."""
    stream: Annotated[str, Meta(max_length=64)]
    """Whose partition: `telemetry` or `sightings`."""
    partition: Annotated[int, Meta(ge=0)]
    offset: Annotated[int, Meta(ge=0)]
    """Of the partition's topic: from there on nothing of the account is in the state."""
    counts: dict[str, Annotated[int, Meta(ge=0)]]
    """What was found, by place; removed unless `dry_run`."""
    dry_run: bool = False
    time: Time
    v: Literal[1] = 1


class NotAReceipt(ValueError):
    """A record that is no receipt of ours."""


_decoder = msgspec.json.Decoder(Receipt)
_encoder = msgspec.json.Encoder()


def encode(receipt: Receipt) -> bytes:
    """Serialise one receipt as one line of JSON."""
    return _encoder.encode(receipt)


def decode(raw: bytes) -> Receipt:
    """Parse and validate one receipt.

    Raises
    ------
    NotAReceipt
        When it is none of version 1.
    """
    try:
        return _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise NotAReceipt(str(error)) from None


def json_schema() -> dict[str, Any]:
    """Return JSON Schema (2020-12) of receipt v1."""
    schema = msgspec.json.schema(Receipt)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["$id"] = "urn:siphonwatch:receipt:v1"
    return schema
