"""TheHive by its API v1: a case is an alert there, known by its source and reference, with the accounts as observables.

Source: TheHive 5 API documentation (docs.strangebee.com), thehive4py.
"""

from __future__ import annotations

from typing import Any, ClassVar

from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.common.sink_settings import Sink, UnusableSink
from siphonwatch.streams.deliver.alert import AlertRecord
from siphonwatch.streams.deliver.dialect import Dialect, Markdown
from siphonwatch.streams.deliver.outcome import Verdict
from siphonwatch.streams.deliver.text import accounts, clean, clip, is_url, runbook
from siphonwatch.streams.deliver.trackers.tracker import SOURCE, Tracker, unlike

SEVERITY = {"low": 1, "medium": 2, "high": 3, "critical": 4}
DECIDED: dict[str, str] = {
    "TruePositive": "true-positive", "FalsePositive": "false-positive", "Duplicated": "duplicate",
    "Duplicate": "duplicate", "Indeterminate": "insufficient",
}  # fmt: skip
"""What statuses of alerts and cases mean by themselves."""
AMBER = 2
"""Of the Traffic Light Protocol and the Permissible Actions Protocol: the alert is about customers."""
OBSERVABLES = 100
COMMENTS = 50
"""Newest ones that are looked through for an alert's."""


class TheHive(Tracker):
    """An alert a case; where analysts made it part of a case of theirs, comments go to that case as well.

    `url` is TheHive's, `token` a user's API key, `project` its organisation where the user has several.
    """

    dialect: ClassVar[Dialect] = Markdown()
    title_limit: ClassVar[int] = 512

    @classmethod
    def check(cls, settings: Settings, sink: Sink) -> None:
        """Try the templates, and refuse a closing of ours that would read as an analyst's decision.

        Raises
        ------
        UnusableSink
            When something is wrong.
        """
        super().check(settings, sink)
        if decision := {**DECIDED, **sink.decisions}.get(sink.on_close):
            raise UnusableSink(
                f"on_close: {clip(clean(sink.on_close), 40)} means {decision}, which an analyst decides: name another "
                'status, such as Ignored, or let it mean nothing in decisions ("")'
            )

    def headers(self) -> dict[str, str]:
        """Return what every request says."""
        organisation = {"X-Organisation": self._sink.project} if self._sink.project else {}
        return super().headers() | organisation

    async def query(self, name: str, *steps: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the objects that steps of a query lead to."""
        found = await self.ask("POST", "/api/v1/query", {"query": list(steps)}, name=name)
        if not isinstance(found, list) or not all(isinstance(one, dict) and "_id" in one for one in found):
            raise unlike("list of objects")
        return found

    async def find(self, case: str) -> dict[str, Any] | None:
        """Return the alert of a case."""
        known = {"type": SOURCE, "source": SOURCE, "sourceRef": case}
        same = [{"_eq": {"_field": field, "_value": value}} for field, value in known.items()]
        found = await self.query(
            "siphonwatch-case", {"_name": "listAlert"}, {"_name": "filter", "_and": same},
            {"_name": "page", "from": 0, "to": 1},
        )  # fmt: skip
        return next((one for one in found if one.get("sourceRef") == case), None)

    async def create(self, alert: AlertRecord, title: str, text: str) -> str:
        """Make an alert; where one of this reference was there after all, the alert is tried again and finds it."""
        names = dict.fromkeys(name for name in accounts(alert, OBSERVABLES)[:OBSERVABLES] if name.strip())
        link = runbook(self._link, alert)
        body = {
            "type": SOURCE,
            "source": SOURCE,
            "sourceRef": alert.case,
            "title": title,
            "description": text,
            "severity": SEVERITY[alert.severity],
            "date": round(alert.opened * 1000),
            "tags": [SOURCE, clip(clean(alert.own.pattern), 100), *alert.own.atlas, *(["test"] if alert.test else [])],
            "tlp": AMBER,
            "pap": AMBER,
            "observables": [{"dataType": "other", "data": name, "tags": ["account"]} for name in names],
        }
        if is_url(link):
            body["externalLink"] = link
        made = await self.ask("POST", "/api/v1/alert", body)
        if not isinstance(made, dict) or "_id" not in made:
            raise unlike("_id")
        return str(made["_id"])

    async def change(self, found: dict[str, Any], alert: AlertRecord) -> None:
        """Raise the severity."""
        if int(found.get("severity") or 0) < SEVERITY[alert.severity]:
            await self.ask("PATCH", f"/api/v1/alert/{found['_id']}", {"severity": SEVERITY[alert.severity]})

    async def said(self, found: dict[str, Any], alert: str) -> bool:
        """Whether it has the comment of an alert already."""
        comments = await self.query(
            "siphonwatch-comments", {"_name": "getAlert", "idOrName": found["_id"]}, {"_name": "comments"},
            {"_name": "sort", "_fields": [{"_createdAt": "desc"}]}, {"_name": "page", "from": 0, "to": COMMENTS},
        )  # fmt: skip
        return any(str(one.get("message", "")).endswith(self.mark(alert)) for one in comments)

    async def comment(self, found: dict[str, Any], text: str) -> None:
        """Comment on the analysts' case first: the alert's comment says that both have it."""
        if found.get("caseId"):
            await self.ask("POST", f"/api/v1/case/{found['caseId']}/comment", {"message": text})
        await self.ask("POST", f"/api/v1/alert/{found['_id']}/comment", {"message": text})

    async def end(self, found: dict[str, Any], status: str) -> str:
        """Give the alert a status, unless analysts gave it one that ends it, or made it part of a case."""
        if found.get("stage") in ("Closed", "Imported") or found.get("caseId"):
            return "commented; it was closed or part of a case already"
        await self.ask("PATCH", f"/api/v1/alert/{found['_id']}", {"status": status})
        return f"closed as {status}"

    def judge(self, status: int, said: bytes) -> Verdict:
        """Return what an answer means; 400 is said of a reference that is taken (`CreateError`), too."""
        return "failed" if status == 400 and b"CreateError" in said else super().judge(status, said)
