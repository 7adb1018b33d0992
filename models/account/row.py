"""The account row: everything siphonwatch remembers of one account, in 3 KB, declared part by part.

Additive quantities are kept as sums that decay with event time at four scales, so that a request costs the same
whatever the account's history, and requests within the grace may come in any order. A part is one line of `PARTS`; the
layout, the bytes that `siphonwatch doctor` prints and the id that state is checked by follow from it.
"""

from __future__ import annotations

from siphonwatch.models.account.carriers import CARRIERS
from siphonwatch.models.account.request import NAME_WORDS
from siphonwatch.models.account.sums import ADDS, SCALES, SUMS, TAUS
from siphonwatch.models.common.declare import Field, identity, record
from siphonwatch.models.common.vocabulary import PROJECTION

MAX_PATTERNS = 8
"""Places for evidence in a row, one a card: a card more needs no new layout."""

RESOURCES = 22
"""Places in the sample of resources seen, of an account with texts."""
RECENT = 8
"""Resources of the latest requests, whatever the sample holds."""
WALKS = 5
"""Walks through identifiers or pages followed at once: interleaved use and several workers must not hide one."""
SLOTS = 4
"""Jobs and trails of an account followed at once."""
CONTENTS = 20
TURNS = 48
"""Turns remembered, of users and replies, to tell a conversation that goes on from one that is made up."""
REPLIES = 6
"""Replies remembered, to tell one that comes again and again."""
EARLIER = 8
"""Made-up histories remembered: who sends the same before each of his prompts asks nothing new by it."""
SETTINGS, SYSTEMS = 8, 4
"""Parameters, and system prompts, that an account was met with of late."""
BANDS = 4
ONCE, RECURRING = 80, 48
"""Chunks of messages remembered: the latest that were seen once, and those that came again."""
SHORTS = 16
"""Short messages remembered, each at the place that its hash says: new ones take the place of few."""
LENGTHS = 2

FREE, IS_JOB, IS_TRAIL = range(3)
"""What a slot is used for."""

EVIDENCE = (
    Field("log_e", "f4", "log", "natural logarithm of the e-value as of now"),
    Field("before", "f4", "log", "the same as of the beginning of the hour, with what was put in since"),
    Field("score", "f4", "0..1", "the detector's highest score in the hour"),
    Field("heat", "f4", "hours", "of evidence before this one, weighing half after a week"),
    Field("reported", "u4", "s", "event time of the last event sent to the case book"),
    Field("place", "i1", "bin", "of the score that log_e accounts for; -1 none in this hour"),
    Field("open", "u1", "0 or 1", "1 while a case is open"),
    Field("grade", "u1", "place", "severity last reported"),
    Field("era", "u1", "count", "of the card it is of (siphonwatch.models.evidence.places)"),
)

JUDGE = (
    Field("days", "i4", "days", "active ones that evidence had capital put in"),
    Field("number", "i4", "place", "in order of arrival, in the budget"),
    Field("hour", "i4", "hours", "since 1970, of the evidence's hour"),
    Field("cohort", "i4", "place", "in COHORTS, of the evidence's hour"),
    Field("suspicion", "f4", "log", "highest reached"),
    Field("suspect", "i4", "mark", "whether it may not teach (siphonwatch.models.evidence.process.is_suspect)"),
    Field("evidence", EVIDENCE, "", "of each card", (MAX_PATTERNS,)),
    Field("samples", "u8", "8 bytes", "ids of recent suspicious requests", (2, NAME_WORDS)),
    *CARRIERS,
)
"""What one judge keeps of an account: it costs a second judge so many bytes, and not another row."""
JUDGED = record(JUDGE)

