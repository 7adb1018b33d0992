"""The compiled scan: its hash is SipHash, its SimHash and projection measure likeness as stated."""

from __future__ import annotations

import os
import random
import subprocess
import sys

import numpy as np
import pytest
from numpy.typing import NDArray

from siphonwatch.streams.edge.sketch import characters, kernel

KEY = np.array([11, 22, 33, 44], np.uint64)
EMPTY = characters.lexicon({})
WORDS = [
    a + b + c for a in ("ka", "tro", "mi", "slen", "vur") for b in ("do", "pe", "rin", "sta") for c in ("x", "lo", "ne")
]


def scan(text: str, key: NDArray[np.uint64] = KEY) -> tuple[list[int], int, NDArray[np.float64]]:
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    counts, _, simhash, _, projection = kernel.scan(points, *characters.tables(), key, *EMPTY)
    return counts.tolist(), int(simhash), projection.astype(float)


def prose(words: int, seed: int) -> str:
    draw = random.Random(seed)
    return " ".join(draw.choice(WORDS) for _ in range(words))


def grams(text: str) -> set[str]:
    """The 4-grams by their definition: case-folded, whitespace as one space."""
    plain = " ".join(text.lower().split())
    return {plain[i : i + 4] for i in range(len(plain) - 3)}


@pytest.mark.skipif(sys.hash_info.algorithm != "siphash13", reason="this Python hashes bytes with another function")
def test_the_gram_hash_is_siphash_1_3_as_python_computes_it() -> None:
    values = [0, 1, 2**63, 0x0123456789ABCDEF, 2**64 - 1]
    code = f"print(*[hash(v.to_bytes(8, 'little')) % 2**64 for v in {values}])"
    out = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    zero = np.uint64(0)
    assert [int(kernel.siphash(np.uint64(v), zero, zero)) for v in values] == [int(x) for x in out.split()]


def test_classes_are_counted() -> None:
    counts, _, _ = scan("Ab 12, \u00c9t\u00e9  \u4e2d\u6587\n\u3042 x")
    assert counts[characters.DIGITS] == 2
    assert counts[characters.UPPER] == 2
    assert counts[characters.PUNCTUATION] == 1
    assert counts[characters.SPACES] == 6
    assert counts[characters.WIDE] == 5
    assert counts[characters.BREAKS] == 1
    assert counts[characters.DOUBLES] == 1
    assert (counts[characters.HAN], counts[characters.KANA]) == (2, 1)


def test_one_changed_word_in_a_hundred_flips_few_bits_and_other_text_flips_half() -> None:
    near, far = [], []
    for seed in range(40):
        text = prose(100, seed)
        words = text.split()
        words[50] = "changed"
        near.append((scan(text)[1] ^ scan(" ".join(words))[1]).bit_count())
        far.append((scan(text)[1] ^ scan(" ".join(f"{w}q" for w in prose(100, seed + 1000).split()))[1]).bit_count())
    assert np.mean(near) < 8
    assert max(near) <= 16
    assert 26 < np.mean(far) < 38


def test_inner_products_of_projections_approximate_the_cosine_of_gram_sets() -> None:
    """32 signs give each inner product a standard error of at most 1/sqrt(32) = 0.18 around the cosine."""
    errors = []
    for seed in range(150):
        one, other = prose(40, seed), prose(40, seed + 500)
        mixed = " ".join((one.split()[: seed % 40]) + other.split()[seed % 40 :])
        a, b = grams(one), grams(mixed)
        cosine = len(a & b) / np.sqrt(len(a) * len(b))
        errors.append(scan(one)[2] @ scan(mixed)[2] / 127**2 - cosine)
    assert np.sqrt(np.mean(np.square(errors))) < 0.18
    assert max(map(abs, errors)) < 0.6
    assert abs(np.mean(errors)) < 0.06


def test_case_and_runs_of_whitespace_leave_projection_and_simhash_alone() -> None:
    text = prose(60, 7)
    shouted = text.upper().replace(" ", " \n\t ")
    assert scan(text)[1] == scan(shouted)[1]
    assert np.array_equal(scan(text)[2], scan(shouted)[2])


def test_the_projection_has_unit_length_times_127() -> None:
    for seed in range(20):
        assert np.linalg.norm(scan(prose(30, seed))[2]) == pytest.approx(127, abs=3)


def test_another_key_gives_an_unrelated_projection_and_simhash() -> None:
    other = np.array([5, 6, 7, 8], np.uint64)
    products, distances = [], []
    for seed in range(60):
        text = prose(40, seed)
        products.append(scan(text)[2] @ scan(text, other)[2] / 127**2)
        distances.append((scan(text)[1] ^ scan(text, other)[1]).bit_count())
    assert abs(np.mean(products)) < 0.35
    assert 24 < np.mean(distances) < 40


def test_the_lexicon_finds_words_whatever_their_case_and_counts_votes() -> None:
    vote = 1 << characters.MAX_RULES
    table = characters.lexicon({"verbatim": 1, "\u00e9tape": 2, "the": vote, "never": 4})
    points = np.frombuffer("The VERBATIM, the \u00c9tape; forever".encode("utf-32-le"), np.uint32)
    counts, rules, *_ = kernel.scan(points, *characters.tables(), KEY, *table)
    assert int(rules) == 3
    assert counts[characters.VOTES] == 2
