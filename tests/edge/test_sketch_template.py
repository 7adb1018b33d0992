"""Prompts filled from one template share its hash, unrelated prompts do not; measured on public data where present."""

from __future__ import annotations

import gzip
import json
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.edge.sketch import Sketcher, template

ITEMS = Path(__file__).resolve().parents[3] / "shared" / "data" / "items"
SKETCHER = Sketcher(Identity("a secret of the deployment"))
NAMES = st.sampled_from(["Alice", "Bob Stone", "Wei Zhang", "Priya", "Jo\u00e3o", "Olga Petrova"])
DOCUMENT = st.text("abcdefghij klmnop qrstuv", min_size=50, max_size=1500).map(lambda s: f"The {s} end")


def shape(text: str) -> object:
    return SKETCHER.sketch([("user", text)])["template"]


@given(NAMES, NAMES, st.integers(0, 10**9), st.integers(0, 10**9))
@settings(deadline=None)
def test_names_and_numbers_do_not_change_the_template(one: str, other: str, n: int, m: int) -> None:
    text = "Please draft a polite note to {} about invoice {}, due in a week."
    assert shape(text.format(one, n)) == shape(text.format(other, m))


@given(DOCUMENT, DOCUMENT)
@settings(deadline=None)
def test_an_instruction_after_a_long_document_makes_the_template(one: str, other: str) -> None:
    text = "{}\n\nWhich label best describes the article above?"
    assert shape(text.format(one)) == shape(text.format(other))


@given(DOCUMENT, DOCUMENT)
@settings(deadline=None)
def test_an_instruction_before_a_long_document_makes_the_template(one: str, other: str) -> None:
    text = "Summarize the following review in one sentence:\n\n{}"
    assert shape(text.format(one)) == shape(text.format(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('Translate "good morning" into French.', 'Translate "see you" into French.'),
        ("Explain `map` in simple terms to me", "Explain `filter` in simple terms to me"),
        ("Read https://a.example/1 and list its claims", "Read https://b.example/2?x=3 and list its claims"),
        ("Write an email to <PERSON> about the delay", "Write an email to [NAME] about the delay"),
        ("Write an email to {{name}} about the delay", "Write an email to <PERSON_3> about the delay"),
        ("请总结以下文章：今天天气很好。", "请总结以下文章：公司发布了财报。"),  # noqa: RUF001
        ("Fix this code:\n```py\nprint(1)\n```", "Fix this code:\n```py\nimport os\n\nos.exit()\n```"),
    ],
)
def test_quotes_code_links_and_placeholders_are_variable(one: str, other: str) -> None:
    assert shape(one) == shape(other)


def test_unrelated_prompts_have_different_templates() -> None:
    prompts = [
        "How do I pick a good running shoe?",
        "what should i cook tonight with leeks",
        "Write a haiku about autumn rain",
        "Why does my sourdough collapse after baking?",
        "Refactor this loop to use a generator",
        "Plan a weekend in the mountains for two",
        "谁写了红楼梦？",  # noqa: RUF001
        "Wie wird das Wetter morgen?",
    ]
    assert len({shape(prompt) for prompt in prompts}) == len(prompts)


def test_the_prefix_takes_the_first_words_without_case_or_numbers() -> None:
    one = SKETCHER.sketch([("user", "Item 12 of 90: please label THIS review. Good food")])
    other = SKETCHER.sketch([("user", "item 13 of 90: Please label this review. Bad food")])
    third = SKETCHER.sketch([("user", "Row 13 of 90: please label this review. Bad food")])
    assert one["prefix"] == other["prefix"] != third["prefix"]


def test_system_prompts_match_by_every_sentence_but_not_by_date_or_name() -> None:
    def system(text: str) -> object:
        return SKETCHER.sketch([("system", text), ("user", "hi")])["system"]

    base = "You are the helper of Acme. Today is 2024-01-02. Be brief."
    assert system(base) == system("You are the helper of Initech. Today is 2025-11-30. Be brief.")
    assert system(base) != system("You are the helper of Acme. Today is 2024-01-02. Be thorough.")


@given(st.text(st.characters(codec=None), max_size=300))
@settings(deadline=None)
def test_reading_any_text_is_bounded_and_never_fails(text: str) -> None:
    read = template.read(text * 5)
    assert len(read.skeleton) <= 4 * (template.HEAD + template.TAIL)


def _load(name: str) -> list[dict[str, str]]:
    path = ITEMS / f"{name}.jsonl.gz"
    if not path.exists():
        pytest.skip("the shared data sets are not beside this checkout: template rates are not measured")
    with gzip.open(path, "rt") as lines:
        return [json.loads(line) for line in lines]


def test_most_prompts_of_a_public_template_share_a_hash_and_human_prompts_do_not(
    record_property: Callable[[str, object], None],
) -> None:
    groups: dict[str, list[str]] = defaultdict(list)
    for row in _load("t0"):
        if len(groups[row["group"]]) < 40:
            groups[row["group"]].append(template.read(row["text"]).skeleton)
    shares = [Counter(group).most_common(1)[0][1] / len(group) for group in groups.values()]
    human = Counter(template.read(row["text"]).skeleton for name in ("hh", "arena_v1", "dolly") for row in _load(name))
    total = sum(human.values())
    meeting = sum(n * (n - 1) for n in human.values()) / (total * (total - 1))
    record_property("template_share", sum(shares) / len(shares))
    record_property("human_pairs", meeting)
    assert sum(shares) / len(shares) > 0.8
    assert meeting < 0.002
