"""The sketch as a whole: valid telemetry for any text, keyed, private, the same in every process, bounded in time."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
import time
from types import FrameType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.contracts.telemetry import Telemetry, decode, encode
from siphonwatch.streams.edge.sketch import Sketcher

SKETCHER = Sketcher(Identity("a secret of the deployment"))
OTHER = Sketcher(Identity("another secret, unrelated"))
ANY = st.text(st.characters(codec=None), max_size=400)
ROLES = st.sampled_from(["system", "developer", "user", "assistant", "tool", ""])
HASHED = ("template", "prefix", "system", "content", "said", "projection", "chunks")
TEXT = (
    "Please compare the two proposals from Harriet Lindqvist and explain which one costs less over 5 years. "
    "Consider maintenance, energy and the training of 12 people. End with one recommendation."
)


def text_sketch(text: str, reply: str = "", system: str = "You help.") -> dict[str, object]:
    return SKETCHER.sketch([("system", system), ("user", text)], reply)


@given(st.lists(st.tuples(ROLES, ANY), max_size=5), ANY)
@settings(max_examples=300, deadline=None)
def test_any_messages_give_valid_telemetry(messages: list[tuple[str, str]], reply: str) -> None:
    record = Telemetry(id="r", time=1.0, account="a", **SKETCHER.sketch(messages, reply))  # type: ignore[arg-type]
    assert decode(encode(record)) == record


@given(
    st.text(
        st.sampled_from("<>[]{}()*_%@#$`'\"=/\\x某\u00d70aA \n.,:;|-\u3010\u3011\u202e\u0301\ud800\0\U0001f600"),
        max_size=300,
    )
)
@settings(max_examples=300, deadline=None)
def test_any_markup_gives_valid_telemetry(text: str) -> None:
    record = Telemetry(id="r", time=1.0, account="a", **text_sketch(text, text))  # type: ignore[arg-type]
    assert decode(encode(record)) == record


def test_the_last_user_message_is_sketched_and_turns_leave_the_system_prompt_out() -> None:
    long = SKETCHER.sketch([("system", "s"), ("user", "first"), ("assistant", "reply"), ("user", TEXT), ("tool", "42")])
    alone = SKETCHER.sketch([("user", TEXT)])
    assert long["turns"] == 4
    assert {k: long[k] for k in ("template", "content", "projection", "chars")} == {
        k: alone[k] for k in ("template", "content", "projection", "chars")
    }
    assert SKETCHER.sketch([("assistant", TEXT)])["content"] == alone["content"]


def test_nothing_to_sketch_gives_empty_fields() -> None:
    sketch = SKETCHER.sketch([])
    assert not any(value for name, value in sketch.items() if name != "lang")
    assert sketch["lang"] == "und"


def test_lengths_and_shares_describe_the_text() -> None:
    sketch = text_sketch("AB 12, \u4e2d\u6587\u3002", "four")
    assert (sketch["chars"], sketch["chars_out"]) == (10, 4)
    assert (sketch["upper"], sketch["digits"], sketch["spaces"]) == (200, 200, 200)
    assert (sketch["punctuation"], sketch["wide"]) == (200, 300)


@pytest.mark.parametrize(
    ("text", "lang"),
    [
        ("How do I pick a good shoe for the rain?", "en"),
        ("Wie wird das Wetter morgen in den Bergen und nicht im Tal?", "de"),
        ("Quel est le meilleur chemin pour aller dans les montagnes ?", "fr"),
        ("\u00bfC\u00f3mo puedo ir al centro de la ciudad con los ni\u00f1os?", "es"),
        ("Qual \u00e9 a melhor forma de estudar para uma prova que n\u00e3o \u00e9 f\u00e1cil?", "pt"),
        ("Как пройти на вокзал и где купить билет?", "ru"),
        ("\u3053\u306e\u6587\u7ae0\u3092\u7ffb\u8a33\u3057\u3066\u304f\u3060\u3055\u3044", "ja"),
        ("请用 Python 写一个函数", "zh"),
        ("\uc548\ub155\ud558\uc138\uc694 \ubc18\uac11\uc2b5\ub2c8\ub2e4", "ko"),
        ("\u0645\u0631\u062d\u0628\u0627 \u0643\u064a\u0641 \u062d\u0627\u0644\u0643", "ar"),
        ("12 + 13 = ?", "und"),
    ],
)
def test_language_is_guessed(text: str, lang: str) -> None:
    assert SKETCHER.sketch([("user", text)])["lang"] == lang


def test_canonical_means_folded_by_a_machine_and_not_typed_without_capitals() -> None:
    folded = " ".join(TEXT.lower().split())
    assert text_sketch(folded)["canonical"] is True
    assert (
        text_sketch("please compare the two proposals. the first one costs less over five years, i think")["canonical"]
        is True
    )
    for text in (
        TEXT,
        "hey can u help me with my homework",
        folded.replace(". ", ".\n"),
        f"{folded}\n",
        folded.replace(" ", "  "),
    ):
        assert text_sketch(text)["canonical"] is False
    assert text_sketch("\u4eca\u5929\u5929\u6c14\u5f88\u597d\u3002" * 40)["canonical"] is False


def test_another_key_gives_an_unrelated_sketch() -> None:
    one, other = text_sketch(TEXT), OTHER.sketch([("system", "You help."), ("user", TEXT)])
    assert all(one[field] != other[field] for field in HASHED)
    assert {k: v for k, v in one.items() if k not in HASHED} == {k: v for k, v in other.items() if k not in HASHED}


WORD = st.text("bcdfghklmnprstvwz", min_size=6, max_size=10)


@given(st.lists(WORD, min_size=6, max_size=40), WORD, WORD)
@settings(deadline=None)
def test_no_word_of_request_or_reply_stands_in_the_output(words: list[str], name: str, answer: str) -> None:
    text = f"{' '.join(words)} [{name.upper()}_1] <PERSON> {name}@mail.example"
    out = json.dumps(text_sketch(text, f"{answer} <PERSON>", system=f"serve {name}")).lower()
    for word in (*words, name, answer, "mail.example"):
        assert word not in out


def test_every_process_gives_the_same_sketch() -> None:
    code = (
        "import json, sys; from siphonwatch.streams.common.identity import Identity;"
        "from siphonwatch.streams.edge.sketch import Sketcher;"
        "sketcher = Sketcher(Identity('a secret of the deployment'));"
        "print(json.dumps(sketcher.sketch([('user', sys.argv[1])], '<PERSON>')))"
    )
    text = TEXT + " <PERSON> and [NAME_2] think step by step, ***"
    outs = {
        subprocess.run(
            [sys.executable, "-c", code, text], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    }
    assert [json.loads(out) for out in outs] == [SKETCHER.sketch([("user", text)], "<PERSON>")]


def test_threads_share_one_sketcher() -> None:
    expected = [text_sketch(f"{TEXT} {n}") for n in range(50)]
    results: dict[int, list[dict[str, object]]] = {}

    def work(index: int) -> None:
        results[index] = [text_sketch(f"{TEXT} {n}") for n in range(50)]

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(result == expected for result in results.values())


def test_a_small_edit_moves_content_a_little() -> None:
    one, other = text_sketch(TEXT), text_sketch(TEXT.replace("energy", "power"))
    assert (int(str(one["content"]), 16) ^ int(str(other["content"]), 16)).bit_count() <= 20
    a, b = ([x - 256 * (x > 127) for x in base64.b64decode(str(s["projection"]))] for s in (one, other))
    assert sum(x * y for x, y in zip(a, b, strict=True)) / 127**2 > 0.7


HOSTILE = (
    *(
        "a",
        " ",
        "\n",
        "<",
        "<A",
        "[A_1",
        "(",
        "{{name",
        "*",
        "**",
        "x",
        "#",
        "_",
        "__A",
        "$",
        '"',
        "`",
        "```",
        "1.",
        "a.",
    ),
    *(
        ". ",
        "某",
        "\u00d7",
        "[姓名",
        "\u0301",
        "\U0001f600",
        "\ud800",
        "A_",
        "A.b ",
        "3fa2c91b ",
        "Aa1",
        "=",
        "http://",
    ),
    *("think ", "show reasonin ", "rate 1 answe ", "generate 5 qa ", "do not mention ai ", "remove name", "<A b c d "),
    *(
        "which answer bette ",
        "repeat the text ",
        "生成5条",
        "don't say you",
        "training data set ",
        "grade criteri ",
        "张",
        "某公",
    ),
)


@pytest.fixture(scope="module")
def prose_seconds() -> float:
    """CPU time that a megabyte of prose takes on this machine."""
    return megabyte_seconds("Both proposals are close; the second costs less, and its team is known to us. ")


def megabyte_seconds(unit: str) -> float:
    """The least CPU time of three, as a system prompt, a message and a reply: others' load only adds to it."""
    text = (unit * (1_000_000 // len(unit) + 1))[:1_000_000]
    SKETCHER.sketch([("user", "warm")])
    seconds = []
    for _ in range(3):
        start = time.process_time()
        SKETCHER.sketch([("system", text), ("user", text)], text)
        seconds.append(time.process_time() - start)
    return min(seconds)


@pytest.mark.parametrize("unit", HOSTILE)
def test_a_hostile_megabyte_costs_a_few_times_what_prose_costs(unit: str, prose_seconds: float) -> None:
    cost = megabyte_seconds(unit)
    print(f"{unit!r}: {cost / prose_seconds:.1f} times prose")
    assert cost < 20 * prose_seconds


def calls(text: str, reply: str) -> int:
    """Calls, of Python and of C, that one sketch takes: what it costs beside the compiled scan, on any machine."""
    counted = 0

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal counted
        counted += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        text_sketch(text, reply)
    finally:
        sys.setprofile(before)
    return counted


def test_a_prompt_takes_a_few_hundred_calls_however_long_it_is() -> None:
    """10,000 prompts a second and core leave 100 microseconds for each: compiled code reads its characters."""
    reply = "Both proposals are close; the second costs less. " * 12
    prompt = f"{TEXT} {TEXT} A variant of the question, for people at <PERSON>'s office. {TEXT}"
    calls(prompt, reply)
    short, long = calls(prompt, reply), calls(f"{prompt} " * 4, reply * 4)
    print(f"{short} calls at {len(prompt)} characters, {long} at four times as many")
    assert short <= 150
    assert long <= 250


def test_a_request_goes_on_from_the_one_before_word_for_word_but_for_white_space() -> None:
    first = SKETCHER.sketch([("system", "s"), ("user", "What is  a heron?\n")], "A bird,\n\nwith long legs.")
    history = [("system", "other"), ("user", "What is a heron?"), ("assistant", "A bird, with long legs. ")]
    second = SKETCHER.sketch([*history, ("user", "And a stork?")], "Another.")
    assert first["before"] == first["follows"] == ""
    assert (second["before"], second["follows"]) == (first["said"], first["reply"])
    assert len({first["said"], first["reply"], second["said"], second["reply"]}) == 4
    changed = SKETCHER.sketch([("user", "What is a Heron?"), ("assistant", "A bird."), ("user", "And a stork?")])
    assert not {changed["before"], changed["follows"]} & {first["said"], first["reply"]}
    other = OTHER.sketch([("user", "What is a heron?")], "A bird, with long legs.")
    assert not {other["said"], other["reply"]} & {first["said"], first["reply"]}


def test_an_agent_goes_on_from_what_its_user_said() -> None:
    step = SKETCHER.sketch([("user", TEXT), ("assistant", ""), ("tool", "42 files")], "Done.")
    assert (step["said"], step["before"], step["follows"]) == (text_sketch(TEXT)["said"],) * 2 + ("",)
    last = SKETCHER.sketch([("user", TEXT), ("assistant", "I look."), ("tool", "42"), ("assistant", ""), ("tool", "7")])
    assert last["follows"] == text_sketch("x", "I look.")["reply"]


def test_an_agent_s_steps_on_a_later_question_go_on_from_that_question() -> None:
    asked = [("user", "Which files?"), ("assistant", "Two."), ("user", TEXT)]
    step = SKETCHER.sketch([*asked, ("assistant", ""), ("tool", "42"), ("assistant", ""), ("tool", "7")])
    assert step["before"] == step["said"] == SKETCHER.sketch(asked)["said"]
    assert SKETCHER.sketch(asked)["before"] == text_sketch("Which files?")["said"]


def test_a_greeting_before_the_only_question_is_nothing_that_was_said() -> None:
    greeted = SKETCHER.sketch([("assistant", "Hello!"), ("user", TEXT)])
    assert greeted["before"] == greeted["said"] and greeted["turns"] == 2


def test_what_stands_before_the_last_message_is_told_by_one_hash_whoever_said_it() -> None:
    asked = [("system", "Be brief."), ("user", "Name a river."), ("assistant", "Sure."), ("user", "Go on.")]
    first = SKETCHER.sketch(asked)
    other = [("system", "Else"), *asked[1:3], ("user", "No.")]
    assert first["earlier"] and first["earlier"] == SKETCHER.sketch(other)["earlier"]
    for place in (1, 2):
        changed = list(asked)
        changed[place] = (asked[place][0], "Name a mountain.")
        assert SKETCHER.sketch(changed)["earlier"] != first["earlier"]
    assert text_sketch("Name a river.")["earlier"] == SKETCHER.sketch([])["earlier"] == ""
    agent = [("user", "Mend it."), ("assistant", "call"), ("tool", "done")]
    assert SKETCHER.sketch(agent)["earlier"] not in ("", first["earlier"])
