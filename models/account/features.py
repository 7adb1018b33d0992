"""The features: their names, units, meaning and order, and how each is derived from an account's row.

This table is the only place that defines a feature. One made of sums needs no more than its line; one that is given
(`_given`) is computed under its name in `siphonwatch.models.account.windows`, `jobs` or `trails`. Nothing here
computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.sums import SCALES, sum_index
from siphonwatch.models.common.declare import Field, record

SHARE, RATE, RISE, SHIFT, SPREAD, COUNT, GIVEN, LEARNED = range(8)

PSEUDO = 2.0
"""Requests' worth of prior in a share: one odd request of a new account is no 100 %."""


class Feature(NamedTuple):
    """One feature of an account at a request."""

    name: str
    unit: str
    meaning: str
    kind: int
    above: int = 0
    """Column of the numerator."""
    below: int = 0
    """Column of the denominator."""
    scale: int = 0
    other: int = 0
    """The longer scale of a shift, whose older part is the account's own baseline."""
    prior: float = 0.0
    """Value of a share before there is any data."""


def _share(
    name: str, scale: str, meaning: str, above: str, below: str = "requests", prior: float = 0.0, unit: str = "share"
) -> Feature:
    return Feature(
        f"{name}_{scale}", unit, meaning, SHARE, sum_index(above), sum_index(below), SCALES.index(scale), prior=prior
    )


def _rate(scale: str, of: str = "requests", unit: str = "log(1 + requests/h)") -> Feature:
    return Feature(
        f"{of}_rate_{scale}",
        unit,
        f"{of} an hour over the last {scale}",
        RATE,
        sum_index(of),
        scale=SCALES.index(scale),
    )


def _count(scale: str, of: str) -> Feature:
    return Feature(
        f"{of}_count_{scale}",
        "log(1 + requests)",
        f"{of} requests over {scale}",
        COUNT,
        sum_index(of),
        scale=SCALES.index(scale),
    )


def _rise(scale: str, other: str) -> Feature:
    meaning = f"request rate over {scale} against the account's own before it, over {other}"
    return Feature(
        f"rise_{scale}",
        "log ratio",
        meaning,
        RISE,
        sum_index("requests"),
        scale=SCALES.index(scale),
        other=SCALES.index(other),
    )


def _shift(name: str, scale: str, other: str, meaning: str, above: str, below: str = "requests") -> Feature:
    return Feature(
        f"{name}_shift", "difference of shares", meaning, SHIFT,
        sum_index(above), sum_index(below), SCALES.index(scale), SCALES.index(other),
    )  # fmt: skip


def _spread(name: str, scale: str, meaning: str, first: str, second: str, below: str) -> Feature:
    return Feature(
        f"{name}_{scale}",
        "standard deviation of a log",
        meaning,
        SPREAD,
        sum_index(first),
        sum_index(below),
        SCALES.index(scale),
        sum_index(second),
    )


def _given(name: str, unit: str, meaning: str) -> Feature:
    return Feature(name, unit, meaning, GIVEN)


