"""What `provision` finds out about one object, and the call that would put it right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from siphonwatch.streams.operate.provision.diff import Field

Action = Literal["make", "change", "remove", "unchanged", "left", "refused"]
"""`left`: not ours to touch, and no obstacle. `refused`: in the way of what we would make."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One object."""

    action: Action
    kind: str
    """Such as `dashboard`."""
    name: str
    """How people know it."""
    fields: tuple[Field, ...] = ()
    """Of a change: what differs."""
    why: str = ""
    """Of `left` and `refused`: the reason, and what to do about it."""
    apply: Callable[[], Any] | None = None
    """Puts it right; raises GrafanaError."""


def settle(kind: str, name: str, found: tuple[Field, ...], apply: Callable[[], Any]) -> Change:
    """Return a change, or `unchanged` where nothing differs."""
    if not found:
        return Change(action="unchanged", kind=kind, name=name)
    return Change(action="change", kind=kind, name=name, fields=found, apply=apply)
