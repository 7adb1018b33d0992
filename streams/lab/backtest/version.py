"""Finds the detectors of a version by its name: those installed, a directory of cards, or one of the registry.

Loads data only, no code.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from siphonwatch.models.detect import CardError, Detector
from siphonwatch.models.detect.card import read_card
from siphonwatch.models.detect.registry import arranged
from siphonwatch.models.engine.patterns import bound, patterns
from siphonwatch.models.learn.version import SUMS, VersionError, read_version
from siphonwatch.models.learn.version import Version as Stored

SHIPPED = "shipped"
"""The version that is installed."""


class NoVersion(ValueError):
    """There is no such version, or it cannot judge; the message says why."""


class Version(NamedTuple):
    """A whole set of detectors."""

    name: str
    detectors: tuple[Detector, ...]


def load_version(name: str, registry: str = "") -> Version:
    """Return the version of a name: `shipped`, a directory of a version or of cards alone, or one of the registry.

    Parameters
    ----------
    registry
        URL of the registry, `models.registry`; empty without one.

    Raises
    ------
    NoVersion
        Where there is none, or it has not both cards over accounts and cards over campaigns.
    """
    folder = Path(name)
    try:
        if name == SHIPPED:
            made = Version(SHIPPED, patterns())
        elif (folder / SUMS).is_file():
            made = _stored(read_version({
                str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
            }))  # fmt: skip
        elif folder.is_dir():
            files = sorted((folder / "cards" if (folder / "cards").is_dir() else folder).glob("*.toml"))
            cards = arranged([(read_card(file.read_bytes(), file.name), file.name) for file in files])
            made = Version(folder.resolve().name, bound(cards))
        elif registry:
            from siphonwatch.streams.lab.registry.store import Registry  # fsspec is of the extra `lab`

            made = _stored(Registry(registry).read(name))
        else:
            raise NoVersion(
                f"no version {name}: give {SHIPPED}, a directory with the cards of all patterns (*.toml), or set "
                "models.registry"
            )
    except (CardError, VersionError, OSError) as error:
        raise NoVersion(f"version {name}: {error}") from None
    for over in ("account", "campaign"):
        if not any(detector.card.over == over for detector in made.detectors):
            raise NoVersion(f"version {name} has no card over {over}s: a version is the whole set that judges")
    return made


def _stored(version: Stored) -> Version:
    return Version(version.name, version.detectors("account") + version.detectors("campaign"))