FEATURES = (
    # how much
    _rate("5m"), _rate("1h"), _rate("1d"), _rate("7d"),
    _rate("1d", "tokens_out", "log(1 + 1000 tokens/h)"),
    _rise("5m", "1d"), _rise("1h", "7d"), _rise("1d", "7d"),
    # what is asked: sweeps of templates over broad content
    _share("sweep", "5m", "new content, asked once, outside a conversation", "sweep"),
    _share("sweep", "1h", "new content, asked once, outside a conversation", "sweep"),
    _share("sweep", "1d", "new content, asked once, outside a conversation", "sweep"),
    _share("sweep", "7d", "new content, asked once, outside a conversation", "sweep"),
    _count("1d", "sweep"),
    _share("new_content", "1d", "text unlike the last ones of the account", "new_content"),
    _share("known_template", "1d", "template among the account's recent ones", "known_template"),
    _share("with_system", "1d", "has a system prompt", "with_system"),
    _share("single_turn", "1d", "goes on with no conversation", "single_turn"),
    _share("reasoning", "1d", "asks for a reasoning trace", "reasoning"),
    _share("grading", "1d", "grades an answer", "grading"),
    _share("generation", "1d", "asks for training examples", "generation"),
    _share("scrubbing", "1d", "tells the model to leave out identities", "scrubbing"),
    _share("extra_samples", "1d", "completions beyond the first", "extra_samples", unit="completions a request"),
    _share("logprobs", "1d", "asks for log-probabilities", "logprobs"),
    _share("deterministic", "1d", "temperature 0", "deterministic"),
    _share("truncated", "1d", "output reached max_tokens", "truncated"),
    _share("streamed", "1d", "streams its response", "streamed", prior=0.4),
    _spread("length_spread", "1d", "variety of prompt length", "log_chars", "log_chars_sq", "text"),
    _spread("gap_spread", "1h", "variety of the time between requests", "log_gap", "log_gap_sq", "requests"),
    _share("quick", "1h", "sent within 2 s of the end of the one before", "quick"),
    _given("breadth", "0..1", "how little the account's texts over 7d have in common"),
    _given("novelty", "share", "new ones among the latest of a sample of contents or resources"),
    _given("content_shift", "0..2", "squared distance of the texts of 1h from those before"),
    # the job that the request belongs to
    _given("job_requests", "log(1 + requests)", "requests of this job (one system prompt and parameters) over 7d"),
    _given("job_hours", "log(1 + hours)", "hours in which the job was at work over 7d"),
    _given("job_days", "days", "days on which the job was at work over 7d"),
    _given("job_run", "log(1 + requests)", "the job's sweeping requests sent within 10 s of the end of the one before"),
    _given("job_loop", "share", "the same, of the job's requests"),
    _given("job_top_template", "share", "the job's commonest template"),
    _given("job_single_turn", "share", "the job's requests that go on with no conversation"),
    _given("job_sweep", "share", "the job's requests with new content, asked once, outside a conversation"),
    _given("job_generation", "share", "the job's requests that ask for training examples"),
    _given("job_reasoning", "share", "the job's requests that ask for a reasoning trace"),
    _given("job_grading", "share", "the job's requests that grade an answer"),
    _given("job_structured", "share", "the job's requests that ask for output of a given structure"),
    _given("job_length_spread", "standard deviation of a log", "variety of the job's prompt lengths"),
    _given("job_deterministic", "0 or 1", "the job asks at temperature 0"),
    _given("job_balked", "share", "the job's requests, each worded anew, that the model balked at"),
    _given("job_system", "0 or 1", "the job has a system prompt"),
    _given("job_aside", "share", "the account's requests over 7d that belong to its largest job of another use"),
    # the trail that the request is on
    _given("trail_requests", "log(1 + requests)", "requests to this route by this client software over 7d"),
    _given("trail_new", "share", "the same, for a resource not asked for before"),
    _given(
        "trail_breadth", "log(1 + resources)", "different resources asked for on this route by this software over 7d"
    ),
    _given("trail_spread", "standard deviation of a log", "variety of the time between them"),
    _given("trail_hours", "log(1 + hours)", "hours in which there were any over 7d"),
    _given("trail_rising", "share", "those that ask for a higher identifier than the one before"),
    # disguise
    _share("masked", "1h", "holds masked spans that no guardrail of the gateway made", "masked"),
    _share("masked", "1d", "holds masked spans that no guardrail of the gateway made", "masked"),
    _share("mask_spans", "1d", "masked spans", "mask_spans", unit="spans a request"),
    _share("echoed", "1d", "the response repeats placeholders of the request", "echoed"),
    _share("canonical", "1h", "text case-folded and normalised by a machine", "canonical"),
    _shift("masked", "1h", "7d", "masked, last hour less before", "masked"),
    _shift("masked_day", "1d", "7d", "masked, last day less before", "masked"),
    _shift("canonical", "1h", "7d", "canonical, last hour less before", "canonical"),
    _shift("canonical_day", "1d", "7d", "canonical, last day less before", "canonical"),
    _shift("user", "1h", "7d", "names an end user, last hour less before", "with_user"),
    _shift("session", "1h", "7d", "names a session, last hour less before", "with_session"),
    _shift("headers", "1h", "7d", "client headers a request, last hour less before", "client_headers"),
    _shift("sweep", "1h", "7d", "sweeping, last hour less before", "sweep"),
    _shift("system", "1h", "7d", "has a system prompt, last hour less before", "with_system"),
    _shift("rotated", "1h", "7d", "user agent unlike that of the request before, last hour less before", "rotated"),
    _shift("washed", "1h", "7d", "sweeping with several signs of washing at once, last hour less before", "washed"),
    _shift("washed_day", "1d", "7d", "sweeping with several signs of washing at once, last day less before", "washed"),
    _share("new_ip", "1d", "address unlike the recent ones", "new_ip"),
    _share("new_key", "1d", "key unlike the recent ones", "new_key"),
    # stored sessions
    _share("unpaused", "7d", "sent within 1 s of the end of the turn it goes on from", "unpaused", "followed"),
    _count("7d", "unpaused"),
    # plain REST
    _share("rest", "1d", "plain REST rather than a language model", "rest"),
    _share("step", "1h", "next identifier of a walk, of a resource not known", "step", "rest"),
    _share("step", "1d", "next identifier of a walk, of a resource not known", "step", "rest"),
    _count("7d", "step"),
    _share("page_step", "1h", "further page of a listing, beyond the third", "page_step", "rest"),
    _share("page_step", "1d", "further page of a listing, beyond the third", "page_step", "rest"),
    _count("7d", "page_step"),
    _share("new_resource", "1h", "resource the account did not ask for before", "new_resource", "rest"),
    _share("new_resource", "1d", "resource the account did not ask for before", "new_resource", "rest"),
    _share("new_resource", "7d", "resource the account did not ask for before", "new_resource", "rest"),
    _count("7d", "new_resource"),
    _share("not_found", "1h", "answered 404, for a resource not asked for before", "not_found"),
    _share("not_found", "1d", "answered 404, for a resource not asked for before", "not_found"),
    _count("7d", "not_found"),
    _share("throttled", "1h", "answered 429 or 529", "throttled"),
    _share("failed", "1h", "answered 5xx", "failed"),
    # standing
    _given("seen", "log(1 + requests)", "requests of the account so far"),
    _given("age", "log(1 + hours)", "time since its first request"),
    _given("idle", "log(1 + s)", "time since the request before"),
    # learnt by the partition (siphonwatch.models.engine.rarity), after the row's own
    Feature("rare_trees", "rank 0..1", "rank of the Half-Space Trees' score among benign accounts", LEARNED),
    Feature("rare_forest", "rank 0..1", "rank of the online isolation forest's score among benign accounts", LEARNED),
)  # fmt: skip

