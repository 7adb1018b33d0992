"""Text that a machine folded is told from text that people typed, what was masked in it aside."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.edge.sketch import Sketcher
from siphonwatch.streams.lab.scenario.masking import SYNTAXES, Mask, canonical

SKETCHER = Sketcher(Identity("a secret of the deployment"))
LETTER = """The tenant {} wrote to {} about the leak in March.  Nobody at {} answered; {} called {} twice.

Please summarise the complaint for the owner, {}. Keep the tone neutral. Do not promise any money."""
KINDS = "PEOTPC"
VALUES = ("Ada Novak", "ada@firm.example", "Firm Ltd", "020 7946 0018", "Wim Rossi", "Ghent")


def folded(text: str) -> bool:
    return bool(SKETCHER.sketch([("user", text)])["canonical"])


def masked(syntax: str, fold: bool) -> str:
    """The letter, folded first and masked then, so that surrogates keep their case."""
    text = canonical(LETTER) if fold else LETTER
    mask = Mask(syntax, "salt")
    return text.format(*(mask(kind, value) for kind, value in zip(KINDS, VALUES, strict=True)))


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_folded_text_is_canonical_whatever_case_its_surrogates_have(syntax: str) -> None:
    assert folded(masked(syntax, fold=True))
    assert not folded(masked(syntax, fold=False))


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_space_that_folding_leaves_at_an_end_says_nothing(syntax: str) -> None:
    text = masked(syntax, fold=True)
    assert folded(f"{text} ") and folded(f" {text}")


@pytest.mark.parametrize(
    "text",
    [
        "Please ask <PERSON> and <PERSON_2> to sign the lease before Friday.",
        "please ask Ada Novak whether NASA has answered. then send me a summary of it.",
        "what do I have to do when the heating fails? my landlord lives in Ghent and I cannot reach him.",
        "could you translate this letter into French for me? The tenant left in March. It was cold.",
        "hi, can you check what Ada said",
        "Ada Novak met Wim Rossi in Ghent and Firm Ltd paid Max Weber and Jane Roe for the Leys Falls lot.",
        "what is the capital of france and how many people live there?",
    ],
)
def test_what_people_type_is_not_canonical(text: str) -> None:
    assert not folded(text)


def test_one_sentence_that_a_machine_ended_but_did_not_begin_is_canonical() -> None:
    assert folded("create a list of five healthy breakfasts for children.")
    assert folded("write a letter to Ada Novak and ask her for the keys of the flat.")


@given(st.text(max_size=300))
def test_any_text_is_judged_and_one_with_a_line_break_is_never_canonical(text: str) -> None:
    assert not folded(f"a{text}\nb")
    folded(text)
