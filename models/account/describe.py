"""What a request adds to each of its account's sums, and the recent values a row remembers to tell what is new."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.conversations import conversation, is_near, is_short_again, read_as, unveil, was_said
from siphonwatch.models.account.drawn import is_new, undraw
from siphonwatch.models.account.payload import unwrap
from siphonwatch.models.account.request import MASKS, Record, label, mix
from siphonwatch.models.account.row import BANDS, CONTENTS
from siphonwatch.models.account.sums import SCALES
from siphonwatch.models.account.walks import MIN_RUN, item_run, new_resource, novelty, page_run
from siphonwatch.models.common import vocabulary
from siphonwatch.models.common.kernel import kernel

WEEK, DAY = SCALES.index("7d"), SCALES.index("1d")
QUICK_SECONDS = 2.0
WASHES = 2.0
"""Signs of washing beyond the first at which a request is wholly washed. Signs are masks, folded text, another user
agent than just before, an instruction to leave out identities, and a user, session and headers gone. One is a habit."""
F32 = np.float32
NONE = np.uint64(0)

FINISH_LENGTH = label("length")
"""Why an output ended that reached max_tokens, as requests keep it."""
FINISH_FILTER, FINISH_REFUSAL = label("content_filter"), label("refusal")
"""Why an output ended that was withheld."""
REFUSAL_CHARS = (20, 600)
"""Characters of a refusal: a label is shorter, an answer longer."""
FEW_TOKENS = 48
"""Tokens of an answer in which no reasoning has room."""


@kernel
def _remember(ring: npt.NDArray[np.uint32], oldest: int, value: np.uint64) -> int:
    """Return the oldest place of a ring of hashes once one was seen: another than before where it was new.

    A new one takes the oldest place. 0 (absent) is never new.
    """
    if value == np.uint64(0):
        return oldest
    small = np.uint32(value >> np.uint64(32)) | np.uint32(1)
    found = False
    for j in range(len(ring)):
        found |= ring[j] == small
    if found:
        return oldest
    ring[oldest] = small
    return (oldest + 1) % len(ring)


@kernel
def _novel_content(row: Record, content: np.uint64) -> bool:
    """Whether a SimHash is near no recent one; it is one of them from now on."""
    found = is_near(row, content)
    if not found:
        at = row.next_content
        for band in range(BANDS):
            row.contents[band, at] = np.uint16((content >> np.uint64(16 * band)) & np.uint64(0xFFFF))
        row.next_content = (at + 1) % CONTENTS
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
def _balked(row: Record, q: Record) -> bool:
    """Whether the model balked: it says so, gives an answer that it gave before, or, where the gateway logs no answer,
    has few words for a message that asks to see how it reasons. A system prompt that asks for that is an application's.
    """
    if q.status >= 400:
        return False
    again = q.reply != 0 and not is_new(row.replies, q.reply)
    few = 0 < q.tokens_out < FEW_TOKENS and (q.intents & vocabulary.REASONING) != 0 and q.system == 0 and q.reply == 0
    length = REFUSAL_CHARS[0] <= q.chars_out <= REFUSAL_CHARS[1]
    return bool(q.finish == FINISH_FILTER or q.finish == FINISH_REFUSAL or (again and length) or few)


@kernel
def _usual(week: np.float32, day: np.float32, requests: np.float32) -> np.float32:
    """The account's habit: twice the mean of a quantity over the requests of 7 d but not of the last day, at most 1."""
    return min(F32(2.0) * max(week - day, F32(0.0)) / (requests + F32(1.0)), F32(1.0))


@kernel
def _washed(row: Record, adds: Record, bare: bool) -> np.float32:
    """Share of `WASHES` that a sweep's request shows beyond one sign of washing; what is usual counts less or nothing.

    `bare` says that it names no user, session or client header; that is a sign where the account used to.
    """
    if adds.sweep == F32(0.0):
        return F32(0.0)
    week, day = row.by_scale[WEEK], row.by_scale[DAY]
    old = max(week.requests - day.requests, F32(0.0))
    signs = F32(0.0)
    signs += adds.masked * (F32(1.0) - _usual(week.masked, day.masked, old))
    signs += adds.canonical * (F32(1.0) - _usual(week.canonical, day.canonical, old))
    signs += adds.rotated * (F32(1.0) - _usual(week.rotated, day.rotated, old))
    signs += adds.scrubbing * (F32(1.0) - _usual(week.scrubbing, day.scrubbing, old))
    if bare:
        signs += max(
            _usual(week.with_user, day.with_user, old),
            _usual(week.with_session, day.with_session, old),
            _usual(week.client_headers, day.client_headers, old),
        )
    return min(max(signs - F32(1.0), F32(0.0)) / F32(WASHES), F32(1.0))