NAMES = tuple(feature.name for feature in FEATURES)
WIDTH = len(FEATURES)


def given(features: Sequence[Feature] = FEATURES) -> np.dtype[np.void]:
    """Return the record that takes the features which are not made of sums, `f8` each, by name."""
    return record([Field(f.name, "f8", f.unit, f.meaning) for f in features if f.kind == GIVEN])


class Plan(NamedTuple):
    """The table as columns, for the compiled loop; each shape `(WIDTH,)`."""

    kind: npt.NDArray[np.int64]
    above: npt.NDArray[np.int64]
    """Of a feature that is given, its place in the record of these."""
    below: npt.NDArray[np.int64]
    scale: npt.NDArray[np.int64]
    other: npt.NDArray[np.int64]
    prior: npt.NDArray[np.float32]


def plan(features: Sequence[Feature] = FEATURES) -> Plan:
    """Return the features' definitions as arrays."""
    fields = ("kind", "above", "below", "scale", "other")
    kind, above, below, scale, other = (np.array([getattr(f, name) for f in features], np.int64) for name in fields)
    above[kind == GIVEN] = np.arange((kind == GIVEN).sum())
    return Plan(kind, above, below, scale, other, np.array([f.prior for f in features], np.float32))


class Features:
    """The features of a batch of requests: a `(n, WIDTH) float32` array with names.

    Examples
    --------
    >>> features = Features(np.zeros((2, WIDTH), np.float32))
    >>> features["sweep_1d"].shape
    (2,)
    """

    def __init__(self, values: npt.NDArray[np.float32]) -> None:
        if values.ndim != 2 or values.shape[1] != WIDTH or values.dtype != np.float32:
            raise ValueError(f"features are (n, {WIDTH}) float32, not {values.shape} {values.dtype}")
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, name: str) -> npt.NDArray[np.float32]:
        """Return one feature of every request, `(n,) float32`; a view."""
        return self.values[:, INDEX[name]]

    def row(self, i: int) -> Features:
        """Return the features of request `i` alone, a copy that may be changed."""
        return Features(self.values[i : i + 1].copy())


INDEX = {name: i for i, name in enumerate(NAMES)}
