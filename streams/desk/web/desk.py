"""What every handler of the desk stands on: the index, what decides, who asks, and one request with all of that.
Serves nothing by itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

import msgspec
from aiohttp import web
from prometheus_client import CollectorRegistry

from siphonwatch.streams.desk.views import Act, Acts, Looks, NotSent, Overtaken, Unknown
from siphonwatch.streams.desk.web.audit import Audit, Entry, Outcome
from siphonwatch.streams.desk.web.doors import Door, Tokens
from siphonwatch.streams.desk.web.metrics import Metrics
from siphonwatch.streams.desk.web.people import Person
from siphonwatch.streams.desk.web.session import Session, Sessions
from siphonwatch.streams.desk.web.sharing import Sharing, Tables

THREADS = 4
"""That ask the index: it waits for the disk, never for people."""
SECONDS = 30.0
"""Until somebody is told that the index is busy."""
SAID = 1000
"""Sessions for which a line of what was done waits to be shown."""
P = ParamSpec("P")
T = TypeVar("T")


class Busy(Exception):
    """The index did not answer in time."""


class Desk:
    """One desk.

    Parameters
    ----------
    looks, acts
        What can be asked, and decided; called from several threads.
    door
        Who asks.
    tokens
        Which programs may.
    sessions
        Of people.
    address
        As browsers know the desk, without a slash at the end; empty for this machine only.
    registry
        Of metrics.
    clock
        Seconds since 1970.
    tables
        What desks of one database share.
    """

    def __init__(
        self,
        looks: Looks,
        acts: Acts,
        door: Door,
        tokens: Tokens,
        sessions: Sessions,
        address: str = "",
        registry: CollectorRegistry | None = None,
        clock: Callable[[], float] = time.time,
        tables: Tables | None = None,
    ) -> None:
        self.looks = looks
        self.acts = acts
        self.door = door
        self.tokens = tokens
        self.sessions = sessions
        self.address = address.rstrip("/")
        self.clock = clock
        self.audit = Audit(clock)
        self.sharing = Sharing(tables, self.audit, sessions, clock) if tables is not None else None
        self.metrics = Metrics(CollectorRegistry() if registry is None else registry)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="desk")
        self._decisions = ThreadPoolExecutor(1, thread_name_prefix="desk-decisions")  # they take turns anyway
        self._said: dict[str, str] = {}

    async def ask(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the index in a thread of its own.

        Raises
        ------
        Busy
            When it does not answer in time.
        """
        loop = asyncio.get_running_loop()
        try:
            return await asyncio.wait_for(
                loop.run_in_executor(self._threads, lambda: call(*args, **kwargs)), timeout=SECONDS
            )
        except TimeoutError:
            raise Busy from None

    async def decide(self, act: Act, asked: Asked) -> str:
        """Do what somebody decided, and log it whatever comes of it.

        It takes as long as `Acts.act` does, which has bounds of its own: once it may have been sent, giving up on it
        would say nothing of whether it stands.

        Raises
        ------
        Overtaken, Unknown, ValueError
            As `Acts.act`.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._decisions, self._decided, act, asked.person, asked.peer)

    def _decided(self, act: Act, person: Person, peer: str) -> str:
        outcome: Outcome = "failed"
        said = "it failed; the desk's log says why"
        try:
            said = self.acts.act(act, person.name)
            outcome = "done"
        except (Overtaken, Unknown, ValueError) as error:
            said = str(error)
            outcome = "overtaken" if isinstance(error, Overtaken) else "wrong"
            if isinstance(error, NotSent):
                outcome = "failed"
            raise
        finally:
            self.metrics.decisions.labels(act.kind, outcome).inc()
            cases = act.cases or act.accounts or [act.entry]
            self.audit.take(person.name, person.role, peer, act.kind, outcome, said, cases)
        return said

    async def entries(self) -> list[Entry]:
        """Return who did what, the newest first: at all desks of one database, else here since the start."""
        return self.audit.newest() if self.sharing is None else await self.ask(self.sharing.newest)

    def say(self, session: Session, text: str) -> None:
        """Keep one line for the next page of a session; not in its address, where anybody could write it."""
        while len(self._said) >= SAID:
            del self._said[next(iter(self._said))]
        self._said[session.id] = text

    def said(self, session: Session) -> str:
        """Return that line, once."""
        return self._said.pop(session.id, "")

    def close(self) -> None:
        """Let the threads go; a decision under way is still finished and logged, those that wait are not begun."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._decisions.shutdown(wait=False, cancel_futures=True)


class Asked(msgspec.Struct):
    """One request of somebody who may make it."""

    desk: Desk
    request: web.Request
    person: Person
    session: Session
    fresh: bool
    """Whether the session was made for this request."""
    form: dict[str, list[str]] = {}
    """Of a form that was sent."""

    @property
    def csrf(self) -> str:
        """The token of this session's forms."""
        return self.desk.sessions.csrf(self.session, self.person.name)

    @property
    def peer(self) -> str:
        """Address that the request came from."""
        return self.request.remote or ""

    def one(self, field: str) -> str:
        """Return a field of the form, empty where it is not there."""
        return self.form.get(field, [""])[0]
