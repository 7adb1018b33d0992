"""Windowed MMD: the statistic is the textbook's, windows are whole, and other text stands out."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from baseline_streams import stream, texts
from hypothesis import given
from hypothesis import strategies as st

from siphonwatch.models.evaluate.baselines.embedding_mmd import (
    BANDWIDTHS,
    WindowedMMD,
    _kernel,
    _mean_kernel,
    _median_distance,
    _starts,
    _sum_of_pairs,
)


def unit(vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def plainly(x: npt.NDArray[np.float32], y: npt.NDArray[np.float32], sigma: float) -> float:
    """Gretton et al. 2012, equation 3, for the mean of Gaussian kernels."""

    def k(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        square = ((a[:, None].astype(np.float64) - b[None]) ** 2).sum(axis=2)
        return np.mean([np.exp(-square / (2 * (factor * sigma) ** 2)) for factor in BANDWIDTHS], axis=0)

    m, n = len(x), len(y)
    within = (k(x, x).sum() - m) / (m * (m - 1)) + (k(y, y).sum() - n) / (n * (n - 1))
    return float(within - 2 * k(x, y).mean())


@given(st.integers(2, 40), st.integers(2, 40), st.integers(0, 99))
def test_the_parts_add_up_to_the_unbiased_statistic(m: int, n: int, seed: int) -> None:
    x, y = unit(texts(m, seed)), unit(texts(n, seed + 1))
    sigma = _median_distance(y)
    own = _sum_of_pairs(x, sigma) / (m * (m - 1)) + _sum_of_pairs(y, sigma) / (n * (n - 1))
    assert own - 2 * _mean_kernel(x, y, sigma).mean() == pytest.approx(plainly(x, y, sigma), abs=1e-4)


def test_the_kernel_of_a_vector_with_itself_is_one() -> None:
    assert _kernel(np.ones(1, np.float32), 0.7).tolist() == [1.0]


@given(st.integers(2, 500), st.integers(2, 100))
def test_windows_are_whole_and_reach_the_last_query(n: int, size: int) -> None:
    starts = list(_starts(n, size)) if n >= size else []
    assert all(0 <= start <= n - size for start in starts)
    if n >= size:
        assert starts[-1] + size == n
        assert set(starts[:-1]) <= set(range(0, n, size))


def test_other_text_stands_out_and_text_like_the_first_days_does_not() -> None:
    crowd = [texts(200, i) for i in range(10)]
    requests, owners, n = stream([*crowd, texts(200, 77, 3 * texts(1, 78))])
    scores = WindowedMMD(100).score(requests, owners, n)
    assert scores[-1] > 5 * scores[:-1].max()
    assert abs(scores[:-1]).max() < 0.05


def test_an_account_with_less_than_a_window_ranks_last() -> None:
    requests, owners, n = stream([texts(300, 1), texts(99, 2, texts(1, 3), 0.01), texts(150, 4)])
    scores = WindowedMMD(100).score(requests, owners, n)
    assert scores[1] == scores.min()


def test_a_window_without_a_pair_is_refused() -> None:
    with pytest.raises(ValueError, match="window of 1"):
        WindowedMMD(1)
