"""Sightings: how requests that may belong to a campaign are sent on, and the partition that puts them together.

It computes nothing. Sightings travel packed, see `siphonwatch.streams.contracts.sighting`. Those of one telemetry
partition reach a partition of sightings in the order of their telemetry offsets, so what is sent again after a crash is
recognised by its offset and passed over.
"""

from __future__ import annotations

import math
from functools import cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.request import Array
from siphonwatch.models.campaign.edges import groups
from siphonwatch.models.engine.scorer import Scorer
from siphonwatch.models.evidence.cases import Finding
from siphonwatch.streams.contracts import provenance
from siphonwatch.streams.contracts.dead_letter import REDRIVEN
from siphonwatch.streams.contracts.provenance import REDRIVEN_SEAL, SEAL, UNKEYED, Seals, is_sealed
from siphonwatch.streams.contracts.sighting import MAX_ROWS, Packed, join, pack, unpack
from siphonwatch.streams.contracts.telemetry import Malformed
from siphonwatch.streams.worker.agents.partition import Place
from siphonwatch.streams.worker.agents.read import Read
from siphonwatch.streams.worker.agents.scored import ScoredPartition
from siphonwatch.streams.worker.agents.sources import last_of, origin
from siphonwatch.streams.worker.drift_gauges import DriftGauges
from siphonwatch.streams.worker.inorder import InOrder, Outgoing
from siphonwatch.streams.worker.transport import Batch, Begin

TOPIC, STATE = "sightings", "campaigns"
"""Our topics: the sightings, and the coordinators' state."""


class Sightings:
    """Sends what one scorer sighted.

    What is sighted while records are under way waits for their acknowledgement and goes next, beside the scoring; the
    scorer waits for the broker only while `siphonwatch.streams.worker.inorder.WAITING` bytes are behind.

    Parameters
    ----------
    sender
        To the topic of sightings.
    scorer
        Whose sightings they are.
    seals
        Prove that this deployment sent them.
    """

    def __init__(self, sender: InOrder, scorer: Scorer, seals: Seals = UNKEYED) -> None:
        self._sender = sender
        self._scorer = scorer
        self._mac = cache(partial(seals.mac, provenance.SIGHTINGS))

    async def send(self, batch: Batch, requests: Array, offsets: npt.NDArray[np.int64]) -> None:
        """Send the sighted ones of the requests just scored, given their batch and their offsets."""
        seen = self._scorer.sighted
        if not len(seen):
            return
        source = origin(batch.topic, batch.partition, batch.incarnation)
        partitions = groups(requests, seen) % np.uint64(len(await self._sender.partitions()))
        for partition in np.unique(partitions).tolist():
            for value in pack(source, requests, offsets, seen[partitions == partition]):
                self._sender.put(partition, Outgoing(None, value, [(SEAL, self._mac(partition)(value))]))
        await self._sender.room()

    async def flush(self) -> None:
        """Wait until all sightings sent are acknowledged."""
        await self._sender.flush()

    async def close(self) -> None:
        """Stop sending."""
        await self._sender.close()


class SightingsPartition(ScoredPartition):
    """Runs one coordinator over one partition of sightings; it forgets fingerprints itself, so none become cold.

    Parameters are those of its base, and `drift`, which shows how often its campaigns' cases open.
    """

    def __init__(self, *args: Any, drift: DriftGauges | None = None, **kwargs: Any) -> None:
        super().__init__(*args, hot_accounts=None, forget_after=math.inf, **kwargs)
        self._drift = DriftGauges() if drift is None else drift
        self._features.rows = MAX_ROWS
        self._mac = self._seals.mac(provenance.SIGHTINGS, self._number)
        self._redriven_mac = self._seals.mac(provenance.REDRIVEN, self._number)

    async def restore(self, begin: Begin) -> Place:
        """Load the newest snapshot, as its base does."""
        place = await super().restore(begin)
        self._drift.add(self._number, self.scorer)
        return place

    async def close(self) -> None:
        """Release what the partition holds."""
        self._drift.remove(self._number, self.scorer)
        await super().close()

    def _offset_of(self, finding: Finding) -> int:
        return finding.offset // MAX_ROWS - self._numbering.base

    def _read(self, batch: Batch) -> Read:
        """Unpack a batch's records, without the sightings that were sent again after a crash."""
        parts: list[Packed] = []
        offsets, rows = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        rejected: list[tuple[int, Malformed]] = []
        skipped = forged = 0
        for row, (value, offset) in enumerate(zip(batch.values, batch.offsets.tolist(), strict=True)):
            headers = dict(batch.headers[row])
            redriven = REDRIVEN in headers  # so never applied, however old
            genuine = is_sealed(self._mac, value or b"", headers.get(SEAL))
            if genuine and redriven:
                genuine = is_sealed(self._redriven_mac, value or b"", headers.get(REDRIVEN_SEAL))
            if not genuine:
                forged += 1
                rejected.append((row, Malformed("origin", "no worker of this deployment sealed it for this partition")))
                continue
            try:
                packed = unpack(value or b"")
            except Malformed as error:
                rejected.append((row, error))
                continue
            last = last_of(self._sources, packed.source)
            new = packed if redriven else packed.after(last[0])
            skipped += len(packed.indexes) - len(new.indexes)
            if len(new.indexes):
                last[0] = max(last[0], int(new.offsets[-1]))
                parts.append(new)
                offsets.append((offset + self._numbering.base) * MAX_ROWS + new.indexes)
                rows.append(np.full(len(new.indexes), row))
        return Read(join(parts), np.concatenate(offsets), np.concatenate(rows), rejected, skipped, forged)
