"""No text costs much more to sketch than prose of its size: what one client writes must not hold up a gateway."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable

import pytest
from adversarial import SIZE, repeated, texts
from hypothesis import given
from hypothesis import strategies as st

from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.edge.sketch import Sketcher, intents, masks
from siphonwatch.streams.edge.sketch.chains import Search
from siphonwatch.streams.edge.sketch.sketcher import REPLY_CHARS

TIMES = 30
"""The worst text known costs some 20 times prose, which reads no pattern at all. The bound was 20 when prose took twice
as long as now, and the worst text 15 times that: 6.1 ms then, 3.7 ms now."""
TRIES = 12
"""Measurements of a text that seems too slow: the shortest counts, which no other process makes longer."""

ROUNDS = 6
"""Comparisons with prose after which a text is too slow: a busy machine spoils some of them, and not all."""

WORDS = """the water of this region was long thought to come from springs in the hills until a survey in spring showed
    otherwise and farmers asked what could be done about it""".split()


def prose(size: int) -> str:
    """Sentences of ordinary words."""
    rng = random.Random(1)
    sentences = [" ".join(rng.choice(WORDS) for _ in range(rng.randint(6, 14))).capitalize() for _ in range(size // 30)]
    return ". ".join(sentences)[:size]


def seconds(call: Callable[[], object], tries: int) -> float:
    """The shortest CPU time of several calls."""
    best = float("inf")
    for _ in range(tries):
        began = time.thread_time()
        call()
        best = min(best, time.thread_time() - began)
    return best


@pytest.mark.parametrize("role", ["user", "system"])
def test_no_text_costs_more_than_thirty_times_prose_of_its_size(role: str) -> None:
    sketcher = Sketcher(Identity("a secret of the tests only"))
    tail = [("user", "hello")] if role == "system" else []

    def sketch(text: str) -> Callable[[], object]:
        # a system prompt of this size is read each time: shorter ones are remembered
        return lambda: sketcher.sketch([(role, text), *tail])

    plain = prose(SIZE)
    sketch(plain)()
    usual = seconds(sketch(plain), TRIES)
    slow = {}
    for name, text in texts():
        times = seconds(sketch(text), 1) / usual
        for _ in range(ROUNDS):
            if times <= TIMES:
                break
            # Side by side: what shares the core with one shares it with the other.
            times = min(times, seconds(sketch(text), TRIES) / seconds(sketch(plain), TRIES))
        else:
            slow[name] = f"{times:.1f} times"
    assert not slow


def test_text_four_times_as_long_costs_about_four_times_as_much() -> None:
    sketcher = Sketcher(Identity("a secret of the tests only"))
    steep = {}
    for name, text in texts():
        if not name.startswith("pattern"):
            short = [("user", text[: SIZE // 4])]
            long = [("user", text)]
            for tries in (2, TRIES, 3 * TRIES):
                ratio = seconds(lambda m=long: sketcher.sketch(m), tries) / seconds(  # type: ignore[misc]
                    lambda m=short: sketcher.sketch(m),  # type: ignore[misc]
                    tries,
                )
                if ratio < 8:  # 4 is linear, 16 quadratic
                    break
            else:
                steep[name] = ratio
    assert not steep


def test_a_reply_of_almost_placeholders_costs_little() -> None:
    spans = frozenset(f"<ID_{number}>" for number in range(640))
    for reply in (repeated("<ID_", REPLY_CHARS), repeated("<ID_1<ID_22<ID_", REPLY_CHARS)):
        found = masks.Found([len(spans)], spans)
        masks.echoed(found, reply)
        one_by_one = seconds(lambda r=reply: [span in r for span in spans], 3)  # type: ignore[misc]
        assert seconds(lambda f=found, r=reply: masks.echoed(f, r), 3) < one_by_one / 2  # type: ignore[misc]


@given(
    st.lists(st.text("ab<\u67d0\U0001f469", min_size=1, max_size=4), min_size=9, max_size=20),
    st.text("ab<\u67d0\U0001f469", max_size=80),
)
def test_placeholders_are_counted_in_one_pass_as_they_are_one_by_one(spans: list[str], reply: str) -> None:
    found = masks.Found([len(spans)], frozenset(spans))
    assert masks.echoed(found, reply) == sum(span in reply for span in set(spans))


def soup() -> st.SearchStrategy[str]:
    """Texts of the words that the rules look for."""
    words = sorted({word for group in intents._GROUPS.values() for word in group.split()})
    extra = [
        "and",
        "5",
        "the",
        "this",
        "a",
        "in",
        "on a scale",
        "step by step",
        "come up with",
        "as is",
        "as-is",
        "word for word",
        "thought process",
        "generated accurately",
        "elsewhere 0123456789 0123456789 0123456789",
        "text",
        ".",
        "\n",
        "-",
        "who you",
    ]
    return st.lists(st.sampled_from([*words, *extra]), max_size=60).map(" ".join)


@given(soup())
def test_a_chain_finds_what_its_pattern_finds(text: str) -> None:
    for _, _, search in intents._RULES:
        assert search.found(text) == (re.search(search.pattern, text) is not None), search.pattern


def test_a_gap_ends_at_its_length_and_at_what_it_excludes() -> None:
    search = Search(r"\bgive\b[^.\n]{0,5}\bnew [^\n]{0,5}\bpairs\b")
    assert search.found("give new pairs")
    assert search.found("give give 12 new 1. pairs")
    assert not search.found("give 123456 new pairs")
    assert not search.found("give. new pairs")
    assert not search.found("give new \n pairs")
    assert not search.found("new give pairs")
