"""Masked spans are counted in their family; code, markup and logs that look alike are not."""

from __future__ import annotations

import pytest

from siphonwatch.models.common.vocabulary import MASK_FAMILIES
from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.edge.sketch import Sketcher, masks

SKETCHER = Sketcher(Identity("a secret of the deployment"))


def families(text: str) -> dict[str, int]:
    counts = SKETCHER.sketch([("user", text)])["masks"]
    assert isinstance(counts, list)
    return {family: n for family, n in zip(MASK_FAMILIES, counts, strict=False) if n}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Tell <PERSON> at <EMAIL_ADDRESS> we agree", {"typed": 2}),
        ("The call with <PRESIDIO_ANONYMIZED_PERSON> went on", {"typed": 1}),
        (
            "ask \u3008PERSON\u3009 or \u300aNAME\u300b or \u27e6EMAIL\u27e7 or \uff1cPHONE\uff1e or \u00abCITY\u00bb",
            {"typed": 5},
        ),
        ("ask __NAME__ or %NAME% or @@PERSON@@ or #EMAIL# or ##CITY## now", {"typed": 5}),
        ("dear <name>, we met <person> there", {"typed": 2}),
        ("<PERSON_1> wrote to [NAME_3] and {ORG_2} and <PERSON2>", {"indexed": 4}),
        ("PERSON_1 owes EMAIL_ADDRESS_2 an answer", {"indexed": 2}),
        ("[PERSON 1] met [Person B] and __PERSON_4__", {"indexed": 3}),
        ("[REDACTED] moved to [CITY] with [Name]", {"bracket": 3}),
        ("\u3010COMPANY\u3011 sued \uff3bNAME\uff3d (REDACTED)", {"bracket": 3}),
        ("the REDACTED memo", {"bracket": 1}),
        ("Dear {{name}}, your {email} at ${company} {{ customer_name }}", {"mustache": 4}),
        ("*** told *** to call 138****5678 or j***@mail.example", {"stars": 4}),
        ("we paid \u2588\u2588\u2588\u2588 to xxxx at XXX-XX-1234", {"stars": 3}),
        ("J*** met A*** of the F*** group", {"stars": 3}),
        ('more than <NUMBER> of {{NUMBER}} and "<NUMBER_1>"', {"typed": 1, "mustache": 1, "indexed": 1}),
        ("a n[REDACTED_PERSON_1]force and ![alt]([REDACTED_URL_1])", {"indexed": 2}),
        ("open \u67d0\u7f51\u5740 or write to \u67d0\u90ae\u7bb1", {"chinese": 2}),
        ("the " + "very " * 20 + "old 3fa2c91be0 and 99ab12cd34ef " + "were " * 20 + "a token of it", {"hash": 2}),
        ("Jane Doe (jane.doe@example.com, 555-0142) at https://example.com/a1b2c3", {"fictional": 4}),
        ("call 555-268-5909 or 192.0.2.17 or max Mustermann", {"fictional": 3}),
        ("\u5f20**\u8bf4\u4ed6\u540c\u610f", {"stars": 1}),
        ("3fa2c91be0 met 99ab12cd34ef in the park", {"hash": 2}),
        ("please call User_3fa2c91b about the lease", {"hash": 1}),
        ("please call Qk3vT9xZpL2mN8sR about the lease", {"base64": 1}),
        ("please call Sm9obiBTbWl0aA== about the lease", {"base64": 1}),
        ("某某在某公司工作，张某说××公司和【姓名】、[公司名称]", {"chinese": 6}),  # noqa: RUF001
    ],
)
def test_each_syntax_lands_in_its_family(text: str, expected: dict[str, int]) -> None:
    assert families(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "Why does List<Person> not convert to Map<String, Name>?",
        "<div><title>About</title><address>x</address></div>",
        "render <Person name={name} email={email} /> in React",
        "{% for name in names %}<li>{{ name }}</li>{% endfor %}",
        'print(f"hello {name}, mail {email}")',
        "if __name__ == '__main__': __init__()",
        "rows[NAME] = table[id] and obj[user] = 3",
        "some **bold** and ***both*** and *light* text",
        "first part\n***\nsecond part\n* * *\nthird",
        "# Title\n## Part ##\n### Section ###\n- [x] done\n- [ ] open",
        "commit 3fa2c91be0 broke the build, see 99ab12cd",
        "the sha256 of the file is 3fa2c91be0aa11bb22cc",
        "wget https://example.org/3fa2c91be0/archive and #3fa2c9 as colour",
        "see [the docs](name) and [1] or [Figure 2]",
        "def f(*args, **kwargs): return 2 ** 8",
        "/***** header *****/ int main() {}",
        "the class AbstractSingletonProxyFactoryBean and some_snake_case_name_here",
        "Dear [Your Name], [Insert Company Name]",
        "a 100% sure name, 50% off, mail me @home #name",
        "the (URL) and (ID) of the [ERROR] in [INFO] logs [INST]",
        "1000000 people in 20240101 paid $1,000,000",
        "某些人在某种情况下每某个时候",
        "the XXX Olympiad was in 1984, size XXL or xx",
        "AutoModelForSeq2SeqLM and AbstractHttp2ConnectionFactoryBean load in order",
        "def ping(host='192.0.2.1'): return 555",
        "curl https://example.com/users says 404",
        "sum of 555 and 01 is 556, call 555-1234567, he does doe hunting",
        "fill in: the capital of France is ____ and of Spain ___",
    ],
)
def test_look_alikes_do_not_count(text: str) -> None:
    assert families(text) == {}


def test_echo_counts_distinct_placeholders_that_the_reply_repeats() -> None:
    text = "Dear <PERSON_1>, <PERSON_2> and <PERSON_1> thank [COMPANY] and ***."
    reply = "<PERSON_1> and again <PERSON_1>, from [COMPANY] *** {name}"
    assert SKETCHER.sketch([("user", text)], reply)["echo"] == 2
    assert SKETCHER.sketch([("user", text)], "")["echo"] == 0
    assert SKETCHER.sketch([("user", "no placeholders")], reply)["echo"] == 0


def test_the_scan_never_gates_away_what_the_patterns_would_find() -> None:
    texts = [
        "a <PERSON>",
        "a (REDACTED)",
        "a \u3010NAME\u3011",
        "a ***",
        "\u5f20*\u8bf4",
        "a 3fa2c91be0 b",
        "a \u2588\u2588",
        "a __NAME__",
    ]
    for text in texts:
        counts = SKETCHER.sketch([("user", text)])["masks"]
        assert counts == masks.find(text).counts
        assert counts
