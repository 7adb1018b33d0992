"""The slots of an account: room for the jobs and trails that it is busiest with. Knows not what they count."""

from __future__ import annotations

import math

import numpy as np

from siphonwatch.models.account.request import Record
from siphonwatch.models.account.row import SLOTS
from siphonwatch.models.account.sums import TAUS
from siphonwatch.models.common.kernel import kernel

TAU = float(TAUS[-1])
F32 = np.float32


@kernel
def find_slot(row: Record, use: int, name: np.uint32, now: float) -> int:
    """Place of a job or trail, or -1: one that finds no room wears the lightest one down (Misra & Gries 1982)."""
    lightest, least, kept = 0, math.inf, 1.0
    for k in range(SLOTS):
        slot = row.slots[k]
        if slot.name == name and row.slot_use[k] == use:
            return k
        fade = math.exp(-max(now - slot.time, 0.0) / TAU)
        if float(slot.hold) * fade < least:
            lightest, least, kept = k, float(slot.hold) * fade, fade
    slot = row.slots[lightest]
    if least > 1.0:
        slot.hold -= F32(1.0 / kept)
        return -1
    words = row.slot_words[lightest]
    for j in range(len(words)):
        words[j] = np.uint32(0)
    row.slot_use[lightest] = use
    slot.name = name
    slot.hour = np.int32(-1)
    return lightest
