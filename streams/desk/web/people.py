"""Who asks, and what they may do: three roles, each with all of the ones before it. Knows no way to log in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args

import msgspec

from siphonwatch.streams.common.desk_settings import Desk
from siphonwatch.streams.deliver.text import clean, clip

Role = Literal["read", "decide", "administer"]
ROLES: tuple[Role, ...] = get_args(Role)
NAME_CHARACTERS = 200
"""Of a person: an address of e-mail is shorter."""


class Person(msgspec.Struct, frozen=True):
    """Somebody who asks."""

    name: str
    role: Role | Literal[""]
    """The most that they may do; empty for nothing."""
    program: bool = False
    """Whether it is a program with a token."""

    def may(self, role: Role) -> bool:
        """Return whether the role is theirs."""
        return self.role != "" and ROLES.index(self.role) >= ROLES.index(role)


def named(name: str) -> str:
    """Return a name as it is kept and shown: one line, not too long; empty for what is none."""
    return clip(clean(name).strip(), NAME_CHARACTERS)


def role_of(groups: Iterable[str], settings: Desk) -> Role | Literal[""]:
    """Return the most that a member of these groups may do; empty for nothing."""
    have = set(groups)
    for role in reversed(ROLES):
        if have & set(getattr(settings, role)):
            return role
    return ""
