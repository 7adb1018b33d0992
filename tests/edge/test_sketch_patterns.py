"""Patterns and short cuts that are written for speed find what the plain ones find."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from siphonwatch.streams.edge.adapters import chat, replies
from siphonwatch.streams.edge.sketch import (
    characters,
    fictional,
    intents,
    kernel,
    masks,
    placeholders,
    surrogates,
    template,
)

HAN, BLOCKS = "\u4e00-\u9fff", "\u2588\u25a0\u25cf\u25ae\u2593\u2592"
STARS = re.compile(
    r"(?<![\w*\\/<>=.])\*{3,40}(?![\w*/<>=\[])"
    r"|(?<=[A-Za-z0-9])\*{2,40}(?=[@\d])|(?<![\w*])\*{2,40}(?=@)"
    r"|(?<=[A-Za-z])\*{4,40}[a-z]?(?![\w*])"
    r"|(?<![\w*\\/])[A-Za-z]\*{3}(?![\w*/()=])"
    rf"|(?<=[{HAN}])\*{{1,40}}(?=[\s\uff0c\u3002\u3001{HAN}]|\Z)"
    rf"|[{BLOCKS}]{{2,40}}|\u2022{{3,40}}"
    r"|\b[xX]{4,40}\b|\b[xX]{2,10}(?:[-.@][xX\d]{2,10}){1,4}\b"
    r"|(?<=[A-Za-z.,] )#{3,40}(?=[ ,;']\w?)"
)


def pieces(*of: str) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(of), max_size=24).map("".join)


@given(pieces(*"ab1xX*#@ .-_/=\\\n", "***", "*" * 39, "xxx", "XX-", "###", "\u2022", "\u2588", "\u4e2d", "\u3002"))
def test_fillers_are_those_of_the_plain_pattern(text: str) -> None:
    assert [m.end() for m in surrogates._STARS.finditer(text)] == [m.end() for m in STARS.finditer(text)]


@given(pieces("PERSON", "NAME", "A", "_", "1", "22", "REDACTED", "ANONYMIZED", " ", "x", "[", ")", "\u0663"))
def test_bare_placeholders_are_searched_for_where_one_stands(text: str) -> None:
    found = [m for m in placeholders._BARE.finditer(text) if m[1] is None or "_" in m[0]]
    assert placeholders._has_bare(text) or not found


@given(
    pieces(
        "3f9a1c0e", "DEADBEEF01", "A8xQz3Lp0RtY7uVw", "aGVsbG8gd29ybGQ=", "Name_", "ask ", " ", ",", "555-0142",
        "(555) ", "John Doe", "jane doe", "@example.com", "192.0.2.7", "<NAME>", "***", "def f(", "\u5f20\u4e09",
        "sha1", "=", "x" * 16,
    )
)  # fmt: skip
def test_what_the_scan_counted_spares_no_search_that_finds_something(text: str) -> None:
    counts = kernel.scan(
        kernel.points(text), *characters.tables(), np.arange(1, 5, dtype=np.uint64), *characters.lexicon({})
    )[0]
    assert masks.find(text, counts.tolist()) == masks.find(text)


RESERVED = re.compile(
    r"@example\.(?:com|org|net|edu)\b|https?://(?:www\.)?example\.(?:com|org|net)\b"
    r"|\((?<![\d-]\()555\)?[ .-]\d{3}[ .-]\d{4}(?!\d)"
    r"|(?<![\d-])555\)?[ .-]\d{3}[ .-]\d{4}(?!\d)|(?<!\d)555[ .-]01\d\d(?!\d)"
    r"|(?<![\d.])(?:192\.0\.2|198\.51\.100|203\.0\.113)\.\d{1,3}(?![\d.])"
    r"|\b(?:[Jj]ohn|[Jj]ane) [Dd]oe\b|\b(?:[Mm]ax|[Ee]rika) [Mm]ustermann\b|\u5f20\u4e09(?=.{0,80}\u674e\u56db)"
)


@given(
    pieces(
        "example.", "@", "com", "org", "http://", "https://", "www.", " ", "(", "555", "-0142", "-123-4567", "John ",
        "jane ", "Doe", "doe", "192.0.2.", "203.0.113.", "7", "Max ", "Mustermann", "\u5f20\u4e09", "\u674e\u56db", "x",
    )
)  # fmt: skip
def test_reserved_names_and_numbers_are_those_of_the_plain_pattern(text: str) -> None:
    found = fictional.count(text, lambda: False, commands=False)
    signed = fictional._has_name(text) or fictional._has_number(text)
    assert found == (len(RESERVED.findall(text)) if signed else 0)


@pytest.mark.parametrize(
    "text",
    [
        "```", "</a", "/>", "def ", "import ", "return ", "=>", ");", "{%", "#include", "function", "var ", "const ",
        "let x =", ".format(", "printf", "print(", "f'", 'f"', "SELECT ", "public ", "class A:", "==", "&&", "$(",
        "echo ", "export A", "WGET", "curl", "ping", "ssh", "nginx", "localhost", "subnet", "api", "htm", "html", "dns",
        "config2",
    ],
)  # fmt: skip
def test_each_kind_of_code_and_command_has_a_sign(text: str) -> None:
    assert placeholders.CODE.search(text) or fictional._COMMAND.search(text)
    for pattern, signs in (
        (placeholders.CODE, placeholders.CODE_SIGNS),
        (fictional._COMMAND, fictional.COMMAND_SIGNS),
    ):
        assert any(sign in text.lower() for sign in signs) or not pattern.search(text)


@given(pieces("not", "don't", "dont", "never", "without", "avoid", " ", "k", "_", "\u00e9", "ever "))
def test_negations_are_those_of_the_plain_pattern(text: str) -> None:
    plain = re.compile(r"\b(?:not|don['\u2019]?t|never|without|avoid)")
    assert re.findall(intents._NEVER, text) == plain.findall(text)


VALUES = st.sampled_from([None, "", "words", chat.REDACTED, ["a"], {"text": "b"}, {"reason": "length"}, "stop", 3])
MESSAGES = st.dictionaries(st.sampled_from(["content", "type", "refusal", "role"]), VALUES, max_size=3)
CHOICES = st.dictionaries(st.sampled_from(["finish_reason", "stop_reason", "text"]), VALUES, max_size=2)
BODIES = st.builds(
    lambda choices, message, more: {"choices": [{**choice, "message": message} for choice in choices], **more},
    st.lists(CHOICES, max_size=2),
    st.one_of(MESSAGES, VALUES),
    st.dictionaries(st.sampled_from(["response", "incomplete_details", "stop_reason"]), VALUES, max_size=1),
)


@given(BODIES)
def test_a_plain_reply_is_read_as_any_other(body: Mapping[str, Any]) -> None:
    found = replies.reply(body)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replies, "_plain", lambda _: None)
        assert replies.reply(body) == found


@pytest.mark.parametrize("body", [{}, {"temperature": 1, "max_tokens": 5, "stop": ["n"]}, {"n": None, "tools": []}])
def test_parameters_that_are_left_out_have_their_defaults(body: Mapping[str, Any]) -> None:
    assert chat._rare(body) == chat._DEFAULTS
    assert {name: chat.parameters(body)[name] for name in chat._DEFAULTS} == chat._DEFAULTS


@given(pieces("Write", " a ", "don't", "12:30", "?", ":", "\u8981\u7ffb\u8a33", "caf\u00e9", " ", "x" * 50, "\n"))
def test_a_prefix_is_the_first_words_wherever_half_of_the_start_ends(text: str) -> None:
    start = text.lower()[:160]
    words = [word for word in template._tokens(start) if word not in "?:\uff1f\uff1a"][: template.PREFIX_WORDS]
    assert template._prefix(start) == " ".join(template.MASK if word[0].isdigit() else word for word in words)


@given(st.lists(st.dictionaries(st.sampled_from(["role", "content", "text"]), VALUES, max_size=3), max_size=3))
def test_a_plain_message_is_read_as_any_other(items: list[dict[str, Any]]) -> None:
    class Other(dict[str, Any]):
        """An object that is not of the type that is read quickly."""

    assert chat._listed(items) == chat._listed([Other(item) for item in items])
