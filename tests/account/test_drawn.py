"""Who draws parameters or system prompts anew for each request splits no use; who has several uses keeps them apart."""

from __future__ import annotations

import numpy as np
import pytest
from core_fakes import START, hashes, run, sweep
from relay_traffic import Traffic

from siphonwatch.models.account.drawn import DRAWN_TEMPERATURE
from siphonwatch.models.account.request import DRAWN_SYSTEM, Array
from siphonwatch.models.account.sums import sum_index
from siphonwatch.models.campaign.edges import fingerprints
from siphonwatch.models.engine.config import ScorerConfig
from siphonwatch.models.engine.coordinator import Coordinator
from siphonwatch.models.engine.scorer import Scorer

N = 300


def asked(seed: int = 0) -> Array:
    """A list of questions under fixed parameters and a fixed system prompt."""
    q = sweep("a", START + np.arange(N) * 40.0, seed)
    q["system"], q["max_tokens"], q["temperature"] = 7, 512, 0.5
    return q


def largest_job(q: Array) -> float:
    """Share of an account's requests in its largest job."""
    scorer = Scorer(ScorerConfig())
    run(scorer, q)
    (row,) = scorer.table.rows[scorer.table.used()]
    return float(row["jobs"]["requests"].max() / row["sums"][3, 0])


def jitter(q: Array, rng: np.random.Generator) -> Array:
    q = q.copy()
    q["temperature"] = rng.choice(np.arange(2, 12) / 10, len(q))
    q["max_tokens"] = rng.choice([256, 512, 1000, 1024, 1500, 2048, 3000, 4096, 8192], len(q))
    q["top_p"] = rng.choice([0.9, 0.95, 1.0], len(q))
    return q


def test_parameters_drawn_anew_split_no_job() -> None:
    assert largest_job(asked()) > 0.99
    drawn = jitter(asked(), np.random.default_rng(1))
    assert largest_job(drawn) > 0.8
    assert (drawn["temperature"] == DRAWN_TEMPERATURE).mean() > 0.8
    assert (drawn["system"] == 7).all(), "its system prompt was not drawn"


@pytest.mark.parametrize("personas", [8, 24, N])
def test_system_prompts_in_rotation_or_made_up_split_no_job(personas: int) -> None:
    q = asked()
    q["system"] = hashes(np.random.default_rng(2), personas)[np.arange(N) % personas]
    assert largest_job(q) > 0.9
    assert (q["system"] == DRAWN_SYSTEM).mean() > 0.9
    assert (q["max_tokens"] == 512).all(), "its parameters were not drawn"


@pytest.mark.parametrize("at_once", [1, 3, 4])
def test_who_has_a_few_uses_keeps_them_apart(at_once: int) -> None:
    q = asked()
    which = np.random.default_rng(3).integers(0, at_once, N)
    q["system"], q["max_tokens"] = 7 + which, 100 * (1 + which)
    before = q.copy()
    assert largest_job(q) < 1.4 / at_once
    for field in ("system", "max_tokens", "temperature"):
        assert (q[field] == before[field]).all()


def test_what_stays_as_it_was_beside_a_list_is_not_read_as_drawn() -> None:
    q, steady = jitter(asked(), np.random.default_rng(4)), asked()
    own = np.arange(N) % 3 == 0
    q[own] = steady[own]
    largest_job(q)
    assert (q["temperature"][own] == np.float32(0.5)).mean() > 0.95
    assert (q["temperature"][~own] == DRAWN_TEMPERATURE).mean() > 0.7


def test_a_pool_that_draws_its_parameters_is_one_fingerprint() -> None:
    rng = np.random.default_rng(5)
    traffic = Traffic(5)
    members = set(traffic.hydra(12, 40, 3, headers=71, agent=72, system=0))
    q = jitter(traffic.requests(), rng)
    assert len(np.unique(fingerprints(q)[1][:, 0])) > 100
    scorer, coordinator = Scorer(ScorerConfig()), Coordinator(ScorerConfig())
    findings = []
    for start in range(0, len(q), 512):
        part = q[start : start + 512]
        at = np.arange(start, start + len(part))
        scorer.score(part, at)
        findings += coordinator.score(part[scorer.sighted], at[scorer.sighted])
    named = {account for finding in findings for account in finding.accounts}
    assert named <= members and len(named) >= 11


def test_a_prompt_that_stands_in_the_system_prompt_is_what_is_asked() -> None:
    q = asked()
    q["system"] = hashes(np.random.default_rng(6), N)
    q["content"], q["template"], q["projection"] = 9, 11, 20
    scorer = Scorer(ScorerConfig())
    run(scorer, q)
    (row,) = scorer.table.rows[scorer.table.used()]
    assert row["sums"][3, sum_index("new_content")] > 0.9 * row["sums"][3, 0]


def test_what_is_asked_inside_a_wrapper_is_read_though_the_system_prompt_is_drawn() -> None:
    q = asked()
    rng = np.random.default_rng(7)
    q["system"] = hashes(rng, 24)[np.arange(N) % 24]
    q["content"], q["template"], q["projection"], q["chars"] = 9, 11, 20, 1000
    chunks = np.hstack([np.tile(hashes(rng, 6), (N, 1)), hashes(rng, 3 * N).reshape(N, 3)])
    q["chunk"][:, :9] = chunks >> np.uint64(32)
    q["chunk_chars"][:, :9] = 100
    scorer = Scorer(ScorerConfig())
    run(scorer, q)
    (row,) = scorer.table.rows[scorer.table.used()]
    assert row["sums"][3, sum_index("new_content")] > 0.9 * row["sums"][3, 0]
    assert (q["system"] == DRAWN_SYSTEM).mean() > 0.9
    assert len(np.unique(q["content"])) > 0.9 * N, "as a campaign sees it, each asks something else"
