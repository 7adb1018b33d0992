"""Desensitisation is a change to several signs of washing at once: what it catches, and each habit that it spares."""

from __future__ import annotations

import numpy as np
import pytest
from card_tools import Watch
from core_fakes import START, chat, hashes, run, sweep
from hypothesis import given, settings
from hypothesis import strategies as st

from siphonwatch.models.account.request import Array
from siphonwatch.models.engine.config import ScorerConfig
from siphonwatch.models.engine.patterns import detector
from siphonwatch.models.engine.scorer import Scorer

DAY = 86_400.0
CHANGE = START + 4 * DAY
AGENTS = hashes(np.random.default_rng(4), 4)


NULL = detector("desensitisation").null


def scores(q: Array) -> np.ndarray:
    watch = Watch("desensitisation")
    run(Scorer(ScorerConfig(), chosen=(watch,)), q[np.argsort(q["time"], kind="stable")])
    return watch.scores[: len(q)]


def app(n: int = 400, start: float = START, days: float = 4.0, seed: int = 2) -> Array:
    """A customer's backend: single questions over ever new content, with user, session and client headers."""
    q = sweep("a", start + np.sort(np.random.default_rng(seed).uniform(0, days * DAY, n)), seed)
    named = chat("a", q["time"], seed)
    for field in ("key", "user", "session", "ip", "agent", "headers", "n_headers"):
        q[field] = named[field]
    q["intents"], q["n"], q["logprobs"] = 0, 1, 0
    return q


def after(n: int = 150) -> Array:
    """The same backend, faster, after the change."""
    q = app(n, CHANGE, n / 10_000, seed=7)
    for field in ("key", "user", "session", "ip", "agent", "headers", "n_headers", "template", "prefix"):
        q[field] = app(1)[field][0]
    return q


def mask(q: Array) -> None:
    q["masks"][:, 1] = 3


def fold(q: Array) -> None:
    q["canonical"] = 1


def drop(q: Array) -> None:
    q["user"], q["session"], q["n_headers"] = 0, 0, 0


def rotate(q: Array) -> None:
    q["agent"] = AGENTS[np.arange(len(q)) % len(AGENTS)]


def scrub(q: Array) -> None:
    q["intents"] |= 4


SIGNS = (mask, fold, drop, rotate, scrub)
OF_TEXT = (mask, fold, scrub)


@pytest.mark.parametrize("sign", SIGNS)
@pytest.mark.parametrize("other", OF_TEXT)
def test_two_signs_of_which_one_is_in_the_text_are_caught(sign, other) -> None:
    q = after()
    sign(q)
    other(q)
    highest = scores(np.concatenate([app(), q]))[-len(q) :].max()
    assert highest > NULL if sign is not other else highest == 0.0


def test_all_signs_together_are_caught_within_a_few_requests() -> None:
    q = after()
    for sign in SIGNS:
        sign(q)
    found = np.flatnonzero(scores(np.concatenate([app(), q]))[-len(q) :] > 0.3)
    assert found[0] < 40


def test_who_only_hides_who_asks_has_washed_no_text() -> None:
    q = after()
    drop(q)
    rotate(q)
    assert scores(np.concatenate([app(), q])).max() == 0.0


@settings(max_examples=30, deadline=None)
@given(st.sets(st.sampled_from(SIGNS)), st.integers(0, 1000))
def test_what_an_account_has_always_done_is_no_change(signs: set, seed: int) -> None:
    q = np.concatenate([app(seed=seed), after()])
    for sign in signs:
        sign(q)
    assert scores(q).max() < NULL


def test_a_new_account_has_no_habits_that_it_could_have_changed() -> None:
    q = after()
    for sign in SIGNS:
        sign(q)
    assert scores(q).max() == 0.0


@pytest.mark.parametrize("sign", SIGNS)
def test_one_more_habit_beside_one_that_was_there_before_is_spared(sign) -> None:
    """A normalising app that turns on masking, a masking one that drops its metadata, and so on."""
    for habit in SIGNS:
        if habit is not sign:
            q, before = after(), app()
            for part in (q, before):
                habit(part)
            sign(q)
            assert scores(np.concatenate([before, q])).max() < NULL


def test_masks_that_a_guardrail_of_the_gateway_made_are_not_a_sign() -> None:
    q = after()
    mask(q)
    drop(q)
    q["guardrails"] = 1
    assert scores(np.concatenate([app(), q])).max() == 0.0


def test_washed_conversations_sweep_nothing() -> None:
    q = after()
    for sign in SIGNS:
        sign(q)
    q["turns"] = 5
    assert scores(np.concatenate([app(), q])).max() == 0.0
