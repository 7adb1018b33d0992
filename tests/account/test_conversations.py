"""Conversations: several messages are one only where what came before was said or answered, whatever else they hold."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from core_fakes import START, hashes, requests, run, sweep
from hypothesis import given, settings
from hypothesis import strategies as st

from siphonwatch.models.account.conversations import WINDOW
from siphonwatch.models.account.request import Array
from siphonwatch.models.account.row import TURNS
from siphonwatch.models.account.sums import sum_index
from siphonwatch.models.engine.config import ScorerConfig
from siphonwatch.models.engine.scorer import Scorer

WEEK = 3


def conversations(account: str, times: npt.NDArray[np.float64], at_once: int, length: int, seed: int = 0) -> Array:
    """So many conversations at once, each of `length` requests, with replies: what a user says goes on from before."""
    rng = np.random.default_rng(seed)
    q = requests(account, times)
    q["template"], q["content"] = hashes(rng, len(q)), hashes(rng, len(q))
    q["said"], q["reply"], q["chars"], q["tokens_out"] = hashes(rng, len(q)), hashes(rng, len(q)), 100, 100
    for i in range(len(q)):
        turn = i // at_once % length
        q["turns"][i] = 1 + 2 * turn
        if turn:
            q["before"][i], q["follows"][i] = q["said"][i - at_once], q["reply"][i - at_once]
    return q


def dummies(q: Array, exchanges: int = 1) -> Array:
    """The same requests behind a constant exchange that never was."""
    q = q.copy()
    q["turns"] += 2 * exchanges
    q["before"], q["follows"] = 0xD0D0D0D0D0D0D0D0, 0xABCDEF0123456789
    return q


def share(q: Array, scorer: Scorer | None = None) -> float:
    """How many of an account's requests count as asked once."""
    scorer = scorer or Scorer(ScorerConfig())
    run(scorer, q)
    (row,) = scorer.table.rows[scorer.table.used()]
    return float(row["sums"][WEEK, sum_index("single_turn")] / row["sums"][WEEK, sum_index("requests")])


def often(n: int, each: float = 200.0) -> npt.NDArray[np.float64]:
    return START + np.arange(n) * each


