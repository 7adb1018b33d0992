"""The jobs of an account: its requests told apart by system prompt and sampling parameters, each with sums of its own.

An account that distils at a tenth of its traffic looks honest on the whole; the job that does it does not. A job is
known by what a program sets once (system prompt, temperature, max_tokens), not by address, client or key, which a
program rotates at no cost.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.describe import F32, GENERATION, GRADING, REASONING, SINGLE_TURN, SWEEP
from siphonwatch.models.account.request import Record, mix
from siphonwatch.models.account.row import JOBS, TAUS
from siphonwatch.models.common.kernel import kernel

TAU = float(TAUS[-1])
LOOP_LAG, LOOP_GAP = 10.0, 120.0
"""Seconds after the end, and the start, of the request before within which a request belongs to one run of a loop."""
HOUR = 3600
HOURS_A_DAY = 24
PRIOR = 2.0
"""Requests' worth of prior in a share, as in the account's features."""
SEED = np.uint64(0x9E3779B97F4A7C15)


class JobFeature(NamedTuple):
    """One quantity of a request's job."""

    name: str
    unit: str
    meaning: str


JOB_FEATURES = (
    JobFeature("job_requests", "log(1 + requests)", "requests of this job (one system prompt and parameters) over 7d"),
    JobFeature("job_hours", "log(1 + hours)", "hours in which the job was at work over 7d"),
    JobFeature("job_days", "days", "days on which the job was at work over 7d"),
    JobFeature(
        "job_run", "log(1 + requests)", "the job's sweeping requests sent within 10 s of the end of the one before"
    ),
    JobFeature("job_loop", "share", "the same, of the job's requests"),
    JobFeature("job_top_template", "share", "the job's commonest template"),
    JobFeature("job_single_turn", "share", "the job's requests with one message only"),
    JobFeature("job_sweep", "share", "the job's requests with new content, asked once, outside a conversation"),
    JobFeature("job_generation", "share", "the job's requests that ask for training examples"),
    JobFeature("job_reasoning", "share", "the job's requests that ask for a reasoning trace"),
    JobFeature("job_grading", "share", "the job's requests that grade an answer"),
    JobFeature("job_structured", "share", "the job's requests that ask for output of a given structure"),
    JobFeature("job_length_spread", "standard deviation of a log", "variety of the job's prompt lengths"),
    JobFeature("job_deterministic", "0 or 1", "the job asks at temperature 0"),
    JobFeature("job_system", "0 or 1", "the job has a system prompt"),
    JobFeature("job_aside", "share", "the account's requests over 7d that belong to its largest job of another use"),
)
"""In the order of `derive_job`'s output."""
JOB_WIDTH = len(JOB_FEATURES)


@kernel
def job_id(q: Record) -> np.uint32:
    """Name of the request's job, never 0: system prompt and max_tokens in the upper half, temperature in the lower."""
    temperature = -1 if math.isnan(q.temperature) else int(q.temperature * 1000.0 + 0.5)
    use = mix(q.system ^ mix(np.uint64(q.max_tokens) ^ SEED)) >> np.uint64(48)
    heat = mix(np.uint64(temperature + 1) ^ SEED) >> np.uint64(48)
    return np.uint32((use << np.uint64(16)) | heat | np.uint64(1))


@kernel
def find_job(row: Record, name: np.uint32, now: float) -> int:
    """Place of the job, or -1: a job that finds no room wears the lightest one down (Misra & Gries 1982)."""
    lightest, least, kept = 0, math.inf, 1.0
    for k in range(JOBS):
        if row.jobs[k].name == name:
            return k
        fade = math.exp(-max(now - row.jobs[k].time, 0.0) / TAU)
        if float(row.jobs[k].hold) * fade < least:
            lightest, least, kept = k, float(row.jobs[k].hold) * fade, fade
    job = row.jobs[lightest]
    if least > 1.0:
        job.hold -= F32(1.0 / kept)
        return -1
    job.name = name
    job.hold = job.requests = job.hours = job.days = job.loop = job.log_chars = job.log_chars_sq = F32(0.0)
    job.template_weight = job.single_turn = job.sweep = job.generation = job.reasoning = job.grading = F32(0.0)
    job.structured = job.duration = F32(0.0)
    job.template = np.uint32(0)
    job.time = 0.0
    job.hour = np.int32(-1)
    return lightest


