"""DFIR-IRIS by its alerts API: a case is an alert there, known by its source and reference.

Source: iris-web 2.4 (`app/blueprints/alerts/alerts_routes.py`), dfir-iris-client. Every error but a lack of rights is
answered with status 400 and a message.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar

from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.common.sink_settings import Sink, UnusableSink
from siphonwatch.streams.deliver.alert import AlertRecord
from siphonwatch.streams.deliver.dialect import Dialect, Markdown
from siphonwatch.streams.deliver.outcome import Outcome, Verdict
from siphonwatch.streams.deliver.post import Poster
from siphonwatch.streams.deliver.text import accounts, clean, clip, is_url, runbook
from siphonwatch.streams.deliver.trackers.tracker import SOURCE, NotTaken, Tracker, unlike

SEVERITY = {"low": "Low", "medium": "Medium", "high": "High", "critical": "Critical"}
ACCOUNTS = 100
ENDED = ("closed", "merged", "escalated")
"""Names of statuses, in lower case, that analysts end an alert with."""
_SETUP = (b"entitled", b"customer", b"severity_id", b"status_id", b"foreign key", b"permission")
"""In an answer: what is wrong is the sink's customer, its key's rights or the server's lists, and not one alert."""


class Iris(Tracker):
    """An alert a case. `url` is that of IRIS, `token` a user's API key, `project` the number of the customer."""

    dialect: ClassVar[Dialect] = Markdown()

    @classmethod
    def check(cls, settings: Settings, sink: Sink) -> None:
        """Try the templates, and refuse a customer that is no number.

        Raises
        ------
        UnusableSink
            When something is wrong.
        """
        super().check(settings, sink)
        if sink.project and not (sink.project.isascii() and sink.project.isdigit()):
            raise UnusableSink("project: give the number of a customer of IRIS")

    def __init__(self, settings: Settings, name: str, poster: Poster) -> None:
        super().__init__(settings, name, poster)
        self._lists: dict[str, dict[str, int]] = {}

    async def _call(self, method: str, path: str, body: Any = None, **query: str | int) -> Any:
        answer = await self.ask(method, path, body, **query)
        if not isinstance(answer, dict) or "data" not in answer:
            raise unlike("data")
        return answer["data"]

    async def _number(self, listed: str, kind: str, wanted: str) -> int:
        """The server's number of a severity or status; asked for once, as the lists are short and seldom change."""
        if listed not in self._lists:
            rows = await self._call("GET", f"/manage/{listed}/list")
            self._lists[listed] = {str(row[f"{kind}_name"]).lower(): int(row[f"{kind}_id"]) for row in rows}
        if (found := self._lists[listed].get(wanted.lower())) is None:
            names = ", ".join(self._lists.pop(listed))  # asked for anew the next time: somebody may add it
            raise NotTaken(Outcome("misconfigured", f"IRIS has no {kind} {wanted!r}: there are {names}"))
        return found

    @property
    def _customer(self) -> int:
        return int(self._sink.project or 1)

    async def find(self, case: str) -> dict[str, Any] | None:
        """Return the alert of a case; IRIS takes a reference for a part of one, so what it gives is looked at."""
        data = await self._call(
            "GET", "/alerts/filter",
            source_reference=case, alert_source=SOURCE, alert_customer_id=self._customer, per_page=10,
        )  # fmt: skip
        found = [one for one in data["alerts"] if one["alert_source_ref"] == case and one["alert_source"] == SOURCE]
        return min(found, key=lambda one: int(one["alert_id"]), default=None)

    async def listed(self, page: int, size: int) -> dict[str, Any]:
        """Return one page of our alerts, the newest first: `alerts` and `next_page`."""
        data = await self._call(
            "GET", "/alerts/filter",
            page=page, per_page=size, alert_source=SOURCE, alert_customer_id=self._customer, sort="desc",
        )  # fmt: skip
        if not isinstance(data, dict) or not isinstance(data.get("alerts"), list):
            raise unlike("alerts")
        data["alerts"] = [one for one in data["alerts"] if one["alert_source"] == SOURCE]
        return data

    async def create(self, alert: AlertRecord, title: str, text: str) -> str:
        """Make an alert."""
        link = runbook(self._link, alert)
        tags = [SOURCE, clean(alert.own.pattern).replace(",", " "), *alert.own.atlas, *["test"] * alert.test]
        body = {
            "alert_title": title,
            "alert_description": text,
            "alert_source": SOURCE,
            "alert_source_ref": alert.case,
            "alert_source_link": link if is_url(link) else "",
            "alert_source_event_time": datetime.fromtimestamp(alert.opened, UTC).strftime("%Y-%m-%dT%H:%M:%S"),
            "alert_severity_id": await self._number("severities", "severity", SEVERITY[alert.severity]),
            "alert_status_id": await self._number("alert-status", "status", "New"),
            "alert_customer_id": self._customer,
            "alert_tags": ",".join(clip(tag, 100) for tag in tags),
            "alert_source_content": {"case": alert.case, "accounts": accounts(alert, ACCOUNTS)},
        }
        made = await self._call("POST", "/alerts/add", body)
        return f"alert {made['alert_id']}"

    async def _update(self, found: dict[str, Any], fields: dict[str, Any]) -> None:
        """Change fields; IRIS would make us the owner of an alert that has none."""
        owner = {} if found.get("alert_owner_id") else {"alert_owner_id": "-1"}
        await self._call("POST", f"/alerts/update/{found['alert_id']}", fields | owner)

    async def change(self, found: dict[str, Any], alert: AlertRecord) -> None:
        """Raise the severity."""
        wanted = await self._number("severities", "severity", SEVERITY[alert.severity])
        ranks = [await self._number("severities", "severity", name) for name in SEVERITY.values()]
        now = found["alert_severity_id"]
        if now not in ranks or ranks.index(now) < ranks.index(wanted):
            await self._update(found, {"alert_severity_id": wanted})

    async def said(self, found: dict[str, Any], alert: str) -> bool:
        """Whether it has the comment of an alert already."""
        comments = await self._call("GET", f"/alerts/{found['alert_id']}/comments/list")
        return any(str(one.get("comment_text", "")).endswith(self.mark(alert)) for one in comments)

    async def comment(self, found: dict[str, Any], text: str) -> None:
        """Add a comment."""
        await self._call("POST", f"/alerts/{found['alert_id']}/comments/add", {"comment_text": text})

    async def end(self, found: dict[str, Any], status: str) -> str:
        """Give it a status, unless analysts gave it one that ends it."""
        if str((found.get("status") or {}).get("status_name", "")).lower() in ENDED:
            return "commented; it was closed or part of a case already"
        await self._update(found, {"alert_status_id": await self._number("alert-status", "status", status)})
        return f"closed as {status}"

    def judge(self, status: int, said: bytes) -> Verdict:
        """Return what an answer means."""
        if status == 400 and any(word in said.lower() for word in _SETUP):
            return "misconfigured"
        return super().judge(status, said)