@pytest.mark.parametrize("at_once", [1, 5, TURNS // 2 - 2])
def test_a_conversation_goes_on_from_what_was_said(at_once: int) -> None:
    q = conversations("a", often(20 * at_once), at_once, 4)
    q["reply"] = q["follows"] = 0
    assert share(q) == pytest.approx(0.25, abs=0.02)


def test_a_reply_that_was_given_vouches_where_a_client_sends_back_other_words() -> None:
    """A program that puts what it looked up beside the question, and keeps the bare question in the history."""
    q = conversations("a", often(100), 5, 5)
    q["before"] = np.where(q["before"] != 0, q["before"] ^ np.uint64(1 << 40), 0)
    assert share(q) == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize("exchanges", [1, 4])
def test_a_constant_exchange_before_every_prompt_is_no_conversation(exchanges: int) -> None:
    plain = sweep("a", often(60), 3)
    plain["said"] = hashes(np.random.default_rng(1), 60)
    assert share(dummies(plain, exchanges)) == share(plain) == 1.0


def test_an_exchange_that_was_had_once_vouches_for_one_prompt() -> None:
    """An operator who did send the constant exchange once."""
    q = sweep("a", often(60), 3)
    q["said"] = hashes(np.random.default_rng(1), 60)
    q = dummies(q)
    q["turns"][0], q["said"][0], q["before"][0], q["follows"][0] = 1, q["before"][1], 0, 0
    assert share(q) == pytest.approx(1.0 - 1 / 60, abs=0.01)


@pytest.mark.parametrize("prompts", [4, 16])
def test_of_prompts_that_go_on_from_one_real_greeting_the_first_is_a_conversation(
    prompts: int,
) -> None:
    rng = np.random.default_rng(4)
    q = sweep("a", often(200), 3)
    q["said"], q["reply"] = hashes(rng, 200), hashes(rng, 200)
    greets = np.arange(200) % (prompts + 1) == 0
    answers = np.repeat(q["reply"][greets], prompts + 1)[:200]
    q["turns"] = np.where(greets, 1, 3)
    q["said"][greets], q["template"][greets], q["content"][greets] = 11, 12, 13
    q["before"], q["follows"] = np.where(greets, 0, 11), np.where(greets, 0, answers)
    q["chars"], q["tokens_out"] = 400, 200
    assert share(q) == pytest.approx(1.0 - 1 / (prompts + 1), abs=0.02), "it was as long as the prompt"
    q["chars"][greets], q["tokens_out"][greets] = 30, 20
    assert share(q) == pytest.approx(1.0, abs=0.01), "a greeting vouches for no more text than it is"


def test_a_short_question_with_a_long_answer_begins_a_conversation() -> None:
    q = conversations("a", often(100), 5, 5)
    q["chars"] = np.where(q["turns"] == 1, 40, 1500)
    q["tokens_out"] = 600
    assert share(q) == pytest.approx(0.2, abs=0.02)


def kept(q: Array, name: str, scale: int = WEEK) -> float:
    """A decayed sum of an account's requests."""
    scorer = Scorer(ScorerConfig())
    run(scorer, q)
    (row,) = scorer.table.rows[scorer.table.used()]
    return float(row["sums"][scale, sum_index(name)])


def test_a_short_message_that_comes_again_is_nothing_new_however_many_prompts_lie_between() -> None:
    rng = np.random.default_rng(6)
    q = sweep("a", often(1000, 20.0), 3)
    q["said"], q["chars"] = hashes(rng, 1000), 400
    prompts = q[np.arange(1000) % 10 != 0]
    decoys = np.arange(1000) % 10 == 0
    which = rng.integers(0, 5, int(decoys.sum()))
    for field in ("said", "template", "content"):
        q[field][decoys] = hashes(rng, 5)[which]
    q["chars"][decoys] = 15
    assert kept(q, "sweep") == pytest.approx(kept(prompts, "sweep"), rel=0.02)


def test_an_agent_that_works_on_what_its_user_said_says_it_again() -> None:
    q = requests("a", often(40))
    q["template"], q["content"], q["said"] = 5, 6, 7
    q["turns"], q["before"] = 1 + 2 * np.arange(40), 7
    q["before"][0] = 0
    assert share(q) == pytest.approx(1 / 40, abs=0.01)


def test_where_the_gateway_does_not_say_what_came_before_several_messages_are_a_conversation() -> None:
    q = dummies(sweep("a", often(60), 3))
    q["before"] = q["follows"] = 0
    assert share(q) == 0.0


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000), st.sampled_from([1.0, 4.0]), st.sampled_from([0, 1, 2]))
def test_of_a_busy_account_a_sample_is_verified(seed: int, each: float, left_out: int) -> None:
    """Thousands an hour, hundreds of conversations at once; some gateways log no replies."""
    q = conversations("a", often(6000, each), 150, 4, seed)
    if left_out:
        q[["reply", "follows"][left_out - 1]] = 0
    made_up, rng = q.copy(), np.random.default_rng(seed)
    assert share(q) < 0.25 + 0.25
    made_up["before"] = np.where(q["turns"] > 1, hashes(rng, 7)[rng.integers(0, 7, len(q))], 0)
    made_up["follows"] = np.where(q["turns"] > 1, hashes(rng, 7)[rng.integers(0, 7, len(q))], 0)
    assert share(made_up) > 0.8


def test_a_busy_account_keeps_every_turn_again_after_a_pause() -> None:
    """What is said first in the morning counts as said when the next request goes on from it, whatever its hash."""
    for seed in range(20):
        busy = conversations("a", often(3000, 1.0), 150, 4, seed)
        morning = conversations("a", busy["time"][-1] + 10 * 3600.0 + often(2, 20.0) - START, 1, 2, seed + 100)
        q = np.concatenate([busy, morning])
        Scorer(ScorerConfig()).score(q, np.arange(len(q)), q["time"].copy())
        assert q["turns"][-1] == 3, "the last request goes on with a conversation"


