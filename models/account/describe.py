"""What a request adds to each of its account's sums, and the recent values a row remembers to tell what is new."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.request import MASKS, Record, mix
from siphonwatch.models.account.row import BANDS, CONTENTS, SUMS
from siphonwatch.models.account.walks import MIN_RUN, item_run, new_resource, novelty, page_run
from siphonwatch.models.common import vocabulary
from siphonwatch.models.common.kernel import kernel

S = {name: i for i, name in enumerate(SUMS)}
REQUESTS, TOKENS_OUT, THROTTLED, NOT_FOUND, FAILED = (S[n] for n in SUMS[:5])
MASKED, MASK_SPANS, ECHOED, CANONICAL, REASONING, GRADING, SCRUBBING, GENERATION = (S[n] for n in SUMS[5:13])
WITH_USER, WITH_SESSION, CLIENT_HEADERS, DETERMINISTIC, EXTRA_SAMPLES, LOGPROBS, TRUNCATED, STREAMED = (
    S[n] for n in SUMS[13:21]
)
WITH_SYSTEM, SINGLE_TURN, KNOWN_TEMPLATE, NEW_CONTENT, SWEEP = (S[n] for n in SUMS[21:26])
NEW_IP, NEW_KEY, ROTATED, NEW_RESOURCE, STEP, PAGE_STEP = (S[n] for n in SUMS[26:32])
REST, QUICK, LOG_GAP, LOG_GAP_SQ, LOG_CHARS, LOG_CHARS_SQ, TEXT, WASHED = (S[n] for n in SUMS[32:40])

COLUMNS = len(SUMS)
QUICK_SECONDS = 2.0
WASHES = 2.0
"""Signs of washing beyond the first at which a request is wholly washed. Signs are masks, folded text, another user
agent than just before, an instruction to leave out identities, and a user, session and headers gone. One is a habit."""
F32 = np.float32


def _hash(text: str) -> int:
    h = 0xCBF29CE484222325
    for byte in text.encode():
        h = ((h ^ byte) * 0x100000001B3) % 2**64
    return h


FINISH_LENGTH = _hash("length")


@kernel
def _novel(ring: npt.NDArray[np.uint32], cursor: npt.NDArray[np.uint8], which: int, value: np.uint64) -> bool:
    """Whether a hash is not in the ring; if so it takes the oldest place. 0 (absent) is never novel."""
    if value == np.uint64(0):
        return False
    small = np.uint32(value >> np.uint64(32)) | np.uint32(1)
    found = False
    for j in range(len(ring)):
        found |= ring[j] == small
    if not found:
        at = cursor[which]
        ring[at] = small
        cursor[which] = (at + 1) % len(ring)
    return not found


@kernel
def _novel_content(row: Record, content: np.uint64) -> bool:
    """Whether a SimHash shares no 16-bit band with a recent one; within 3 bits of one it must (Manku et al. 2007)."""
    found = False
    for band in range(BANDS):
        part = np.uint16((content >> np.uint64(16 * band)) & np.uint64(0xFFFF))
        ring = row.contents[band]
        for j in range(CONTENTS):
            found |= ring[j] == part
    if not found:
        at = row.cursor[0]
        for band in range(BANDS):
            row.contents[band, at] = np.uint16((content >> np.uint64(16 * band)) & np.uint64(0xFFFF))
        row.cursor[0] = (at + 1) % CONTENTS
    return not found


@kernel
def _rotated(row: Record, agent: np.uint64) -> bool:
    """Whether a user agent is another one than that of the request before. 0 (absent) says nothing."""
    if agent == np.uint64(0):
        return False
    small = np.uint32(agent >> np.uint64(32)) | np.uint32(1)
    other = row.agent != small and row.agent != np.uint32(0)
    row.agent = small
    return bool(other)


@kernel
def _usual(row: Record, column: int) -> np.float32:
    """The account's habit: twice the mean of a quantity over the requests of 7 d but not of the last day, at most 1."""
    week, day = row.sums[3], row.sums[2]
    old = max(week[REQUESTS] - day[REQUESTS], F32(0.0))
    return min(F32(2.0) * max(week[column] - day[column], F32(0.0)) / (old + F32(1.0)), F32(1.0))


