"""Files below one URL: a folder, or whatever fsspec reaches. Knows nothing of what is in them.

A file is there whole or not at all: a local one is renamed into place, and outlasts a loss of power once `write` or
`create` has returned, as its bytes and its name are on the disk; an object store shows an object once all of it is
there. `create` gives a name to the first who asks, which is how several archivers agree.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from siphonwatch.streams.lab.remote import code, failures, is_local, reach, said

PART = ".part"
"""Of local files that are being written."""
PROBE = ".exclusive"
"""Is created twice, to see whether a store refuses the second time."""
TAKEN = ("PreconditionFailed", "ConditionalRequestConflict")
"""Codes by which stores that speak S3 say that a name is taken, or is being taken."""


class StoreError(RuntimeError):
    """A file or folder cannot be read or written; the message names it and says why."""


class TakenError(StoreError):
    """Another process has written a file of this name already."""


class Store:
    """The files below a URL.

    Parameters
    ----------
    url
        A folder, or a URL that fsspec knows, such as `s3://bucket/folder`.

    Raises
    ------
    StoreError
        Where no driver for the URL is installed.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            self._fs, self._root = reach(url)
        except ValueError as error:
            raise StoreError(str(error)) from None
        self._local = is_local(self._fs)
        above = Path(self._root).parent
        while self._local and above != above.parent and not os.access(above, os.F_OK):
            above = above.parent
        self._settled = {above}

    def _at(self, path: str) -> str:
        return f"{self._root.rstrip('/')}/{path}"

    def write(self, path: str, data: Any) -> None:
        """Write a file, bytes or what has their buffer, in place of what stands there."""
        with self._failing(path):
            if self._local:
                part = self._part(path, data)
                part.replace(self._at(path))
                self._settle(part.parent)
            else:
                with self._fs.open(self._at(path), "wb") as file:
                    file.write(memoryview(data))

    def create(self, path: str, data: bytes) -> None:
        """Write a file that is not there.

        Raises
        ------
        TakenError
            Where it is.
        """
        try:
            with self._failing(path):
                if self._local:
                    part = self._part(path, data)
                    try:
                        os.link(part, self._at(path))
                    finally:
                        part.unlink()
                    self._settle(part.parent)
                else:
                    self._create_remote(self._at(path), data)
        except FileExistsError:
            raise TakenError(f"{self.url}/{path} is there already: another archiver writes here") from None

    def _create_remote(self, path: str, data: bytes) -> None:
        try:
            with self._fs.open(path, "xb") as file:
                file.write(data)
            return
        except (ValueError, NotImplementedError):  # a driver without exclusive creation
            taken = bool(self._fs.exists(path))
        except OSError as error:
            if not _taken(error):
                raise
            taken = True
        if not taken:
            self._fs.pipe_file(path, data)
        elif self._fs.cat_file(path) != data:  # else the answer to our own was lost, and the driver asked again
            raise FileExistsError

    def exclusive(self) -> bool:
        """Tell whether `create` refuses a name that is taken, whoever asks at the same time; writes a file to see it.

        Raises
        ------
        StoreError
            Where nothing can be written.
        """
        if self._local:
            return True
        with self._failing(PROBE):
            self._fs.pipe_file(self._at(PROBE), b"")
            try:
                with self._fs.open(self._at(PROBE), "xb") as file:
                    file.write(b"taken")
            except (ValueError, NotImplementedError):
                return False
            except OSError as error:
                if not _taken(error):
                    raise
                return True
        return False

    def _part(self, path: str, data: Any) -> Path:
        """Write a local file under another name beside its place; return it."""
        place = Path(self._at(path))
        place.parent.mkdir(parents=True, exist_ok=True)
        part = place.with_name(f".{place.name}.{uuid.uuid4().hex[:12]}{PART}")
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        return part

    def _settle(self, folder: Path) -> None:
        """Have the disk hold the names in a folder, and those of folders that were made for it."""
        while True:
            handle = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
            if folder in self._settled:
                return
            self._settled.add(folder)
            folder = folder.parent

    def read(self, path: str) -> bytes:
        """Return a file's bytes."""
        with self._failing(path):
            return bytes(self._fs.cat_file(self._at(path)))

    def read_all(self, paths: Sequence[str]) -> list[bytes]:
        """Return several files' bytes, of an object store many at a time."""
        if self._local or len(paths) < 2:
            return [self.read(path) for path in paths]
        with self._failing(paths[0]):
            found = self._fs.cat([self._at(path) for path in paths])
        return [bytes(found[self._at(path)]) for path in paths]

    def has(self, path: str) -> bool:
        """Tell whether a file is there."""
        with self._failing(path):
            return bool(self._fs.exists(self._at(path)))

    def names(self, folder: str) -> list[str]:
        """Return the names of a folder's files, sorted; none where there is no such folder."""
        with self._failing(folder):
            try:
                found = self._fs.ls(self._at(folder), detail=False)
            except FileNotFoundError as error:
                if code(error) == "NoSuchBucket":
                    raise
                return []
        names = (str(path).rsplit("/", 1)[-1] for path in found)
        return sorted(name for name in names if name and not name.startswith("."))

    def walk(self, folder: str) -> dict[str, float]:
        """Return when each file below a folder was written, seconds since 1970, by path."""
        with self._failing(folder):
            found = self._fs.find(self._at(folder), detail=True)
            start = len(self._root.rstrip("/")) + 1
            return {path[start:]: self._fs.modified(path).timestamp() for path in found}

    def remove(self, path: str) -> None:
        """Remove a file; one that is gone is no error."""
        with self._failing(path), contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(self._at(path))

    @contextlib.contextmanager
    def _failing(self, path: str) -> Iterator[None]:
        try:
            yield
        except (FileExistsError, StoreError):
            raise
        except failures() as error:
            raise StoreError(f"{self.url}/{path}: {said(error)}") from None


def _taken(error: OSError) -> bool:
    return isinstance(error, FileExistsError) or code(error) in TAKEN
