"""Reads the telemetry that an alert was made from out of its topic, into an archive that a replay reads."""

from __future__ import annotations

import numpy as np
from msgspec import UnsetType

from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.common.tail import Tail
from siphonwatch.streams.contracts import provenance
from siphonwatch.streams.contracts.alert import Alert
from siphonwatch.streams.contracts.provenance import Seals
from siphonwatch.streams.lab.archive.store import Store
from siphonwatch.streams.lab.archive.writer import STEP_ROWS, Writer
from siphonwatch.streams.worker.agents.sources import fresh

REMEDY = "give an archive or a log that has them: --data DIR"


class GoneError(ValueError):
    """Telemetry that is needed is not on the topic; the message says which offsets, and what to do."""


def keep(settings: Settings, alert: Alert, folder: str) -> int:
    """Write the telemetry of an alert's partition up to its record into an archive; return the topic's partitions.

    For the end of a case it is that up to now, as some later record told it; for a campaign that of all partitions.

    Raises
    ------
    GoneError
        Where the topic does not hold it from its first record on, or the alert does not say which it is.
    TailError
        When the topic cannot be read.
    """
    model = alert.own.model
    if isinstance(model, UnsetType):
        raise GoneError(f"the alert is of a release that named no record; {REMEDY}")
    least = None if model.stream == "sightings" or isinstance(model.offset, UnsetType) else model.offset
    until = None if alert.kind == "closed" else least
    topic = settings.topic("telemetry")
    with Tail.connect(settings, topic) as tail:
        wanted = [tp for tp in tail.partitions if model.stream == "sightings" or tp.partition == model.partition]
        if not wanted:
            raise GoneError(f"{topic} has no partition {model.partition}; {REMEDY}")
        if gone := [f"{tp.partition}: 0 to {tail.begin(tp) - 1:,}" for tp in wanted if tail.begin(tp)]:
            raise GoneError(f"offsets that have left {topic}, by partition: {'; '.join(gone)}; {REMEDY}")
        tail.begin_at({tp: tail.end(tp) for tp in tail.partitions if tp not in wanted})
        writer, seals = Writer(Store(folder)), Seals.from_settings(settings)
        for tp in wanted:
            writer.begin("telemetry", tp.partition, "topic", 0)
        for polled in tail.polls():
            for tp, found in polled.items():
                records = [record for record in found if until is None or record.offset <= until]
                if tp not in wanted or not records:
                    continue
                mac = seals.mac(provenance.SOURCE, tp.partition)
                again = ~fresh([r.headers for r in records], writer.sources("telemetry", tp.partition), mac).keep
                writer.take(
                    "telemetry",
                    tp.partition,
                    [record.value for record in records],
                    np.array([record.offset for record in records], np.int64),
                    np.array([record.timestamp for record in records], np.int64),
                    repeated=again,
                )
            if until is not None and writer.next("telemetry", model.partition) > until:
                break
            if writer.waiting >= STEP_ROWS:
                writer.close()
        read = writer.next("telemetry", wanted[0].partition)
        writer.close()
        if least is not None and read <= least:
            raise GoneError(
                f"{topic} ends at offset {read:,} of partition {model.partition}, the alert is of {least:,}: "
                f"it was made anew since; {REMEDY}"
            )
        return len(tail.partitions)
