"""Chunks: what two texts share is cut and hashed alike in both, and the sizes say how much of a text that is."""

from __future__ import annotations

import base64
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siphonwatch.models.common.vocabulary import CHUNKS, REPLY_CHUNKS
from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.contracts.telemetry import Telemetry, encode
from siphonwatch.streams.edge.sketch import Sketcher, characters, chunks, kernel
from siphonwatch.streams.worker.decode import ENTRY, Decoder

KEY = np.array([11, 22, 33, 44], np.uint64)
OTHER = np.array([11, 22, 33, 45], np.uint64)
ALL = 10**6
SKETCHER = Sketcher(Identity("a secret of the tests only"))
SYLLABLES = "ka tro mi slen vur do pe rin sta lo ne x".split()


def prose(words: int, seed: int) -> str:
    """Sentences of made-up words."""
    draw = random.Random(seed)
    said = ["".join(draw.choices(SYLLABLES, k=draw.randint(1, 3))) for _ in range(words)]
    return " ".join(f"{word}." if draw.random() < 0.08 else word for word in said)


def cut(text: str, most: int = ALL, key: np.ndarray = KEY) -> list[tuple[int, int]]:
    """(hash, size) of each chunk."""
    entries = chunks.cut(kernel.points(text), *characters.tables(), key, most)
    return [(low | high << 16, size) for low, high, size in entries.tolist()]


def ends(found: list[tuple[int, int]]) -> dict[int, tuple[int, int]]:
    """Each chunk by the place where it ends."""
    return dict(zip(np.cumsum([size for _, size in found]).tolist(), found, strict=True))


def unpacked(field: object) -> list[tuple[int, int]]:
    assert isinstance(field, str)
    return np.frombuffer(base64.b64decode(field), ENTRY).tolist()  # type: ignore[no-any-return]


@given(st.integers(0, 200), st.text(max_size=300), st.text(max_size=300))
@settings(deadline=None, max_examples=200)
def test_a_payload_moves_only_the_boundaries_beside_it(seed: int, one: str, other: str) -> None:
    head, tail = prose(60, seed), prose(60, seed + 1000)
    first, second = (cut(f"{head} {payload} {tail}") for payload in (one, other))
    near = chunks.SHORTEST
    fronts = [{end: at for end, at in ends(found).items() if end <= len(head) - near} for found in (first, second)]
    assert fronts[0] == fronts[1] != {}
    behind = len(tail) - len(tail.split()[0]) - near  # the first word's boundary depends on the word before it, too
    backs = [{end: at for end, at in ends(found[::-1]).items() if end < behind} for found in (first, second)]
    assert backs[0] == backs[1] != {}


@given(st.text(st.characters(max_codepoint=127) | st.sampled_from("\u00a0\u2003 \n.:"), max_size=400), st.randoms())
@settings(deadline=None, max_examples=200)
def test_case_and_white_space_change_no_chunk(text: str, draw: random.Random) -> None:
    spaced = draw.choice(("", " ", "\n\t")) + draw.choice((" ", "\n ", "\t\t")).join(text.split())
    assert cut(spaced.swapcase()) == cut(text)


@given(st.text(max_size=900) | st.integers(0, 3000).map(lambda n: prose(n, n)), st.integers(1, CHUNKS))
@settings(deadline=None, max_examples=200)
def test_sizes_sum_to_the_length_and_no_chunk_is_short(text: str, most: int) -> None:
    length = len(" ".join(text.split()))
    for found in (cut(text), cut(text, most)):
        sizes = [size for _, size in found]
        assert sum(sizes) == length
        assert all(size >= chunks.SHORTEST for size in sizes) or len(sizes) == 1
        assert all(digest for digest, _ in found)
    assert len(found) <= most


@pytest.mark.parametrize("words", [20, 200, 800])
def test_fewer_chunks_have_boundaries_of_more_chunks(words: int) -> None:
    for seed in range(20):
        text = prose(words, seed)
        whole, many, few = (set(ends(cut(text, most))) for most in (ALL, 16, 8))
        assert few <= many <= whole
        assert words < 200 or len(few) > 2


