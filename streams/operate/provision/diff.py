"""How an object in Grafana differs from ours, field by field; what Grafana adds by itself is no difference."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec

from siphonwatch.streams.common.grafana import plain

LONGEST = 80
"""Characters of a value that are shown."""
NOTHING: tuple[Any, ...] = (None, "", [], {}, False, "0s")
"""What Grafana may leave out or fill in where nothing is set."""


class Field(msgspec.Struct, frozen=True):
    """One field that is not as we want it; values as text, cut to what one reads."""

    path: str
    old: str
    new: str


def fields(have: Any, want: Any, *, exact: tuple[str, ...] = (), path: str = "") -> Iterator[Field]:
    """Yield what differs.

    Parameters
    ----------
    have, want
        JSON values.
    exact
        Paths of objects in which a key that we do not set counts too, such as labels: elsewhere Grafana adds keys.
    """
    if isinstance(have, dict) and isinstance(want, dict):
        keys = list(want) + ([key for key in have if key not in want] if path in exact else [])
        for key in keys:
            where = f"{path}.{key}" if path else str(key)
            yield from fields(have.get(key), want.get(key), exact=exact, path=where)
    elif isinstance(have, list) and isinstance(want, list):
        for i, (old, new) in enumerate(zip(have, want, strict=False)):
            yield from fields(old, new, exact=exact, path=f"{path}[{_name(new, old, i)}]")
        for extra in have[len(want) :]:
            yield Field(f"{path}[{_name(extra, None, len(want))}]", show(extra), "")
        for i, missing in enumerate(want[len(have) :], len(have)):
            yield Field(f"{path}[{_name(missing, None, i)}]", "", show(missing))
    elif not _same(have, want):
        yield Field(path, show(have), show(want))


def show(value: Any) -> str:
    """Return a value as short text."""
    text = value if isinstance(value, str) else "" if value is None else json.dumps(value, sort_keys=True)
    text = plain(text)
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def _same(have: Any, want: Any) -> bool:
    if isinstance(have, bool) or isinstance(want, bool):  # False == 0 is not meant
        return have is want or (_nothing(have) and _nothing(want))
    return bool(have == want) or (_nothing(have) and _nothing(want))


def _nothing(value: Any) -> bool:
    return any(value is empty or (type(value) is type(empty) and value == empty) for empty in NOTHING)


def _name(value: Any, other: Any, position: int) -> str:
    """A list's element as people know it: by its title, name or reference, else by its place."""
    for candidate in (value, other):
        if isinstance(candidate, dict):
            for key in ("title", "name", "refId", "id"):
                if isinstance(candidate.get(key), str) and candidate[key]:
                    return str(candidate[key])
    return str(position)
