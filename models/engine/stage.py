"""The features of accounts: windows, jobs, trails and the models of what is ordinary, once for each request."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.features import WIDTH, plan
from siphonwatch.models.account.request import Array
from siphonwatch.models.account.row import ROW, layout_id
from siphonwatch.models.account.table import named
from siphonwatch.models.account.windows import make_work, observe_all
from siphonwatch.models.campaign.edges import Spotter
from siphonwatch.models.common.arrays import Parts, below, under
from siphonwatch.models.engine.config import ScorerConfig
from siphonwatch.models.engine.engine import BLOCK, Stage
from siphonwatch.models.engine.erase import ROWS, Erased
from siphonwatch.models.engine.population import Population
from siphonwatch.models.engine.rarity import RarityStage

REFUSED = (400, 401, 403, 407)
"""Statuses by which a gateway turns away whom it does not know, and gives nothing. Whoever is turned away may name any
account, another in each request: such a request opens no row. Of an account that has one it counts like any other."""
_OPENS = ~np.isin(np.arange(1000), REFUSED)
"""Whether a request with a status opens a row, by status: looked up, as asking for each block costs 40 us."""


class AccountBlock(NamedTuple):
    """The features of a block of requests; all but `requests` and `offsets` are the stage's own until the next one."""

    number: int
    """Of the block."""
    start: int
    """Place of the first request among those given to `score`."""
    requests: Array
    offsets: npt.NDArray[np.int64]
    slots: npt.NDArray[np.int64]
    """`(n,)` row of each request's account; -1 where the request changes nothing."""
    values: npt.NDArray[np.float32]
    """`(n, WIDTH)` features."""
    now: npt.NDArray[np.float64]
    """`(n,)` event time at each request, seconds."""
    sure: npt.NDArray[np.float64]
    """`(n,)` event time that many accounts agree on."""
    seen: npt.NDArray[np.int64]
    """`(n,)` requests of the account so far."""
    since: npt.NDArray[np.float64]
    """`(n,)` when its first one was."""
    fresh: npt.NDArray[np.bool_]
    """`(n,)` whether it is the account's first in an hour."""
    sighted: npt.NDArray[np.int64]
    """Places of the requests that a coordinator is to see, ascending."""


class AccountStage(Stage[AccountBlock]):
    """Account rows and what is learnt of all accounts.

    Examples
    --------
    >>> from siphonwatch.models.account.request import blank
    >>> stage = AccountStage(ScorerConfig())
    >>> block = stage.take(blank(), np.array([0]), np.array([np.inf]), 0)
    >>> block.values.shape == (1, WIDTH), block.slots.tolist()
    (True, [0])
    """

    FORMAT = 6
    READS = (5,)
    """Format 5 also held a second stage, and its rank of open cases: both are passed over."""

    def __init__(self, config: ScorerConfig) -> None:
        super().__init__(config, ROW, layout_id())
        self.rarity = RarityStage(config.seed)
        self.population = Population()
        """What accounts look like, and how often cases open, for whoever watches drift."""
        self._spotter = Spotter(config.end_users)
        self._plan = plan()
        self._work = make_work()
        self._values = np.zeros((BLOCK, WIDTH), np.float32)
        self._now = np.zeros(BLOCK)
        self._sure = np.zeros(BLOCK)
        self._seen = np.zeros(BLOCK, np.int64)
        self._since = np.zeros(BLOCK)
        self._fresh = np.zeros(BLOCK, np.bool_)

    def take(
        self, requests: Array, offsets: npt.NDArray[np.int64], arrived: npt.NDArray[np.float64], start: int
    ) -> AccountBlock:
        """Take requests into their accounts' rows; those of an unknown account that was turned away open none."""
        n, number, config = len(requests), self.number, self.config
        values, now, sure = self._values[:n], self._now[:n], self._sure[:n]
        slots = self.table.locate(requests, _OPENS.take(requests["status"], mode="clip"))
        refused = int((slots < 0).sum())
        skipped = observe_all(
            self.table.rows, slots, requests, offsets, arrived, self.clock, config.grace, config.max_ahead,
            self._plan, values, now, sure, self._seen, self._since, self._fresh, self._work,
        )  # fmt: skip
        sighted = self._spotter.pick(requests, slots, sure)
        self.rarity.rank(self.table.rows["judged"], slots, values, number, self._fresh)
        self.count.refused += refused
        self.count.skipped += skipped - refused
        self.count.requests += n - skipped
        return AccountBlock(
            number, start, requests, offsets, slots, values, now, sure, self._seen[:n], self._since[:n],
            self._fresh[:n], sighted,
        )  # fmt: skip

    def erase(self, accounts: Collection[str], *, remove: bool = True) -> Erased:
        """Remove some accounts' rows, or only count them."""
        wanted = named(accounts)
        slots = self.table.locate(wanted, np.zeros(len(wanted), np.bool_))
        slots = np.unique(slots[slots >= 0])
        if remove:
            self.table.free(slots)
        return Erased({ROWS: len(slots)})

    def snapshot(self) -> dict[str, npt.NDArray[Any] | bytes]:
        """Copy the clock, the models and the counters of sightings."""
        return {
            **super().snapshot(),
            **under("rarity", self.rarity.snapshot()),
            **under("sightings", self._spotter.snapshot()),
            **under("population", self.population.snapshot()),
        }

    def restore(self, parts: Parts) -> None:
        """Take over a snapshot.

        Raises
        ------
        ValueError
            Where it does not fit this version.
        """
        spotter, rarity, population = Spotter(self.config.end_users), RarityStage(self.config.seed), Population()
        population.restore(below("population", parts))
        spotter.restore(below("sightings", parts))
        change = rarity.restore(below("rarity", parts))
        super().restore(parts)
        self._spotter, self.rarity, self.population = spotter, rarity, population
        self.changes = [change] if change else []
