"""Who inside an account sends what is suspicious: the keys, end users, sessions, clients and system prompts of its
suspicious requests, so that a large customer can be told whom to stop.

A request counts by the evidence that its own score is. Of each kind a few names are counted (Misra and Gries 1982, over
the latest hundreds of requests): who has more than a quarter is among the names, and the shares are lower bounds.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from siphonwatch.models.account.request import DRAWN_SYSTEM, Array, Record
from siphonwatch.models.common.declare import Field, record
from siphonwatch.models.common.kernel import kernel

KINDS = ("key", "user", "session", "agent", "system")
"""Fields of a request by which a part of an account is named."""
PLACES = 3
FADE = np.float32(1 / 512)
"""What such a request takes from the weight of those before it."""
LEAST = 0.25
"""Share from which a part is named; `PLACES` suffice for it."""

CARRIERS = (
    Field("carrier", "u8", "hash", "of who inside the account sends most suspicious requests", (len(KINDS), PLACES)),
    Field("carried", "f4", "log", "evidence that each one's requests are, at least", (len(KINDS), PLACES)),
    Field("evident", "f4", "log", "evidence that the account's latest requests are, one by one"),
)  # fmt: skip
"""What a judge keeps of it."""
CARRIED = record(CARRIERS)
F32 = np.float32


class Carrier(NamedTuple):
    """A part of an account, and how much of the evidence its requests are."""

    kind: str
    """One of `KINDS`."""
    name: str
    """The field's keyed hash, 16 hexadecimal digits."""
    share: float
    """Of the evidence that the account's latest requests are, at least."""


@kernel
def _count(row: Record, kind: int, name: np.uint64, weight: np.float32) -> None:
    """Count a name of one kind; one that finds no room wears the others down."""
    names, weights = row.carrier[kind], row.carried[kind]
    for j in range(PLACES):
        weights[j] -= weights[j] * FADE
    if name == np.uint64(0):
        return
    least = 0
    for j in range(PLACES):
        if names[j] == name:
            weights[j] += weight
            return
        if weights[j] < weights[least]:
            least = j
    worn = min(weight, weights[least])
    for j in range(PLACES):
        weights[j] -= worn
    if worn < weight:
        names[least], weights[least] = name, weight - worn


@kernel
def carry(row: Record, q: Record, weight: np.float32) -> None:
    """Count who sends a request that is so much evidence, natural logarithms."""
    if weight <= F32(0.0):
        return
    row.evident += weight - row.evident * FADE
    _count(row, 0, q.key, weight)
    _count(row, 1, q.user, weight)
    _count(row, 2, q.session, weight)
    _count(row, 3, q.agent, weight)
    _count(row, 4, q.system if q.system != DRAWN_SYSTEM else np.uint64(0), weight)


@kernel
def copy_carriers(to: Record, row: Record) -> None:
    """Copy what `carry` counted."""
    for kind in range(len(KINDS)):
        for j in range(PLACES):
            to.carrier[kind, j] = row.carrier[kind, j]
            to.carried[kind, j] = row.carried[kind, j]
    to.evident = row.evident


def carriers(row: Array) -> list[Carrier]:
    """Return the parts that have at least `LEAST` of an account's evidence, by kind and share.

    Parameters
    ----------
    row
        With the fields of `CARRIERS`.
    """
    total = float(row["evident"])
    found = [
        Carrier(kind, f"{name:016x}", min(weight / total, 1.0))
        for kind, names, weights in zip(KINDS, row["carrier"].tolist(), row["carried"].tolist(), strict=True)
        for weight, name in sorted(zip(weights, names, strict=True), reverse=True)
        if total > 0.0 and weight >= LEAST * total
    ]
    return found
