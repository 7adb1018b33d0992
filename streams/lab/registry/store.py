"""Versions in directories or in an object store, by any URL that fsspec knows, and the aliases that name them.

A version's directory has its id as name and never changes; what changes is `aliases.json` alone. What judges is
said by the control topic, not here.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from siphonwatch.models.learn.version import (
    ID,
    INFO,
    NAME,
    SHIPPED,
    SUMS,
    Version,
    VersionError,
    check_sums,
    read_version,
    shipped,
)
from siphonwatch.streams.common.settings import Settings, SettingsError
from siphonwatch.streams.lab.remote import failures, is_local, reach, said

ALIASES = "aliases.json"
SHORTEST = 4
"""Characters of an id that may stand for it."""
MAX_FILE = 64 * 1024 * 1024
"""Bytes of one file of a version; a plot has less than a hundredth."""
MAX_FILES = 1000
Id = Annotated[str, Meta(pattern=f"^{ID.pattern}")]
"""What an alias stands for: it names a directory, and leads out of the registry nowhere."""


class RegistryError(ValueError):
    """A version is not there, or the registry cannot be read or written; the message says what to do."""


class Registry:
    """Versions by id, by name and by alias.

    Parameters
    ----------
    url
        A directory, or any URL that fsspec has a driver for, such as s3://bucket/models.

    Examples
    --------
    >>> Registry("memory://doctest").read("shipped").name
    'shipped'
    """

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            self._fs, self._root = reach(url)
        except ValueError as error:
            raise RegistryError(f"models.registry {error}") from None

    @classmethod
    def from_settings(cls, settings: Settings) -> Registry:
        """Return the registry that `models.registry` names.

        Raises
        ------
        SettingsError
            Where it names none.
        """
        if not settings.models.registry:
            raise SettingsError(
                "models.registry is not set: give a directory or a URL where versions are kept, such as "
                "SIPHONWATCH_MODELS_REGISTRY=/var/lib/siphonwatch/models"
            )
        return cls(settings.models.registry)

    def ids(self) -> list[str]:
        """Return the ids of the versions that are stored, without the shipped one's, ascending."""
        try:
            found = self._fs.ls(self._root, detail=False)
        except FileNotFoundError:
            return []
        except failures() as error:
            raise RegistryError(f"cannot read {self.url}: {said(error)}") from None
        return sorted(name for path in found if ID.match(name := posixpath.basename(path.rstrip("/"))))

    def versions(self) -> tuple[list[Version], dict[str, str]]:
        """Return the versions that can be used, the shipped one first, and by id why others cannot.

        Raises
        ------
        RegistryError
            Where the registry cannot be read.
        """
        usable, refused = [shipped()], {}
        for id in self.ids():
            if id == shipped().id:
                continue
            try:
                usable.append(self._load(id))
            except (RegistryError, VersionError) as error:
                refused[id] = str(error)
        return usable, refused

    def read(self, named: str) -> Version:
        """Return a version by its id, the beginning of it, its name or an alias.

        Raises
        ------
        RegistryError
            Where there is none, or more than one.
        VersionError
            Where its files are not what they were when it was added.
        """
        if named in (SHIPPED, shipped().id):
            return shipped()
        if alias := self.aliases().get(named):
            return shipped() if alias == shipped().id else self._load(alias)
        ids = self.ids()
        found = [id for id in ids if len(named) >= SHORTEST and id.startswith(named)]
        found = found or [version.id for version in self.versions()[0] if version.name == named]
        if len(found) != 1:
            what = f"is any of {', '.join(found)}: give the id" if found else "is none of the registry"
            raise RegistryError(f"version {named} {what}; `siphonwatch models list` shows those at {self.url}")
        return self._load(found[0])

    def add(self, files: Mapping[str, bytes]) -> Version:
        """Store a version, given its directory's contents by file name; one that is there already stays as it is.

        Raises
        ------
        VersionError
            Where it cannot be used.
        RegistryError
            Where it has too many files, or the place cannot be written.
        """
        if len(files) > MAX_FILES or any(len(data) > MAX_FILE for data in files.values()):
            raise RegistryError(f"a version has at most {MAX_FILES:,} files of {MAX_FILE:,} bytes")
        version = read_version(files)
        if version.id == shipped().id:
            return version
        root = posixpath.join(self._root, version.id)
        try:
            if not self._fs.exists(posixpath.join(root, SUMS)):  # what was cut off before is finished
                _write(self._fs, root, files)
        except failures() as error:
            raise RegistryError(f"cannot write version {version.id} to {self.url}: {said(error)}") from None
        return version

    def aliases(self) -> dict[str, str]:
        """Return the ids that aliases stand for.

        Raises
        ------
        RegistryError
            Where the file is no such thing.
        """
        try:
            data = self._fs.cat_file(posixpath.join(self._root, ALIASES))
        except FileNotFoundError:
            return {}
        except failures() as error:
            raise RegistryError(f"cannot read {self.url}/{ALIASES}: {said(error)}") from None
        try:
            return msgspec.json.decode(data, type=dict[str, Id])
        except (msgspec.DecodeError, UnicodeError) as error:
            raise RegistryError(f"{self.url}/{ALIASES}: {error}; write it anew") from None

    def name(self, alias: str, id: str) -> None:
        """Let an alias stand for an id from now on; an empty id takes the alias away.

        Raises
        ------
        RegistryError
            Where it cannot be an alias, or cannot be written.
        """
        if not NAME.match(alias) or ID.match(alias) or alias == SHIPPED:
            raise RegistryError(f"{alias!r} cannot be an alias")
        aliases = self.aliases() | {alias: id}
        kept = {name: aliases[name] for name in sorted(aliases) if aliases[name]}
        try:
            _put(self._fs, posixpath.join(self._root, ALIASES), msgspec.json.format(msgspec.json.encode(kept)))
        except failures() as error:
            raise RegistryError(f"cannot write {self.url}/{ALIASES}: {said(error)}") from None

    def _load(self, id: str) -> Version:
        try:
            version = read_version(read_files(f"{self.url.rstrip('/')}/{id}"))
        except VersionError as error:
            raise VersionError(f"version {id} at {self.url}: {error}") from None
        if version.id != id:
            raise VersionError(f"version {id} at {self.url} is {version.id} by its {INFO}: it was moved; add it anew")
        return version


