"""The features contract, version 1: features of requests and of fingerprints as they were when scored.

A record that was sent again after a crash is the same, byte for byte, under the same key: readers keep one of a key.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from siphonwatch.streams.contracts.telemetry import Malformed

FLOAT = np.dtype("<f4")


class Logged(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen and said of one request of telemetry, or of one fingerprint at one sighting."""

    partition: Annotated[int, Meta(ge=0, le=2**31 - 1, description="Of telemetry; over campaigns, of sightings.")]
    offset: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    incarnation: Annotated[str, Meta(description="Id of the topic, which one that was made anew has not.")] = ""
    account: Annotated[
        str, Meta(min_length=1, description="Whose request it was, as telemetry names it: a keyed hash.")
    ]
    time: Annotated[float, Meta(ge=0, le=2**34, description="Event time, seconds since 1970.")]
    at: Annotated[
        list[Literal["alert", "hourly"]],
        Meta(
            min_length=1,
            description="`alert`: it raised one that was sent. `hourly`: it is the account's first one after an hour "
            "of its own closed, and the features still hold that hour.",
        ),
    ]
    alerts: Annotated[list[str], Meta(description="Ids of the alerts that it raised.")] = []
    patterns: Annotated[
        list[str], Meta(description="Of each of `alerts`; none in records of before they were said.")
    ] = []
    over: Annotated[
        Literal["account", "campaign"],
        Meta(description="Whose features these are: the account's, or those of a fingerprint that accounts share."),
    ] = "account"
    row: Annotated[
        int, Meta(ge=0, le=2**31 - 1, description="Over campaigns, place in the record of sightings; else 0.")
    ] = 0
    fingerprint: Annotated[
        str, Meta(description="Over campaigns, which one, 16 hexadecimal digits: that of the first one names the case.")
    ] = ""
    version: Annotated[str, Meta(description="Of the detectors that judged.")]
    cards: Annotated[dict[str, str], Meta(description="Id of the card of each pattern.")]
    table: Annotated[str, Meta(description="Id of the tables of features: the order and meaning of `features`.")]
    features: Annotated[
        bytes, Meta(description="float32, little endian, in the order of the table of accounts, or of fingerprints.")
    ]
    scores: Annotated[dict[str, float], Meta(description="By pattern, in [0, 1].")]
    log_e: Annotated[
        dict[str, float],
        Meta(description="By pattern, natural logarithm of the e-value after the request; left out where none is."),
    ]
    v: Literal[1] = 1

    @property
    def key(self) -> tuple[str, str, int, int, int, str]:
        """The same of a record that was sent again."""
        return self.over, self.incarnation, self.partition, self.offset, self.row, self.fingerprint

    @property
    def vector(self) -> npt.NDArray[np.float32]:
        """The features, `(F,)`."""
        return np.frombuffer(self.features, FLOAT)


class NoFeatures(Malformed):
    """A record that is none; it quotes no content."""


_decoder = msgspec.json.Decoder(Logged)
_encoder = msgspec.json.Encoder()


def by_pattern(patterns: Sequence[str], values: npt.NDArray[np.float32]) -> dict[str, float]:
    """Return values, `(P,)`, by pattern, without those that are no numbers.

    Examples
    --------
    >>> by_pattern(["scraping", "shift"], np.array([0.5, np.nan], np.float32))
    {'scraping': 0.5}
    """
    return {name: value for name, value in zip(patterns, values.tolist(), strict=True) if math.isfinite(value)}


def encode(logged: Logged) -> bytes:
    """Serialise one record as one line of JSON; float32 comes back to the last bit."""
    return _encoder.encode(logged)


def key(partition: int, offset: int, over: str = "account") -> bytes:
    """Return the key of a record: the place of its request in telemetry, or of its record of sightings.

    Examples
    --------
    >>> key(3, 1042), key(3, 1042, "campaign")
    (b'3:1042', b'sightings:3:1042')
    """
    return b"%s%d:%d" % (b"sightings:" if over == "campaign" else b"", partition, offset)


def decode(raw: bytes) -> Logged:
    """Parse and validate one record.

    Raises
    ------
    NoFeatures
        When it is none of version 1.
    """
    try:
        logged = _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise NoFeatures("schema", "an unknown value" if "Invalid enum" in str(error) else str(error)) from None
    if len(logged.features) % FLOAT.itemsize:
        raise NoFeatures("schema", "features are no whole number of float32")
    return logged


def once(records: Sequence[Logged]) -> list[Logged]:
    """Return the records without those that were sent again, in the order of the log."""
    return list({record.key: record for record in reversed(records)}.values())[::-1]


def json_schema() -> dict[str, Any]:
    """Return JSON Schema (2020-12) of features v1."""
    schema = msgspec.json.schema(Logged)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["$id"] = "urn:siphonwatch:features:v1"
    return schema
