"""Finds a version by its name: the installed one, a directory of a version or of cards, or one of the registry.

Loads data only, no code.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from siphonwatch.models.detect import Detector
from siphonwatch.models.detect.card import read_card
from siphonwatch.models.detect.registry import arranged
from siphonwatch.models.engine.patterns import bound
from siphonwatch.models.learn.version import SHIPPED, SUMS, Version, read_version, shipped
from siphonwatch.streams.common.settings import Settings


class NoVersion(ValueError):
    """There is no such version, or it cannot judge; the message says why."""


class DetectorSet(NamedTuple):
    """All detectors that judge together, those of accounts first."""

    name: str
    detectors: tuple[Detector, ...]
    id: str = ""
    """Of the version; empty where they are a directory of cards alone."""


def find_version(named: str, settings: Settings) -> Version:
    """Return the installed version, by `shipped` or its id, or one of the registry.

    Raises
    ------
    SettingsError
        Where it is not the installed one, and `models.registry` names no registry.
    RegistryError, VersionError
        Where the registry has none of that name, or it cannot be used.
    """
    if named in (SHIPPED, shipped().id):
        return shipped()
    from siphonwatch.streams.lab.registry.store import Registry  # fsspec is of the extra `lab`

    return Registry.from_settings(settings).read(named)


def load_version(name: str, settings: Settings) -> DetectorSet:
    """Return the detectors of a version, or of a directory of cards alone.

    Parameters
    ----------
    name
        A directory, or as for `find_version`.

    Raises
    ------
    NoVersion
        Where there is none, or it has not both cards over accounts and cards over campaigns.
    """
    if not (name in (SHIPPED, shipped().id) or Path(name).is_dir() or settings.models.registry):
        raise NoVersion(
            f"no version {name}: give {SHIPPED}, a directory with the cards of all patterns (*.toml), or set "
            "models.registry"
        )
    try:
        made = _load(name, settings)
    except (ValueError, OSError) as error:  # of a card, a version, or the registry
        raise NoVersion(f"version {name}: {error}") from None
    for over in ("account", "campaign"):
        if not any(detector.card.over == over for detector in made.detectors):
            raise NoVersion(f"version {name} has no card over {over}s: a version is the whole set that judges")
    return made


def _load(name: str, settings: Settings) -> DetectorSet:
    folder = Path(name)
    if name == SHIPPED or not folder.is_dir():
        version = find_version(name, settings)
    elif (folder / SUMS).is_file():
        from siphonwatch.streams.lab.registry.store import read_files

        version = read_version(read_files(name))
    else:
        files = sorted((folder / "cards" if (folder / "cards").is_dir() else folder).glob("*.toml"))
        cards = arranged([(read_card(file.read_bytes(), file.name), file.name) for file in files])
        learned = {file.stem: file.read_bytes() for file in folder.rglob("*.safetensors")}
        return DetectorSet(folder.resolve().name, bound(cards, learned))
    return DetectorSet(version.name, version.detectors("account") + version.detectors("campaign"), version.id)
