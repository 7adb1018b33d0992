"""Offline scoring: files of any format through the identical scorer, no broker. Prints nothing itself."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.murmur import partitions_of
from siphonwatch.models.account.request import Array
from siphonwatch.models.engine.patterns import patterns
from siphonwatch.models.engine.scorer import Scorer
from siphonwatch.models.engine.together import Together
from siphonwatch.models.evidence.cases import Finding
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts.model import Judged
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
Places = tuple[npt.NDArray[Any], npt.NDArray[np.int64]]
"""Partition and offset of each request."""
_ACCOUNT = {pattern.pattern for pattern in patterns() if pattern.card.over == "account"}


class Place(NamedTuple):
    """Where the newest evidence of a case is."""

    partition: int
    offset: int
    """-1 for a campaign's: how sightings share records depends on the worker that sends them."""


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
        self.of_topic = True
        """Whether all that was scored came with the offsets that it had in a topic."""
        self._topic_places: Places | None = None  # of the requests at hand, where a topic had them
        self._counts = np.zeros(scorer.partitions if isinstance(scorer, Offline) else 1, np.int64)
        self._evidence: dict[str, Place] = {}

    def run(self, path: Path | str, format: str = "auto") -> None:
        """Score one file, or an archive or a data set by its folder or URL.

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
        """Score the telemetry of an archive, or of a data set with what warms it up."""
        from siphonwatch.streams.lab.archive.reader import Archive
        from siphonwatch.streams.lab.archive.store import StoreError
        from siphonwatch.streams.lab.dataset.layout import is_dataset
        from siphonwatch.streams.lab.dataset.read import Dataset

        if self._telemetry:
            raise ValueError(f"{url} is an archive, from which no telemetry records are written: leave out --telemetry")
        try:
            dataset = Dataset(url) if is_dataset(url) else None
            archive = dataset.archive if dataset else Archive(url)
            of_log = any(position.log for position in archive.manifests[-1].positions)
            for batch in (dataset or archive).batches(keys_of(self._settings)):
                self.totals.unopened += batch.unopened
                self._topic_places = None if of_log else (batch.partition, batch.offset)
                self._score(batch.requests)
            self._topic_places = None
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

    def judged(self, finding: Finding, version: str, reference: str) -> Judged:
        """Return what an alert says of what made a finding, within `on_finding`; given what the replay began with."""
        place = self._evidence.get(finding.case, Place(0, -1))
        stream: Literal["telemetry", "sightings"] = "telemetry" if finding.pattern in _ACCOUNT else "sightings"
        return Judged(version, stream, *place, reference if stream == "telemetry" else "")

    def _score(self, requests: Array) -> None:
        first, places = self.totals.requests, self._topic_places
        self.totals.requests += len(requests)
        if places is None:
            self.of_topic = False
            places = self._count(requests)
        findings = self._scorer.score(requests, np.arange(first, self.totals.requests))
        told = self._scorer.told if isinstance(self._scorer, Offline) else [0] * len(findings)
        for finding, number in zip(findings, told, strict=True):
            if self._allowed.covers(finding.accounts):
                self.totals.allowed += 1
                continue
            self.totals.findings[finding.kind] += 1
            if finding.kind == "open":
                self.totals.patterns[finding.pattern] += 1
            if finding.pattern not in _ACCOUNT:
                self._evidence[finding.case] = Place(number, -1)
            elif finding.kind != "close":
                at = finding.offset - first
                self._evidence[finding.case] = Place(int(places[0][at]), int(places[1][at]))
            self._on_finding(finding)
            if finding.kind == "close":
                self._evidence.pop(finding.case, None)

    def _count(self, requests: Array) -> Places:
        """The places of a log's requests in a topic that holds them alone, of as many partitions as are scored in."""
        n, counts = len(requests), self._counts
        if len(counts) == 1:
            counts[0] += n
            return np.zeros(n, np.int64), np.arange(counts[0] - n, counts[0])
        here = partitions_of(requests["account"], len(counts)).astype(np.int64)
        offsets = np.zeros(n, np.int64)
        for number in range(len(counts)):
            mine = np.flatnonzero(here == number)
            offsets[mine] = counts[number] + np.arange(len(mine))
            counts[number] += len(mine)
        return here, offsets
