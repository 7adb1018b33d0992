"""A sheet of ten published indicators of distillation campaigns, ticked account by account and counted. Each is a
fraction of a tick, so that accounts can be ranked; what telemetry does not hold is said where it is missed."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.request import Array, label
from siphonwatch.models.common.vocabulary import REASONING
from siphonwatch.models.evaluate.baselines.baseline import Accounts, Baseline, Scores, requests_by_account

HOUR, DAY = 3600.0, 86_400.0
AWAKE = 16.0
"""Hours of a day in which people work at most; every hour beyond is a part of a tick."""
CLIENTS = 10
"""Addresses and software of one key, together, for a whole tick."""
USERS = 50
"""End users of one account for a whole tick of aggregator routing."""
BLOCKED = (401, 403, 429, 529)
FAIL_OVER = 60.0
"""Seconds from a block to the same prompt from another account."""
PROBES = 5
"""Prompts that are asked again hours later for a whole tick."""
FEW = 10
"""Requests below which shares of an account say little: they count in proportion."""
META = ("user", "session", "headers", "agent")
AGGREGATORS = (int(label("litellm")),)


class Log(NamedTuple):
    """What an account is held against."""

    start: float
    fresh: dict[int, float]
    """Models that were not there on the first day, with the time of their first request."""
    failed_over: npt.NDArray[np.bool_]
    """`(n,)` requests that were blocked and asked by another account right after, or are that other account's."""


class IndicatorSheet(Baseline):
    """Ten indicators, one tick each, summed.

    After the indicators that advisory AA26-251A gives providers, as others report them, each in a plain reading of our
    own. Telemetry holds no plan, no age of an account and no network's owner: a limit that is hit stands for volume
    above the plan, an account that the log's first day does not know is new, and an aggregator shows by its software or
    by its many end users.
    """

    name = "sheet-10"
    source = "indicators of AA26-251A"

    def score(self, requests: Array, accounts: Accounts, n_accounts: int) -> Scores:
        """Return each account's ticks, 0 ... 10; see `Baseline.score`."""
        out = np.zeros(n_accounts)
        if not len(requests):
            return out
        log = survey(requests, accounts)
        for account, rows in requests_by_account(accounts):
            out[account] = sum(self.ticks(requests[rows], rows, log).values())
        return out

    def ticks(self, requests: Array, rows: npt.NDArray[np.intp], log: Log) -> dict[str, float]:
        """Return each indicator of one account, 0 ... 1 by name; `rows` are its requests' places in the log."""
        return {name: float(np.clip(tick(requests, rows, log), 0.0, 1.0)) for name, tick in INDICATORS.items()}


def survey(requests: Array, accounts: Accounts) -> Log:
    """Return what accounts are held against; `requests` are by time."""
    start = float(requests["time"].min())
    fresh: dict[int, float] = {}
    models, first = np.unique(requests["model"], return_index=True)
    for model, place in zip(models.tolist(), first.tolist(), strict=True):
        since = float(requests["time"][place])
        if model and since > start + DAY:
            fresh[model] = since
    return Log(start, fresh, _failed_over(requests, accounts))


def _failed_over(requests: Array, accounts: Accounts) -> npt.NDArray[np.bool_]:
    found = np.zeros(len(requests), np.bool_)
    blocked: dict[int, int] = {}
    times, said = requests["time"].tolist(), requests["said"].tolist()
    stopped = np.isin(requests["status"], BLOCKED).tolist()
    for row, (time, words, account) in enumerate(zip(times, said, accounts.tolist(), strict=True)):
        if not words:
            continue
        before = blocked.get(words)
        if before is not None and time - times[before] <= FAIL_OVER and accounts[before] != account:
            found[before] = found[row] = True
        if stopped[row]:
            blocked[words] = row
    return found


def _round_the_clock(requests: Array, rows: npt.NDArray[np.intp], log: Log) -> float:
    hours = np.unique(requests["time"] // HOUR)
    busiest = np.unique(hours // 24, return_counts=True)[1].max()
    return (float(busiest) - AWAKE) / (24.0 - AWAKE)


def _straight_to_the_limit(requests: Array, rows: npt.NDArray[np.intp], log: Log) -> float:
    first = float(requests["time"][0])
    if first <= log.start + DAY:
        return 0.0
    early = requests[requests["time"] < first + DAY]
    days = np.unique((requests["time"] - first) // DAY, return_counts=True)[1]
    limited = bool(((early["status"] == 429) | (early["remaining"] == 0)).any())
    return (0.5 * limited + 0.5 * len(early) / float(days.max())) * min(len(early) / FEW, 1.0)


def _many_clients(requests: Array, rows: npt.NDArray[np.intp], log: Log) -> float:
    most = 0
    for key in np.unique(requests["key"]):
        mine = requests[requests["key"] == key]
        most = max(most, len(np.unique(mine["ip"])) + len(np.unique(mine["agent"])) - 2)
    return most / CLIENTS


def _above_plan(requests: Array, rows: npt.NDArray[np.intp], log: Log) -> float:
    limited = (requests["status"] == 429) | (requests["remaining"] == 0)
    return float(limited.mean()) * 10 * min(len(requests) / FEW, 1.0)


def _aggregator(requests: Array, rows: npt.NDArray[np.intp], log: Log) -> float:
    users = len(np.unique(requests["user"][requests["user"] != 0]))
    return max((users - 1) / USERS, float(np.isin(requests["client"], AGGREGATORS).mean()))


def _metadata_removed(requests: Array, rows: npt.NDArray[np.intp], log: Log) -> float:
    if len(requests) < FEW:
        return 0.0
    half = len(requests) // 2
    return max(float((requests[name][:half] != 0).mean() - (requests[name][half:] != 0).mean()) for name in META)


def _reasoning(requests: Array, rows: npt.NDArray[np.intp], log: Log) -> float:
    return float(((requests["intents"] & REASONING) > 0).mean()) * min(len(requests) / FEW, 1.0)


def _fail_over(requests: Array, rows: npt.NDArray[np.intp], log: Log) -> float:
    return float(log.failed_over[rows].sum()) / 3


def _retargeting(requests: Array, rows: npt.NDArray[np.intp], log: Log) -> float:
    most = 0.0
    for model, since in log.fresh.items():
        then = requests[(requests["time"] >= since) & (requests["time"] < since + DAY)]
        if len(then):
            most = max(most, float((then["model"] == model).mean()) * min(len(then) / FEW, 1.0))
    return most


def _quality_probes(requests: Array, rows: npt.NDArray[np.intp], log: Log) -> float:
    asked = requests["said"] != 0
    if not asked.any():
        return 0.0
    words, place = np.unique(requests["said"][asked], return_inverse=True)
    first, last = np.full(len(words), np.inf), np.full(len(words), -np.inf)
    np.minimum.at(first, place, requests["time"][asked])
    np.maximum.at(last, place, requests["time"][asked])
    return float((last - first >= HOUR).sum()) / PROBES


INDICATORS: dict[str, Callable[[Array, npt.NDArray[np.intp], Log], float]] = {
    "round the clock": _round_the_clock,
    "new account straight to its limit": _straight_to_the_limit,
    "one key, many clients": _many_clients,
    "volume above plan": _above_plan,
    "aggregator routing": _aggregator,
    "metadata removed": _metadata_removed,
    "reasoning elicitation": _reasoning,
    "fail-over within seconds of a block": _fail_over,
    "retargeting within a day of a release": _retargeting,
    "quality probes": _quality_probes,
}
