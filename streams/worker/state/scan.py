"""Reads a state partition from its first record to its last and picks the snapshot to restore.

It never picks one that is not complete, and never writes. `streams.worker.state.log` says why the rule is right.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

import msgspec
import structlog

from siphonwatch.streams.worker.state import codec
from siphonwatch.streams.worker.state.codec import CLAIM, Corrupt, Frame, Manifest, Version
from siphonwatch.streams.worker.state.journal import Entry, StateError

AFRESH = (
    "restore the topic from a backup; or run `siphonwatch worker --start-afresh` once, which reads all records that "
    "are left again, and knows nothing of earlier ones"
)
"""What to do where state is gone or damaged."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Stored:
    """One complete snapshot, as the topic holds it."""

    manifest: Manifest
    keys: list[bytes]
    """Of the manifest and its body."""
    table: dict[int, Version]
    models: bytes
    hot: dict[int, Frame]
    cold: dict[int, bytes]
    """Index of each cold page."""


class _Found(NamedTuple):
    offset: int
    frame: Frame
    """Without its packed bytes where the page is cold."""


class Scan:
    """What a partition holds after some of its records were added in order.

    Memory: compressed hot pages that no tombstone took back so far, the index of cold ones.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.last = -1  # offset of the last record seen
        self._pages: dict[bytes, _Found] = {}
        self._chunks: dict[bytes, bytes] = {}
        self._manifests: dict[bytes, tuple[int, Manifest]] = {}
        self._claims: dict[int, str] = {}
        self._damaged: set[bytes] = set()

    def add(self, entries: Iterable[Entry]) -> None:
        """Take the next records in."""
        for offset, key, value in entries:
            self.last = offset
            if key == CLAIM:
                if value is not None:
                    self._claims[offset] = value.decode("ascii", "replace")
                continue
            kind = key[:2]
            if value is None:
                self._forget(key)
            elif kind == b"p/":
                self._add_page(offset, key, value)
            elif kind == b"b/":
                self._chunks[key] = value
            elif kind == b"m/":
                self._add_manifest(offset, key, value)
            else:
                _log.warning("state_foreign_record", topic=self._name, offset=offset)

    def choose(self) -> Stored | None:
        """Return the complete snapshot to restore, None where no snapshot was ever written.

        Raises
        ------
        StateError
            When there are snapshots, and of each something is missing or damaged.
        """
        claims = self._claims | {manifest.claim: manifest.owner for _, manifest in self._manifests.values()}

        def rank(item: tuple[bytes, tuple[int, Manifest]]) -> tuple[bool, int, int]:
            offset, manifest = item[1]
            fenced = any(manifest.claim < at < offset and by != manifest.owner for at, by in claims.items())
            return not fenced, manifest.next_offset, offset

        damaged = [key.decode("ascii", "replace") for key in self._damaged if key.startswith(b"m/")]
        faults = [f"the manifest {key} is damaged" for key in damaged]
        for key, (_, manifest) in sorted(self._manifests.items(), key=rank, reverse=True):
            try:
                stored = self._complete(key, manifest)
            except Corrupt as error:
                faults.append(f"offset {manifest.next_offset} by {manifest.owner}/{manifest.epoch}: {error}")
                continue
            if faults:
                _log.warning("state_snapshot_skipped", topic=self._name, skipped=faults)
            return stored
        if faults:
            raise StateError(f"{self._name} has snapshots and none is complete ({'; '.join(faults[:3])}): {AFRESH}")
        return None

    def garbage(self, stored: Stored | None) -> list[bytes]:
        """Return the keys that the chosen snapshot does not need."""
        needed: set[bytes] = set()
        if stored is not None:
            needed.update(stored.keys)
            needed.update(codec.page_key(page, v.owner, v.epoch) for page, v in stored.table.items())
        return [
            key
            for keys in (self._manifests, self._chunks, self._pages, self._damaged)
            for key in keys
            if key not in needed
        ]

    def _add_page(self, offset: int, key: bytes, value: bytes) -> None:
        try:
            frame = codec.read_frame(value)
        except Corrupt:
            self._forget(key)
            self._damaged.add(key)
            return
        self._pages[key] = _Found(offset, replace(frame, packed=b"") if frame.cold else frame)

    def _add_manifest(self, offset: int, key: bytes, value: bytes) -> None:
        try:
            self._manifests[key] = (offset, msgspec.json.decode(value, type=Manifest))
        except msgspec.DecodeError:
            self._damaged.add(key)

    def _forget(self, key: bytes) -> None:
        self._pages.pop(key, None)
        self._chunks.pop(key, None)
        self._manifests.pop(key, None)
        self._damaged.discard(key)

    def _complete(self, key: bytes, manifest: Manifest) -> Stored:
        keys = [codec.chunk_key(manifest.owner, manifest.epoch, i) for i in range(manifest.chunks)]
        missing = [k for k in keys if k not in self._chunks]
        if missing:
            raise Corrupt(f"{len(missing)} of {len(keys)} parts of its body are missing")
        entries, models = codec.read_body(codec.join([self._chunks[k] for k in keys], manifest.crc))
        table: dict[int, Version] = {}
        hot: dict[int, Frame] = {}
        cold: dict[int, bytes] = {}
        lost = 0
        for page, (owner, epoch) in entries.items():
            found = self._pages.get(codec.page_key(page, owner, epoch))
            if found is None:
                lost += 1
                continue
            table[page] = Version(owner, epoch, found.offset)
            if found.frame.cold:
                cold[page] = found.frame.index
            else:
                hot[page] = found.frame
        if lost:
            raise Corrupt(f"{lost} of {len(entries)} pages are missing or damaged")
        return Stored(manifest, [key, *keys], table, models, hot, cold)
