"""Parameters and system prompts that a client draws anew for each request: what it hides behind them is one use.

A program sets its parameters and its system prompt once. One that draws them anew each time would split its use into
pieces too small to be judged, for an account's jobs and for the fingerprints that accounts share. So where an account
often comes with what it was not met with of late, such a request is read as one with *drawn* parameters, or with a
*drawn* system prompt, whatever they are. Such a system prompt is taken for the question where the last message is known
and holds no new payload in a wrapper (`siphonwatch.models.account.payload`).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.conversations import is_near, read_as
from siphonwatch.models.account.request import DRAWN_SYSTEM, Record, mix
from siphonwatch.models.common.kernel import kernel

DRAWN_TEMPERATURE = 1000.0
"""Stands for parameters that were drawn: no API takes it."""
FADE = np.float32(1 / 8)
OFTEN = np.float32(0.4)
"""Running share of requests with something not met of late, above which it is drawn: four of them in a row, or two in
five for long."""
F32 = np.float32
NONE = np.uint64(0)
SEED = np.uint64(0xC2B2AE3D27D4EB4F)


@kernel
def is_new(met: npt.NDArray[np.uint16], name: np.uint64) -> bool:
    """Whether a name is none of those met of late, the latest first; it is the first from now on."""
    mark = np.uint16(name & np.uint64(0xFFFF)) | np.uint16(1)
    at = len(met)
    for j in range(len(met)):
        if met[j] == mark:
            at = j
    for j in range(min(at, len(met) - 1), 0, -1):
        met[j] = met[j - 1]
    met[0] = mark
    return at == len(met)


@kernel
def _thousandths(value: float) -> np.uint64:
    return np.uint64(int(min(max(value, 0.0), 1000.0) * 1000.0 + 0.5) + 1) if not math.isnan(value) else NONE


@kernel
def undraw(row: Record, q: Record, payload: np.uint64) -> None:
    """Read a request's parameters and system prompt as drawn where its account draws them.

    `payload` is what its message asks inside a wrapper; 0 where there is none.
    """
    heat = mix(_thousandths(q.temperature) ^ mix(_thousandths(q.top_p) ^ SEED))
    new = is_new(row.settings_met, mix(np.uint64(q.max_tokens) ^ heat))
    row.settings_drawn += FADE * (F32(new) - row.settings_drawn)
    if new and row.settings_drawn > OFTEN:
        q.temperature, q.top_p, q.max_tokens = F32(DRAWN_TEMPERATURE), F32(np.nan), 0
    new = is_new(row.systems_met, mix(q.system ^ SEED))
    row.systems_drawn += FADE * (F32(new) - row.systems_drawn)
    if new and q.system != NONE and row.systems_drawn > OFTEN:
        if payload == NONE and is_near(row, q.content):
            read_as(q, q.system)
        q.system = DRAWN_SYSTEM
