"""Evidence about a fingerprint: an e-value, which says how unlikely its scores are for an honest fingerprint.

The same bet on a bounded mean as an account's (Waudby-Smith & Ramdas 2023): under "the mean score stays at or below
the level" each factor `1 + BET / level (score - level)` has mean at most 1, with a little capital put in again every
`FUNDED` sightings, so that a client many people used before a relay did is found as well. Betting starts with the first
score above 0: before that a fingerprint is no hypothesis, and takes no part of the budget. Honest fingerprints of many
accounts are too few to learn a level from, so the level is the detector's. When the card is another one, evidence
begins anew at a fingerprint's next sighting, as another hypothesis with another number in the budget.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.request import Array, copy_name
from siphonwatch.models.common.kernel import kernel
from siphonwatch.models.evidence.budget import NUMBERED, Budget

BET = 0.2
"""Share of the capital at stake at a score of 0. Sightings of one fingerprint depend on each other: small bets."""
FUNDED = 32
FLOOR = -30.0


@kernel
def _log_add(a: float, b: float) -> float:
    high, low = max(a, b), min(a, b)
    return high + math.log1p(math.exp(low - high))


@kernel
def weigh(
    rows: Array,
    slots: npt.NDArray[np.int64],
    which: npt.NDArray[np.int64],
    requests: Array,
    proper: npt.NDArray[np.bool_],
    scores: npt.NDArray[np.float32],
    level: float,
    era: int,
    budget: Budget,
    log_e: npt.NDArray[np.float64],
    since: npt.NDArray[np.float64],
    samples: npt.NDArray[np.uint64],
    number: npt.NDArray[np.int64],
) -> None:
    """Take scores, `(m,)`, into the fingerprints' evidence.

    Writes each row's log e-value, first request and number in the budget, `(m,)`, and the ids of its last two
    requests that were evidence, `(m, 2, NAME_WORDS)`.
    """
    for k in range(len(slots)):
        if slots[k] < 0 or not proper[k]:
            continue
        row = rows[slots[k]]
        score = float(scores[k])
        if row.era != era:
            row.era, row.bets = era, 0
            row.log_e = np.float32(0.0)
        if row.bets == 0:
            if score <= 0.0:
                continue
            budget.counts[NUMBERED] += 1
            row.number = budget.counts[NUMBERED]
        capital = float(row.log_e) if row.bets > 0 else FLOOR
        if row.bets % FUNDED == 0:
            part = float(row.bets // FUNDED + 1)
            capital = _log_add(capital, -math.log(part * (part + 1.0)))
        row.bets += 1
        capital = max(capital + math.log1p(BET / level * (score - level)), FLOOR)
        row.log_e = np.float32(capital)
        log_e[k] = capital
        since[k] = row.first_seen
        if score > level:
            copy_name(row.samples[1], row.samples[0])
            copy_name(row.samples[0], requests[which[k]].id)
        number[k] = row.number - 1
        for j in range(2):
            copy_name(samples[k, j], row.samples[j])
