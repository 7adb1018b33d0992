"""Who asks: whoever is on this machine, whom a proxy in front names, or a program by its token. Decides no right."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import Protocol

from aiohttp import web

from siphonwatch.streams.common.desk_access import networks, within
from siphonwatch.streams.common.desk_settings import Desk
from siphonwatch.streams.desk.web.people import Person, named, role_of


class Door(Protocol):
    """Says who asks."""

    logs_in: bool
    """Whether people can be sent to log in."""

    def person(self, request: web.Request) -> Person | None:
        """Return who asks; nothing where that is not known."""


class Loopback:
    """Whoever reaches this machine's own address is the one who started the desk.

    Parameters
    ----------
    name
        Theirs.
    """

    logs_in = False

    def __init__(self, name: str) -> None:
        self._person = Person(named(name) or "me", "administer")

    def person(self, request: web.Request) -> Person | None:
        """Return the one who started the desk."""
        return self._person


class Proxy:
    """A proxy in front logs people in and says in headers who they are.

    Parameters
    ----------
    settings
        Which addresses are believed, and what the headers are called.
    """

    logs_in = False

    def __init__(self, settings: Desk) -> None:
        self._settings = settings
        self._proxies = networks(settings.proxies)

    def person(self, request: web.Request) -> Person | None:
        """Return whom the headers name; nothing where they come from elsewhere, or name nobody or two."""
        if not within(request.remote, self._proxies):
            return None
        names = request.headers.getall(self._settings.person_header, [])
        if len(names) != 1 or not (name := named(names[0])):
            return None
        said = request.headers.getall(self._settings.groups_header, [])
        groups = [group.strip() for header in said for group in header.split(",")]
        return Person(name, role_of(groups, self._settings))


class Tokens:
    """Programs, each by a token of its own; only the tokens' hashes are known.

    Parameters
    ----------
    known
        `name:role:sha256`, as in settings.
    """

    def __init__(self, known: Sequence[str]) -> None:
        self._known = [line.split(":") for line in known]

    def person(self, header: str) -> Person | None:
        """Return the program that an `Authorization` header is of; nothing where no program has that token."""
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer":
            return None
        digest = hashlib.sha256(token.strip().encode()).hexdigest()
        found = None
        for name, role, known in self._known:  # all of them, so that the time says nothing
            if hmac.compare_digest(digest, known):
                found = Person(name, role, program=True)  # type: ignore[arg-type]
        return found