@pytest.mark.parametrize("pace", [30.0, 40.0])
def test_an_operator_is_found_behind_dummy_exchanges_nearly_as_soon_as_without_them(pace: float) -> None:
    plain = sweep("a", START + np.cumsum(np.random.default_rng(3).uniform(0.4, 1.6, 300)) * pace, 3)
    plain["said"] = hashes(np.random.default_rng(5), len(plain))
    hidden = dummies(plain)
    one, other = (
        next(f.requests_seen for f in run(Scorer(ScorerConfig()), q) if f.kind == "open") for q in (plain, hidden)
    )
    assert one <= other <= one + 20
    assert (hidden["turns"][40:] == 1).all(), "a sighting of it is one of a single request"


def tails(q: Array, rng: np.random.Generator) -> Array:
    """The same prompts, each before a made-up answer and a last message that is always the same few words."""
    q = q.copy()
    q["earlier"], q["before"] = q["content"], q["said"]
    q["follows"], q["turns"] = 0xABCDEF0123456789, 3
    for field in ("content", "template", "said"):
        q[field] = hashes(rng, 1)[0]
    q["projection"], q["chars"] = 20, 16
    return q


def new_content(q: Array) -> float:
    """Share of an account's requests that ask something new."""
    scorer = Scorer(ScorerConfig())
    run(scorer, q)
    (row,) = scorer.table.rows[scorer.table.used()]
    return float(row["sums"][WEEK, sum_index("new_content")] / row["sums"][WEEK, sum_index("requests")])


def test_a_constant_last_message_hides_no_prompt_before_it() -> None:
    rng = np.random.default_rng(3)
    plain = sweep("a", often(200))
    plain["said"] = hashes(rng, 200)
    hidden = tails(plain, rng)
    assert new_content(hidden) == pytest.approx(new_content(plain), abs=0.02)
    assert share(tails(plain, rng)) == pytest.approx(share(plain), abs=0.02)
    assert len({q.tobytes() for q in hidden["projection"]}) > 150, "what comes after reads other texts"
    assert set(hidden["turns"].tolist()) == {1}


def test_the_same_history_before_the_same_message_asks_nothing_new() -> None:
    rng = np.random.default_rng(4)
    q = sweep("a", often(200))
    q["said"] = hashes(rng, 200)
    q = tails(q, rng)
    q["earlier"] = 77
    assert new_content(q) < 0.02


def test_a_history_that_was_had_is_left_as_it_is() -> None:
    q = conversations("a", often(40), 1, 40)
    q["content"], q["earlier"] = 9, hashes(np.random.default_rng(5), 40)
    assert new_content(q) < 0.1
    assert (q["content"] == 9).all() and q["turns"].max() > 1


@pytest.mark.parametrize(("messages", "conversation"), [(3, False), (5, False), (WINDOW, True)])
def test_each_prompt_behind_the_one_before_it_is_no_conversation_unless_long(messages: int, conversation: bool) -> None:
    q = conversations("a", often(200), 1, 200)
    q["turns"] = messages
    assert (share(q) < 0.1) == conversation


def test_a_question_asked_again_goes_on_from_what_it_went_on_from() -> None:
    q = conversations("a", often(80), 1, 4)
    q["reply"] = q["follows"] = 0
    again = np.repeat(q, 2)
    again["time"] = often(160)
    assert share(again) == pytest.approx(share(q), abs=0.05)


def test_a_request_that_is_tried_again_goes_on_from_what_it_went_on_from() -> None:
    """An agent's step is refused for its pace, and sent once more: nobody logs replies here."""
    q = conversations("a", often(60), 1, 60)
    q["reply"] = q["follows"] = 0
    q["said"] = q["before"] = q["said"][0]
    q["before"][0] = 0
    tried = np.repeat(q, 2)
    tried["time"], tried["status"] = often(120), np.tile([429, 200], 60)
    assert share(tried) < 0.1


@pytest.mark.parametrize("content", [7, 0])
def test_a_last_message_without_words_hides_no_prompt_before_it(content: int) -> None:
    rng = np.random.default_rng(6)
    q = sweep("a", often(200))
    q["said"] = hashes(rng, 200)
    q = tails(q, rng)
    q["template"], q["content"] = 0, content
    assert new_content(q) > 0.9
    assert (q["template"] != 0).mean() > 0.9
