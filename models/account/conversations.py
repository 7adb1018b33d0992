"""Whether a request goes on with a conversation that was had: with words that were said, or a reply that was given.

Several messages alone are no conversation: a constant dummy exchange in front of every prompt costs nothing, nor do
examples that a program sends each time. A row keeps hashes of what was said and answered of late, of a busy account a
sample of them by hash, so that a sample of those who go on from one can be verified. Nor does a constant last message
hide a prompt before it: where the history is made up and not the same each time, that is what is asked.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.request import Record, mix
from siphonwatch.models.account.row import BANDS, CONTENTS, EARLIER, SHORTS, TURNS
from siphonwatch.models.account.sums import SCALES, TAUS
from siphonwatch.models.common.kernel import kernel
from siphonwatch.models.common.vocabulary import PROJECTION

F32 = np.float32
HOUR, DAY = SCALES.index("1h"), SCALES.index("1d")
HOUR_TAU = float(TAUS[HOUR])
NONE = np.uint64(0)
MOST_LEVEL = 20
LOWER = 0xFFFF
TICKS = 16
"""A second, in the unit of `turn_end`; within one, neither a tool nor a person took time."""
EARLY = 60 * TICKS
"""How long before the end of a turn a request that names it may come and be known as early."""
USES = 4
"""Requests that one turn vouches for: it may be asked for again, or a branch go on from it. An agent that works on what
its user said says it again in each of its requests."""
SHORT = 80
"""Characters up to which a message that was sent before asks nothing: it costs nothing to send."""
SIZE_BITS = 3
"""Bits of `turn_uses` that count; those above hold the size of an exchange in doublings of its characters."""
TOKEN = 4
"""Characters of a token, where an answer's length is known in tokens only."""
ALIKE = np.int8(22)
"""Size of each of `PROJECTION` components of a unit vector scaled to 127."""
WINDOW = 8
"""Messages from which a client may send the latest ones of a longer conversation. A shorter request goes on only from
one that was shorter still: who sends each prompt behind the one before it holds no conversation."""
TRUST = 1.0
"""Sampled requests' worth of prior, verified, in a busy account's share of them. That share is of all its requests with
several messages, not of those in the sample: a constant exchange that is not in the sample vouches for nothing."""


@kernel
def _level(row: Record, gap: float) -> int:
    """One turn in 2^level is kept: as many as an hour's requests leave find room, words and replies.

    The sum is as of the request before, `gap` seconds ago, so it is decayed to now: after a pause every turn is kept.
    """
    level, left = 0, 2.0 * float(row.by_scale[HOUR].requests) * math.exp(-max(gap, 0.0) / HOUR_TAU)
    while left > TURNS and level < MOST_LEVEL:
        level += 1
        left *= 0.5
    return level


@kernel
def _is_kept(turn: np.uint64, level: int) -> bool:
    """Whether a turn is in the sample."""
    return bool((turn >> np.uint64(40)) & np.uint64((1 << level) - 1) == NONE)


@kernel
def _find(marks: npt.NDArray[np.uint16], turn: np.uint64) -> int:
    """Place of a turn, -1 where it is not among those kept."""
    mark = np.uint16(turn & np.uint64(0xFFFF)) | np.uint16(1)
    for j in range(len(marks)):
        if marks[j] == mark:
            return j
    return -1


@kernel
def was_said(row: Record, said: np.uint64) -> bool:
    """Whether words are among the turns kept."""
    return _find(row.turns, said) >= 0


@kernel
def is_short_again(row: Record, q: Record) -> bool:
    """Whether a request's words are few and were sent before, among the latest such words; they are from now on."""
    if q.said == NONE or not 0 < q.chars <= SHORT:
        return False
    mark = np.uint16(q.said & np.uint64(0xFFFF)) | np.uint16(1)
    at = np.int64((q.said >> np.uint64(16)) % np.uint64(SHORTS))
    again = row.short[at] == mark
    row.short[at] = mark
    return bool(again)


@kernel
def _doublings(chars: int) -> int:
    """The least n with fewer than 2**n characters, 31 at most."""
    n = 0
    while chars > 0 and n < 31:
        chars >>= 1
        n += 1
    return n


@kernel
def _vouches(row: Record, turn: np.uint64, q: Record, length: int, again: bool) -> bool:
    """Whether a turn was there, a request of so many messages may go on from it, and it has not vouched for too many.

    It vouches for one more. What goes on from it then is longer, unless the same is asked `again`: many prompts, each
    behind one exchange that was had, are no conversation. Nor does an exchange vouch for words that are longer than it
    was, question and answer: a greeting is no beginning of a long prompt.
    """
    at = _find(row.turns, turn) if turn != NONE else -1
    if at < 0 or int(row.turn_uses[at]) & (1 << SIZE_BITS) - 1 >= USES:
        return False
    if not again and q.chars > SHORT and _doublings(int(q.chars)) > int(row.turn_uses[at]) >> SIZE_BITS:
        return False
    depth = int(row.turn_depth[at])
    if length < WINDOW and (depth > length or (depth == length and not again)):
        return False
    row.turn_uses[at] += 1
    row.turn_depth[at] = max(depth, min(length, 255))
    return True


