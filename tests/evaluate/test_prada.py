"""PRADA: the growing set as the authors' code keeps it, and the test of its distances."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from baseline_streams import stream, texts
from hypothesis import given, settings
from hypothesis import strategies as st

from siphonwatch.models.evaluate.baselines.prada import LARGEST_SET, MIN_DISTANCES, Prada, _nearest


def plainly(vectors: npt.NDArray[np.float32]) -> tuple[list[float], int]:
    """The rule as the paper states it, with the whole set looked through and every mean taken anew."""
    members, joined, threshold, distances = [vectors[0]], [0.0], 0.0, []
    for vector in vectors[1:]:
        distance = float(np.linalg.norm(np.stack(members) - vector, axis=1).min())
        distances.append(distance)
        if distance > threshold:
            members.append(vector)
            joined.append(distance)
            threshold = max(threshold, float(np.mean(joined) - np.std(joined)))
    return distances, len(members)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 120), st.integers(0, 999), st.floats(0.05, 2.0))
def test_the_growing_set_follows_the_published_rule(n: int, seed: int, spread: float) -> None:
    vectors = texts(n, seed, texts(1, seed + 1), spread).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    distances = np.empty(n - 1)
    size = _nearest(vectors, np.zeros(LARGEST_SET, np.int64), distances)
    expected, members = plainly(vectors)
    assert np.allclose(distances, expected, atol=4e-3)
    assert abs(size - members) <= 1


def test_the_set_stops_growing_at_its_limit() -> None:
    vectors = texts(50, 1).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert _nearest(vectors, np.zeros(7, np.int64), np.empty(49)) == 7


def test_variants_of_seeds_among_natural_queries_deviate_more_than_natural_queries() -> None:
    natural = texts(600, 1)
    seeds = texts(30, 2)
    variants = seeds[np.arange(300) % 30] + 0.05 * texts(300, 3)
    mixed = np.concatenate([natural[:300], variants])
    requests, owners, n = stream([natural, mixed])
    benign, attacker = Prada().score(requests, owners, n)
    assert attacker > benign + 0.1


@pytest.mark.parametrize(("queries", "tested"), [(MIN_DISTANCES, False), (MIN_DISTANCES + 1, False), (160, True)])
def test_an_account_is_tested_from_more_than_a_hundred_distances_on(queries: int, tested: bool) -> None:
    requests, owners, n = stream([texts(queries, 4), texts(5, 5)])
    assert (Prada().score(requests, owners, n)[0] > 0) == tested


def test_one_prompt_over_and_over_has_no_distribution_to_test() -> None:
    requests, owners, n = stream([np.repeat(texts(1, 6), 400, axis=0)])
    assert Prada().score(requests, owners, n).tolist() == [0.0]


def test_the_strongest_deviation_stays_when_the_account_goes_back_to_natural_queries() -> None:
    seeds = texts(20, 7)
    start = np.concatenate([texts(100, 8), seeds[np.arange(200) % 20] + 0.05 * texts(200, 9)])
    short, owners, n = stream([start])
    long, later_owners, _ = stream([np.concatenate([start, texts(900, 10)])])
    assert Prada().score(long, later_owners, n)[0] >= Prada().score(short, owners, n)[0] - 1e-9
