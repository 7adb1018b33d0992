"""A partition of telemetry: its records are requests, which a scorer takes account by account."""

from __future__ import annotations

from typing import Any

import numpy as np

from siphonwatch.streams.contracts import provenance
from siphonwatch.streams.contracts.sealed import Words
from siphonwatch.streams.worker.agents.partition import Place
from siphonwatch.streams.worker.agents.read import Read
from siphonwatch.streams.worker.agents.scored import ScoredPartition
from siphonwatch.streams.worker.agents.sources import fresh
from siphonwatch.streams.worker.decode import Decoder
from siphonwatch.streams.worker.drift_gauges import DriftGauges
from siphonwatch.streams.worker.transport import Batch, Begin


class TelemetryPartition(ScoredPartition):
    """Runs one scorer over one partition of telemetry.

    Parameters are those of its base, `keys` as its decoder has them, and `drift`, which shows what its accounts look
    like while it is here.
    """

    def __init__(self, *args: Any, keys: Words | None = None, drift: DriftGauges | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._decoder = Decoder(keys)
        self._drift = DriftGauges() if drift is None else drift
        self._mac = self._seals.mac(provenance.SOURCE, self._number)

    async def restore(self, begin: Begin) -> Place:
        """Load the newest snapshot, as its base does."""
        place = await super().restore(begin)
        self._drift.add(self._number, self.scorer)
        return place

    async def close(self) -> None:
        """Release what the partition holds."""
        self._drift.remove(self._number, self.scorer)
        await super().close()

    def _read(self, batch: Batch) -> Read:
        """Read a batch's records, without what was ingested again after a crash."""
        rows, forged = np.arange(len(batch)), 0
        if any(batch.headers):
            keep, forged = fresh(batch.headers, self._sources, self._mac)
            rows = np.flatnonzero(keep)
        skipped = len(batch) - len(rows)
        if None in batch.values:  # tombstones, which say nothing
            filled = np.fromiter((batch.values[i] is not None for i in rows.tolist()), np.bool_, len(rows))
            self.meter.passed_over({"tombstone": int(len(rows) - filled.sum())})
            rows = rows[filled]
        values = [batch.values[i] or b"" for i in rows.tolist()]
        requests, places, rejected, unopened = self._decoder.decode(values)
        rejected = [(int(rows[place]), error) for place, error in rejected]
        rows = rows[places]
        return Read(requests, batch.offsets[rows] + self._numbering.base, rows, rejected, skipped, forged, unopened)
