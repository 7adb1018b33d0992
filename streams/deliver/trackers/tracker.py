"""One object a case in an analysts' tool: made once, kept up while the case goes on, and told that it closed.

An object is looked for by the case's id, which it carries, before it is made: so it is found again by a deliverer that
was killed after making it, or by another one. What else is remembered only saves requests. What people wrote there is
left as it is: an update is a comment, and what changes is the severity.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, ClassVar, Self
from urllib.parse import quote, urlencode

import msgspec
import structlog

from siphonwatch.models.learn.verdict_book import DECISIONS
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.common.sink_settings import Sink, UnusableSecret, UnusableSink, secret
from siphonwatch.streams.deliver.alert import AlertRecord
from siphonwatch.streams.deliver.dialect import Dialect
from siphonwatch.streams.deliver.outcome import Outcome, Verdict, judge
from siphonwatch.streams.deliver.post import Message, Poster
from siphonwatch.streams.deliver.receivers import Receiver, poster_of
from siphonwatch.streams.deliver.template import Writer

ANSWER_BYTES = 4 * 1024 * 1024
"""Read of an answer: some objects, each with a description and what an alert said."""
SOURCE = "siphonwatch"
TEXT = 30_000
"""Longest text of an object or a comment, in characters; Jira's bound, the least of them, is 32,767."""

log = structlog.get_logger(__name__)


class NotTaken(Exception):
    """A call was not answered with yes.

    Parameters
    ----------
    outcome
        What that means for the alert.
    status
        Of HTTP; 0 where there was no answer.
    said
        The answer's beginning.
    """

    def __init__(self, outcome: Outcome, status: int = 0, said: bytes = b"") -> None:
        super().__init__(outcome.detail)
        self.outcome = outcome
        self.status = status
        self.said = said


