"""Archives log files, without Kafka: what a replay of them would score, once, however often it is run."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np

from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts.telemetry import Malformed
from siphonwatch.streams.edge.adapters import Unreadable, read_records
from siphonwatch.streams.edge.spread import adapted
from siphonwatch.streams.lab.archive.layout import Manifest
from siphonwatch.streams.lab.archive.writer import STEP_ROWS, Writer

BATCH = 8192


def incarnation_of(path: Path, first: bytes | Malformed) -> str:
    """Return what stands for a log file: its name and its first element, so that one that has grown is the same.

    Not its first line, which is the same in all files of a format with a header or an opening bracket.
    """
    start = first if isinstance(first, bytes) else first.reason.encode()
    return hashlib.sha256(path.name.encode() + b"\0" + start).hexdigest()[:22]


def archive_log(
    settings: Settings,
    writer: Writer,
    path: Path,
    format: str = "auto",
    *,
    processes: int = 1,
    step_rows: int = STEP_ROWS,
    on_step: Callable[[Manifest], None] = lambda _: None,
) -> Counter[str]:
    """Archive what is new of one log as partition 0; return its elements that were no requests, by what they were.

    Offsets count what the log's elements became, in their order. An element that was read is not looked at again: a
    last line that is still being written is dropped for good.

    Raises
    ------
    Unreadable
        Where the file cannot be read to its end; what came before is archived.
    ValueError
        Where no format fits it.
    StoreError
        Where the archive cannot be written.
    """
    passed_over = Counter[str]()
    with closing(read_records(path, format, settings.ingest.max_record_bytes)) as records:
        raw: Iterator[bytes | Malformed] = iter(records)
        if (head := next(raw, None)) is None:
            return passed_over
        incarnation = incarnation_of(path, head)
        raw = itertools.chain((head,), raw)
        ranges = [r for manifest in writer.manifests for r in manifest.ranges if r.incarnation == incarnation]
        known = max((r.next for r in ranges), default=0)
        writer.begin("telemetry", 0, incarnation, known, log=True)
        if records.format != "telemetry":
            raw = _adapted(settings, records.format, raw, processes, passed_over)
        at, unreadable = 0, None
        while unreadable is None:
            batch: list[bytes | Malformed] = []
            try:
                batch.extend(itertools.islice(raw, BATCH))
            except Unreadable as error:
                unreadable = error
            if not batch:
                break
            first, at = at, at + len(batch)
            new = batch[max(known - first, 0) :]
            writer.take("telemetry", 0, new, np.arange(at - len(new), at), np.full(len(new), -1, np.int64))
            if writer.waiting >= step_rows and (manifest := writer.close()):
                on_step(manifest)
        if manifest := writer.close():
            on_step(manifest)
        if unreadable is not None:
            raise unreadable
        return passed_over


def _adapted(
    settings: Settings, format: str, raw: Iterator[bytes | Malformed], processes: int, passed_over: Counter[str]
) -> Iterator[bytes | Malformed]:
    for part in adapted(settings, format, raw, processes):
        passed_over.update(part.passed_over)
        yield from part.records