SLOT = (
    Field("time", "f8", "s", "event time of the last request"),
    Field("name", "u4", "hash", "which job or trail it is, never 0 in one that is used"),
    Field("hour", "i4", "hours", "last active hour since 1970"),
    Field("hold", "f4", "requests", "how firmly it keeps its place"),
    Field("requests", "f4", "requests", "decayed over 7 d"),
    Field("hours", "f4", "hours", "with any request, decayed over 7 d"),
)
"""What jobs and trails have in common."""

JOB = (
    *SLOT,
    Field("template", "u4", "hash", "its commonest template, by majority vote"),
    Field("template_weight", "f4", "requests", "by how much that one has the majority"),
    Field("duration", "f4", "s", "of its last request"),
    Field("days", "f4", "days", "with any request"),
    Field("weighed", "f4", "requests", "but for trivial ones: those that the sums below are of"),
    Field("loop", "f4", "requests", "sweeping, within one run of a loop"),
    Field("log_chars", "f4", "log(1 + characters)", "of text"),
    Field("log_chars_sq", "f4", "log(1 + characters) squared", "of text"),
    Field("single_turn", "f4", "requests", "that go on with no conversation"),
    Field("sweep", "f4", "requests", "with new content, asked once, outside a conversation"),
    Field("generation", "f4", "requests", "that ask for training examples"),
    Field("reasoning", "f4", "requests", "that ask for a reasoning trace"),
    Field("grading", "f4", "requests", "that grade an answer"),
    Field("structured", "f4", "requests", "that ask for output of a given structure"),
    Field("balked", "f4", "requests", "that the model balked at, though worded anew"),
)
"""A slot that holds a job (siphonwatch.models.account.jobs); sums decay over 7 d."""

TRAIL = (
    *SLOT,
    Field("item", "u4", "identifier", "that was asked for last, its lower 32 bits"),
    Field("rising", "f4", "share", "running share of identifiers higher than the one before"),
    Field("sampled", "f4", "requests", "whose resource the sample tells new from known"),
    Field("sampled_new", "f4", "requests", "of these, those with a new one"),
    Field("log_gap", "f4", "log(s)", "running mean of the time between requests"),
    Field("log_gap_var", "f4", "log(s) squared", "running variance of the same"),
)
"""A slot that holds a trail of plain REST requests (siphonwatch.models.account.trails); sums decay over 7 d."""

HEAD = (
    Field("hash", "u8", "hash", "of the name; 0 marks a free row"),
    Field("account", "u8", "8 bytes", "the name", (NAME_WORDS,)),
    Field("first_seen", "f8", "s", "event time of the first request"),
    Field("last_time", "f8", "s", "event time of the last request"),
    Field("last_offset", "i8", "offset", "last one applied; -1 none"),
    Field("requests", "i8", "requests", "ever"),
)
"""What a table needs of a row, of whatever it is one; a fingerprint's begins like this too."""