def read_files(url: str) -> dict[str, bytes]:
    """Return the contents of a version's directory by file name, their hashes checked.

    Raises
    ------
    RegistryError
        Where there is no such directory, or it holds more than a version does.
    VersionError
        Where a hash is wrong.
    """
    try:
        fs, root = _reach(url)
        sizes: dict[str, int] = {path: info["size"] for path, info in fs.find(root, detail=True).items()}
        if SUMS not in {posixpath.relpath(path, root) for path in sizes}:
            raise RegistryError(f"{url} is no version: a version is a directory with {SUMS}")
        if len(sizes) > MAX_FILES or max(sizes.values()) > MAX_FILE:
            raise RegistryError(f"{url} holds more than {MAX_FILES:,} files, or one of more than {MAX_FILE:,} bytes")
        files = {posixpath.relpath(path, root): bytes(fs.cat_file(path)) for path in sizes}
    except failures() as error:
        raise RegistryError(f"cannot read {url}: {said(error)}") from None
    check_sums(files)
    return files


def write_files(url: str, files: Mapping[str, bytes]) -> None:
    """Write a version's directory, the sums last; files of a version that was there before are removed.

    Raises
    ------
    RegistryError
        Where the directory holds something else, or cannot be written.
    VersionError
        Where it holds a version and other files, or files that were changed.
    """
    try:
        fs, root = _reach(url)
        if fs.exists(root):
            there = [posixpath.relpath(path, root) for path in fs.find(root)]
            if there and not {SUMS, INFO} <= set(there):
                raise RegistryError(f"{url} holds something that is no version: give another place")
            if there:
                read_files(url)  # removes nothing that is not listed, or was changed
                fs.rm(root, recursive=True)
        _write(fs, root, files)
    except failures() as error:
        raise RegistryError(f"cannot write {url}: {said(error)}") from None


def _reach(url: str) -> tuple[Any, str]:
    try:
        return reach(url)
    except ValueError as error:
        raise RegistryError(str(error)) from None


def _write(fs: Any, root: str, files: Mapping[str, bytes]) -> None:
    """Write a version's files, the sums last: without them nothing is read."""
    for name in (*sorted(set(files) - {SUMS}), SUMS):
        _put(fs, posixpath.join(root, name), files[name])


def _put(fs: Any, path: str, data: bytes) -> None:
    if is_local(fs):  # an object store has no folders, and s3fs would make a bucket of a mistyped name
        fs.makedirs(posixpath.dirname(path), exist_ok=True)
    fs.pipe_file(path, data)