class Tracker(Receiver):
    """Keeps an object a case in one tool; a subclass says how each step is asked for there.

    Parameters
    ----------
    settings
        Of everything; the sink is `settings.sinks[name]`.
    name
        Of the sink.
    poster
        Closed with this.
    """

    needs: tuple[str, ...] = ("url", "token")
    uses: tuple[str, ...] = ("url", "token")
    fields: tuple[str, ...] = ("project", "on_close", "decisions", "title", "body")
    updates: ClassVar[str] = "changes"
    dialect: ClassVar[Dialect]
    title_limit: ClassVar[int] = 255

    @classmethod
    def make(cls, settings: Settings, name: str, clock: Callable[[], float] = time.time) -> Self:
        """Return the receiver of a sink."""
        return cls(settings, name, poster_of(settings, settings.sinks[name], clock))

    @classmethod
    def check(cls, settings: Settings, sink: Sink) -> None:
        """Try the templates, and refuse a decision that is none of ours.

        Raises
        ------
        UnusableSink
            When one is wrong.
        """
        Writer(sink, settings.links.runbook, cls.dialect_of(sink)).check()
        if wrong := sorted(set(sink.decisions.values()) - {"", *DECISIONS}):
            raise UnusableSink(f"decisions: {', '.join(wrong)}: there are {', '.join(DECISIONS)}")

    @classmethod
    def dialect_of(cls, sink: Sink) -> Dialect:
        """Return how texts are marked up."""
        return cls.dialect

    def __init__(self, settings: Settings, name: str, poster: Poster) -> None:
        self._sink = settings.sinks[name]
        self._name = name
        self._link = settings.links.runbook
        self._poster = poster
        self._writer = Writer(self._sink, self._link, self.dialect_of(self._sink))
        self._turn = asyncio.Lock()

    @property
    def on_close(self) -> str:
        """What an object becomes when its case closes; empty for nothing."""
        return self._sink.on_close

    async def deliver(self, alert: AlertRecord) -> Outcome:
        """Bring the case's object to what an alert says: one case at a time, so that none is made twice."""
        async with self._turn:
            try:
                return Outcome("delivered", await self._keep(alert))
            except NotTaken as error:
                return error.outcome
            except UnusableSecret as error:
                return Outcome("misconfigured", str(error))
            except (LookupError, TypeError, ValueError, AttributeError) as error:
                said = f"the answer has another shape than the tool's API ({type(error).__name__})"
                return Outcome("misconfigured", said)

    async def _keep(self, alert: AlertRecord) -> str:
        """Bring the object up to date; what was done."""
        found = await self.find(alert.case)
        if found is None and await self.settled(alert):
            found = await self.find(alert.case)
        if found is None:
            if alert.kind == "closed":
                return "the case has no object there, so there is none to close"
            reference = await self.create(alert, self._writer.title(alert, self.title_limit), self._text(alert))
            return f"made {reference}"
        if alert.kind == "opened":  # made before by who was killed then, or asked for twice
            return "was there already"
        await self.change(found, alert)
        if not await self.said(found, alert.id):
            await self.comment(found, self._text(alert))
        if alert.kind == "closed" and self._sink.on_close:
            return await self.end(found, self._sink.on_close)
        return f"{alert.kind}"

    def _text(self, alert: AlertRecord) -> str:
        """A text, with the mark by which it is known again."""
        mark = self.mark(alert.id)
        return f"{self._writer.body(alert, TEXT - len(mark) - 2)}\n\n{mark}"

    @staticmethod
    def mark(alert: str) -> str:
        """Return the line that says which alert a text is from; it is the same in every markup."""
        return f"{SOURCE} alert {alert}"

    async def find(self, case: str) -> dict[str, Any] | None:
        """Return the object of a case, as the tool gives it.

        Raises
        ------
        NotTaken
            As all calls do.
        """
        raise NotImplementedError

    async def settled(self, alert: AlertRecord) -> bool:
        """Wait until a search that finds nothing is to be believed; return whether to look again."""
        return False

    async def create(self, alert: AlertRecord, title: str, text: str) -> str:
        """Make the object of a case; return what people know it by."""
        raise NotImplementedError

    async def change(self, found: dict[str, Any], alert: AlertRecord) -> None:
        """Set its severity to the alert's, where it was lower."""
        raise NotImplementedError

    async def said(self, found: dict[str, Any], alert: str) -> bool:
        """Whether it has the comment of an alert already."""
        raise NotImplementedError

    async def comment(self, found: dict[str, Any], text: str) -> None:
        """Add a comment."""
        raise NotImplementedError

    async def end(self, found: dict[str, Any], status: str) -> str:
        """Give it the status of a closed case; return what was done."""
        raise NotImplementedError

    def headers(self) -> dict[str, str]:
        """Return what every request says."""
        return {"Authorization": f"Bearer {secret(self._sink, 'token')}"}

    def judge(self, status: int, said: bytes) -> Verdict:
        """Return what an answer means for an alert; a conflict heals by itself."""
        return "failed" if status == 409 else judge(status)

    async def ask(self, method: str, path: str, body: Any = None, **query: str | int) -> Any:
        """Call the tool and return what it answers, decoded; None where that is empty.

        Parameters
        ----------
        path
            Behind the sink's `url`.
        body
            Sent as JSON.
        query
            Sent as the address's query.

        Raises
        ------
        NotTaken
            When the answer is not yes, or is no JSON.
        """
        url = secret(self._sink, "url").rstrip("/") + quote(path) + (f"?{urlencode(query)}" if query else "")
        headers = {"Accept": "application/json", "Content-Type": "application/json", **self.headers()}
        sent = b"" if body is None else msgspec.json.encode(body)
        answer = await self._poster.ask(Message(url, sent, headers, method), self.judge, ANSWER_BYTES)
        if answer.outcome.verdict != "delivered":
            raise NotTaken(answer.outcome, answer.status, answer.said)
        if not answer.said.strip():
            return None
        try:
            return msgspec.json.decode(answer.said)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            outcome = Outcome("misconfigured", "the answer is no JSON: url is not that of the tool's API")
            raise NotTaken(outcome, answer.status, answer.said) from None

    async def close(self) -> None:
        """Close the connections."""
        await self._poster.close()


def unlike(what: str) -> NotTaken:
    """Return the error of an answer that has another shape than the tool's API."""
    return NotTaken(Outcome("misconfigured", f"the answer has no {what}: url is not that of the tool's API"))


def need(sink: Sink, *fields: str) -> None:
    """Refuse a sink that lacks one of its kind's own settings.

    Raises
    ------
    UnusableSink
        When one is empty.
    """
    for field in fields:
        if not getattr(sink, field):
            raise UnusableSink(f"a sink of kind {sink.kind} needs {field}")
