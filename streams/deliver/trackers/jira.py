"""Jira by its REST API: a case is an issue, known by a label. Version 3 of Cloud, with documents for texts, or version
2 of Data Center, with wiki markup.

Source: Atlassian, "The Jira Cloud platform REST API" v3 and "Jira Data Center platform REST API" v2, the jira package.
"""

from __future__ import annotations

import asyncio
import base64
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.common.sink_settings import Sink, secret
from siphonwatch.streams.deliver.alert import AlertRecord
from siphonwatch.streams.deliver.dialect import Dialect, Plain, Wiki
from siphonwatch.streams.deliver.outcome import Verdict
from siphonwatch.streams.deliver.post import Poster
from siphonwatch.streams.deliver.text import clean
from siphonwatch.streams.deliver.trackers.document import document, text_of
from siphonwatch.streams.deliver.trackers.tracker import SOURCE, NotTaken, Tracker, log, need, unlike

INDEX_SECONDS = 60.0
"""How long after an issue may have been made by somebody whom we know nothing of (who was killed, or whose answer got
lost) a search that finds none is not believed: an index is behind by "a few seconds to minutes", mostly seconds
(Atlassian, "Search after write"). Alerts wait so long once after a start, and once after partitions were assigned."""
REMEMBERED = 10_000
"""Cases whose issue is known without a search."""
COMMENTS = 50
PAGE = 100
"""Issues of one answer."""
FIELDS = "status,labels,resolution"
_OURS = frozenset({"summary", "description", "labels"})
"""Fields that an alert fills; what Jira says of any other is about the project."""


