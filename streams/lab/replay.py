"""Offline scoring: files of any format through the identical scorer, no broker. Prints nothing itself."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np

from siphonwatch.models.account.request import Array
from siphonwatch.models.engine.scorer import Scorer
from siphonwatch.models.engine.together import Together
from siphonwatch.models.evidence.cases import Finding
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts.rejected import Rejected
from siphonwatch.streams.contracts.telemetry import Malformed
from siphonwatch.streams.edge.adapters import Records, Unreadable, read_records
from siphonwatch.streams.edge.spread import adapted
from siphonwatch.streams.lab.offline import Offline
from siphonwatch.streams.worker.allow import Allowed
from siphonwatch.streams.worker.decode import Decoder
from siphonwatch.streams.worker.opening import keys_of

BATCH = 8192
"""Records scored at a time; any other number gives the same findings."""


@dataclass
class Totals:
    """What a replay met."""

    requests: int = 0
    findings: Counter[str] = field(default_factory=Counter)
    """By kind: open, update, close."""
    patterns: Counter[str] = field(default_factory=Counter)
    """Cases opened, by pattern."""
    allowed: int = 0
    """Findings that raise no alert, as their accounts are allowed."""
    rejected: Rejected = field(default_factory=Rejected)
    """Elements that are not what their format says, by reason."""
    passed_over: Counter[str] = field(default_factory=Counter)
    """Elements that are no requests, by what they are."""
    unopened: int = 0
    """Requests with sealed parts that no key opens."""
    without_text: int = 0
    """Requests whose records could have held text and did not, where the format's own settings decide that."""


class Replay:
    """Feeds files to a scorer.

    Parameters
    ----------
    settings
        `accounts`, `identity` and `ingest` are used.
    scorer
        Scores; its state goes on from file to file.
    on_finding
        Called with each finding, in order.
    telemetry
        Where to write the telemetry that the files became, one record a line.
    processes
        That adapt raw records; any number gives the same.
    """

    def __init__(
        self,
        settings: Settings,
        scorer: Scorer | Together | Offline,
        on_finding: Callable[[Finding], None],
        telemetry: IO[bytes] | None = None,
        processes: int = 1,
    ) -> None:
        self._settings = settings
        self._scorer = scorer
        self._on_finding = on_finding
        self._telemetry = telemetry
        self._allowed = Allowed.from_settings(settings)
        self._decoder = Decoder(keys_of(settings))
        self._processes = processes
        self.totals = Totals()

    def run(self, path: Path | str, format: str = "auto") -> None:
        """Score one file, or an archive by its folder or URL.

        Raises
        ------
        Unreadable
            Where the file cannot be read to its end; what came before was scored.
        ProcessDied
            Where one of `processes` ended.
        ValueError
            Where no format fits it.
        """
        if Path(path).is_dir() or "://" in str(path):
            self._archive(str(path))
        else:
            self.feed(read_records(path, format, self._settings.ingest.max_record_bytes))

    def _archive(self, url: str) -> None:
        """Score the telemetry of an archive."""
        from siphonwatch.streams.lab.archive.reader import Archive
        from siphonwatch.streams.lab.archive.store import StoreError

        if self._telemetry:
            raise ValueError(f"{url} is an archive, from which no telemetry records are written: leave out --telemetry")
        try:
            for batch in Archive(url).batches(keys_of(self._settings)):
                self.totals.unopened += batch.unopened
                self._score(batch.requests)
        except StoreError as error:
            raise ValueError(str(error)) from None

    def feed(self, records: Records) -> None:
        """Score records that are at hand; raises as `run`."""
        raw: Iterator[bytes | Malformed] = iter(records)
        if records.format != "telemetry":
            raw = self._adapted(records.format, raw)
        more = True
        while more:
            batch: list[bytes | Malformed] = []
            try:
                batch.extend(itertools.islice(raw, BATCH))
            except Unreadable:
                self._take(self._sound(batch))
                raise
            more = bool(batch)
            self._take(self._sound(batch))

    def _take(self, batch: list[bytes]) -> None:
        decoded = self._decoder.decode(batch)
        self.totals.unopened += decoded.unopened
        for _, error in decoded.rejected:
            self.totals.rejected.take(error)
        if self._telemetry:
            self._telemetry.writelines(batch[row] + b"\n" for row in decoded.rows)
        self._score(decoded.requests)

    def _sound(self, batch: list[bytes | Malformed]) -> list[bytes]:
        """The batch without what could not be read, which is counted."""
        whole = [record for record in batch if isinstance(record, bytes)]
        if len(whole) < len(batch):
            for bad in batch:
                if isinstance(bad, Malformed):
                    self.totals.rejected.take(bad)
        return whole

    def _adapted(self, format: str, raw: Iterable[bytes | Malformed]) -> Iterator[bytes | Malformed]:
        for part in adapted(self._settings, format, raw, self._processes):
            self.totals.passed_over.update(part.passed_over)
            self.totals.without_text += part.without_text
            yield from part.records

    def _score(self, requests: Array) -> None:
        first = self.totals.requests
        self.totals.requests += len(requests)
        for finding in self._scorer.score(requests, np.arange(first, self.totals.requests)):
            if self._allowed.covers(finding.accounts):
                self.totals.allowed += 1
                continue
            self.totals.findings[finding.kind] += 1
            if finding.kind == "open":
                self.totals.patterns[finding.pattern] += 1
            self._on_finding(finding)
