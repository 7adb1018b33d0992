"""What is still found of an attack that a trick rewrote, and what the trick costs the attacker. Counts, no intervals: a
log has too few campaigns for more."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from siphonwatch.models.evaluate.alerts import first_alerts
from siphonwatch.models.evaluate.bootstrap import Bools
from siphonwatch.models.evaluate.data import SHARES, Observed, nearest_share
from siphonwatch.models.evaluate.ranking import threshold
from siphonwatch.models.evaluate.report import FPRS, Cost, Found, Outcome

FPR = FPRS[0]


def outcome(data: Observed) -> Outcome:
    """Return what a run found, by alerts as sent and above the score that `FPR` of its own honest accounts exceed.

    Parameters
    ----------
    data
        A run over one data set.
    """
    truth = data.truth
    attack, kind = truth.attack, np.array(truth.archetype, object)
    alerted = first_alerts(data.alerts, attack, truth.onset).found
    above = data.score > threshold(data.score[~attack], FPR)
    names = [campaign or account for campaign, account in zip(truth.campaign, truth.account, strict=True)]
    kinds = sorted(set(kind[attack].tolist()) - {""})
    share = nearest_share(truth.share)
    shares = sorted(set(share[attack & ~np.isnan(share)].tolist()))
    return Outcome(
        all=_found(attack, alerted, above, names),
        by_type={name: _found(attack & (kind == name), alerted, above, names) for name in kinds},
        by_share={f"{value:.0%}": _found(attack & (share == value), alerted, above, names) for value in shares},
        honest=int((~attack).sum()),
        honest_alerted=int((alerted & ~attack).sum()),
    )


def _found(members: Bools, alerted: Bools, above: Bools, names: Sequence[str]) -> Found:
    """The counts of one group of attack accounts."""
    campaigns: dict[str, list[int]] = {}
    for account in np.flatnonzero(members).tolist():
        campaigns.setdefault(names[account], []).append(account)

    def campaigns_with(hit: Bools, least: float) -> int:
        return sum(bool(hit[of].mean() >= least) for of in campaigns.values())

    any_of = 1e-9
    return Found(
        accounts=int(members.sum()),
        campaigns=len(campaigns),
        alerted=int((members & alerted).sum()),
        alerted_campaigns=campaigns_with(alerted, any_of),
        alerted_halves=campaigns_with(alerted, 0.5),
        above=int((members & above).sum()),
        above_campaigns=campaigns_with(above, any_of),
        above_halves=campaigns_with(above, 0.5),
    )


def pooled(outcomes: Sequence[Outcome]) -> Outcome:
    """Return the counts of several data sets together; each had its own threshold."""
    kinds = sorted({name for one in outcomes for name in one.by_type})
    shares = [name for value in SHARES if any((name := f"{value:.0%}") in one.by_share for one in outcomes)]
    return Outcome(
        all=_sum([one.all for one in outcomes]),
        by_type={name: _sum([one.by_type[name] for one in outcomes if name in one.by_type]) for name in kinds},
        by_share={name: _sum([one.by_share[name] for one in outcomes if name in one.by_share]) for name in shares},
        honest=sum(one.honest for one in outcomes),
        honest_alerted=sum(one.honest_alerted for one in outcomes),
    )


def _sum(parts: Sequence[Found]) -> Found:
    return Found(*(sum(column) for column in zip(*map(msgspec.structs.astuple, parts), strict=True)))


def kept(before: Outcome, after: Outcome) -> float:
    """Return the least that is left of the recall of accounts and of campaigns, by alerts and above the threshold.

    1 where nothing was found before.
    """
    parts = [
        (now / of) / (then / of_then)
        for (then, of_then), (now, of) in zip(_shares(before.all), _shares(after.all), strict=True)
        if then and of
    ]
    return min(parts, default=1.0)


def _shares(found: Found) -> list[tuple[int, int]]:
    return [
        (found.alerted, found.accounts), (found.alerted_campaigns, found.campaigns),
        (found.above, found.accounts), (found.above_campaigns, found.campaigns),
    ]  # fmt: skip


class Effort(msgspec.Struct):
    """What an attacker spent, in all."""

    answers: int = 0
    """Requests that brought what they were sent for."""
    requests: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    accounts: int = 0
    days: float = 0.0
    """From each campaign's first request to its last, summed."""

    def __add__(self, other: Effort) -> Effort:
        return Effort(*(a + b for a, b in zip(*map(msgspec.structs.astuple, (self, other)), strict=True)))


def cost(before: Effort, after: Effort) -> Cost:
    """Return how many times as much the same answers cost.

    Examples
    --------
    >>> plain = Effort(answers=100, requests=100, tokens_in=1000, accounts=1, days=1.0)
    >>> cost(plain, Effort(answers=50, requests=100, tokens_in=1000, accounts=2, days=1.0))
    Cost(requests=2.0, tokens_in=2.0, tokens_out=1.0, accounts=2.0, days=2.0)
    """
    fewer = before.answers / after.answers if after.answers else float("inf")

    def times(a: float, b: float) -> float:
        return b / a * fewer if a else 1.0

    return Cost(
        requests=times(before.requests, after.requests),
        tokens_in=times(before.tokens_in, after.tokens_in),
        tokens_out=times(before.tokens_out, after.tokens_out),
        accounts=after.accounts / before.accounts if before.accounts else 1.0,
        days=times(before.days, after.days),
    )
