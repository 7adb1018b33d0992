"""A long constant text around each prompt hides no prompt; a text in which little differs asks nothing new."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from core_fakes import START, hashes, run, sweep

from siphonwatch.models.account.request import Array
from siphonwatch.models.account.row import ONCE, RECURRING
from siphonwatch.models.account.sums import sum_index
from siphonwatch.models.common.vocabulary import CHUNKS
from siphonwatch.models.engine.config import ScorerConfig
from siphonwatch.models.engine.scorer import Scorer

N = 200
SIZE = 100


def asked(parts: npt.NDArray[np.uint64], content: npt.NDArray[np.uint64] | int = 1) -> Array:
    """Messages of chunks `(n, k)`, 0 for none; near-copies of one another for SimHash unless told otherwise."""
    q = sweep("a", START + np.arange(len(parts)) * 40.0, 1)
    q["content"], q["chars"] = content, 1000
    small = (parts >> np.uint64(32)).astype(np.uint32)
    q["chunk"][:, : parts.shape[1]] = small
    q["chunk_chars"] = np.where(q["chunk"] > 0, SIZE, 0)
    return q


def wrapped(payload: npt.NDArray[np.uint64], wrapper: int = 6, wrappers: int = 1) -> Array:
    """Payloads `(n, k)` behind constant chunks: of one wrapper, or of several in turn."""
    around = hashes(np.random.default_rng(5), wrapper * wrappers).reshape(wrappers, wrapper)
    return asked(np.hstack([around[np.arange(len(payload)) % wrappers], payload]))


def new(q: Array) -> float:
    """Share of the account's requests with something new to it, of those that could tell."""
    scorer = Scorer(ScorerConfig())
    run(scorer, q)
    (row,) = scorer.table.rows[scorer.table.used()]
    return float(row["sums"][3, sum_index("new_content")] / row["sums"][3, 0])


def fresh(n: int, k: int) -> npt.NDArray[np.uint64]:
    """Chunks never seen before, `(n, k)`."""
    return hashes(np.random.default_rng(7), n * k).reshape(n, k)


@pytest.mark.parametrize("wrappers", [1, 3])
@pytest.mark.parametrize("wrapper", [2, 6, 12])
def test_a_wrapper_hides_no_new_prompt(wrapper: int, wrappers: int) -> None:
    payload = fresh(N, 3)
    bare = wrapped(payload, wrapper, wrappers)
    bare["chunk"] = 0  # as of a gateway that says nothing of chunks
    assert new(bare) < 0.02, "its messages are near-copies"
    assert new(wrapped(payload, wrapper, wrappers)) > 0.9


def test_a_prompt_that_was_asked_before_is_new_in_no_wrapper() -> None:
    list_of_four = fresh(4, 3)
    assert new(wrapped(list_of_four[np.arange(N) % 4])) < 0.05


def test_a_date_or_a_number_in_a_text_that_stays_the_same_is_nothing_new() -> None:
    assert new(wrapped(fresh(N, 1))) < 0.02


def test_nor_is_it_in_a_text_of_any_length() -> None:
    q = wrapped(fresh(N, 1))
    q["chars"] = 70_000
    assert new(q) < 0.02


def test_short_prompts_of_unlike_lengths_are_new() -> None:
    q = wrapped(fresh(N, 1))
    q["chars"] = 1000 + np.random.default_rng(3).integers(40, 160, N)
    assert new(q) > 0.6


def test_what_is_new_reads_as_that_and_as_nothing_else_does() -> None:
    q = wrapped(fresh(N, 3))
    scorer = Scorer(ScorerConfig())
    run(scorer, q)
    late = q[N // 2 :]
    assert len(set(late["content"].tolist())) == len(late)
    assert len(set(late["template"].tolist())) == 1, "its instruction is the same"


def test_a_wrapper_is_known_through_the_account_s_other_messages() -> None:
    rng = np.random.default_rng(9)
    q = asked(fresh(6 * N, 5), hashes(rng, 6 * N))
    at = np.arange(0, len(q), 6)
    q[at] = wrapped(fresh(len(at), 3))
    q["time"] = START + np.arange(len(q)) * 40.0
    assert new(q) > 0.97


def test_memory_is_of_fixed_size_and_a_chunk_that_stands_twice_in_a_message_does_not_recur_by_it() -> None:
    parts = fresh(N, 4)
    twice = np.hstack([parts, parts])
    scorer = Scorer(ScorerConfig())
    run(scorer, asked(twice))
    (row,) = scorer.table.rows[scorer.table.used()]
    assert (row["recurring"] > 0).sum() < 4, "marks of two bytes meet by chance now and then"
    assert row["once"].shape == (ONCE,) and row["recurring"].shape == (RECURRING,) and CHUNKS >= twice.shape[1]
