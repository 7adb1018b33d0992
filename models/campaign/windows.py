"""The windows of a fingerprint: one compiled step takes a sighting in and derives the features.

How sightings are cut into batches changes nothing.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.clock import settled, tick
from siphonwatch.models.account.fading import lasting
from siphonwatch.models.account.request import Array, Record
from siphonwatch.models.campaign.row import BANDS, CONTENTS, ENTRIES, HELD, TAU, TEMPLATES
from siphonwatch.models.campaign.walks import BY_CHANCE, count_read
from siphonwatch.models.common.kernel import kernel
from siphonwatch.models.common.vocabulary import PROJECTION

GONE = 0.1
"""Below this weight an account has left: its last request is some five days old."""
LEFT = 36
"""Hours after which a silent account leaves a sample that is thinned: whoever works daily returns before. Without it a
crowd of one day would keep others out until its weights have faded."""
SPARSE = ENTRIES // 4
"""Accounts up to which a thinned sample takes in twice as many: it stays well below full, and goes not to and fro."""
PASS_SECONDS = 60.0
"""A prompt held back and sent by another account within this time was handed over."""
PRIOR = 2.0
BURSTY = 4.0
"""Returns' worth of prior that accounts come in sittings: only what was seen to be otherwise counts."""
CLOSE = 0.33
"""Share of a round of all accounts below which two requests of an account are of one sitting."""
LONG = 800
"""Characters from which a text is long: a page, as documents and answers are and questions hardly ever."""
CURT, WORDY = 0.25, 1.5
"""An answer of so many times its text's length gives the text back in other words; a summary is shorter, a solution
has little to do with the length of its question."""
TOKEN = 4
"""Characters of a token, where an answer's length is known in tokens only."""
HOUR, DAY = 3600.0, 86_400.0
F32 = np.float32
ZERO = np.uint64(0)


@kernel
def _is_new(row: Record, content: np.uint64) -> bool:
    """Whether a SimHash shares no 16-bit band with a recent one of the fingerprint (Manku et al. 2007)."""
    for band in range(BANDS):
        part = np.uint16((content >> np.uint64(16 * band)) & np.uint64(0xFFFF))
        for j in range(CONTENTS):
            if row.contents[band, j] == part:
                return False
    at = row.next_content
    for band in range(BANDS):
        row.contents[band, at] = np.uint16((content >> np.uint64(16 * band)) & np.uint64(0xFFFF))
    row.next_content = (at + 1) % CONTENTS
    return True


def sample_names(accounts: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint32]:
    """Return what stands for accounts, `(n,)` hashes, in the sample of a fingerprint's row, `(n,)`."""
    return (accounts >> np.uint64(32)).astype(np.uint32) | np.uint32(1)


@kernel
def _in_sample(name: np.uint32, level: int) -> bool:
    return bool((name >> np.uint32(1)) & np.uint32((1 << level) - 1) == np.uint32(0))


@kernel
def _widen(row: Record, hour: int) -> None:
    """Let silent accounts leave a thinned sample, and take in twice as many where few are left."""
    count = 0
    for j in range(ENTRIES):
        if row.sample[j] != np.uint32(0):
            if (hour - int(row.hour[j])) & 0xFFFF > LEFT and (hour - int(row.hour[j])) & 0xFFFF < 0x8000:
                row.sample[j] = np.uint32(0)
                row.weight[j] = F32(0.0)
            else:
                count += 1
    if count <= SPARSE:
        row.level -= 1


@kernel
def _count_account(row: Record, account: np.uint64, weight: np.float32, hour: int) -> None:
    """Add to an account's weight in the sample; where that is full, half of the accounts leave it.

    Notes as well whether it returned much sooner than if all took turns.

    Adaptive sampling (Flajolet 1990): who is in it depends on the account's hash alone, so the sample's shares are
    those of all.
    """
    name = np.uint32(account >> np.uint64(32)) | np.uint32(1)
    if row.level > 0:
        _widen(row, hour)
    while _in_sample(name, row.level):
        free = -1
        for j in range(ENTRIES):
            if row.sample[j] == name:
                row.weight[j] += weight
                row.sum.returned += weight
                if float(row.turn - row.latest[j]) < CLOSE * _present(row):
                    row.sum.burst += weight
                row.latest[j] = row.turn
                row.hour[j] = np.uint16(hour & 0xFFFF)
                return
            if row.sample[j] == np.uint32(0) and free < 0:
                free = j
        if free >= 0:
            row.sample[free] = name
            row.weight[free] = weight
            row.latest[free] = row.turn
            row.hour[free] = np.uint16(hour & 0xFFFF)
            return
        row.level += 1
        for j in range(ENTRIES):
            if not _in_sample(row.sample[j], row.level):
                row.sample[j] = np.uint32(0)
                row.weight[j] = F32(0.0)


