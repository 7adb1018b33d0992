"""The features of fingerprints: what many accounts' requests have in common, once for each sighting."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.request import Array
from siphonwatch.models.account.table import named
from siphonwatch.models.campaign.edges import EDGES, fingerprints
from siphonwatch.models.campaign.features import INDEX, VALUES, WIDTH
from siphonwatch.models.campaign.inside import Inside, Seen, apart
from siphonwatch.models.campaign.row import CAMPAIGN, as_accounts, layout_id, within
from siphonwatch.models.campaign.shared import INSIDE
from siphonwatch.models.campaign.windows import observe_all, sample_names
from siphonwatch.models.common.arrays import Parts, below, under
from siphonwatch.models.engine.case_hours import DAY, CaseHours
from siphonwatch.models.engine.config import ScorerConfig
from siphonwatch.models.engine.engine import BLOCK, Stage
from siphonwatch.models.engine.erase import FINGERPRINTS as HOLDING
from siphonwatch.models.engine.erase import Erased
from siphonwatch.models.engine.population import cohorts
from siphonwatch.models.engine.vitals import Bound
from siphonwatch.models.evidence.cases import Finding

REFUSED = 400
KINDS = EDGES + 1
"""Fingerprints a request has: those over accounts, and the one inside its account."""
PRUNE_BLOCKS = 128
"""Blocks between two looks for what may be forgotten."""
ALL_NEW = 0.995
"""Share of new reads on a trail from which an account comes back to none of what it read there. Of pools of 64 accounts
(docs: detection) 17 of 2,065 members had been seen with less when they were named, and 19 of 32 honest accounts."""
FORGET = 5 * 86_400.0
"""Event-time seconds after which an idle fingerprint is forgotten: its windows have faded by then."""
FINGERPRINTS = 200_000
"""Fingerprints that have a row, 2.6 KB each; beyond, the longest idle ones are forgotten."""


class FingerprintBlock(NamedTuple):
    """The features of a block of sightings: `m` entries, one for each fingerprint of a request; those of a request
    stand together."""

    start: int
    """Place of the first request among those given to `score`."""
    requests: Array
    offsets: npt.NDArray[np.int64]
    rows: Array
    """All fingerprints' rows, `(fingerprints,) CAMPAIGN`, by slot."""
    edge: npt.NDArray[np.uint64]
    """`(m,)` the fingerprint."""
    group: npt.NDArray[np.uint64]
    """`(m,)` what every fingerprint of its request has in common."""
    kind: npt.NDArray[np.int64]
    """`(m,)` of the fingerprint, see `siphonwatch.models.campaign.shared`."""
    which: npt.NDArray[np.int64]
    """`(m,)` place of its request in the block."""
    slots: npt.NDArray[np.int64]
    """`(m,)` its row; -1 where the request was applied before."""
    values: npt.NDArray[np.float32]
    """`(m, WIDTH)` features."""
    weight: npt.NDArray[np.float64] | None
    """`(m,)` what counts of a score: of a group inside an account, how far that is apart from what its users do; None
    where all of each does."""
    now: npt.NDArray[np.float64]
    """`(m,)` event time at its request, seconds."""
    sure: npt.NDArray[np.float64]
    """`(m,)` event time that many accounts agree on."""
    proper: npt.NDArray[np.bool_]
    """`(m,)` whether it is evidence: asked once and answered."""
    seen: npt.NDArray[np.int64]
    """`(m,)` sightings of the fingerprint so far."""
    sighted: npt.NDArray[np.int64]
    """No coordinator comes after this one."""

    def returns(self, places: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Return whether the account of each entry at `places` comes back to what it read there, in plain REST."""
        of = self.which[places]
        back: npt.NDArray[np.bool_] = (self.requests["rest"][of] == 1) & (self.requests["trail_new"][of] < ALL_NEW)
        return back

    def talks(self, edges: Collection[int]) -> npt.NDArray[np.bool_]:
        """Return which entries of some fingerprints go on with a conversation, `(m,)`."""
        going_on = (self.slots >= 0) & ~self.proper
        going_on &= (self.requests["turns"][self.which] > 1) & (self.requests["status"][self.which] < REFUSED)
        if edges and going_on.any():
            return going_on & np.isin(self.edge, np.fromiter(edges, np.uint64, len(edges)))
        return np.zeros(len(going_on), np.bool_)


class FingerprintStage(Stage[FingerprintBlock]):
    """Fingerprints' rows.

    Parameters
    ----------
    config
        The operator's choices, the scorer's own.
    most
        Fingerprints that may have a row.
    """

    FORMAT = 5

    def __init__(self, config: ScorerConfig, most: int = FINGERPRINTS) -> None:
        super().__init__(config, CAMPAIGN, layout_id())
        self._inside = Inside() if config.end_users else None
        self.table.reserve(most + KINDS * 2 * BLOCK)  # a block's new ones are counted at its end
        self.hours = CaseHours()
        """Campaigns' cases that opened: by pattern, and the cohort of the request that opened each."""
        self._most = most
        self._forgotten = 0  # fingerprints that had to go because there were too many

    def take(
        self, requests: Array, offsets: npt.NDArray[np.int64], arrived: npt.NDArray[np.float64], start: int
    ) -> FingerprintBlock:
        """Take sightings into their fingerprints' rows."""
        group, edges = fingerprints(requests)
        inside = None if self._inside is None else self._inside.find(requests, group)
        if inside is not None:
            edges = np.column_stack([edges, inside.edges])
        kinds = edges.shape[1]
        places = np.flatnonzero(edges)
        edge, which, kind = edges.ravel()[places], places // kinds, places % kinds
        members = requests["account_hash"][which]
        if inside is not None:
            members = np.where(kind == INSIDE, inside.members[which], members)
        around = np.where(kind == INSIDE, requests["account_hash"][which], np.uint64(0))
        slots = self.table.locate(as_accounts(edge, around))
        m = len(slots)
        values, now, sure = np.zeros((m, WIDTH), np.float32), np.zeros(m), np.zeros(m)
        proper, seen = np.zeros(m, np.bool_), np.zeros(m, np.int64)
        rows = self.table.rows
        skipped = observe_all(
            rows, slots, which, members, requests, offsets, arrived, self.clock, self.config.grace,
            self.config.max_ahead, values.view(VALUES)[:, 0], now, sure, proper, seen,
        )  # fmt: skip
        weight = None if inside is None else np.where(kind == INSIDE, _apart(inside, which, values), 1.0)
        self.count.skipped += skipped
        self.count.requests += len(requests) - skipped
        return FingerprintBlock(
            start, requests, offsets, rows, edge, group[which], kind, which, slots, values, weight, now, sure,
            proper, seen, np.zeros(0, np.int64),
        )  # fmt: skip

    def judged(self, block: FingerprintBlock, findings: Sequence[Finding]) -> None:
        """Count the cases that opened."""
        newest = float(block.sure.max(initial=0.0))
        if newest > 0.0:  # else all of them were applied before
            of = block.offsets[block.which]
            for finding in findings:
                if finding.kind == "open" and (of == finding.offset).any():
                    place = int(np.argmax(of == finding.offset))
                    sure, which = float(block.sure[place]), int(block.which[place])
                    self.hours.turn(int(sure // DAY))
                    self.hours.opened(finding.pattern, int(cohorts(block.requests[which : which + 1])[0]), sure)
            self.hours.turn(int(newest // DAY))

    def erase(self, accounts: Collection[str], *, remove: bool = True) -> Erased:
        """Remove some accounts' hashes from the rows, or only count the rows that hold one."""
        hashes = named(accounts)["account_hash"]
        inside = self._erase_inside(hashes, remove=remove)
        used = self.table.used()
        rows = self.table.rows
        sampled = np.isin(rows["sample"][used], sample_names(hashes))
        held, last = np.isin(rows["held_by"][used], hashes), np.isin(rows["last_account"][used], hashes)
        walked = np.isin(rows["walk_by"][used], sample_names(hashes))
        holding = sampled.any(axis=1) | held.any(axis=1) | last | walked.any(axis=1)
        if remove:
            for field, gone in (
                ("sample", sampled), ("weight", sampled), ("held_by", held), ("held_content", held), ("held_at", held),
                ("last_account", last), ("walk_by", walked),
            ):  # fmt: skip
                values = rows[field][used]
                values[gone] = 0
                rows[field][used] = values
            self.table.touch(used[holding])
        return Erased({HOLDING: int(holding.sum()) + inside})

    def _erase_inside(self, hashes: npt.NDArray[np.uint64], *, remove: bool) -> int:
        """Remove the rows of groups inside some accounts, and what is known of these; or only count the rows."""
        used = self.table.used()
        inside = used[np.isin(within(self.table.rows["account"][used]), hashes)]
        if remove:
            self.table.free(inside)
            if self._inside is not None:
                self._inside.erase(hashes)
        return len(inside)

    def tidy(self) -> bool:
        """Now and then forget what is idle, and of more rows than there may be those that are idle longest."""
        if self.number % PRUNE_BLOCKS != 0 and len(self.table) <= self._most:
            return False
        used = self.table.used()
        last = self.table.rows["last_time"][used]
        gone = last < self.now - FORGET
        if len(used) > self._most:
            before = int(gone.sum())
            gone[np.argsort(last, kind="stable")[: len(used) - self._most * 9 // 10]] = True
            self._forgotten += int(gone.sum()) - before
        if gone.any():
            self.table.free(used[gone])
            self.table.shrink()
        return True

    def snapshot(self) -> dict[str, npt.NDArray[Any] | bytes]:
        """Copy the clock and what is known of end users, where they are looked for."""
        inside = {} if self._inside is None else self._inside.snapshot()
        return {**super().snapshot(), **under("inside", inside), **under("hours", self.hours.snapshot())}

    def restore(self, parts: Parts) -> None:
        """Take over a snapshot.

        Raises
        ------
        ValueError
            Where it does not fit this version.
        """
        inside, known, hours = Inside() if self.config.end_users else None, below("inside", parts), CaseHours()
        hours.restore(below("hours", parts))
        if inside is not None and known:  # none where they were not looked for before
            inside.restore(known)
        super().restore(parts)
        self._inside, self.hours = inside, hours

    def bounds(self) -> list[Bound]:
        """Return what its memory is bounded by."""
        return [Bound("fingerprints", len(self.table), self._most, self._forgotten)]


def _apart(inside: Seen, which: npt.NDArray[np.int64], values: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    disparity = values[:, INDEX["disparity"]].astype(np.float64)
    return apart(inside.alone[which], inside.others[which], disparity)
