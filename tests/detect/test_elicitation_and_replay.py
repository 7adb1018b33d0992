"""Elicitation is a wish worded anew while the model balks; replay is sessions without pauses: and who is spared."""

from __future__ import annotations

import numpy as np
import pytest
from card_tools import Watch
from core_fakes import START, hashes, requests, run

from siphonwatch.models.account.request import Array, label
from siphonwatch.models.common.vocabulary import REASONING
from siphonwatch.models.engine.config import ScorerConfig
from siphonwatch.models.engine.patterns import detector
from siphonwatch.models.engine.scorer import Scorer

DAY = 86_400.0


def highest(pattern: str, q: Array) -> float:
    watch = Watch(pattern)
    run(Scorer(ScorerConfig(), chosen=(watch,)), q)
    return float(watch.scores[: len(q)].max())


def opened(q: Array) -> set[str]:
    return {finding.pattern for finding in run(Scorer(ScorerConfig()), q)}


def probe(n: int = 240, sittings: int = 6, refused: float = 0.8, seed: int = 3) -> Array:
    """Wordings of a wish to see the reasoning, in sittings on several days; most get one of three refusals."""
    rng = np.random.default_rng(seed)
    at = START + 0.5 * DAY * (np.arange(n) * sittings // n) + 12.0 * np.arange(n)
    q = requests("a", at)
    for field in ("template", "content", "said", "reply"):
        q[field] = hashes(rng, n)
    q["turns"], q["chars"], q["chars_out"], q["tokens_out"], q["duration"] = 1, 180, 1200, 300, 2.0
    q["intents"] = np.where(rng.random(n) < 0.6, REASONING, 0)
    no = rng.random(n) < refused
    q["reply"][no] = hashes(rng, 3)[rng.integers(0, 3, no.sum())]
    q["chars_out"][no], q["tokens_out"][no] = 80, 20
    return q


def known_by_length(q: Array) -> None:
    """The gateway logs no answers, only how long they are."""
    q["reply"], q["chars_out"] = 0, 0
    q["intents"] = REASONING


def withheld(q: Array) -> None:
    """No two refusals are alike, but the provider says that it withheld the answer."""
    no = q["tokens_out"] == 20
    q["reply"], q["tokens_out"] = hashes(np.random.default_rng(9), len(q)), 300
    q["finish"][no] = label("content_filter")


def as_it_is(q: Array) -> None:
    """Refusals recur."""


@pytest.mark.parametrize("seen", [as_it_is, known_by_length, withheld])
def test_a_probe_opens_a_case_however_its_refusals_are_seen(seen) -> None:
    q = probe()
    seen(q)
    assert "elicitation" in opened(q)


def one_template(q: Array) -> None:
    """An application that asks to think first and wants a label."""
    q["template"] = 7


def answered(q: Array) -> None:
    """An audit trail: each request asks for the reasons and gets them."""
    q["intents"] = REASONING
    q["reply"], q["chars_out"], q["tokens_out"] = hashes(np.random.default_rng(8), len(q)), 1200, 300


def of_other_things(q: Array) -> None:
    """A refusal test that asks for hidden reasoning now and then."""
    q["intents"] = np.where(np.arange(len(q)) % 8 == 0, REASONING, 0)


def the_same_words(q: Array) -> None:
    """A monitor that asks the same few questions and gets the same answers."""
    for field in ("template", "content", "said"):
        q[field] = q[field][np.arange(len(q)) % 10]


def labels(q: Array) -> None:
    """A prompt under tuning, whose answers are words of a list."""
    q["chars_out"], q["tokens_out"] = 8, 60
    q["intents"] = REASONING


def failing(q: Array) -> None:
    """The API fails, and the client tries other words."""
    q["status"] = 500


@pytest.mark.parametrize("habit", [one_template, answered, of_other_things, the_same_words, labels, failing])
def test_who_looks_like_a_probe_is_spared(habit) -> None:
    q = probe()
    habit(q)
    assert highest("elicitation", q) < detector("elicitation").null


def test_few_tries_are_no_probe() -> None:
    assert highest("elicitation", probe(18, 1)) < detector("elicitation").null


def sessions(
    pause: float, n: int = 30, steps: int = 8, seed: int = 5, spread: float = 1.2, every: float = 3.0
) -> Array:
    """Agents' sessions, each step `pause` seconds after the answer it goes on from, give or take; several a sitting."""
    rng = np.random.default_rng(seed)
    parts = []
    for k in range(n):
        q = requests("a", np.zeros(steps))
        for field in ("template", "content", "said", "reply"):
            q[field] = hashes(rng, steps)
        q["before"][1:], q["follows"][1:] = q["said"][:-1], q["reply"][:-1]
        q["turns"], q["chars"], q["tokens_out"] = 1 + 2 * np.arange(steps), 200, 100
        q["duration"] = rng.uniform(2.0, 9.0, steps)
        waits = pause * rng.lognormal(0.0, spread, steps) + q["duration"]
        begin = START + 0.5 * DAY * (k % 6) + every * (k // 6)
        q["time"] = begin + np.concatenate([[0.0], np.cumsum(waits[:-1])])
        parts.append(q)
    q = np.concatenate(parts)
    return q[np.argsort(q["time"], kind="stable")]


@pytest.mark.parametrize("pause", [0.03, 0.2])
@pytest.mark.parametrize("every", [3.0, 200.0])
def test_stored_sessions_open_a_case_one_after_the_other_and_at_once(pause: float, every: float) -> None:
    assert "replay" in opened(sessions(pause, every=every))


def test_sessions_are_timed_where_the_gateway_logs_no_answers() -> None:
    q = sessions(0.05)
    q["reply"] = q["follows"] = 0
    assert "replay" in opened(q)


@pytest.mark.parametrize("every", [3.0, 200.0])
def test_living_sessions_are_spared_though_some_tools_are_quick(every: float) -> None:
    """Half of the tools take more than 2.5 s, a fifth less than 1 s."""
    assert highest("replay", sessions(2.5, every=every)) < detector("replay").null


def unknown(q: Array) -> None:
    """A migration: conversations of another account, whose turns nobody here said."""
    q["before"], q["follows"] = hashes(np.random.default_rng(1), len(q)), hashes(np.random.default_rng(2), len(q))


def unvouched(q: Array) -> None:
    """Telemetry of a version that says nothing of what came before."""
    q["before"] = q["follows"] = 0


def untimed(q: Array) -> None:
    """A gateway that logs no durations."""
    q["duration"] = np.nan


def single(q: Array) -> None:
    """A batch job: nothing goes on from anything."""
    q["turns"] = 1
    q["before"] = q["follows"] = 0


@pytest.mark.parametrize("gap", [unknown, unvouched, untimed, single])
def test_what_cannot_be_timed_says_nothing(gap) -> None:
    q = sessions(0.03)
    gap(q)
    assert highest("replay", q) == 0.0


def test_one_batch_of_few_steps_is_no_replay() -> None:
    assert highest("replay", sessions(0.03, 2, 4)) < detector("replay").null
