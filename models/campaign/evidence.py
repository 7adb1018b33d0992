"""Evidence about a fingerprint: an e-value by each card, which says how unlikely its scores are for an honest one.

The same bet on a bounded mean as an account's (Waudby-Smith & Ramdas 2023): under "the mean score stays at or below
the level" each factor `1 + BET / level (score - level)` has mean at most 1, with a little capital put in again every
`FUNDED` sightings, so that a client many people used before a relay did is found as well. Betting starts with the first
score above 0: before that a fingerprint is no hypothesis, and takes no part of the budget. Honest fingerprints of many
accounts are too few to learn a level from, so the level is the detector's.

Cards divide a fingerprint's part of the budget by their trust, as they do an account's: "this fingerprint is honest" is
one hypothesis by each card, and every one of them keeps its level for itself, whatever the others say. When a card is
another one, its evidence begins anew at a fingerprint's next sighting, and the fingerprint takes another number in the
budget. A number is ever of one fingerprint only, so all levels together still add up to the budget at most.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.request import Array, copy_name
from siphonwatch.models.common.kernel import kernel
from siphonwatch.models.evidence.budget import NUMBERED, Budget
from siphonwatch.models.evidence.places import Seats

BET = 0.2
"""Share of the capital at stake at a score of 0. Sightings of one fingerprint depend on each other: small bets."""
FUNDED = 32
FLOOR = -30.0
LAST_BET = 2**31 - 1
"""Most bets that a row can note; no multiple of `FUNDED`, so that from there on nothing is put in any more."""


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
    levels: npt.NDArray[np.float64],
    seats: Seats,
    budget: Budget,
    log_e: npt.NDArray[np.float64],
    since: npt.NDArray[np.float64],
    samples: npt.NDArray[np.uint64],
    number: npt.NDArray[np.int64],
) -> None:
    """Take scores, `(m, P)`, into the fingerprints' evidence by cards of these null levels, `(P,)`.

    Writes each row's log e-values, `(m, P)`, NaN where a card has not bet yet; its first request and its number in the
    budget, `(m,)`; and the ids of its last two requests that were evidence by any card, `(m, 2, NAME_WORDS)`.
    """
    for k in range(len(slots)):
        if slots[k] < 0 or not proper[k]:
            continue
        row = rows[slots[k]]
        above, shown = False, False
        for p in range(len(levels)):
            seat = seats.place[p]
            if row.era[seat] != seats.era[p]:
                row.era[seat] = seats.era[p]
                row.bets[seat], row.log_e[seat], row.number = 0, np.float32(0.0), 0
            above = above or scores[k, p] > 0.0
            shown = shown or scores[k, p] > levels[p]
        if row.number == 0:
            if not above:
                continue
            budget.counts[NUMBERED] += 1
            row.number = budget.counts[NUMBERED]
        for p in range(len(levels)):
            seat, score = seats.place[p], float(scores[k, p])
            if row.bets[seat] == 0 and score <= 0.0:
                continue
            capital = float(row.log_e[seat]) if row.bets[seat] > 0 else FLOOR
            if row.bets[seat] % FUNDED == 0:
                part = float(row.bets[seat] // FUNDED + 1)
                capital = _log_add(capital, -math.log(part * (part + 1.0)))
            row.bets[seat] = min(row.bets[seat] + 1, LAST_BET)
            capital = max(capital + math.log1p(BET / levels[p] * (score - levels[p])), FLOOR)
            row.log_e[seat] = np.float32(capital)
            log_e[k, p] = capital
        since[k] = row.first_seen
        if shown:
            copy_name(row.samples[1], row.samples[0])
            copy_name(row.samples[0], requests[which[k]].id)
        number[k] = row.number - 1
        for j in range(2):
            copy_name(samples[k, j], row.samples[j])