PARTS = (
    *HEAD,
    Field("last_end", "f8", "s", "end of the last request"),
    Field("judged", JUDGE, "", "what the champion knows of the account"),
    # windows
    Field("last_hour", "i4", "hours", "since 1970, last active one"),
    Field("sums", "f4", "see SUMS", "additive quantities, decayed", (len(SCALES), len(SUMS))),
    Field("by_scale", ADDS, "see SUMS", "the sums of each scale by name", (len(SCALES),), over=("sums",)),
    Field("embed", "f4", "", "decayed sums of the projection at 1 h and 7 d", (2, PROJECTION)),
    Field("embed_weight", "f4", "requests", "their weights", (2,)),
    Field("embed_weight_sq", "f4", "requests", "their squared weights", (2,)),
    # jobs and trails
    Field("slot_use", "u1", "FREE, IS_JOB or IS_TRAIL", "what each slot holds", (SLOTS,)),
    Field("jobs", JOB, "", "the slots, where they hold jobs", (SLOTS,)),
    Field("trails", TRAIL, "", "the slots, where they hold trails", (SLOTS,), over=("jobs",)),
    Field("slots", SLOT, "", "the slots, whatever they hold", (SLOTS,), over=("jobs",)),
    Field("slot_words", "u4", "", "the slots, to clear one", (SLOTS, record(JOB).itemsize // 4), over=("jobs",)),
    Field("settings_drawn", "f4", "share", "running, of requests with parameters not met of late"),
    Field("systems_drawn", "f4", "share", "running, of requests with a system prompt not met of late"),
    Field("settings_met", "u2", "mark", "parameters met of late, the latest first", (SETTINGS,)),
    Field("systems_met", "u2", "mark", "system prompts met of late, the latest first", (SYSTEMS,)),
    # walks
    Field("walk_at", "i4", "identifier or page", "where each walk stands", (WALKS,)),
    Field("walk_key", "u2", "hash", "route and kind of each walk", (WALKS,)),
    Field("walk_run", "u2", "moves", "of each walk", (WALKS,)),
    # what was seen of late
    Field("agent", "u4", "hash", "user agent of the request before"),
    Field("templates", "u4", "hash", "recent ones", (16,)),
    Field("ips", "u4", "hash", "recent addresses", (6,)),
    Field("keys", "u4", "hash", "recent ones", (6,)),
    Field("recent", "u2", "hash", "resources of the latest requests", (RECENT,)),
    Field("resources", "u2", "mark", "sample of contents or resources seen", (RESOURCES,)),
    Field("contents", "u2", "hash", "bands of recent SimHashes", (BANDS, CONTENTS)),
    Field(
        "sample", "u2", "mark", "the sample of an account without texts, who has no use for `contents`",
        (RESOURCES + BANDS * CONTENTS,), over=("resources", "contents"),
    ),
    Field("turns", "u2", "mark", "what was said and answered of late, of a busy account a sample", (TURNS,)),
    Field("turn_uses", "u1", "requests", "that each one vouched for, and its exchange's size in doublings", (TURNS,)),
    Field("turn_depth", "u1", "messages", "of the shortest request that each one is of, at most 255", (TURNS,)),
    Field("turn_end", "u2", "1/16 s", "when the latest request of each one ended, the lower 16 bits", (TURNS,)),
    Field("replies", "u2", "mark", "of late, the latest first", (REPLIES,)),
    Field("earlier", "u2", "mark", "made-up histories of late", (EARLIER,)),
    Field("once", "u2", "mark", "chunks of messages that were seen once, of late", (ONCE,)),
    Field("short", "u2", "mark", "short messages of late, each at the place that its hash says", (SHORTS,)),
    Field("recurring", "u2", "mark", "chunks of messages that came again", (RECURRING,)),
    Field("wrapped_chars", "u2", "characters", "lengths of the latest messages with chunks that recur", (LENGTHS,)),
    Field("recurring_uses", "u1", "requests", "that each one was in, less one for each that came after", (RECURRING,)),
    Field("sample_level", "u1", "count", "one resource in 2^level is in the sample"),
    Field("novelty", "f4", "share", "of new ones among the latest sampled"),
    Field("next_template", "u1", "place", "in `templates`, the oldest"),
    Field("next_ip", "u1", "place", "in `ips`, the oldest"),
    Field("next_key", "u1", "place", "in `keys`, the oldest"),
    Field("next_recent", "u1", "place", "in `recent`, the oldest"),
    Field("next_turn", "u1", "place", "in `turns`, the oldest"),
    Field("next_earlier", "u1", "place", "in `earlier`, the oldest"),
    Field("next_once", "u1", "place", "in `once`, the oldest"),
    Field("next_content", "u1", "place", "in each band of `contents`, the oldest"),
)  # fmt: skip
ROW = record(PARTS)

PAGE_ROWS = 16
"""Rows a page: the unit of checkpoints, about 48 KB."""


def layout_id() -> str:
    """Return 12 hexadecimal digits that stand for what each byte of a row means: parts, sums and scales in order."""
    return identity(PARTS, SCALES, TAUS.tolist())
