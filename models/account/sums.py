"""The additive quantities of an account: a line a sum. A request adds to each; sums decay with event time.

This table is the only place that defines a sum: the row's layout, the record that `siphonwatch.models.account.describe`
writes and the columns that features are made of follow from it. Nothing here computes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from siphonwatch.models.common.declare import Field, record

SCALES = ("5m", "1h", "1d", "7d")
TAUS = np.array([300.0, 3600.0, 86_400.0, 604_800.0])
"""Time constants of the scales, seconds: a request's weight falls to 1/e in that time."""


class Sum(NamedTuple):
    """One additive quantity."""

    name: str
    unit: str
    adds: str
    """What a request adds."""
    meaning: str


SUMS = (
    Sum("requests", "requests", "1, always", "how many there were"),
    Sum("tokens_out", "1000 tokens", "its output, in thousands", "output of the model"),
    Sum("throttled", "requests", "1 where answered 429 or 529", "held back for coming too fast"),
    Sum("not_found", "requests", "1 where answered 404; plain REST, its `new_resource`", "asked for what is not there"),
    Sum("failed", "requests", "1 where answered 500 or above", "the API failed"),
    # disguise
    Sum("masked", "requests", "1 with masked spans, unless a guardrail of the gateway made some", "text is masked"),
    Sum("mask_spans", "spans", "their number, at most 50", "how much is masked"),
    Sum("echoed", "requests", "1 where the response repeats a placeholder of the request", "masks come back"),
    Sum("canonical", "requests", "1 where a machine folded and normalised the text", "text is washed of style"),
    # what is asked
    Sum("reasoning", "requests", "1 where it asks for a reasoning trace", "wants to see how an answer is found"),
    Sum("grading", "requests", "1 where it grades an answer", "wants a judge"),
    Sum("scrubbing", "requests", "1 where it tells the model to leave out identities", "wants text without names"),
    Sum("generation", "requests", "1 where it asks for training examples", "wants data to train on"),
    # how it is asked
    Sum("with_user", "requests", "1 where it names an end user", "somebody stands behind it"),
    Sum("with_session", "requests", "1 where it names a session", "it belongs to a session"),
    Sum("client_headers", "8 headers", "its client headers by 8, at most 64 of them", "what a client library sends"),
    Sum("deterministic", "requests", "1 at temperature 0", "wants the likeliest answer"),
    Sum("extra_samples", "completions", "completions beyond the first, at most 16", "wants several answers"),
    Sum("logprobs", "requests", "1 where it asks for log-probabilities", "wants to see the distribution"),
    Sum("truncated", "requests", "1 where the output reached max_tokens", "the answer was cut"),
    Sum("streamed", "requests", "1 where it streams the response", "somebody or something reads along"),
    Sum("with_system", "requests", "1 with a system prompt", "has a fixed task"),
    Sum("single_turn", "requests", "how surely it goes on with no conversation, 0 to 1", "is asked once"),
    Sum("known_template", "requests", "1 with a template among the account's recent ones", "asks in a known form"),
    Sum("new_content", "requests", "1 with text unlike the account's recent ones", "asks something new"),
    Sum("sweep", "requests", "1 where `new_content` and `single_turn`, and answered below 400", "works off a list"),
    # conversations (siphonwatch.models.account.conversations)
    Sum(
        "several",
        "requests",
        "1 with several messages, where what was said before is known",
        "may go on with something",
    ),
    Sum("from_words", "requests", "of `several`, by the sample, those where it was said", "a conversation goes on"),
    Sum("from_reply", "requests", "of `several`, by the sample, those where the reply was given", "the same"),
    Sum(
        "followed",
        "requests",
        "1 where it goes on from a turn whose end is known, of a busy account a sample",
        "has a pause",
    ),
    Sum(
        "unpaused", "requests", "of `followed`, 1 where it came within 1 s of that end", "nobody and nothing took time"
    ),
    # from where
    Sum("new_ip", "requests", "1 from an address unlike the recent ones", "comes from elsewhere"),
    Sum("new_key", "requests", "1 by a key unlike the recent ones", "uses another key"),
    Sum("rotated", "requests", "1 by another user agent than the request before", "changes its client"),
    # plain REST
    Sum("new_resource", "requests", "how surely its resource is new to the account, 0 to 1", "asks for new things"),
    Sum("step", "requests", "its `new_resource` on a walk through identifiers", "goes through identifiers"),
    Sum("page_step", "requests", "its `new_resource` on a walk through pages, beyond the third", "goes through pages"),
    Sum("rest", "requests", "1 where it is plain REST", "is no language model's"),
    # when
    Sum("quick", "requests", "1 within 2 s of the end of the one before", "a program waits for the answer"),
    Sum("log_gap", "log(1 + s)", "of the time since the one before", "mean of the gaps"),
    Sum("log_gap_sq", "log(1 + s) squared", "the square of `log_gap`", "spread of the gaps"),
    # text
    Sum("log_chars", "log(1 + characters)", "of the length of its text", "mean of the lengths"),
    Sum("log_chars_sq", "log(1 + characters) squared", "the square of `log_chars`", "spread of the lengths"),
    Sum("text", "requests", "1 with text", "has text at all"),
    Sum("washed", "requests", "how many signs of washing beyond the first a `sweep` shows, 0 to 1", "text is washed"),
)

ADDS = tuple(Field(s.name, "f4", s.unit, f"{s.adds}: {s.meaning}") for s in SUMS)
"""A field a sum, in the order of the columns."""
ADDED = record(ADDS)


def sum_index(name: str) -> int:
    """Return the column of an additive quantity.

    Raises
    ------
    ValueError
        Where the table has none of this name.

    Examples
    --------
    >>> SUMS[sum_index("sweep")].unit
    'requests'
    """
    return [s.name for s in SUMS].index(name)
