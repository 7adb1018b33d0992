"""SEAT: similar pairs are counted exactly, and a threshold set on the reference keeps unrelated queries apart."""

from __future__ import annotations

import numpy as np
from baseline_streams import stream, texts
from hypothesis import given, settings
from hypothesis import strategies as st

from siphonwatch.models.evaluate.baselines.seat import BLOCK, FLAGGED_PAIRS, REMEMBERED, Seat, _similar_pairs


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 2 * BLOCK + 40), st.integers(0, 99), st.floats(-0.5, 0.9))
def test_pairs_are_counted_as_one_by_one(n: int, seed: int, least: float) -> None:
    vectors = texts(n, seed).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    similar = vectors @ vectors.T >= least
    assert _similar_pairs(vectors, least) == int(np.triu(similar, 1).sum())


def test_pairs_further_apart_than_what_is_remembered_do_not_count() -> None:
    vectors = np.zeros((REMEMBERED + 3, 32), np.float32)
    vectors[:, 0] = 1.0
    n = len(vectors)
    assert _similar_pairs(vectors, 0.5) == n * (n - 1) // 2 - 3


def test_variants_of_a_few_seeds_are_flagged_and_unrelated_queries_are_not() -> None:
    crowd = [texts(300, i) for i in range(20)]
    seeds = texts(10, 99)
    attacker = seeds[np.arange(300) % 10] + 0.1 * texts(300, 98)
    requests, owners, n = stream([*crowd, attacker])
    scores = Seat().score(requests, owners, n)
    assert scores[:-1].max() < FLAGGED_PAIRS
    assert scores[-1] > 10 * FLAGGED_PAIRS


def test_where_everyone_sends_one_prompt_equal_queries_still_count_as_similar() -> None:
    requests, owners, n = stream([np.repeat(texts(1, 1), 40, axis=0), np.repeat(texts(1, 1), 30, axis=0)])
    assert Seat().score(requests, owners, n).tolist() == [40 * 39 / 2, 30 * 29 / 2]
