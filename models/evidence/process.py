"""Evidence: each account and pattern has an e-value, which says how unlikely its hours are for a benign account.

It never learns what is benign (models.evidence.calibration does) and never tells anyone (models.evidence.cases does).

The e-value is the capital of a bet against "this account is benign", with a round for each active hour: the capital is
multiplied by `1 - stake + stake e`, where e is the hour's e-value. Capital is put in at each active day k, `1 / (k (k
+ 1))` of it: a mixture over the day of change (e-detectors, Shin, Ramdas & Rinaldo 2023) whose weights add up to 1. If
each hour's e has mean at most 1 given what came before it, the capital has mean at most 1 at any stopping time, and
the chance that it ever reaches 1/alpha is at most alpha (Ville 1939).

Within an hour. The hour's e is read off its highest score so far. Under one table of e-values, which rise with the
score, the capital at any moment is at most the capital that its hour ends with, whatever the order and the dependence
of the hour's requests. Let T stop anywhere, inside hours too, and T' be the end of the hour of T: T' is a stopping
time of the hours, `capital(T) <= capital(T')`, and the mean of `capital(T')` is at most 1. So stopping inside an hour
is safe.

Between hours. The hours of one account are alike: a nightly job that is benign but looks odd looks so every night, and
a product over its nights would grow without bound. What is known of the account sets the stake before the hour begins,
which keeps the bet fair: each hour of evidence adds 1 to the account's heat, which halves in `COOL` seconds, and the
stake is in proportion to `1 / (1 + heat)`. The j-th repetition of e multiplies the capital by about `1 + stake e / j`:
what stays a little above the level grows by a power of the hours, not exponentially, while an e of hundreds still
doubles and doubles. The hours teach by the same weight, so that one account, however long it stays odd, has taught a
few hours' worth. An hour teaches nothing when the account's evidence had gone half the way to an alert before it
began; its own score has no say in that, or the benign hours learnt would be chosen for being low.

When a card is another one. Its evidence begins anew with each account's next hour; what the old card's hour showed
teaches the new reference nothing. By an account's active day K, `K / (K + 1)` of the capital has been put in and `1 /
(K + 1)` is to come, so a pattern that is new may begin with `K / (K + 1)`, the capital of who has never bet, and with
no more: with 1 its mean would be above 1. One whose card changed begins with the lesser of that and what it had. To
throw capital away is a bet that loses, so over all cards of the pattern the mean of the capital stays at most 1, and
the chance that any of them ever reaches 1/alpha at most alpha. Where a case was open the account is another hypothesis
from then on, with another number in the budget, as after any closing. The budget is divided anew among the patterns
when one is added: the accounts that came before then have had the old division, so of their cases the expected share
of false ones is at most the budget and the new pattern's part of it.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.carriers import CARRIED, carry, copy_carriers
from siphonwatch.models.account.request import NAME_WORDS, Array, Record, copy_name, same_name
from siphonwatch.models.common.kernel import inlined, kernel
from siphonwatch.models.evidence.budget import NUMBERED, RELEASED, Budget, bar
from siphonwatch.models.evidence.calibration import Reference, band_of, bin_of, depth, teach
from siphonwatch.models.evidence.places import ERAS, Seats

STAKE, MOST = 0.25, 0.75
"""Share of the capital at stake in an account's first hour of evidence, by a detector of trust 1, and at most: a bold
bet dies sooner on an honest account."""
COOL = 7 * 86_400.0
HOUR = 3600.0
FLOOR = -30.0
"""Lowest log e-value kept, for arithmetic's sake; capital put in later is far above it."""
REFRESH = 6 * 3600
"""Event-time seconds between reports on an open case, unless it becomes graver."""
SEVERITIES = ("low", "medium", "high", "critical")
STEPS = (0.0, 6.0, 16.0)
"""Natural logarithms beyond 1/alpha at which severity rises: 1, about 400 and 9 million times."""
ENOUGH = 20.0
"""Logarithm of an e-value beyond which more of it does not make an account more suspicious, only busier."""
LASTING = 0.15
"""What evidence that lasts counts in the suspicion beside how deep in the benign tail the highest score went: whoever
is odd for long is less often an attacker than whoever is very odd once."""
LAST = 2.0**32 - 1.0
"""Latest time a row can note, seconds: in 2106."""
LAST_NUMBER = 2**31 - 1
"""Highest number in the budget that a row can note: one that wrapped round would have the largest part of it."""
BLOCKS = 2**29 - 1
"""What a mark notes of its block: the lower 29 bits, which are 31 days at 100,000 requests/s."""
SUSPECT = 0.5
"""Share of the way to an alert, in logarithms, from which an account no longer teaches."""