@kernel
def count_job(row: Record, q: Record, now: float, x: npt.NDArray[np.float32]) -> int:
    """Take a request, at event time `now`, into its job; returns the job's place in the row, -1 where it has none.

    `x` is what the request adds to the account's sums. A request older than the job's last one joins with the weight
    it would have kept, and is left out of what needs a sequence (loops, hours, days).
    """
    if q.template == 0:
        return -1
    place = find_job(row, job_id(q), now)
    if place < 0:
        return -1
    job = row.jobs[place]
    gap = now - job.time if job.requests > F32(0.0) else 0.0
    fade = F32(math.exp(-max(gap, 0.0) / TAU))
    weight = F32(math.exp(min(gap, 0.0) / TAU))
    in_loop = F32(0.0)
    if job.requests > F32(0.0) and gap >= 0.0 and gap < LOOP_GAP and gap - float(job.duration) < LOOP_LAG:
        in_loop = x[SWEEP]
    size = F32(math.log1p(q.chars))
    job.hold = job.hold * fade + F32(1.0)
    job.requests = job.requests * fade + weight
    job.loop = job.loop * fade + in_loop
    job.log_chars = job.log_chars * fade + size * weight
    job.log_chars_sq = job.log_chars_sq * fade + size * size * weight
    job.single_turn = job.single_turn * fade + x[SINGLE_TURN] * weight
    job.sweep = job.sweep * fade + x[SWEEP] * weight
    job.generation = job.generation * fade + x[GENERATION] * weight
    job.reasoning = job.reasoning * fade + x[REASONING] * weight
    job.grading = job.grading * fade + x[GRADING] * weight
    job.structured = job.structured * fade + F32(q.structured) * weight
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
            job.hours += F32(1.0)
            if hour // HOURS_A_DAY > job.hour // HOURS_A_DAY:
                job.days += F32(1.0)
            job.hour = hour
        job.time = now
        job.duration = q.duration
    return place


@kernel
def _largest_other(row: Record, place: int, now: float) -> float:
    """Requests over 7 d of the account's largest job of another use than the one at `place`.

    Jobs that differ in temperature alone are one use: whoever tries a prompt at three temperatures does one thing.
    """
    largest = 0.0
    for k in range(JOBS):
        if row.jobs[k].name != 0 and row.jobs[k].name >> np.uint32(16) != row.jobs[place].name >> np.uint32(16):
            fade = math.exp(-max(now - row.jobs[k].time, 0.0) / TAU)
            largest = max(largest, float(row.jobs[k].requests) * fade)
    return largest


@kernel
def derive_job(row: Record, place: int, q: Record, now: float, requests: float, out: npt.NDArray[np.float64]) -> None:
    """Write the features of a request's job into `out`, `(JOB_WIDTH,)`; zeros where it has none.

    `requests` is the account's own decayed count over 7 d.
    """
    for j in range(JOB_WIDTH):
        out[j] = 0.0
    if place < 0:
        return
    job = row.jobs[place]
    weight = float(job.requests)
    all_of = weight + PRIOR
    mean = float(job.log_chars) / weight
    out[0] = math.log1p(weight)
    out[1] = math.log1p(float(job.hours))
    out[2] = float(job.days)
    out[3] = math.log1p(float(job.loop))
    out[4] = float(job.loop) / all_of
    out[5] = float(job.template_weight) / all_of
    out[6] = float(job.single_turn) / weight
    out[7] = float(job.sweep) / weight
    out[8] = float(job.generation) / all_of
    out[9] = float(job.reasoning) / all_of
    out[10] = float(job.grading) / all_of
    out[11] = float(job.structured) / weight
    out[12] = math.sqrt(max(float(job.log_chars_sq) / weight - mean * mean, 0.0))
    out[13] = 1.0 if q.temperature == 0.0 else 0.0
    out[14] = 1.0 if q.system != 0 else 0.0
    out[15] = min(_largest_other(row, place, now) / max(requests, 1.0), 1.0)