@kernel
def _washed(row: Record, x: npt.NDArray[np.float32], bare: bool) -> np.float32:
    """Share of `WASHES` that a sweep's request shows beyond one sign of washing; what is usual counts less or nothing.

    `bare` says that it names no user, session or client header; that is a sign where the account used to.
    """
    if x[SWEEP] == F32(0.0):
        return F32(0.0)
    signs = F32(0.0)
    for column in (MASKED, CANONICAL, ROTATED, SCRUBBING):
        signs += x[column] * (F32(1.0) - _usual(row, column))
    if bare:
        signs += max(_usual(row, WITH_USER), _usual(row, WITH_SESSION), _usual(row, CLIENT_HEADERS))
    return min(max(signs - F32(1.0), F32(0.0)) / F32(WASHES), F32(1.0))


@kernel
def describe(row: Record, q: Record, gap: float, x: npt.NDArray[np.float32]) -> None:
    """Write what one request adds to each sum into `x`, `(len(SUMS),) float32`; renews what the row knows as recent.

    Token counts are in thousands. `gap` is the time since the account's request before, seconds; negative if late.
    """
    for j in range(COLUMNS):
        x[j] = F32(0.0)
    x[REQUESTS] = F32(1.0)
    x[TOKENS_OUT] = F32(q.tokens_out * 1e-3)
    status = q.status
    if status == 429 or status == 529:
        x[THROTTLED] = F32(1.0)
    elif status == 404:
        x[NOT_FOUND] = F32(1.0)
    elif status >= 500:
        x[FAILED] = F32(1.0)

    spans = 0
    for j in range(MASKS):
        spans += min(q.masks[j], 1000)
    if spans > 0 and q.guardrails == 0:
        x[MASKED] = F32(1.0)
        x[MASK_SPANS] = F32(min(spans, 50))
    x[ECHOED] = F32(q.echo > 0)
    x[CANONICAL] = F32(q.canonical)
    x[REASONING] = F32((q.intents & vocabulary.REASONING) != 0)
    x[GRADING] = F32((q.intents & vocabulary.GRADING) != 0)
    x[SCRUBBING] = F32((q.intents & vocabulary.SCRUBBING) != 0)
    x[GENERATION] = F32((q.intents & vocabulary.GENERATION) != 0)
    x[WITH_USER] = F32(q.user != 0)
    x[WITH_SESSION] = F32(q.session != 0)
    x[CLIENT_HEADERS] = F32(min(q.n_headers, 64) / 8.0)
    x[DETERMINISTIC] = F32(q.temperature == 0.0)
    x[EXTRA_SAMPLES] = F32(min(max(q.n - 1, 0), 16))
    x[LOGPROBS] = F32(q.logprobs > 0)
    x[TRUNCATED] = F32(q.finish == np.uint64(FINISH_LENGTH))
    x[STREAMED] = F32(q.stream)
    x[WITH_SYSTEM] = F32(q.system != 0)
    x[SINGLE_TURN] = F32(q.turns == 1)

    if q.template != 0:
        x[TEXT] = F32(1.0)
        known = not _novel(row.templates, row.cursor, 1, q.template)
        x[KNOWN_TEMPLATE] = F32(known)
        fresh = q.content != 0 and _novel_content(row, q.content)
        x[NEW_CONTENT] = F32(fresh)
        x[SWEEP] = F32(fresh and q.turns == 1 and q.status < 400)
        if q.rest == 0:
            novelty(row, mix(q.content), False)
        size = math.log1p(q.chars)
        x[LOG_CHARS] = F32(size)
        x[LOG_CHARS_SQ] = F32(size * size)
    x[NEW_IP] = F32(_novel(row.ips, row.cursor, 3, q.ip))
    x[NEW_KEY] = F32(_novel(row.keys, row.cursor, 4, q.key))
    x[ROTATED] = F32(_rotated(row, q.agent))
    x[WASHED] = _washed(row, x, q.user == 0 and q.session == 0 and q.n_headers == 0)

    if q.rest == 1:
        x[REST] = F32(1.0)
        fresh_share = new_resource(row, q.resource)
        x[NEW_RESOURCE] = fresh_share if q.resource != 0 else F32(0.0)
        x[STEP] = fresh_share * F32(item_run(row, q.route, q.item) >= MIN_RUN)
        x[PAGE_STEP] = fresh_share * F32(page_run(row, q.route, q.page) > MIN_RUN)
        x[NOT_FOUND] *= fresh_share
    if gap >= 0.0 and row.requests > 0:
        size = math.log1p(gap)
        x[LOG_GAP] = F32(size)
        x[LOG_GAP_SQ] = F32(size * size)
        x[QUICK] = F32(q.time - row.last_end < QUICK_SECONDS)