@kernel
def _present(row: Record) -> int:
    """How many accounts use the fingerprint, by the sample."""
    count = 0
    for j in range(ENTRIES):
        if row.weight[j] > F32(0.0):
            count += 1
    return int(count << row.level)


@kernel
def _passed_on(row: Record, q: Record, member: np.uint64, now: float) -> bool:
    """Whether another account's request of the same content was held back a moment ago."""
    for j in range(HELD):
        if row.held_content[j] == q.content and row.held_by[j] != member:
            if abs(now - row.held_at[j]) <= PASS_SECONDS:
                row.held_content[j] = ZERO
                return True
    return False


@kernel
def _rewrites(q: Record) -> bool:
    """Whether a request has a long text given back in other words, as far as lengths tell."""
    answer = q.chars_out if q.chars_out > 0 else TOKEN * q.tokens_out
    return bool(q.chars >= LONG and CURT * q.chars <= answer <= WORDY * q.chars)


@kernel
def _decay(row: Record, fade: np.float32) -> None:
    for j in range(len(row.sums)):
        row.sums[j] *= fade
    for j in range(ENTRIES):
        row.weight[j] *= fade
        if row.weight[j] < F32(GONE):
            row.sample[j] = np.uint32(0)
            row.weight[j] = F32(0.0)
    for j in range(TEMPLATES):
        row.template_weight[j] *= fade
    for j in range(PROJECTION):
        row.embed[j] *= fade
    row.embed_weight *= fade
    row.embed_weight_sq *= fade * fade


@kernel
def _count_template(row: Record, template: np.uint64, weight: np.float32) -> None:
    """Space-Saving (Metwally et al. 2005) over decayed counts."""
    least = 0
    for j in range(TEMPLATES):
        if row.template[j] == template:
            row.template_weight[j] += weight
            return
        if row.template_weight[j] < row.template_weight[least]:
            least = j
    row.template[least] = template
    row.template_weight[least] += weight


@kernel
def _count_turn(row: Record, q: Record, member: np.uint64, weight: np.float32) -> None:
    """Note whether a request comes from another account and another address block than the one before."""
    sums = row.sum
    if row.last_account != ZERO and row.last_account != member:
        sums.moved += weight
    row.last_account = member
    if q.net != ZERO:
        sums.net_known += weight
        if row.last_net != ZERO and row.last_net != q.net:
            sums.changed += weight
        row.last_net = q.net
    row.turn += np.uint32(1)


@kernel
def observe(row: Record, q: Record, member: np.uint64, time: float, out: Record) -> bool:
    """Take a sighting of a member (an account, or an end user of one) at event time `time` into its fingerprint's row.

    Derives the features.

    Returns whether it is a request asked once and answered: only such ones are evidence. One that is late joins with
    the weight it would have kept, so that the order within the grace matters little.
    """
    gap = time - row.last_time if row.requests > 0 else 0.0
    if row.requests == 0:
        row.first_seen = time
        row.last_time = time
    decay = lasting(math.exp(-max(gap, 0.0) / TAU), float(row.sum.asked), row.requests)
    if decay < 1.0:
        _decay(row, F32(decay))
    row.last_time = max(row.last_time, time)
    weight = F32(math.exp(min(gap, 0.0) / TAU))
    row.first_seen = min(row.first_seen, time)
    row.requests += 1
    sums = row.sum
    proper = False
    if q.rest == 1:
        sums.asked += weight
        proper = count_read(row, q, time, gap, weight)
        if proper:
            sums.proper += weight
            _count_turn(row, q, member, weight)
            _count_account(row, member, weight * max(q.stands_for, F32(1.0)), int(row.last_time / HOUR))
    elif q.status >= 400:
        if q.content != ZERO:
            at = row.next_held
            row.held_content[at], row.held_by[at], row.held_at[at] = q.content, member, time
            row.next_held = (at + 1) % HELD
    else:
        sums.asked += weight
        if q.tools > 0:
            sums.tooled += weight
        angle = 2.0 * math.pi * (time % DAY) / DAY
        sums.east += weight * F32(math.cos(angle))
        sums.north += weight * F32(math.sin(angle))
        if q.turns > 1:
            sums.conversation += weight
        else:
            proper = True
            sums.proper += weight
            if q.content != ZERO:
                if _passed_on(row, q, member, time):
                    sums.batons += weight
                if _is_new(row, q.content):
                    sums.new += weight
            if _rewrites(q):
                sums.rewrites += weight
            if q.session != ZERO:
                sums.with_session += weight
            _count_turn(row, q, member, weight)
            _count_account(row, member, weight, int(row.last_time / HOUR))
            _count_template(row, q.template, weight)
            for j in range(PROJECTION):
                row.embed[j] += weight * F32(q.projection[j]) * F32(1.0 / 127.0)
            row.embed_weight += weight
            row.embed_weight_sq += weight * weight
    _derive(row, out)
    return proper


