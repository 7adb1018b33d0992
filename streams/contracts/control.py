"""The control contract, version 1: what people decide for workers while these run, by the kind of record in `type`.

Records stand on a compacted topic, keyed by `id`: the last one of an id counts. A worker applies each at one offset of
every partition, between two checkpoints. Reasons and names stay on this topic; they reach no alert, metric or log. A
record that cannot be read goes to the dead-letter topic as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from siphonwatch.streams.contracts.telemetry import Malformed

MAX_WHY = 2000
MAX_ACCOUNTS = 1000
"""Of one entry: as many as an alert names."""
MAX_BYTES = 256 * 1024
"""Of a record; a larger one is not looked at."""

Id = Annotated[str, Meta(pattern="^[0-9a-f]{12}$(?!\\n)")]
Time = Annotated[float, Meta(ge=0, le=2**34)]
Account = Annotated[str, Meta(min_length=1, max_length=64)]
Person = Annotated[str, Meta(min_length=1, max_length=64)]
Why = Annotated[str, Meta(max_length=MAX_WHY)]


class Allow(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="allow"):
    """Alerts of a pattern that are not sent: of a case, and of every case that is about these accounts alone."""

    id: Id
    pattern: Annotated[str, Meta(min_length=1, max_length=64)]
    until: Time
    """Event time from which they are sent again, seconds since 1970."""
    accounts: Annotated[list[Account], Meta(max_length=MAX_ACCOUNTS)] = []
    case: Annotated[str, Meta(pattern="^([0-9a-f]{16})?$(?!\\n)")] = ""
    why: Why
    by: Person
    time: Time
    """When it was decided, seconds since 1970."""
    v: Literal[1] = 1


class AllowEnd(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="allow-end"):
    """The entry of this id allows nothing any more."""

    id: Id
    why: Why = ""
    by: Person
    time: Time
    v: Literal[1] = 1


Control = Allow | AllowEnd


class NotAControl(Malformed):
    """A record that is none of these, with reason `json`, `encoding`, `schema` or `size`; it quotes no content."""


_decoder = msgspec.json.Decoder(Control)
_encoder = msgspec.json.Encoder()


def encode(control: Control) -> bytes:
    """Serialise one record as one line of JSON."""
    return _encoder.encode(control)


def decode(raw: bytes) -> Control:
    """Parse and validate one record.

    Raises
    ------
    NotAControl
        When it is none of version 1, or larger than `MAX_BYTES`.
    """
    if len(raw) > MAX_BYTES:
        raise NotAControl("size", f"{len(raw):,} bytes, where {MAX_BYTES:,} are the most")
    try:
        control: Control = _decoder.decode(raw)
    except msgspec.ValidationError as error:
        # What msgspec says of an unknown tag quotes it.
        raise NotAControl("schema", "an unknown type" if "Invalid value" in str(error) else str(error)) from None
    except UnicodeError:
        raise NotAControl("encoding", "not UTF-8") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise NotAControl("json", str(error)) from None
    if isinstance(control, Allow) and not control.accounts and not control.case:
        raise NotAControl("schema", "it names neither accounts nor a case")
    return control


def standing(controls: Iterable[Control]) -> dict[str, Allow]:
    """Return the entries that were not ended, by id, in the order of the log; expired ones are among them."""
    last: dict[str, Allow] = {}
    for control in controls:
        last.pop(control.id, None)
        if isinstance(control, Allow):
            last[control.id] = control
    return last


def json_schema() -> dict[str, Any]:
    """Return JSON Schema (2020-12) of control v1."""
    schema = msgspec.json.schema(Control)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["$id"] = "urn:siphonwatch:control:v1"
    return schema