@kernel
def _moment(time: float) -> np.uint16:
    """A time in sixteenths of a second, its lower 16 bits and never 0; 0 where it is not known."""
    return np.uint16(0) if math.isnan(time) else np.uint16(np.int64(time * TICKS) & np.int64(LOWER)) | np.uint16(1)


@kernel
def _pause(row: Record, q: Record, level: int, adds: Record) -> None:
    """Write `followed` and `unpaused`: how long after the latest turn that it goes on from a request was sent.

    One sent well before that end goes on from something else. Of 4,096 long pauses two look like none.
    """
    found, least = False, np.int64(0)
    for turn in (q.before, q.follows):
        if turn != NONE and _is_kept(turn, level):
            at = _find(row.turns, turn)
            if at >= 0 and row.turn_end[at] != np.uint16(0):
                since = (np.int64(_moment(q.time)) - np.int64(row.turn_end[at])) & np.int64(LOWER)
                if since > np.int64(LOWER - EARLY):
                    since -= np.int64(LOWER + 1)
                least = min(least, since) if found else since
                found = True
    if found and least >= -TICKS:
        adds.followed = F32(1.0)
        adds.unpaused = F32(least < TICKS)


@kernel
def _keep(row: Record, turn: np.uint64, length: int, level: int, ended: np.uint16, size: int) -> None:
    """Remember a turn of a request of so many messages, and an exchange of so many doublings of characters, where it is
    in the sample."""
    if turn == NONE or not _is_kept(turn, level):
        return
    at, depth = _find(row.turns, turn), min(length, 255)
    if at < 0:
        at = int(row.next_turn)
        row.turns[at] = np.uint16(turn & np.uint64(0xFFFF)) | np.uint16(1)
        row.turn_depth[at] = depth
        row.next_turn = (at + 1) % TURNS
    row.turn_uses[at] = size << SIZE_BITS
    row.turn_end[at] = ended
    row.turn_depth[at] = min(depth, int(row.turn_depth[at]))


@kernel
def unveil(row: Record, q: Record, payload: np.uint64, short: bool) -> bool:
    """Where a request's history is made up and new, and its last message known, read the history in its place.

    A message with a `payload`, what it asks inside a wrapper, is none that is known; a `short` one that was sent before
    is. Returns whether the history is read.
    """
    if q.earlier == NONE:
        return False
    mark = np.uint16(q.earlier & np.uint64(0xFFFF)) | np.uint16(1)
    for j in range(EARLIER):
        if row.earlier[j] == mark:
            return False
    row.earlier[row.next_earlier] = mark
    row.next_earlier = (row.next_earlier + 1) % EARLIER
    if q.template == NONE or (payload == NONE and (short or is_near(row, q.content))):
        read_as(q, q.earlier)
        return True
    return False


@kernel
def read_as(q: Record, hidden: np.uint64) -> None:
    """Put a text of which nothing but a hash is known in the place of the last message.

    As text it is unlike all others, and its projection is one that belongs to the hash.
    """
    q.content = mix(hidden)
    q.template = mix(q.content)
    signs = mix(q.template)
    for j in range(PROJECTION):
        q.projection[j] = ALIKE if (signs >> np.uint64(j)) & np.uint64(1) else -ALIKE


@kernel
def is_near(row: Record, content: np.uint64) -> bool:
    """Whether a SimHash shares a 16-bit band with a recent one; within 3 bits of one it must (Manku et al. 2007)."""
    found = False
    for band in range(BANDS):
        part = np.uint16((content >> np.uint64(16 * band)) & np.uint64(0xFFFF))
        ring = row.contents[band]
        for j in range(CONTENTS):
            found |= ring[j] == part
    return found


@kernel
def conversation(row: Record, q: Record, gap: float, adds: Record) -> np.float32:
    """Return how surely a request with text goes on with a conversation, 0 to 1; keep its own turns.

    `gap` is the time since the account's request before, seconds; negative if late.
    Writes `several`, `from_words` and `from_reply` of `adds`. Where the gateway says nothing of what came before
    (`before` is 0, as in telemetry of earlier versions), several messages count as a conversation.
    """
    level, found, length = _level(row, gap), F32(0.0), q.turns
    weight = F32(1 << level)
    if q.turns > 1:
        found = F32(1.0)
        if q.before != NONE:
            adds.several = F32(1.0)
            _pause(row, q, level, adds)
            again = _find(row.turns, q.said) >= 0
            if _is_kept(q.before, level) and _vouches(row, q.before, q, length, again):
                adds.from_words = weight
            if _is_kept(q.follows, level) and _vouches(row, q.follows, q, length, again):
                adds.from_reply = weight
            if level == 0:
                found = max(adds.from_words, adds.from_reply)
            else:
                day, trust = row.by_scale[DAY], F32(TRUST) * weight
                found = min((max(day.from_words, day.from_reply) + trust) / (day.several + trust), F32(1.0))
    ended = _moment(q.time + float(q.duration))
    answer = int(q.chars_out) if q.chars_out > 0 else TOKEN * int(q.tokens_out)
    size = _doublings(int(q.chars) + answer)
    _keep(row, q.said, length, level, ended, size)
    if q.status < 400:
        _keep(row, q.reply, length, level, ended, size)
    return found