def test_messages_of_one_length_share_their_wrapper_s_chunks() -> None:
    wrapper = prose(80, 5)
    shared = [{digest for digest, _ in cut(f"{wrapper} {prose(300, 100 + n)}", CHUNKS)} for n in range(60)]
    common = sum(bool(a & b) for a, b in zip(shared[:30], shared[30:], strict=True))
    strangers = sum(bool(a & {digest for digest, _ in cut(prose(380, 900 + n), CHUNKS)}) for n, a in enumerate(shared))
    print(f"{common} of 30 pairs share a chunk, of strangers {strangers} of 60")
    assert common >= 20
    assert strangers == 0


def test_another_key_gives_other_hashes_and_other_boundaries() -> None:
    one, other = cut(prose(800, 3)), cut(prose(800, 3), key=OTHER)
    assert not {digest for digest, _ in one} & {digest for digest, _ in other}
    salted = cut(prose(800, 3), key=np.array([11, 23, 33, 44], np.uint64))
    assert len(set(ends(one)) & set(ends(salted))) < len(one) / 2


def test_chunks_of_prose_are_about_eighty_characters_long() -> None:
    for text in (prose(20_000, 1), prose(20_000, 1).replace(".", "")):
        mean = np.mean([size for _, size in cut(text)])
        print(f"{mean:.0f} characters")
        assert 60 < mean < 110


def test_text_without_spaces_is_cut_at_its_ideographs() -> None:
    draw = random.Random(4)
    text = "".join(chr(draw.randrange(0x4E00, 0x9000)) for _ in range(2000))
    found = cut(text)
    assert 20 < len(found) < 60
    assert set(cut(text[900:])[2:-1]) <= set(found)


def test_a_text_of_one_phrase_is_cut_at_most_where_a_chunk_may_end() -> None:
    for phrase in ("a ", "go on. ", "the same words again and again and once more, ", "\u597d", "\u597d\u3002"):
        found = cut(phrase * 700, CHUNKS)
        assert 1 <= len(found) <= CHUNKS


def test_long_messages_are_read_at_both_ends() -> None:
    text = prose(4000, 9)
    found = SKETCHER.sketch([("user", text)], text)
    for field, most in (("chunks", CHUNKS), ("reply_chunks", REPLY_CHUNKS)):
        entries = unpacked(found[field])
        assert len(entries) <= most
        assert kernel.HEAD + kernel.TAIL - 1 <= sum(size for _, size in entries) <= kernel.HEAD + kernel.TAIL + 1


def test_a_reply_that_comes_back_as_a_message_has_the_same_chunks() -> None:
    text = prose(60, 2)
    asked = SKETCHER.sketch([("user", text)])
    assert asked["chunks"] == SKETCHER.sketch([("user", "x")], text)["reply_chunks"] != ""
    assert asked["reply_chunks"] == ""


def test_what_else_a_request_holds_is_told_by_its_length() -> None:
    found = SKETCHER.sketch([("system", "12345"), ("user", "123"), ("assistant", "1234567"), ("user", "12")])
    assert (found["chars"], found["chars_system"], found["chars_earlier"]) == (2, 5, len("123\n1234567"))
    alone = SKETCHER.sketch([("user", "12")])
    assert (alone["chars_system"], alone["chars_earlier"]) == (0, 0)


def test_a_worker_reads_the_chunks_that_the_sketch_gives() -> None:
    sketched = SKETCHER.sketch([("system", "Be brief."), ("user", prose(100, 1))], prose(30, 2))
    record = Telemetry(id="r", time=1.0, account="a", **sketched)  # type: ignore[arg-type]
    (row,) = Decoder().decode([encode(record)]).requests
    for name in ("chunk", "reply_chunk"):
        wanted = unpacked(sketched[f"{name}s"])
        kept = list(zip(row[name].tolist(), row[f"{name}_chars"].tolist(), strict=True))
        assert kept == wanted + [(0, 0)] * (len(kept) - len(wanted))
    assert row["chars_system"] == 9