@kernel
def describe(row: Record, q: Record, gap: float, adds: Record) -> np.float32:
    """Write what one request adds to each sum into `adds`, zeros before; renews what the row knows as recent.

    Returns how surely the model balked at a request that goes on with no conversation, 0 to 1.

    `siphonwatch.models.account.sums` says what each one is. `gap` is the time since the account's request before,
    seconds; negative if late.
    """
    spoken = q.template != 0 or q.earlier != 0 or (q.system != 0 and q.turns > 0)
    payload = unwrap(row, q) if q.template != 0 else NONE
    if spoken and q.rest == 0:
        undraw(row, q, payload)
    adds.requests = F32(1.0)
    adds.tokens_out = F32(q.tokens_out * 1e-3)
    status = q.status
    if status == 429 or status == 529:
        adds.throttled = F32(1.0)
    elif status == 404:
        adds.not_found = F32(1.0)
    elif status >= 500:
        adds.failed = F32(1.0)

    spans = 0
    for j in range(MASKS):
        spans += min(q.masks[j], 1000)
    if spans > 0 and q.guardrails == 0:
        adds.masked = F32(1.0)
        adds.mask_spans = F32(min(spans, 50))
    adds.echoed = F32(q.echo > 0)
    adds.canonical = F32(q.canonical)
    adds.reasoning = F32((q.intents & vocabulary.REASONING) != 0)
    adds.grading = F32((q.intents & vocabulary.GRADING) != 0)
    adds.scrubbing = F32((q.intents & vocabulary.SCRUBBING) != 0)
    adds.generation = F32((q.intents & vocabulary.GENERATION) != 0)
    adds.with_user = F32(q.user != 0)
    adds.with_session = F32(q.session != 0)
    adds.client_headers = F32(min(q.n_headers, 64) / 8.0)
    adds.deterministic = F32(q.temperature == 0.0)
    adds.extra_samples = F32(min(max(q.n - 1, 0), 16))
    adds.logprobs = F32(q.logprobs > 0)
    adds.truncated = F32(q.finish == FINISH_LENGTH)
    adds.streamed = F32(q.stream)
    adds.with_system = F32(q.system != 0)
    balked = spoken and _balked(row, q) and q.said != 0 and not was_said(row, q.said)
    known = F32(0.0)
    if spoken:
        known = conversation(row, q, gap, adds)
    elif q.turns > 1:
        known = F32(1.0)
    short = q.template != 0 and is_short_again(row, q)
    if q.turns > 1 and known < F32(0.5):
        q.turns = 1  # for what comes after, too: a sighting of it is one of a single request
        if unveil(row, q, payload, short):
            short = False
    refusal = F32(balked) * (F32(1.0) - known)
    if q.turns >= 1:
        adds.single_turn = F32(1.0) - known

    if q.template != 0:
        adds.text = F32(1.0)
        after = _remember(row.templates, int(row.next_template), q.template)
        adds.known_template = F32(after == row.next_template)
        row.next_template = after
        fresh = q.content != 0 and not short and _novel_content(row, q.content)
        if payload != 0 and not fresh:
            instruction = q.template
            read_as(q, payload)
            q.template = instruction
            fresh = True
        adds.new_content = F32(fresh)
        adds.sweep = F32(fresh and q.status < 400) * adds.single_turn
        if q.rest == 0 and not short:
            novelty(row, mix(q.content), False)
        size = math.log1p(q.chars)
        adds.log_chars = F32(size)
        adds.log_chars_sq = F32(size * size)
    after = _remember(row.ips, int(row.next_ip), q.ip)
    adds.new_ip = F32(after != row.next_ip)
    row.next_ip = after
    after = _remember(row.keys, int(row.next_key), q.key)
    adds.new_key = F32(after != row.next_key)
    row.next_key = after
    adds.rotated = F32(_rotated(row, q.agent))
    adds.washed = _washed(row, adds, q.user == 0 and q.session == 0 and q.n_headers == 0)

    if q.rest == 1:
        adds.rest = F32(1.0)
        fresh_share = new_resource(row, q.resource)
        adds.new_resource = fresh_share if q.resource != 0 else F32(0.0)
        adds.step = fresh_share * F32(item_run(row, q.route, q.item) >= MIN_RUN)
        adds.page_step = fresh_share * F32(page_run(row, q.route, q.page) > MIN_RUN)
        adds.not_found *= fresh_share
    if gap >= 0.0 and row.requests > 0:
        size = math.log1p(gap)
        adds.log_gap = F32(size)
        adds.log_gap_sq = F32(size * size)
        adds.quick = F32(q.time - row.last_end < QUICK_SECONDS)
    return refusal
