"""The rule ensemble and the sheet of ten indicators: each rule sees what it names, and a plain customer ticks none."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from siphonwatch.models.account.request import REQUEST, Array, label
from siphonwatch.models.common.vocabulary import REASONING
from siphonwatch.models.evaluate.baselines.indicator_sheet import INDICATORS, IndicatorSheet, survey
from siphonwatch.models.evaluate.baselines.rule_ensemble import WEIGHTS, RuleEnsemble

DAY, HOUR = 86_400.0, 3600.0


def customer(n: int = 60, start: float = 0.0) -> Array:
    """A customer who asks something new ten times a working day, with one key, address and client."""
    requests = np.zeros(n, REQUEST)
    k = np.arange(n)
    requests["time"] = start + k // 10 * DAY + 9 * HOUR + k % 10 * 2400.0
    for name in ("key", "ip", "agent", "user", "session", "headers", "system"):
        requests[name] = 7
    requests["said"] = requests["template"] = 1000 + k
    requests["model"], requests["status"], requests["remaining"], requests["n_headers"] = 5, 200, -1, 4
    requests["client"] = label("openai-python")
    return requests


def ticks(requests: Array, other: Array | None = None) -> dict[str, float]:
    """The sheet of the first of two accounts; the second is the customer of the log's first day."""
    whole = np.concatenate([requests, customer() if other is None else other])
    accounts = np.repeat([0, 1], [len(requests), len(whole) - len(requests)])
    order = np.argsort(whole["time"], kind="stable")
    whole, accounts = whole[order], accounts[order]
    rows = np.flatnonzero(accounts == 0)
    return IndicatorSheet().ticks(whole[rows], rows, survey(whole, accounts))


def around_the_clock() -> Array:
    requests = customer()
    requests["time"] = np.arange(60) * HOUR
    return requests


def new_and_limited() -> Array:
    requests = customer(start=3 * DAY)
    requests["time"] = requests["time"][0] + np.arange(60) * 60.0
    requests["status"][-5:] = 429
    return requests


def many_clients() -> Array:
    requests = customer()
    requests["ip"] = np.arange(60)
    return requests


def limited() -> Array:
    requests = customer()
    requests["remaining"] = np.where(np.arange(60) % 5 == 0, 0, 10)
    return requests


def aggregator() -> Array:
    requests = customer()
    requests["user"] = 100 + np.arange(60)
    return requests


def stripped() -> Array:
    requests = customer()
    requests["session"][30:] = 0
    return requests


def reasoning() -> Array:
    requests = customer()
    requests["intents"] = REASONING
    return requests


def pivoting() -> Array:
    requests = customer()
    requests["model"] = np.where(requests["time"] > 3 * DAY, 6, 5)
    return requests


def probing() -> Array:
    requests = customer()
    requests["said"] = 1000 + np.arange(60) % 10
    return requests


CASES: dict[str, Callable[[], Array]] = {
    "round the clock": around_the_clock,
    "new account straight to its limit": new_and_limited,
    "one key, many clients": many_clients,
    "volume above plan": limited,
    "aggregator routing": aggregator,
    "metadata removed": stripped,
    "reasoning elicitation": reasoning,
    "retargeting within a day of a release": pivoting,
    "quality probes": probing,
}


def test_a_plain_customer_ticks_no_indicator() -> None:
    assert set(ticks(customer(), customer()).values()) == {0.0}


@pytest.mark.parametrize("name", CASES)
def test_each_indicator_is_ticked_by_what_it_names_and_the_customer_beside_it_is_not(name: str) -> None:
    found = ticks(CASES[name]())
    assert found[name] >= 0.45
    assert ticks(customer(), CASES[name]())[name] == 0.0


def test_both_accounts_of_a_fail_over_within_a_minute_of_the_block_tick_it() -> None:
    blocked, other = customer(), customer()
    blocked["status"][:6] = 403
    other["said"] += 5000
    other["said"][:6] = blocked["said"][:6]
    other["time"][:6] = blocked["time"][:6] + 20.0
    other["time"][6:] += 1.0
    name = "fail-over within seconds of a block"
    assert ticks(blocked, other)[name] == ticks(other, blocked)[name] == 1.0
    other["time"][:6] += 120.0
    assert ticks(blocked, other)[name] == 0.0


def test_the_sheet_has_ten_indicators_and_its_score_counts_the_ticks() -> None:
    assert len(INDICATORS) == 10
    requests = reasoning()
    score = IndicatorSheet().score(requests, np.zeros(len(requests), np.intp), 1)
    assert score == pytest.approx([sum(ticks(requests).values())])


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        ("headers", {"n_headers": 0}), ("burst", {"time": np.arange(60.0)}), ("reasoning", {"intents": REASONING}),
        ("template", {"template": 9}), ("addresses", {"ip": np.arange(60)}),
    ],
)  # fmt: skip
def test_each_rule_sees_what_it_names(rule: str, change: dict[str, object]) -> None:
    plain, changed = customer(), customer()
    for name, value in change.items():
        changed[name] = value
    before, after = (RuleEnsemble().rules(requests, {7: 1}) for requests in (plain, changed))
    assert {name for name in WEIGHTS if after[name] > before[name]} == {rule}


def test_headers_that_ten_accounts_share_count_in_full() -> None:
    assert RuleEnsemble().rules(customer(), {7: 1})["headers"] == 0.0
    assert RuleEnsemble().rules(customer(), {7: 11})["headers"] == 1.0


def test_the_weights_are_those_of_the_tool_and_sum_to_one() -> None:
    assert sum(WEIGHTS.values()) == pytest.approx(1.0)
    requests = customer()
    [score] = RuleEnsemble().score(requests, np.zeros(len(requests), np.intp), 1)
    [few] = RuleEnsemble().score(requests[:5], np.zeros(5, np.intp), 1)
    assert 0.0 < score < 0.2
    assert few < 1.0
