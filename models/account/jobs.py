"""The jobs of an account: its requests told apart by system prompt and sampling parameters, each with sums of its own.

An account that distils at a tenth of its traffic looks honest on the whole; the job that does it does not. A job is
known by what a program sets once (system prompt, temperature, max_tokens), not by address, client or key, which a
program rotates at no cost.
"""

from __future__ import annotations

import math

import numpy as np

from siphonwatch.models.account.conversations import SHORT
from siphonwatch.models.account.fading import is_full, lasting
from siphonwatch.models.account.request import DRAWN_SYSTEM, Record, mix
from siphonwatch.models.account.row import IS_JOB, SLOTS
from siphonwatch.models.account.slots import F32, TAU, find_slot
from siphonwatch.models.common.kernel import kernel

LOOP_LAG, LOOP_GAP = 10.0, 120.0
"""Seconds after the end, and the start, of the request before within which a request belongs to one run of a loop."""
LEAST = 0.5
"""Requests that say something of a job, from which it has features."""
STANDING = 5.0
"""Hours with requests, of the last 7 d, from which a job or trail counts in full as another use of its account. One
hour counts nothing: a single benchmark. Chosen on composed traffic (docs: detection)."""
HOUR = 3600
HOURS_A_DAY = 24
PRIOR = 2.0
"""Requests' worth of prior in a share, as in the account's features."""
SEED = np.uint64(0x9E3779B97F4A7C15)


@kernel
def job_id(q: Record) -> np.uint32:
    """Name of the request's job, never 0: system prompt and max_tokens in the upper half, temperature in the lower."""
    temperature = -1 if math.isnan(q.temperature) else int(q.temperature * 1000.0 + 0.5)
    use = mix(q.system ^ mix(np.uint64(q.max_tokens) ^ SEED)) >> np.uint64(48)
    heat = mix(np.uint64(temperature + 1) ^ SEED) >> np.uint64(48)
    return np.uint32((use << np.uint64(16)) | heat | np.uint64(1))


@kernel
def count_job(row: Record, q: Record, now: float, adds: Record, refusal: np.float32) -> int:
    """Take a request, at event time `now`, into its job; returns the job's place in the row, -1 where it has none.

    `adds` is what the request adds to the account's sums, `refusal` how surely the model balked at it. A request older
    than the job's last one joins with the weight it would have kept, and is left out of what needs a sequence (loops,
    hours, days).
    """
    if q.template == 0:
        return -1
    place = find_slot(row, IS_JOB, job_id(q), now)
    if place < 0:
        return -1
    job = row.jobs[place]
    gap = now - job.time if job.requests > F32(0.0) else 0.0
    decay, requests = math.exp(-max(gap, 0.0) / TAU), float(job.requests)
    fade, full = F32(lasting(decay, requests, row.requests)), is_full(decay, requests)
    weight = F32(math.exp(min(gap, 0.0) / TAU))
    in_loop = F32(0.0)
    if job.requests > F32(0.0) and gap >= 0.0 and gap < LOOP_GAP and gap - float(job.duration) < LOOP_LAG:
        in_loop = adds.sweep
    size = F32(math.log1p(q.chars))
    job.hold = job.hold * fade + F32(1.0)
    job.requests = job.requests * fade + weight
    if adds.single_turn > F32(0.5) and adds.new_content == F32(0.0) and 0 < q.chars <= SHORT:
        weight = F32(0.0)
    job.weighed = job.weighed * fade + weight
    job.loop = job.loop * fade + in_loop
    job.log_chars = job.log_chars * fade + size * weight
    job.log_chars_sq = job.log_chars_sq * fade + size * size * weight
    job.single_turn = job.single_turn * fade + adds.single_turn * weight
    job.sweep = job.sweep * fade + adds.sweep * weight
    job.generation = job.generation * fade + adds.generation * weight
    job.reasoning = job.reasoning * fade + adds.reasoning * weight
    job.grading = job.grading * fade + adds.grading * weight
    job.balked = job.balked * fade + refusal * weight
    job.structured = job.structured * fade + F32(q.structured) * weight
    if not full:
        job.hours *= fade
        job.days *= fade
    job.template_weight *= fade
    small = np.uint32(q.template >> np.uint64(32)) | np.uint32(1)
    if job.template == small:
        job.template_weight += weight
    elif job.template_weight < weight:
        job.template = small
        job.template_weight = weight
    else:
        job.template_weight -= weight
    if gap >= 0.0:
        hour = np.int32(now // HOUR)
        if hour > job.hour:
            if full:  # gaps are too short for these to fade by each
                since = F32(math.exp(-HOUR * (hour - job.hour) / TAU))
                job.hours *= since
                job.days *= since
            job.hours += F32(1.0)
            if hour // HOURS_A_DAY > job.hour // HOURS_A_DAY:
                job.days += F32(1.0)
            job.hour = hour
        job.time = now
        job.duration = q.duration
    return place


@kernel
def _largest_other(row: Record, place: int, now: float) -> float:
    """Requests over 7 d of the account's largest job of another use than the one at `place`, or of its largest trail.

    Jobs that differ in temperature alone are one use: whoever tries a prompt at three temperatures does one thing. The
    requests count in a share that grows from 0 for one hour at work to 1 for `STANDING` hours.
    """
    largest = 0.0
    for k in range(SLOTS):
        slot = row.slots[k]
        if slot.name != 0 and slot.name >> np.uint32(16) != row.slots[place].name >> np.uint32(16):
            fade = math.exp(-max(now - slot.time, 0.0) / TAU)
            standing = min(max((float(slot.hours) * fade - 1.0) / (STANDING - 1.0), 0.0), 1.0)
            largest = max(largest, float(slot.requests) * fade * standing)
    return largest


@kernel
def derive_job(row: Record, place: int, q: Record, now: float, requests: float, out: Record) -> None:
    """Write the features of a request's job into `out`; nothing where it has none.

    `requests` is the account's own decayed count over 7 d.
    """
    if place < 0:
        return
    job = row.jobs[place]
    weight = float(job.weighed)
    if weight < LEAST:
        return
    all_of = weight + PRIOR
    mean = float(job.log_chars) / weight
    out.job_requests = math.log1p(weight)
    out.job_hours = math.log1p(float(job.hours))
    out.job_days = float(job.days)
    out.job_run = math.log1p(float(job.loop))
    out.job_loop = float(job.loop) / all_of
    out.job_top_template = float(job.template_weight) / all_of
    out.job_single_turn = float(job.single_turn) / weight
    out.job_sweep = float(job.sweep) / weight
    out.job_generation = float(job.generation) / all_of
    out.job_reasoning = float(job.reasoning) / all_of
    out.job_grading = float(job.grading) / all_of
    out.job_balked = float(job.balked) / all_of
    out.job_structured = float(job.structured) / weight
    out.job_length_spread = math.sqrt(max(float(job.log_chars_sq) / weight - mean * mean, 0.0))
    out.job_deterministic = 1.0 if q.temperature == 0.0 else 0.0
    out.job_system = 1.0 if q.system > DRAWN_SYSTEM else 0.0
    out.job_aside = min(_largest_other(row, place, now) / max(requests, 1.0), 1.0)
