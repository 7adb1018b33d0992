"""What of a message is the wrapper that an account puts around its prompts, and whether the rest, the payload, is new.

A long constant text around each prompt makes all of them look alike, at the price of its tokens. Chunks that recur in
an account are its wrapper. Where the others were never seen, the message asks something new, whatever stands around
it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.request import Record, mix
from siphonwatch.models.account.row import LENGTHS, ONCE, RECURRING
from siphonwatch.models.common.kernel import kernel
from siphonwatch.models.common.vocabulary import CHUNKS

LEAST = 2
"""Chunks of a payload that were never seen: in one alone a name, a date or a number may differ, unless the messages
differ in length as well."""
DIFFERS = 6
"""Characters by which a message is longer or shorter than the wrapped ones before it, so that more than a date may
differ."""
WRAPPED = 0.3
"""Share of a message's characters in chunks that recur, from which it is wrapped."""
UNSEEN = 0.6
"""Share of the rest in chunks that were never seen, from which the payload is new."""
MOST_USES = 255
NONE = np.uint64(0)


@kernel
def _mark(chunk: np.uint32) -> np.uint16:
    return np.uint16(chunk >> np.uint32(16)) | np.uint16(1)


@kernel
def _holds(marks: npt.NDArray[np.uint16], mark: np.uint16) -> bool:
    """Whether a mark is there; without a branch, which takes a tenth of the time."""
    found = False
    for j in range(len(marks)):
        found |= marks[j] == mark
    return found


@kernel
def _recurs(row: Record, mark: np.uint16) -> None:
    """Take a chunk that was seen once among those that recur, in place of the least used; all others wear down."""
    for j in range(ONCE):
        if row.once[j] == mark:
            row.once[j] = np.uint16(0)
    least = 0
    for j in range(RECURRING):
        if row.recurring_uses[j] < row.recurring_uses[least]:
            least = j
    if row.recurring_uses[least] > 0:
        for j in range(RECURRING):
            row.recurring_uses[j] -= 1
    row.recurring[least] = mark
    row.recurring_uses[least] = 2


@kernel
def _is_used(row: Record, mark: np.uint16) -> None:
    """Count a chunk that recurs once more."""
    for j in range(RECURRING):
        if row.recurring[j] == mark:
            row.recurring_uses[j] = min(int(row.recurring_uses[j]) + 1, MOST_USES)


@kernel
def _stands_before(q: Record, j: int) -> bool:
    """Whether a chunk is one of those before it in its message."""
    found = False
    for i in range(j):
        found |= q.chunk[i] == q.chunk[j]
    return found


@kernel
def _is_of_another_length(row: Record, chars: int) -> bool:
    """Whether a wrapped message is of another length than the last ones; it is one of them from now on."""
    other, chars = True, min(chars, 65535)
    for j in range(LENGTHS):
        other &= abs(int(row.wrapped_chars[j]) - chars) >= DIFFERS
    for j in range(LENGTHS - 1, 0, -1):
        row.wrapped_chars[j] = row.wrapped_chars[j - 1]
    row.wrapped_chars[0] = chars
    return other


@kernel
def unwrap(row: Record, q: Record) -> np.uint64:
    """Return what the payload of a wrapped message is, where it is new; else 0. The row remembers the chunks.

    A hash stands for it, of the chunks that were never seen.
    """
    wrapper = unseen = total = number = 0
    payload, recurring, once = NONE, 0, 0
    chunks = CHUNKS
    for j in range(CHUNKS):
        if q.chunk[j] == np.uint32(0):
            chunks = j
            break
        mark, size = _mark(q.chunk[j]), int(q.chunk_chars[j])
        total += size
        if _holds(row.recurring, mark):
            recurring |= 1 << j
            wrapper += size
        elif _holds(row.once, mark):
            once |= 1 << j
        else:
            number += 1
            unseen += size
            payload = mix(payload ^ np.uint64(q.chunk[j]))
    for j in range(chunks):
        mark = _mark(q.chunk[j])
        if recurring >> j & 1:
            _is_used(row, mark)
        elif not _stands_before(q, j):
            if once >> j & 1:
                _recurs(row, mark)
            else:
                row.once[row.next_once] = mark
                row.next_once = (row.next_once + 1) % ONCE
    rest = total - wrapper
    if number == 0 or wrapper < WRAPPED * total or unseen < UNSEEN * rest:
        return NONE
    differs = _is_of_another_length(row, int(q.chars))
    return payload if number >= LEAST or differs else NONE