OPEN, UPDATE = range(2)
EVENT = np.dtype([
    ("index", "i8"),      # of the request in the block
    ("slot", "i8"), ("pattern", "i4"), ("kind", "i4"),
    ("log_e", "f8"), ("score", "f8"), ("level", "f8"),
    ("bar", "f8"),        # logarithm of the e-value that was needed
    ("samples", "u8", (2, NAME_WORDS)),
    ("carried", CARRIED),  # who inside the account sends it
], align=True)  # fmt: skip
"""What the case book is told: a case is released, its evidence grew or is still there."""


@kernel
def log_add(a: float, b: float) -> float:
    """Logarithm of the sum of two exponentials."""
    high, low = max(a, b), min(a, b)
    return high + math.log1p(math.exp(low - high))


@kernel
def whole_second(time: float) -> float:
    """The time of a report as a row notes it, and the case book reckons from it."""
    return math.floor(min(max(time, 0.0), LAST))


@kernel
def severity(beyond: float) -> int:
    """Place in `SEVERITIES` of evidence that is so far beyond 1/alpha, natural logarithms."""
    place = 0
    for step in STEPS:
        if beyond >= step:
            place += 1
    return place


@kernel
def is_suspect(mark: int, block: int) -> int:
    """Whether an account's mark says that it is suspect in a block: 1 or 0.

    The mark is (block from which the new answer holds, new answer, old answer), so that earlier stages see a change
    only at the next block, however the requests were cut into batches.
    """
    return mark & 1 if mark >> 2 == (block + 1) & BLOCKS else (mark >> 1) & 1


@kernel
def _from_next_block(mark: int, block: int, answer: int) -> int:
    """The mark after a new answer found in `block`."""
    after = (block + 1) & BLOCKS
    old = mark & 1 if mark >> 2 == after else (mark >> 1) & 1
    return (after << 2) | (answer << 1) | old


@kernel
def suspicion(trust: float, shape: npt.NDArray[np.float64], score: float, log_e: float) -> float:
    """Return how suspicious a pattern makes an account: what ranks accounts, whether or not a case is told.

    The depth of the score in the benign tail (`calibration`), and a part of the log e-value, by the trust that
    the pattern has earned.
    """
    return trust * (depth(shape, score) + LASTING * min(max(log_e, 0.0), ENOUGH))


@inlined
def _next_number(row: Record, budget: Budget) -> None:
    """Give an account the next number in the budget; beyond the last one a row can note all share its tiny part."""
    row.number = min(budget.counts[NUMBERED], np.int64(LAST_NUMBER))
    budget.counts[NUMBERED] += 1


@inlined
def _begin_card(row: Record, evidence: Record, p: int, seats: Seats, budget: Budget) -> None:
    """Begin the evidence of a card that is another one than the row's, with the capital it may have."""
    if row.days > 0:
        capital = np.float32(-math.log1p(1.0 / float(row.days)))
        if (seats.era[p] - np.int64(evidence.era)) % ERAS <= seats.span[p]:  # it is of this pattern
            if evidence.open == 1:
                _next_number(row, budget)
            else:
                capital = min(capital, evidence.log_e)
        evidence.log_e = capital
    evidence.heat = evidence.score = np.float32(0.0)
    evidence.reported = evidence.grade = evidence.open = 0
    evidence.era = seats.era[p]


@inlined
def begin_hour(
    row: Record, hour: int, cohort: int, patterns: int, reference: Reference, budget: Budget, limit: float
) -> None:
    """End the account's last active hour, teaching what it may, and begin another.

    An hour teaches a pattern's reference unless its evidence was at `limit` or above before it began, or of another
    card.
    """
    seats = reference.seats
    first = row.days == 0
    cooled = 0.5 ** (max(hour - row.hour, 0) * (HOUR / COOL))
    for p in range(patterns):
        ev = row.evidence[seats.place[p]]
        if ev.era != seats.era[p]:
            _begin_card(row, ev, p, seats, budget)
        elif not first:
            if ev.before < limit:
                weight = 1.0 / (1.0 + float(ev.heat))
                teach(reference, row.cohort, band_of(row.hour), seats.place[p], float(ev.score), weight)
            if ev.log_e > ev.before:
                ev.heat += np.float32(1.0)
            ev.heat *= np.float32(cooled)
        ev.score = np.float32(0.0)
    if first or hour // 24 != row.hour // 24:  # the clock may have been set back
        row.days += 1
        put_in = -math.log(float(row.days) * float(row.days + 1))
        for p in range(patterns):
            ev = row.evidence[seats.place[p]]
            ev.log_e = np.float32(put_in if first else log_add(float(ev.log_e), put_in))
    for p in range(patterns):
        ev = row.evidence[seats.place[p]]
        ev.before = ev.log_e
        ev.place = -1
    row.hour = hour
    row.cohort = cohort


