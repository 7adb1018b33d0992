"""What an alert says of what made it: version, card, reference, code, and the places in the log. Decides nothing."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

import msgspec
from msgspec import UNSET, Meta, UnsetType

from siphonwatch.streams.common.release import release


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """What judged, where, and on which record: what `siphonwatch explain --exact` makes the alert again from."""

    version: Annotated[
        str,
        Meta(
            pattern="^([0-9a-f]{12})?$(?!\\n)",
            description="The version of the detectors that judged when this was told; empty where cards of no version "
            "did, in a replay.",
        ),
    ]
    card: Annotated[str, Meta(description="Of the version, what found it; as `card` beside `model`.")]
    reference: (
        Annotated[
            str,
            Meta(
                pattern="^[0-9a-f]{16}$(?!\\n)",
                description="Digest of what ordinary account-hours were known to score at `checkpoint`, with which the "
                "account was compared; absent for campaigns, which are compared with their cards' promise alone.",
            ),
        ]
        | UnsetType
    ) = UNSET
    release: Annotated[str, Meta(description="Of the code.")]
    stream: Annotated[
        Literal["telemetry", "sightings"],
        Meta(description="The topic that `partition`, `offset` and `checkpoint` are of; `sightings` for campaigns."),
    ]
    partition: Annotated[int, Meta(ge=0)]
    offset: (
        Annotated[
            int,
            Meta(
                ge=0,
                description="Of the newest record that is evidence of the case. Absent where the case is from before "
                "this field, or from before the topic was made anew.",
            ),
        ]
        | UnsetType
    ) = UNSET
    checkpoint: (
        Annotated[
            int,
            Meta(
                ge=0,
                description="The partition's newest checkpoint held its state up to this offset; absent before one.",
            ),
        ]
        | UnsetType
    ) = UNSET


class Judged(NamedTuple):
    """What an alert's `model` says and no finding knows."""

    version: str
    stream: Literal["telemetry", "sightings"]
    partition: int
    offset: int
    """Negative where it is not known."""
    reference: str = ""
    checkpoint: int = -1

    def by(self, card: str) -> Model:
        """Return it as an alert has it, by a card of this release."""
        return Model(
            version=self.version, card=card, reference=self.reference or UNSET, release=release(), stream=self.stream,
            partition=self.partition, offset=UNSET if self.offset < 0 else self.offset,
            checkpoint=UNSET if self.checkpoint < 0 else self.checkpoint,
        )  # fmt: skip
