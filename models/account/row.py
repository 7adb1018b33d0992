"""The account row: everything siphonwatch remembers of one account, in 2 KB.

Additive quantities are kept as sums that decay with event time at four scales, so that a request costs the same
whatever the account's history, and requests within the grace may come in any order.
"""

from __future__ import annotations

import hashlib

import numpy as np

from siphonwatch.models.account.request import NAME_WORDS
from siphonwatch.models.common.vocabulary import PROJECTION

SCALES = ("5m", "1h", "1d", "7d")
TAUS = np.array([300.0, 3600.0, 86_400.0, 604_800.0])
"""Time constants of the scales, seconds: a request's weight falls to 1/e in that time."""

SUMS = (
    "requests", "tokens_out", "throttled", "not_found", "failed",
    "masked", "mask_spans", "echoed", "canonical", "reasoning", "grading", "scrubbing", "generation",
    "with_user", "with_session", "client_headers", "deterministic", "extra_samples", "logprobs", "truncated",
    "streamed", "with_system", "single_turn", "known_template", "new_content", "sweep",
    "new_ip", "new_key", "rotated", "new_resource", "step", "page_step",
    "rest", "quick", "log_gap", "log_gap_sq", "log_chars", "log_chars_sq", "text", "washed",
)  # fmt: skip
"""Additive quantities of a request; `siphonwatch.models.account.windows.describe` says what each one is."""

MAX_PATTERNS = 6
"""Places for evidence in a row, one a card: a card more needs no new layout."""

RESOURCES = 22
"""Places in the sample of resources seen."""
RECENT = 8
"""Resources of the latest requests, whatever the sample holds."""
WALKS = 5
"""Walks through identifiers or pages followed at once: interleaved use and several workers must not hide one."""
JOBS = 4
"""Jobs of an account followed at once."""
CONTENTS = 20
BANDS = 4

EVIDENCE = np.dtype([
    ("log_e", "f4"),        # natural logarithm of the e-value as of now
    ("before", "f4"),       # the same as of the beginning of the hour, with what was put in since
    ("score", "f4"),        # the detector's highest score in the hour
    ("heat", "f4"),         # hours of evidence before this one, weighing half after a week
    ("reported", "u4"),     # event time of the last event sent to the case book, seconds
    ("place", "i1"),        # bin of the score that log_e accounts for; -1 none in this hour
    ("open", "u1"),         # 1 while a case is open
    ("grade", "u1"),        # severity last reported
    ("era", "u1"),          # of the card it is of (siphonwatch.models.evidence.places)
], align=True)  # fmt: skip

JUDGED = np.dtype([
    ("days", "i4"), ("number", "i4"),    # active days that evidence had capital put in; place in order of arrival
    ("hour", "i4"), ("cohort", "i4"),    # of the evidence's hour: hours since 1970, place in COHORTS
    ("suspicion", "f4"),                 # highest reached
    ("suspect", "i4"),                   # whether it may not teach (siphonwatch.models.evidence.process.is_suspect)
    ("evidence", EVIDENCE, (MAX_PATTERNS,)),
    ("samples", "u8", (2, NAME_WORDS)),  # ids of recent suspicious requests
], align=True)  # fmt: skip
"""What one judge keeps of an account: it costs a second judge so many bytes, and not another row."""

JOB = np.dtype([
    ("time", "f8"),                      # of its last request, event time, seconds
    ("name", "u4"), ("template", "u4"),  # models.account.jobs.job_id; its commonest template, by majority vote
    ("hour", "i4"),                      # last active hour since 1970
    ("hold", "f4"),                      # how firmly it keeps its place
    ("duration", "f4"),                  # of its last request, seconds
    ("requests", "f4"), ("hours", "f4"), ("days", "f4"), ("loop", "f4"),
    ("log_chars", "f4"), ("log_chars_sq", "f4"), ("template_weight", "f4"),
    ("single_turn", "f4"), ("sweep", "f4"), ("generation", "f4"), ("reasoning", "f4"), ("grading", "f4"),
    ("structured", "f4"),
], align=True)  # fmt: skip
"""One job, or one trail of plain REST requests (siphonwatch.models.account.trails); sums that decay over 7 d."""

ROW = np.dtype([
    ("hash", "u8"),                      # of the account; 0 marks a free row
    ("account", "u8", (NAME_WORDS,)),
    ("first_seen", "f8"), ("last_time", "f8"),            # event time, seconds
    ("last_offset", "i8"),               # last telemetry offset applied; -1 none
    ("requests", "i8"), ("late", "i4"),
    ("last_hour", "i4"),                 # last active hour
    ("agent", "u4"),                     # of the request before
    ("novelty", "f4"),                   # share of new ones among the latest sampled resources
    ("last_end", "f8"),
    ("walk_at", "i4", (WALKS,)), ("walk_key", "u2", (WALKS,)), ("walk_run", "u2", (WALKS,)),  # models.account.walks
    ("sums", "f4", (len(TAUS), len(SUMS))),
    ("embed", "f4", (2, PROJECTION)),    # decayed sums of the projection at 1 h and 7 d
    ("embed_weight", "f4", (2,)),
    ("jobs", JOB, (JOBS,)),
    ("contents", "u2", (BANDS, CONTENTS)),                # recent SimHash bands; without texts, resources too
    ("templates", "u4", (16,)), ("resources", "u2", (RESOURCES,)), ("recent", "u2", (RECENT,)),
    ("embed_weight_sq", "f4", (3,)),
    ("ips", "u4", (6,)), ("keys", "u4", (6,)),
    ("cursor", "u1", (8,)),              # next place in each ring; last, the level of the resources' sample
    ("judged", JUDGED),                  # what the champion knows of the account
], align=True)  # fmt: skip

PAGE_ROWS = 16
"""Rows a page: the unit of checkpoints, about 32 KB."""


def layout_id() -> str:
    """Return 12 hexadecimal digits that stand for what each byte of a row means: fields, sums and scales in order."""
    return hashlib.blake2b(repr((ROW.descr, SUMS, SCALES, TAUS.tolist())).encode(), digest_size=6).hexdigest()


def sum_index(name: str) -> int:
    """Return the column of an additive quantity."""
    return SUMS.index(name)
