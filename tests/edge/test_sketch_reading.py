"""What is compiled of a sketch gives what its plain definition gives."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.edge.sketch import Sketcher, characters, intents, kernel, masks, sketcher, template
from siphonwatch.streams.edge.sketch.sketcher import REPLY_CHARS

IDENTITY = Identity("a secret of the tests only")
SKETCHER = Sketcher(IDENTITY)
FEW = settings(max_examples=60)

PIECES = [
    "write", "a", "summary", "of", "the", "following", "article", "Question", "Bob", "it's", "'s", "O'Neil", "7", "1.5",
    "3,000:", "Answer:", "Context: ", ": ", ":", "?", "! ", ". ", ".", "\n", "\r\n", "\t", "\x1c", "\x00", " ", "  ",
    "- ", "* ", "```", "`", '"', "[", "]", "{", "}}", "<", ">", "http://a.b", "https://", "https", "_", "x" * 90,
    "y" * 310, "z" * 400, "step by step", "show work", "<think>", "don't mention", "never say openai", "verbatim",
    "which answer is better",
    "def f(", "return ", "ping ", "config", "class A:", "f'", "http://www.example.org",
    "555-0142", "Jane Doe", "@EXAMPLE.com", "NAME_2", "REDACTED", "[NAME]", "***", "3f9a1c0e",
    "aGVsbG8gd29ybGQ=",
]  # fmt: skip
PLAIN = st.lists(st.sampled_from(PIECES), max_size=60).flatmap(
    lambda found: st.sampled_from(["", " "]).map(lambda between: between.join(found))
)


@FEW
@given(st.one_of(PLAIN, st.text(st.characters(max_codepoint=127), max_size=200)))
@example("a" * 599 + ". b")
@example("no. " * 170 + "Answer the question: " + "word " * 30)
@example("Explain: x")
def test_plain_text_has_the_skeleton_and_the_prefix_of_the_template(text: str) -> None:
    found, plain = SKETCHER.sketch([("user", text)]), template.read(text)
    assert found["template"] == IDENTITY.hash64("template", plain.skeleton)
    assert found["prefix"] == IDENTITY.hash64("prefix", plain.prefix)


@FEW
@given(st.one_of(PLAIN, st.text(max_size=300)), st.text(max_size=40))
@example("a" * REPLY_CHARS + "b", " \u2028")
@example("word " * 20_000, "\u202e\u05d0\ud800")
def test_turns_are_hashed_as_words_with_a_space_between(text: str, other: str) -> None:
    found = SKETCHER.sketch([("user", other), ("assistant", text), ("user", text)], other)
    said = IDENTITY.hash64("turn", " ".join(text.split())[:REPLY_CHARS])
    heard = IDENTITY.hash64("turn", " ".join(other.split())[:REPLY_CHARS])
    assert (found["said"], found["follows"], found["before"], found["reply"]) == (
        said,
        said,
        heard if other else said,
        heard,
    )


@FEW
@given(st.one_of(PLAIN, st.text("\u0130\u212a\u4e2dsteptyhink by-<>", max_size=60), st.text(max_size=200)))
def test_signs_spare_no_search_that_finds_something(text: str) -> None:
    key = np.arange(4, dtype=np.uint64)
    counts, groups, *_ = kernel.scan(kernel.points(text), *characters.tables(), key, *sketcher._lexicon())
    seen = SKETCHER.sketch([("user", text)])
    assert seen["masks"] == masks.find(text).counts
    assert seen["intents"] == intents.read(text, int(groups), counts[characters.HAN] > 0)


def test_each_rule_is_searched_for_where_one_of_its_signs_stands() -> None:
    steps, bits = sketcher._signs()[0]
    state, found = 0, 0
    for char in "Please SHOW all work, Step by step":
        state = int(steps[128 * state + ord(char)])
        found |= int(bits[state])
    expected = {index for index, (_, words) in enumerate(intents.needs()) if {"show ", "step by"} & {*words}}
    assert {index for index in range(len(intents.needs())) if found >> index & 1} == expected