@kernel
def _derive(row: Record, out: Record) -> None:
    sums = row.sum
    count, total, squares = 0, 0.0, 0.0
    for j in range(ENTRIES):
        w = float(row.weight[j])
        if w > 0.0:
            count += 1
            total += w
            squares += w * w
    disparity, per_account, accounts = 1.0, 0.0, 0.0
    if squares > 0.0:  # of what came months late the squares are 0
        disparity = squares * count / (total * total)
        per_account = total / count
        accounts = count * float(1 << row.level) / disparity
    proper = float(sums.proper)
    breadth, square = 0.5, 0.0
    pairs = float(row.embed_weight) * float(row.embed_weight) - float(row.embed_weight_sq)
    if pairs > 2.0:
        for j in range(PROJECTION):
            square += float(row.embed[j]) * float(row.embed[j])
        breadth = 1.0 - (square - float(row.embed_weight_sq)) / pairs
    top = F32(0.0)
    for j in range(TEMPLATES):
        top = max(top, row.template_weight[j])
    below = proper + PRIOR
    out.accounts = F32(accounts)
    out.per_account = F32(per_account)
    out.disparity = F32(disparity)
    out.new_content = F32(float(sums.new) / below)
    out.conversation = F32(float(sums.conversation) / (float(sums.asked) + PRIOR))
    out.tools = F32(float(sums.tooled) / (float(sums.asked) + PRIOR))
    out.rhythm = F32(math.hypot(float(sums.east), float(sums.north)) / (float(sums.asked) + PRIOR))
    out.rewrites = F32(float(sums.rewrites) / below)
    out.breadth = F32(min(max(breadth, 0.0), 1.0))
    out.top_template = F32(float(top) / below)
    out.passing = F32(float(sums.moved) / below)
    # One scheduler draws, or goes round; people and programs of their own come in runs. Outside a thinned sample there
    # are so many accounts that hardly two requests in a row would be of one.
    drawn = 1.0 - disparity / count if count > 0 and row.level == 0 else 1.0
    out.turn_taking = F32(float(sums.moved) / (proper * drawn + PRIOR))
    # Without addresses nothing can be said: that must not excuse anybody.
    out.places = F32(1.0) if sums.net_known < F32(0.5) * sums.proper else F32(float(sums.changed) / below)
    out.batons = F32(float(sums.batons))
    out.seen = F32(proper)
    out.session = F32(float(sums.with_session) / below)
    reads = float(sums.rest) + PRIOR
    out.rest = F32(float(sums.rest) / (float(sums.asked) + PRIOR))
    out.handed = F32(float(sums.handed) / reads)
    out.missing = F32(float(sums.missing) / reads)
    out.again = F32(float(sums.again) / reads)
    out.trail_new = F32(float(sums.trail_new) / reads)
    out.together = F32(row.together)
    out.pace = F32(math.sqrt(float(row.log_gap_var if row.log_gap_var > F32(0.0) else BY_CHANCE)))
    out.sittings = F32((float(sums.burst) + BURSTY) / (float(sums.returned) + BURSTY))


@kernel
def observe_all(
    rows: Array,
    slots: npt.NDArray[np.int64],
    which: npt.NDArray[np.int64],
    members: npt.NDArray[np.uint64],
    requests: Array,
    offsets: npt.NDArray[np.int64],
    arrived: npt.NDArray[np.float64],
    clock: Array,
    grace: float,
    max_ahead: float,
    values: Array,
    now: npt.NDArray[np.float64],
    sure: npt.NDArray[np.float64],
    proper: npt.NDArray[np.bool_],
    seen: npt.NDArray[np.int64],
) -> int:
    """Take sightings into their fingerprints' rows in order; returns how many requests were skipped.

    `slots`, `which` and `members`, `(m,)`: the row of each fingerprint, its request and its member; those of a
    request stand together. What a row has applied before is skipped, its slot becomes -1. `arrived`, `(n,)` seconds, is
    when the broker had each one. Writes the features, `values (m,) VALUES`, the event time `now` and the one that many
    accounts agree on (`sure`), whether it is evidence (`proper`), and how many sightings its row has `seen`, each
    `(m,)`.
    """
    skipped, previous, time = 0, -1, 0.0
    for k in range(len(slots)):
        i = which[k]
        row, q = rows[slots[k]], requests[i]
        if offsets[i] <= row.last_offset:
            if i != previous:
                skipped += 1
                previous = i
            slots[k] = -1
            proper[k] = False
            now[k], sure[k] = clock[0].now, settled(clock[0], max_ahead)
            continue
        row.last_offset = offsets[i]
        if i != previous:
            time = tick(clock[0], q.account_hash, q.time, arrived[i], grace, max_ahead)
            previous = i
        now[k], sure[k] = clock[0].now, settled(clock[0], max_ahead)
        if row.requests > 0 and row.last_time > max(now[k], time) + max_ahead:
            row.last_time = clock[0].now  # the clock was set back: what ran ahead counts as now
        proper[k] = observe(row, q, members[k], time, values[k])
        seen[k] = row.requests
    return skipped
