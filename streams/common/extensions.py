"""The formats of logs and the kinds of sinks that are installed: entry points. None is loaded until it is used.

Ours stand in `pyproject.toml` and nowhere else. Another distribution adds a class in the same way, by its name:

    [project.entry-points."siphonwatch.adapters"]
    acme = "acme_gateway:AcmeAdapter"
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

ADAPTERS = "siphonwatch.adapters"
"""Group of subclasses of `siphonwatch.streams.edge.adapters.Adapter`, by the name of the format."""
SINKS = "siphonwatch.sinks"
"""Group of classes as `siphonwatch.streams.deliver.receivers.Kind` says, by the name of the kind."""
NEEDED = {
    ADAPTERS: (("records", "recognises"),),
    SINKS: (("needs", "uses", "message", "judge"), ("needs", "uses", "make")),
}
"""What a class of a group must have: all of one of these."""
DISTRIBUTION = "siphonwatch"
"""Ours, whose names no other takes."""


class ExtensionError(ValueError):
    """An entry point cannot be used, or ours are missing; the message names the distribution and the entry point."""


@cache
def _points(group: str) -> dict[str, EntryPoint]:
    """The entry points of a group by name, ours first."""
    found: dict[str, EntryPoint] = {}
    for point in sorted(entry_points(group=group), key=lambda point: (not _is_ours(point), point.name)):
        found.setdefault(point.name, point)
    if not found or not _is_ours(next(iter(found.values()))):
        raise ExtensionError(
            f"this installation of {DISTRIBUTION} has no entry points {group}, so it is older than its code: install "
            "it anew (`pip install .`, or `make .venv/.test` in a checkout)"
        )
    return found


def _is_ours(point: EntryPoint) -> bool:
    return point.dist is not None and point.dist.name == DISTRIBUTION


def names(group: str) -> tuple[str, ...]:
    """Return the names of ours, then of those that others add.

    Raises
    ------
    ExtensionError
        Where the installation has none of ours.

    Examples
    --------
    >>> names(SINKS)
    ('alertmanager', 'apprise', 'grafana', 'iris', 'jira', 'mail', 'pagerduty', 'slack', 'thehive', 'webhook')
    """
    return tuple(_points(group))


def added(group: str) -> tuple[str, ...]:
    """Return the names that others add."""
    return tuple(name for name, point in _points(group).items() if not _is_ours(point))


def load(group: str, name: str) -> Any:
    """Return the class of a name.

    Parameters
    ----------
    group, name
        One of `names(group)`.

    Raises
    ------
    ExtensionError
        When it cannot be imported, or is no class with what `NEEDED` says.
    ModuleNotFoundError
        When it is one of ours, and this machine was not given the packages that it needs.
    """
    point = _points(group)[name]
    if _is_ours(point):
        return point.load()
    distribution = point.dist.name if point.dist else "an unknown distribution"
    where = f"{group} of {distribution}: {point.name} = {point.value!r}"
    try:
        found = point.load()
    except Exception as error:  # code that is not ours may fail in any way
        raise ExtensionError(
            f"{where} cannot be loaded ({type(error).__name__}: {error}): mend or remove it"
        ) from error
    if not isinstance(found, type):
        raise ExtensionError(f"{where} is no class")
    if missing := min(([one for one in needed if not hasattr(found, one)] for needed in NEEDED[group]), key=len):
        raise ExtensionError(f"{where} lacks {', '.join(missing)}")
    return found
