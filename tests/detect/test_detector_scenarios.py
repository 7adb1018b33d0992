"""What each detector must catch, and the honest look-alikes that it must spare."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import NamedTuple

import numpy as np
import pytest
from card_tools import Watch
from core_fakes import START, chat, hashes, run, sweep, walk

from siphonwatch.models.account.request import Array
from siphonwatch.models.engine.config import ScorerConfig
from siphonwatch.models.engine.scorer import Scorer
from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.common.settings import load
from siphonwatch.streams.contracts.telemetry import Malformed, encode
from siphonwatch.streams.edge.adapters import make_adapter
from siphonwatch.streams.edge.sketch.sketcher import Sketcher
from siphonwatch.streams.lab.scenario import Scenario
from siphonwatch.streams.worker.decode import Decoder

DAY = 86_400.0
Opened = dict[str, set[str]]


class World(NamedTuple):
    """A generated scenario after it was scored."""

    cases: Opened
    kinds: dict[str, set[str]]
    """The accounts of each kind."""
    suspicion: dict[str, float]

    @property
    def honest(self) -> set[str]:
        """Accounts that never attack."""
        attacks = {
            k for k in self.kinds if k in ("slow", "hydra", "desensitised") or k.startswith(("distil", "scrape"))
        }
        return set().union(*(self.kinds[k] for k in self.kinds.keys() - attacks))


def opened(q: Array, scorer: Scorer | None = None) -> Opened:
    """Patterns of the cases that requests open, by account."""
    cases: Opened = defaultdict(set)
    for finding in run(scorer or Scorer(ScorerConfig()), q[np.argsort(q["time"], kind="stable")]):
        cases[finding.accounts[0]].add(finding.pattern)
    return cases


@pytest.fixture(scope="module")
def world() -> World:
    """One of 120 accounts over two days."""
    scenario = Scenario(seed=7, accounts=120, days=2.0)
    chosen = load(
        {"SIPHONWATCH_IDENTITY_KEY": "a-key-for-this-test", "SIPHONWATCH_IDENTITY_PLAIN_IDS": "true"}
    ).settings
    identity = Identity.from_settings(chosen)
    adapters = {f: make_adapter(f, chosen, Sketcher(identity), identity) for f in ("litellm", "nginx")}
    raw = []
    for event in scenario:
        for record in adapters[event.format].records(json.dumps(event.record).encode()):
            assert not isinstance(record, Malformed)
            raw.append(encode(record))
    kinds = defaultdict(set)
    for label in scenario.labels():
        kinds[label.kind].add(label.account)
    scorer = Scorer(ScorerConfig())
    return World(opened(Decoder().decode(raw).requests, scorer), kinds, scorer.suspicion())


@pytest.mark.parametrize("kind", ["scrape-ids", "scrape-ids-slow", "scrape-pages", "scrape-guess"])
def test_every_way_of_scraping_is_caught(world: World, kind: str) -> None:
    assert world.kinds[kind]
    assert all("scraping" in world.cases[account] for account in world.kinds[kind])


def test_desensitised_extraction_is_caught_in_every_syntax(world: World) -> None:
    assert len(world.kinds["desensitised"]) == 4
    assert all("desensitisation" in world.cases[account] for account in world.kinds["desensitised"])


@pytest.mark.parametrize(
    "kind", ["distil-100-sampling", "distil-50", "distil-50-chat", "distil-25", "distil-25-reasoning", "slow"]
)
def test_extraction_in_several_sittings_is_caught(world: World, kind: str) -> None:
    assert world.kinds[kind]
    assert all("extraction" in world.cases[account] for account in world.kinds[kind])


def test_an_account_that_does_nothing_but_distil_ranks_above_all_honest_ones_but_scripted_experiments(
    world: World,
) -> None:
    """Two days in, without any ordinary use beside it, it may still be short of a case."""
    (account,) = world.kinds["distil-100"]
    others = world.honest - world.kinds["researcher"]
    assert world.suspicion[account] > max(world.suspicion[other] for other in others)


@pytest.mark.parametrize(
    "kind", ["chat", "app", "coding", "office", "proxy", "evaluation", "mobile", "monitor", "sync"]
)
def test_honest_look_alikes_are_spared(world: World, kind: str) -> None:
    assert world.kinds[kind]
    assert not {account: world.cases[account] for account in world.kinds[kind] if world.cases[account]}


def test_few_honest_accounts_are_accused_at_all(world: World) -> None:
    """At most one in fifty, over all archetypes; a researcher's script that asks hundreds of unlike questions, each
    once, is the one that may be."""
    accused = {account for account in world.honest if world.cases[account]}
    assert accused <= world.kinds["researcher"]
    assert len(accused) <= len(world.honest) / 50


def times(n: int, gap: float, start: float = START) -> np.ndarray:
    return start + gap * np.arange(n)


def test_pages_in_a_row_are_scraping() -> None:
    q = walk("a", times(600, 20.0))
    q["item"], q["page"] = -1, np.arange(600)
    q["resource"] = 0
    assert opened(q)["a"] == {"scraping"}


def test_guesses_that_meet_404_are_scraping() -> None:
    q = walk("a", times(600, 20.0))
    q["item"] = -1
    q["status"] = np.where(np.arange(600) % 4 == 0, 200, 404)
    assert opened(q)["a"] == {"scraping"}


def test_an_app_that_comes_back_to_the_resources_it_knows_is_spared() -> None:
    rng = np.random.default_rng(1)
    q = walk("a", times(600, 20.0))
    known = rng.integers(0, 12, 600)
    q["resource"], q["item"] = hashes(rng, 12)[known], 100 + known
    assert not opened(q)["a"]


def habits(account: str, n: int = 300, days: float = 3.0) -> Array:
    """A few days of conversations."""
    return chat(account, START + np.sort(np.random.default_rng(2).uniform(0, days * DAY, n)))


def washed(account: str, seed: int = 3) -> Array:
    """A sweep of masked, canonicalised text without metadata, after those days."""
    q = sweep(account, times(300, 2.0, START + 3 * DAY), seed)
    q["masks"][:, 1] = 4
    q["canonical"] = 1
    q["agent"] = hashes(np.random.default_rng(4), 5)[np.arange(300) % 5]
    return q


def test_a_change_to_masked_text_with_dropped_metadata_is_desensitisation() -> None:
    assert "desensitisation" in opened(np.concatenate([habits("a"), washed("a")]))["a"]


def test_masking_made_by_the_gateway_s_guardrail_is_not_the_account_s() -> None:
    q = washed("a")
    q["guardrails"], q["canonical"] = 1, 0
    assert "desensitisation" not in opened(np.concatenate([habits("a"), q]))["a"]


def test_a_privacy_proxy_that_always_masks_is_spared() -> None:
    q = habits("a", 900)
    q["masks"][:, 0], q["canonical"] = 3, 1
    assert not opened(q)["a"]


def test_a_conversation_that_starts_to_mask_but_sweeps_nothing_is_spared() -> None:
    q = habits("a", 900)
    q["masks"][600:, 0] = 3
    assert not opened(q)["a"]


def test_a_sudden_jump_in_volume_and_habits_is_evidence_of_a_shift() -> None:
    # Without the signs of extraction: conversations become single questions from nobody in particular.
    burst = sweep("a", times(600, 4.0, START + 3 * DAY))
    burst["intents"], burst["n"], burst["logprobs"] = 0, 1, 0
    burst["temperature"] = 0.0
    scorer = Scorer(ScorerConfig())
    run(scorer, np.concatenate([habits("a", 200), burst]))
    (row,) = scorer.table.rows[scorer.table.used()]
    evidence = row["judged"]["evidence"]["log_e"][: len(scorer.patterns)]
    assert scorer.patterns[int(evidence.argmax())] == "shift"
    assert evidence.max() > 1.0, "one hour of it opens no case: the pattern is half trusted"


def test_a_jump_in_volume_alone_is_business() -> None:
    assert not opened(np.concatenate([habits("a", 200), chat("a", times(600, 4.0, START + 3 * DAY))]))["a"]


def ranks(watch: Watch) -> tuple[float, float]:
    """Of the last request it scored, by both models."""
    return float(watch.values["rare_trees"][-1]), float(watch.values["rare_forest"][-1])


def test_an_account_unlike_all_others_ranks_as_rare_once_the_models_know_the_others() -> None:
    watch = Watch("rarity")
    scorer = Scorer(ScorerConfig(), chosen=(watch,))
    rng = np.random.default_rng(1)
    crowd = [chat(f"c{i}", START + np.sort(rng.uniform(0, 2 * DAY, 40)), i) for i in range(120)]
    run(scorer, chat("early", times(5, 60.0)))
    assert ranks(watch) == (0.5, 0.5), "before the models know anybody, everybody ranks in the middle"
    q = np.concatenate(crowd)
    run(scorer, q[np.argsort(q["time"])], first=100)
    run(scorer, chat("usual", START + 2 * DAY + np.sort(rng.uniform(0, 2 * DAY, 40)), 999), first=10_000)
    usual = ranks(watch)
    run(scorer, sweep("odd", times(150, 1.0, scorer.now + 1.0)), first=20_000)
    known = watch.card.ramps[0].low
    assert min(ranks(watch)) > known, "both must find it rare"
    assert min(usual) < known
