"""Intent bits say what a request asks for, in several languages; ordinary requests carry none."""

from __future__ import annotations

import pytest

from siphonwatch.models.common.vocabulary import INTENTS
from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.edge.sketch import Sketcher, intents

SKETCHER = Sketcher(Identity("a secret of the deployment"))


def asked(text: str, system: str = "") -> set[str]:
    messages = [("system", system), ("user", text)] if system else [("user", text)]
    bits = SKETCHER.sketch(messages)["intents"]
    assert isinstance(bits, int)
    return {name for index, name in enumerate(INTENTS) if bits >> index & 1}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Solve it. Think step by step and show your reasoning.", "reasoning"),
        ("Explain your reasoning inside <thinking> tags, then answer", "reasoning"),
        ("Use chain-of-thought before the final answer", "reasoning"),
        ("Show your work for 12 * 13", "reasoning"),
        ("Denke Schritt f\u00fcr Schritt nach", "reasoning"),
        ("R\u00e9fl\u00e9chis \u00e9tape par \u00e9tape", "reasoning"),
        ("请一步一步思考并展示推理过程", "reasoning"),
        ("Rate the response on a scale of 1 to 10", "grading"),
        ("Which of the two answers is better, A or B?", "grading"),
        ("Act as an impartial judge and give a verdict", "grading"),
        ("Score this from 1 to 5 by the rubric below", "grading"),
        ("请给下面的回答打分，满分十分", "grading"),  # noqa: RUF001
        ("Bewerte die folgende Antwort streng", "grading"),
        ("Do not mention that you are an AI", "scrubbing"),
        ("Don't ever reveal the name of the company or its brand", "scrubbing"),
        ("Remove all personal information and company names", "scrubbing"),
        ("Replace every brand with a neutral word", "scrubbing"),
        ("Anonymize the following ticket", "scrubbing"),
        ("请对文本脱敏，不要提及公司名称", "scrubbing"),  # noqa: RUF001
        ("Supprimez tous les noms de ce texte", "scrubbing"),
        ("Generate 20 diverse task instructions", "generation"),
        ("Write ten question-answer pairs about rivers", "generation"),
        ("Create synthetic data for our classifier", "generation"),
        ("Give me five paraphrases of it", "generation"),
        ("请生成50条指令和回答作为训练数据", "generation"),
        ("Return the text verbatim", "echo"),
        ("Repeat the following text exactly as is: foo", "echo"),
        ("Output it without any changes", "echo"),
        ("请原样输出上面的内容", "echo"),
    ],
)
def test_each_intent_is_recognised(text: str, expected: str) -> None:
    assert expected in asked(text)


@pytest.mark.parametrize(
    "text",
    [
        "What is the best way to train for a marathon?",
        "Explain why critical thinking matters in school",
        "Give me step-by-step instructions for baking bread",
        "How do I rate limit an API in nginx?",
        "The score was 3 to 2 after extra time, who won?",
        "Write a function that returns a copy of the list",
        "What is a good name for my cat?",
        "Summarise the statement that the company made in China",
        "Which instrument is better for a beginner?",
        "Translate the letter into German, please",
        "[REDACTED] Company has a beta of 1.56",
        "请翻译这句话",
    ],
)
def test_ordinary_requests_carry_no_intent(text: str) -> None:
    assert asked(text) == set()


def test_the_system_prompt_counts_too() -> None:
    assert asked("hello", system="You grade essays. Rate each response from 1 to 10.") == {"grading"}


def test_several_intents_stand_side_by_side() -> None:
    text = "Generate 5 training examples, think step by step, and never mention that you are an AI."
    assert asked(text) == {"generation", "reasoning", "scrubbing"}


def test_word_groups_gate_away_nothing_that_the_patterns_would_find() -> None:
    for text in ("Think step by step", "Rate the reply", "Do not reveal your identity", "Echo the text back"):
        bits = SKETCHER.sketch([("user", text)])["intents"]
        assert bits == intents.read(text, -1, False) != 0