class Jira(Tracker):
    """An issue a case.

    `url` is that of the site, `token` an API token of Cloud, beside the account's address in `username`, or a personal
    access token of Data Center; `project` the key of a project.
    """

    fields: tuple[str, ...] = (*Tracker.fields, "username", "issue_type", "edition")

    @classmethod
    def dialect_of(cls, sink: Sink) -> Dialect:
        """Return how texts are marked up."""
        return Plain() if sink.edition == "cloud" else Wiki()

    @classmethod
    def check(cls, settings: Settings, sink: Sink) -> None:
        """Try the templates, and refuse a sink without a project, or of Cloud without a user.

        Raises
        ------
        UnusableSink
            When something is wrong.
        """
        need(sink, "project", *["username"] * (sink.edition == "cloud"))
        super().check(settings, sink)

    def __init__(
        self,
        settings: Settings,
        name: str,
        poster: Poster,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        super().__init__(settings, name, poster)
        self._clock = clock
        self._pause = pause
        self._cloud = self._sink.edition == "cloud"
        self._api = "/rest/api/3" if self._cloud else "/rest/api/2"
        self._known: dict[str, str] = {}
        self._believed = clock() + INDEX_SECONDS
        """From when on a search that finds nothing is believed."""

    def took(self) -> None:
        """Distrust the search: another deliverer may just have made issues that the index does not have."""
        self._believed = self._clock() + INDEX_SECONDS

    def headers(self) -> dict[str, str]:
        """Return what every request says."""
        token = secret(self._sink, "token")
        if not self._sink.username:
            return {"Authorization": f"Bearer {token}"}
        return {"Authorization": "Basic " + base64.b64encode(f"{self._sink.username}:{token}".encode()).decode()}

    def _formed(self, text: str) -> Any:
        return document(text) if self._cloud else text

    @staticmethod
    def label(case: str) -> str:
        """Return the label by which the issue of a case is found."""
        return f"{SOURCE}-{case}"

    async def find(self, case: str) -> dict[str, Any] | None:
        """Return the issue of a case; one that was deleted or may not be seen any more is none."""
        if key := self._known.get(case):
            try:
                return self._issue(await self.ask("GET", f"{self._api}/issue/{key}", fields=FIELDS), case)
            except NotTaken as error:
                if error.status != 404:
                    raise
                del self._known[case]
        return await self._search(case)

    async def _search(self, case: str) -> dict[str, Any] | None:
        project = self._sink.project.replace("\\", "\\\\").replace('"', '\\"')
        jql = f'project = "{project}" AND labels = "{self.label(case)}" ORDER BY created ASC'
        path = f"{self._api}/search/jql" if self._cloud else f"{self._api}/search"
        answer = await self.ask("POST", path, {"jql": jql, "maxResults": 1, "fields": FIELDS.split(",")})
        if not isinstance(answer, dict) or not isinstance(answer.get("issues"), list):
            raise unlike("issues")
        return self._issue(answer["issues"][0], case) if answer["issues"] else None

    def _issue(self, issue: Any, case: str) -> dict[str, Any]:
        if not isinstance(issue, dict) or not {"key", "fields"} <= issue.keys():
            raise unlike("issue")
        self._remember(case, str(issue["key"]))
        return issue

    def _remember(self, case: str, key: str) -> None:
        self._known[case] = key
        if len(self._known) > REMEMBERED:
            del self._known[next(iter(self._known))]

    async def myself(self) -> str:
        """Return the id of the user that we are there."""
        us = await self.ask("GET", f"{self._api}/myself")
        return str(us.get("accountId") or us.get("name") or "") if isinstance(us, dict) else ""

    async def resolved(self, since: float) -> list[dict[str, Any]]:
        """Return our issues that are resolved and changed since a time, seconds since 1970."""
        project = self._sink.project.replace("\\", "\\\\").replace('"', '\\"')
        minutes = max(math.ceil((time.time() - since) / 60), 1)  # relative: absolute times are in the user's own zone
        jql = f'project = "{project}" AND labels = "{SOURCE}" AND resolution is not EMPTY AND updated >= "-{minutes}m"'
        asked: dict[str, Any] = {"jql": f"{jql} ORDER BY key ASC", "maxResults": PAGE, "fields": FIELDS.split(",")}
        path = f"{self._api}/search/jql" if self._cloud else f"{self._api}/search"
        found: list[dict[str, Any]] = []
        while True:
            answer = await self.ask("POST", path, asked)
            if not isinstance(answer, dict) or not isinstance(answer.get("issues"), list):
                raise unlike("issues")
            found += answer["issues"]
            token = answer.get("nextPageToken")
            more = token if self._cloud else len(found) < int(answer.get("total", 0))
            if not more or not answer["issues"]:
                return found
            asked |= {"nextPageToken": token} if self._cloud else {"startAt": len(found)}

    async def history(self, key: str) -> list[dict[str, Any]]:
        """Return an issue's changes."""
        issue = await self.ask("GET", f"{self._api}/issue/{key}", fields="resolution", expand="changelog")
        return list((issue.get("changelog") or {}).get("histories") or [])

    async def settled(self, alert: AlertRecord) -> bool:
        """Wait until the index must be up to date; a test's case is a new one."""
        wait = self._believed - self._clock()
        if wait <= 0 or alert.test:
            return False
        await self._pause(wait)
        return True

    async def create(self, alert: AlertRecord, title: str, text: str) -> str:
        """Make an issue."""
        labels = [SOURCE, self.label(alert.case), f"severity-{alert.severity}", _label(alert.own.pattern)]
        fields = {
            "project": {"key": self._sink.project},
            "issuetype": {"name": self._sink.issue_type},
            "summary": title,
            "description": self._formed(text),
            "labels": labels + ["test"] * alert.test,
        }
        try:
            made = await self.ask("POST", f"{self._api}/issue", {"fields": fields})
        except NotTaken as error:
            if error.status == 0 or error.status >= 500:  # it may have been made all the same
                self._believed = self._clock() + INDEX_SECONDS
            raise
        if not isinstance(made, dict) or "key" not in made:
            raise unlike("key")
        self._remember(alert.case, str(made["key"]))
        return str(made["key"])

    async def change(self, found: dict[str, Any], alert: AlertRecord) -> None:
        """Change the label of the severity; priorities are each site's own and are left alone."""
        wanted = f"severity-{alert.severity}"
        labels = [str(one) for one in found["fields"].get("labels") or []]
        if wanted not in labels:
            old = [{"remove": one} for one in labels if one.startswith("severity-")]
            await self.ask("PUT", f"{self._api}/issue/{found['key']}", {"update": {"labels": [*old, {"add": wanted}]}})

    async def said(self, found: dict[str, Any], alert: str) -> bool:
        """Whether it has the comment of an alert already."""
        path = f"{self._api}/issue/{found['key']}/comment"
        answer = await self.ask("GET", path, orderBy="-created", maxResults=COMMENTS)
        comments = answer.get("comments") if isinstance(answer, dict) else None
        if not isinstance(comments, list):
            raise unlike("comments")
        return any(text_of(one.get("body")).rstrip().endswith(self.mark(alert)) for one in comments)

    async def comment(self, found: dict[str, Any], text: str) -> None:
        """Add a comment."""
        await self.ask("POST", f"{self._api}/issue/{found['key']}/comment", {"body": self._formed(text)})

    async def end(self, found: dict[str, Any], status: str) -> str:
        """Take the transition of this name, or to the status of this name; none where it is done, or has no such."""
        if ((found["fields"].get("status") or {}).get("statusCategory") or {}).get("key") == "done":
            return "commented; it was done already"
        path = f"{self._api}/issue/{found['key']}/transitions"
        offered = (await self.ask("GET", path))["transitions"]
        for one in offered:
            if status.lower() in (str(one["name"]).lower(), str((one.get("to") or {}).get("name", "")).lower()):
                await self.ask("POST", path, {"transition": {"id": one["id"]}})
                return f"took the transition {one['name']}"
        names = ", ".join(str(one["name"]) for one in offered)
        log.warning("an issue has no such transition: commented only", sink=self._name, wanted=status, offered=names)
        return f"commented; there is no transition {status} from where it is, only {names}"

    def judge(self, status: int, said: bytes) -> Verdict:
        """Return what an answer means; 400 is mostly said of a project's screens and types."""
        return "misconfigured" if status == 400 and _about_the_project(said) else super().judge(status, said)


def _about_the_project(said: bytes) -> bool:
    try:
        errors = msgspec.json.decode(said, type=dict[str, Any]).get("errors")
    except msgspec.DecodeError:
        return False
    return isinstance(errors, dict) and bool(errors.keys() - _OURS)


def _label(pattern: str) -> str:
    """A pattern as a label, which has no blanks."""
    return "".join(clean(pattern).split())[:100] or "pattern"
