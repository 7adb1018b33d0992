"""Asks TheHive, DFIR-IRIS and Jira what analysts decided there about cases that a sink put there. Writes nothing there.

A tool is asked for what changed since the last time, with some overlap: what is said twice counts once. What we set
ourselves (`on_close`) is no decision.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from siphonwatch.streams.deliver.feedback.book import Claim
from siphonwatch.streams.deliver.trackers.iris import Iris
from siphonwatch.streams.deliver.trackers.jira import Jira
from siphonwatch.streams.deliver.trackers.thehive import DECIDED as HIVE
from siphonwatch.streams.deliver.trackers.thehive import TheHive
from siphonwatch.streams.deliver.trackers.tracker import SOURCE, Tracker

IRIS: dict[str, str] = {
    "False Positive": "false-positive", "True Positive With Impact": "true-positive",
    "True Positive Without Impact": "true-positive", "Legitimate": "benign-expected", "Unknown": "insufficient",
}  # fmt: skip
"""Resolutions of IRIS."""
JIRA: dict[str, str] = {
    "True Positive": "true-positive", "False Positive": "false-positive", "Benign": "benign-expected",
    "Duplicate": "duplicate",
}  # fmt: skip
"""Resolutions of Jira; each site has its own: the sink's `decisions` name them."""
_LABEL = re.compile(rf"{SOURCE}-([0-9a-f]{{16}})")
PAGE = 100
OVERLAP_SECONDS = 600.0
"""Asked for again at each poll: tools' clocks and indexes are behind."""
FIRST_SECONDS = 30 * 86_400.0
"""How far back the first poll asks."""


async def claims(tracker: Tracker, decisions: Mapping[str, str], since: float) -> list[Claim]:
    """Return what was decided in a tool since a time, seconds since 1970.

    Parameters
    ----------
    decisions
        Of the sink: what the tool's words mean, over what they mean by themselves.

    Raises
    ------
    NotTaken
        When the tool does not answer as it should.
    """
    if isinstance(tracker, TheHive):
        return await _of_hive(tracker, _words(HIVE, decisions), since)
    if isinstance(tracker, Iris):
        return await _of_iris(tracker, _words(IRIS, decisions), since)
    assert isinstance(tracker, Jira)  # noqa: S101 - there is no other
    return await _of_jira(tracker, _words(JIRA, decisions), since)


def _words(known: Mapping[str, str], decisions: Mapping[str, str]) -> dict[str, str]:
    """What a tool's words mean, without those that mean nothing."""
    return {word: decision for word, decision in {**known, **decisions}.items() if decision}


async def _of_hive(hive: TheHive, words: Mapping[str, str], since: float) -> list[Claim]:
    """Decided alerts of ours, and those in cases that were decided."""
    us = str((await hive.ask("GET", "/api/v1/user/current") or {}).get("login", ""))
    newer = {"_gte": {"_field": "_updatedAt", "_value": round(since * 1000)}}
    ours = {"_eq": {"_field": "source", "_value": SOURCE}}
    found: list[Claim] = []
    for one in await _pages(hive, {"_name": "listAlert"}, {"_name": "filter", "_and": [ours, newer]}):
        status, by = str(one.get("status", "")), str(one.get("_updatedBy", ""))
        if status in words and not (by == us and status == hive.on_close):
            found.append(_claim(one, words[status], by, one.get("closedDate")))
    for case in await _pages(hive, {"_name": "listCase"}, {"_name": "filter", "_and": [newer]}):
        if (status := str(case.get("status", ""))) not in words:
            continue
        steps = {"_name": "getCase", "idOrName": case["_id"]}, {"_name": "alerts"}, {"_name": "filter", "_and": [ours]}
        found += [
            _claim(one, words[status], str(case.get("_updatedBy", "")), case.get("endDate"))
            for one in await _pages(hive, *steps)
        ]
    return found


def _claim(alert: Mapping[str, Any], decision: str, by: str, ended: Any) -> Claim:
    moment = float(ended) / 1000 if isinstance(ended, int | float) else None
    return Claim(case=str(alert.get("sourceRef", "")), decision=decision, by=by, time=moment)


async def _pages(hive: TheHive, *steps: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while True:
        page = {"_name": "page", "from": len(found), "to": len(found) + PAGE}
        some = await hive.query("siphonwatch-decided", *steps, {"_name": "sort", "_fields": [{"_id": "asc"}]}, page)
        found += some
        if len(some) < PAGE:
            return found


async def _of_iris(iris: Iris, words: Mapping[str, str], since: float) -> list[Claim]:
    """Resolved alerts of ours; IRIS has no filter of what changed since, so its history is looked at."""
    found: list[Claim] = []
    page: int | None = 1
    while page:
        data = await iris.listed(page, PAGE)
        for one in data["alerts"]:
            word = str((one.get("resolution_status") or {}).get("resolution_status_name", ""))
            moment, by = _resolved(one.get("modification_history") or {})
            if word in words and (moment is None or moment >= since):
                found.append(Claim(case=str(one["alert_source_ref"]), decision=words[word], by=by, time=moment))
        page = data.get("next_page")
    return found


def _resolved(history: Mapping[str, Any]) -> tuple[float | None, str]:
    """When an alert was resolved last, and by whom."""
    changes = [
        (float(moment), str(entry.get("user", "")))
        for moment, entry in history.items()
        if "alert_resolution_status_id" in str(entry.get("action", ""))
    ]
    return max(changes) if changes else (None, "")


async def _of_jira(jira: Jira, words: Mapping[str, str], since: float) -> list[Claim]:
    """Resolved issues of ours; who resolved one is in its history."""
    found: list[Claim] = []
    us = await jira.myself()
    for issue in await jira.resolved(since):
        labels = [str(label) for label in issue["fields"].get("labels") or []]
        cases = [case[1] for label in labels if (case := _LABEL.fullmatch(label))]
        word = str((issue["fields"].get("resolution") or {}).get("name", ""))
        if not cases or word not in words:
            continue
        moment, author = _resolution(await jira.history(str(issue["key"])))
        if author.get("id") and author["id"] == us and jira.on_close:
            continue
        found.append(Claim(case=cases[0], decision=words[word], by=author.get("name", ""), time=moment))
    return found


def _resolution(histories: list[dict[str, Any]]) -> tuple[float | None, dict[str, str]]:
    """When an issue was resolved last, and by whom."""
    last: tuple[float, dict[str, str]] | None = None
    for entry in histories:
        if any(item.get("field") == "resolution" and item.get("to") for item in entry.get("items", [])):
            moment = datetime.strptime(str(entry["created"]), "%Y-%m-%dT%H:%M:%S.%f%z").timestamp()
            author = entry.get("author") or {}
            who = str(author.get("accountId") or author.get("name") or "")
            if last is None or moment >= last[0]:
                last = moment, {"id": who, "name": str(author.get("displayName") or who)}
    return last if last is not None else (None, {})
