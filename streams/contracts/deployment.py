"""The deployments contract, version 1: what each partition says when another version begins to judge in it.

Records are appended and never changed, so that "which version judged at time T" has an answer. A record that was sent
again after a crash is the same but for `told`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from siphonwatch.streams.contracts.telemetry import Malformed


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """From an offset of a partition on, a version judges in a role, or nothing does."""

    stream: Literal["telemetry", "sightings"]
    partition: Annotated[int, Meta(ge=0)]
    role: Literal["champion", "challenger", "previous"]
    version: Annotated[str, Meta(pattern="^([0-9a-f]{12})?$(?!\\n)")]
    """Empty where nothing is in the role any more."""
    name: str = ""
    offset: Annotated[int, Meta(ge=0)]
    """The first one that it judges."""
    event_time: float
    """Of the partition then, seconds since 1970; 0 before the first request."""
    told: float
    """When this was sent, seconds since 1970."""
    release: str = ""
    """Of the worker's code."""
    by: str = ""
    why: str = ""
    forced: bool = False
    v: Literal[1] = 1

    @property
    def key(self) -> tuple[str, int, str, str, int]:
        """The same of a record that was sent again."""
        return self.stream, self.partition, self.role, self.version, self.offset


class NotADeployment(Malformed):
    """A record that is none; it quotes no content."""


_decoder = msgspec.json.Decoder(Applied)
_encoder = msgspec.json.Encoder()


def encode(applied: Applied) -> bytes:
    """Serialise one record as one line of JSON."""
    return _encoder.encode(applied)


def decode(raw: bytes) -> Applied:
    """Parse and validate one record.

    Raises
    ------
    NotADeployment
        When it is none of version 1.
    """
    try:
        return _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise NotADeployment("schema", "an unknown value" if "Invalid enum" in str(error) else str(error)) from None


def once(records: Iterable[Applied]) -> list[Applied]:
    """Return the records without those that were sent again, in the order of the log."""
    return list({record.key: record for record in reversed(list(records))}.values())[::-1]


def judging(records: Iterable[Applied], time: float, *, by_event: bool = True) -> dict[tuple[str, int, str], Applied]:
    """Return what judged at a time, by stream, partition and role: event time, or when it was told.

    Examples
    --------
    >>> facts = {"role": "champion", "version": "0" * 12, "offset": 7, "event_time": 5.0, "told": 9.0}
    >>> one = Applied(stream="telemetry", partition=0, **facts)
    >>> sorted(judging([one], 6.0)), sorted(judging([one], 4.0)), sorted(judging([one], 6.0, by_event=False))
    ([('telemetry', 0, 'champion')], [], [])
    """
    found: dict[tuple[str, int, str], Applied] = {}
    for record in records:
        if (record.event_time if by_event else record.told) <= time:
            found[record.stream, record.partition, record.role] = record
    return {place: record for place, record in found.items() if record.version}


def json_schema() -> dict[str, Any]:
    """Return JSON Schema (2020-12) of deployment v1."""
    schema = msgspec.json.schema(Applied)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["$id"] = "urn:siphonwatch:deployment:v1"
    return schema
