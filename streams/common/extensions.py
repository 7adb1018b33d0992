"""What other distributions add by entry points: formats of logs and kinds of sinks. None is loaded until it is used.

A distribution names a class of its own under one of the groups below, by the format's or kind's name:

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
FORMATS = ("telemetry", "litellm", "otlp", "kong", "envoy", "nginx")
"""Our own formats."""
KINDS = ("webhook", "slack", "pagerduty", "alertmanager", "grafana")
"""Our own kinds of sinks."""
_OWN = {ADAPTERS: FORMATS, SINKS: KINDS}


class ExtensionError(ValueError):
    """What a distribution adds cannot be used; the message names the distribution and the entry point."""


@cache
def added(group: str) -> dict[str, EntryPoint]:
    """Return the entry points of a group by name, without those that would take the place of one of ours."""
    return {point.name: point for point in entry_points(group=group) if point.name not in _OWN[group]}


def names(group: str) -> tuple[str, ...]:
    """Return the names of ours, then of those that others add."""
    return (*_OWN[group], *sorted(added(group)))


def load(group: str, name: str, *needed: str) -> Any:
    """Return the class that a distribution adds.

    Parameters
    ----------
    group, name
        As in `added`.
    needed
        Attributes that it must have.

    Raises
    ------
    ExtensionError
        When it cannot be imported, or is no class with those attributes.
    """
    point = added(group)[name]
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
    if missing := [attribute for attribute in needed if not hasattr(found, attribute)]:
        raise ExtensionError(f"{where} lacks {', '.join(missing)}")
    return found
