"""Extraction by one operator at every share of its account's traffic, in several sittings, and what resembles it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from core_fakes import START, chat, hashes, requests, run, sweep

from siphonwatch.models.account.request import Array
from siphonwatch.models.common.vocabulary import REASONING
from siphonwatch.models.engine.config import ScorerConfig
from siphonwatch.models.engine.scorer import Scorer

DAY = 86_400.0
DAYS, SITTINGS, LIST = 7, 8, 200
SHARES = (100, 50, 25, 10, 5)
"""Percent of the account's requests that are of the list."""
ALONE = 500
"""Questions of the list of an account that does nothing else: so does one that makes data for a model of its own."""


def product(account: str, times: np.ndarray, seed: int) -> Array:
    """A product's backend: one system prompt and template over its customers' texts, which stay near one subject."""
    rng = np.random.default_rng(seed)
    q = requests(account, times)
    n = len(q)
    for field in ("key", "ip", "agent", "headers", "system", "template", "prefix"):
        q[field] = hashes(rng, 1)
    q["user"], q["content"] = hashes(rng, 20)[rng.integers(0, 20, n)], hashes(rng, n)
    q["projection"] = ((rng.normal(0, 1, 32) + rng.normal(0, 0.5, (n, 32))) * 20).clip(-127, 127)
    q["turns"], q["chars"], q["tokens_in"], q["tokens_out"] = 1, rng.lognormal(6, 0.5, n), 300, 200
    q["n_headers"], q["temperature"], q["max_tokens"], q["duration"] = 8, 0.3, 512, 2.0
    return q


def whenever(rng: np.random.Generator, n: int) -> np.ndarray:
    return START + np.sort(rng.uniform(0, DAYS * DAY, n))


def runs(rng: np.random.Generator, n: int, starts: np.ndarray) -> np.ndarray:
    """`n` times in runs of a loop, begun at `starts`."""
    begin = starts[np.arange(n) * len(starts) // n]
    return np.sort(begin + np.cumsum(rng.uniform(1.0, 4.0, n)))


def plain(account: str, times: np.ndarray, seed: int) -> Array:
    """A list of unlike questions, each asked once by a script: no reasoning, grading, samples or log-probabilities."""
    rng = np.random.default_rng(seed)
    q = sweep(account, times, seed)
    q["template"], q["max_tokens"] = hashes(rng, 12)[rng.integers(0, 12, len(q))], 2048
    q["intents"], q["n"], q["logprobs"] = 0, 1, 0
    return q


def build_machines(account: str, seed: int) -> Array:
    """A team's key on its build machines: after each push some requests, by a few templates over new code."""
    rng = np.random.default_rng(seed)
    pushes = np.sort(rng.uniform(0, DAYS, 50)) // 1 * DAY + 9 * 3600.0 + np.sort(rng.uniform(0, 10 * 3600.0, 50))
    times = pushes[:, None] + np.cumsum(rng.uniform(1.0, 4.0, (50, 6)), axis=1)
    q = plain(account, START + np.sort(times.ravel()), seed)
    q["template"], q["temperature"], q["max_tokens"] = hashes(rng, 6)[rng.integers(0, 6, len(q))], np.nan, 0
    return q


def decisions(account: str, seed: int) -> Array:
    """An application that logs the reasons of its decisions: one template around each case, as cases come in."""
    rng = np.random.default_rng(seed)
    q = plain(account, whenever(rng, 400), seed)
    q["template"], q["intents"], q["chars"] = hashes(rng, 1), REASONING, rng.lognormal(7.0, 0.4, len(q))
    return q


def pasted(account: str, seed: int) -> Array:
    """Somebody who converses, and pastes a prompt that everybody pastes some times a day, with something of his own."""
    rng = np.random.default_rng(seed)
    q = plain(account, whenever(rng, 20), seed)
    q["template"], q["chars"] = hashes(rng, 1), rng.lognormal(5.0, 0.3, len(q))
    return np.concatenate([q, chat(account, whenever(rng, 60), seed)])


class Week(NamedTuple):
    asked: dict[str, int]
    """Questions of the list that an account had asked at its first alert of extraction."""
    accused: set[str]


@pytest.fixture(scope="module", params=[1, 2])
def week(request: pytest.FixtureRequest) -> Week:
    """A week of sixty people in conversations, of operators and of look-alikes."""
    rng = np.random.default_rng(request.param)
    parts = [chat(f"person-{i}", whenever(rng, int(rng.integers(10, 60))), request.param * 1000 + i) for i in range(60)]
    sittings = START + DAY + 5 * DAY * np.arange(SITTINGS) / SITTINGS
    lists = {}
    for share in SHARES:
        times = lists[f"share-{share}"] = runs(rng, ALONE if share == 100 else LIST, sittings)
        parts.append(plain(f"share-{share}", times, share))
        parts.append(product(f"share-{share}", whenever(rng, LIST * (100 - share) // share), share))
    parts.append(plain("one-off-script", runs(rng, 60, np.array([START + 2 * DAY])), 3))
    nights = START + 2 * 3600.0 + DAY * np.arange(DAYS)
    for name, temperature in (("nightly-evaluation", 0.0), ("sampling-evaluation", 0.8)):
        again = plain(name, runs(rng, 150 * DAYS, nights), 4)
        again["content"], again["temperature"] = np.tile(hashes(rng, 150), DAYS), temperature
        parts.append(again)
    batch = product("batch", runs(rng, 300 * DAYS, nights), 9)
    batch["temperature"], batch["user"], batch["n_headers"] = 0.0, 0, 0
    parts += [batch, product("app", whenever(rng, 2000), 11)]
    parts += [build_machines("build-machines", 12), decisions("decisions", 13), pasted("pasted-prompt", 14)]
    q = np.concatenate(parts)
    findings = run(Scorer(ScorerConfig()), q[np.argsort(q["time"], kind="stable")])
    asked: dict[str, int] = {}
    for finding in findings:
        account = finding.accounts[0]
        if finding.pattern == "extraction" and account in lists:
            asked.setdefault(account, int((lists[account] <= finding.time).sum()))
    return Week(asked, {account for finding in findings for account in finding.accounts})


@pytest.mark.parametrize("share", SHARES)
def test_a_list_asked_in_several_sittings_is_extraction_before_it_is_through(week: Week, share: int) -> None:
    assert 0 < week.asked[f"share-{share}"] <= 0.8 * (ALONE if share == 100 else LIST)


@pytest.mark.parametrize(
    "account",
    [
        "one-off-script", "nightly-evaluation", "sampling-evaluation", "batch", "app", "build-machines", "decisions",
        "pasted-prompt",
    ],
)  # fmt: skip
def test_a_look_alike_is_spared(week: Week, account: str) -> None:
    assert account not in week.accused


def test_nobody_in_conversations_is_accused(week: Week) -> None:
    assert week.accused == {f"share-{share}" for share in SHARES}