@kernel
def weigh(
    judged: Array,
    slots: npt.NDArray[np.int64],
    requests: Array,
    scores: npt.NDArray[np.float32],
    now: npt.NDArray[np.float64],
    sure: npt.NDArray[np.float64],
    fresh: npt.NDArray[np.bool_],
    reference: Reference,
    budget: Budget,
    block: int,
    threshold: float,
    close_after: float,
    trust: npt.NDArray[np.float64],
    log_e: npt.NDArray[np.float32],
    events: Array,
) -> int:
    """Take the scores of a block, `(n, P)`, into what is known of the accounts; returns how many `events` were written.

    `judged` is `(accounts,) JUDGED`, what one judge keeps. `slots` is -1 for a request that was already applied. A case
    is closed when the event time that many accounts agree on, `sure (n,)`, says so, as in the case book. `fresh` marks
    an account's first request in an hour. `threshold` is log(1/alpha): a case needs it and the budget's release.
    `log_e`, `(n, P)`, receives the account's present log e-value of each pattern, NaN where it has none. `judged` keeps
    the highest `suspicion` of any pattern that the account reached.
    """
    written = 0
    patterns = scores.shape[1]
    for i in range(len(slots)):
        if slots[i] < 0:
            log_e[i] = np.float32(np.nan)
            continue
        row, q = judged[slots[i]], requests[i]
        if row.days == 0:
            _next_number(row, budget)
        if fresh[i] or row.days == 0:
            cohort = 2 if q.rest == 1 else (0 if (q.session != 0 or q.stream == 1) else 1)
            begin_hour(row, int(now[i] // HOUR), cohort, patterns, reference, budget, SUSPECT * threshold)
        band = band_of(row.hour)
        worst, highest = np.float32(0.0), np.float32(FLOOR)
        for p in range(patterns):
            score, at = scores[i, p], reference.seats.place[p]
            level = reference.level[row.cohort, band, at]
            ev = row.evidence[at]
            if ev.era != reference.seats.era[p]:  # of another card; this one begins with the account's next hour
                log_e[i, p] = np.float32(np.nan)
                continue
            if ev.open == 1 and ev.reported + close_after < sure[i]:
                # Closed: from here on it is another hypothesis, with new capital; later days add at most as much.
                ev.open = 0
                ev.log_e = ev.before = np.float32(-math.log(2.0))
                ev.place = -1
                _next_number(row, budget)
            if score > ev.score or ev.place < 0:
                ev.score = max(ev.score, score)
                place = bin_of(reference, at, float(ev.score))
                if place > ev.place:
                    stake = min(STAKE * trust[p], MOST) / (1.0 + float(ev.heat))
                    e = float(reference.e[row.cohort, band, at, place])
                    ev.place = place
                    ev.log_e = np.float32(max(float(ev.before) + math.log1p(stake * (e - 1.0)), FLOOR))
            log_e[i, p] = ev.log_e
            capital = float(ev.log_e)
            worst = max(worst, np.float32(suspicion(trust[p], reference.shape[at], float(ev.score), capital)))
            highest = max(highest, ev.log_e)
            evident = score >= level
            if evident and not same_name(row.samples[0], q.id):
                copy_name(row.samples[1], row.samples[0])
                copy_name(row.samples[0], q.id)
            if evident and capital > 0.0:
                e = float(reference.e[row.cohort, band, at, bin_of(reference, at, float(score))])
                carry(row, q, np.float32(math.log(max(e, 1.0))))
            kind = -1
            needed = threshold
            if ev.open == 0 and evident and capital >= threshold:
                needed = max(threshold, bar(budget, row.number, p))
                if capital >= needed:
                    kind = OPEN
                    ev.open = 1
                    budget.counts[RELEASED] += 1
            elif ev.open == 1 and evident:
                grade = severity(capital - threshold)
                if grade > ev.grade or now[i] - ev.reported >= REFRESH:
                    kind = UPDATE
            if kind >= 0:
                ev.reported = np.uint32(whole_second(now[i]))
                ev.grade = severity(capital - threshold)
                e_ = events[written]
                e_.index = i
                e_.slot = slots[i]
                e_.pattern = p
                e_.kind = kind
                e_.log_e = capital
                e_.score = float(score)
                e_.level = float(level)
                e_.bar = needed
                copy_name(e_.samples[0], row.samples[0])
                copy_name(e_.samples[1], row.samples[1])
                copy_carriers(e_.carried, row)
                written += 1
        row.suspicion = max(row.suspicion, worst)
        suspect = (row.suspect >> 1) & 1
        if suspect == 0 and float(highest) >= SUSPECT * threshold:
            row.suspect = _from_next_block(row.suspect, block, 1)
        elif suspect == 1 and float(highest) < 0.0:
            row.suspect = _from_next_block(row.suspect, block, 0)
    return written
