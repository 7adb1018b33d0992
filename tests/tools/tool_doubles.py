"""Doubles of TheHive, DFIR-IRIS and Jira on loopback: what of their APIs sinks and polls use, as their documentation,
their source or their own client has it. Each can fail as a test says, or lose an answer after it did what was asked."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Self

from aiohttp import web

Fault = Callable[[web.Request], web.Response | None]
"""What to answer instead of doing what is asked; None to do it."""


class Tool:
    """An asynchronous context manager; `calls` are method and path of each request."""

    def __init__(self) -> None:
        self.port = 0
        self.calls: list[str] = []
        self.fault: Fault = lambda request: None
        self.lose: Callable[[web.Request], bool] = lambda request: False
        """Whether the answer to a request, which was done, is lost."""
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        app = web.Application(middlewares=[self._meet])
        self.routes(app.router)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    @web.middleware
    async def _meet(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.calls.append(f"{request.method} {request.path}")
        if (fault := self.fault(request)) is not None:
            return fault
        if not self.knows(request.headers.get("Authorization", "")):
            return self.unknown()
        answer: web.StreamResponse = await handler(request)
        if self.lose(request):
            assert request.transport is not None
            request.transport.abort()
        return answer

    def routes(self, router: web.UrlDispatcher) -> None:
        raise NotImplementedError

    def knows(self, said: str) -> bool:
        return said == "Bearer s3cret-key"

    def unknown(self) -> web.Response:
        return web.json_response({"type": "AuthenticationError", "message": "Authentication failure"}, status=401)


class Hive(Tool):
    """TheHive 5: alerts, comments of alerts and cases, and queries over them."""

    def __init__(self) -> None:
        super().__init__()
        self.alerts: dict[str, dict[str, Any]] = {}
        self.cases: dict[str, dict[str, Any]] = {}
        self.comments: dict[str, list[dict[str, Any]]] = {}

    def routes(self, router: web.UrlDispatcher) -> None:
        router.add_post("/api/v1/query", self._query)
        router.add_post("/api/v1/alert", self._create)
        router.add_get("/api/v1/alert/{id}", self._get)
        router.add_patch("/api/v1/alert/{id}", self._update)
        router.add_post("/api/v1/{kind:alert|case}/{id}/comment", self._comment)
        router.add_get("/api/v1/user/current", self._me)

    async def _me(self, _: web.Request) -> web.Response:
        return web.json_response({"_id": "~1", "login": "siphonwatch@soc.example", "organisation": "SOC"})

    async def _create(self, request: web.Request) -> web.Response:
        alert = await request.json()
        for field in ("type", "source", "sourceRef", "title", "description"):
            if not isinstance(alert.get(field), str) or not alert[field]:
                return _refused("BadRequest", f"Missing attribute {field}")
        data = [one["data"] for one in alert.get("observables", [])]
        same = ("type", "source", "sourceRef")
        if any(all(old[field] == alert[field] for field in same) for old in self.alerts.values()):
            return _refused("CreateError", "Alert already exist")
        if len(set(data)) < len(data) or not all(data):
            return _refused("CreateError", "Observable already exists")
        if len(alert["title"]) > 512 or alert.get("severity") not in (1, 2, 3, 4):
            return _refused("BadRequest", "Invalid format")
        id = f"~{4096 * (len(self.alerts) + 1)}"
        made = alert | {
            "_id": id, "_type": "Alert", "_createdBy": "siphonwatch@soc.example", "_createdAt": _ms(), "status": "New",
            "stage": "New", "observableCount": len(data), "_updatedAt": _ms(),
        }  # fmt: skip
        self.alerts[id] = made
        return web.json_response(made, status=201)

    async def _get(self, request: web.Request) -> web.Response:
        alert = self.alerts.get(request.match_info["id"])
        return web.json_response(alert) if alert else _refused("NotFoundError", "Alert not found", 404)

    async def _update(self, request: web.Request) -> web.Response:
        alert = self.alerts.get(request.match_info["id"])
        if alert is None:
            return _refused("NotFoundError", "Alert not found", 404)
        fields = await request.json()
        if fields.get("status", "New") not in ("New", "InProgress", "Ignored", "Duplicate", "FalsePositive"):
            return _refused("BadRequest", f"Status {fields['status']} doesn't exist")
        self.judge(alert["_id"], by="siphonwatch@soc.example", **fields)
        return web.Response(status=204)

    def judge(self, id: str, by: str = "alice@soc.example", **fields: Any) -> None:
        """Change an alert as a user does."""
        self.alerts[id] |= fields | {"_updatedBy": by, "_updatedAt": _ms()}
        if fields.get("status") in ("Ignored", "Duplicate", "FalsePositive", "TruePositive"):
            self.alerts[id] |= {"stage": "Closed", "closedDate": _ms()}

    async def _comment(self, request: web.Request) -> web.Response:
        place = request.match_info["id"]
        if request.match_info["kind"] == "alert" and place not in self.alerts:
            return _refused("NotFoundError", "Alert not found", 404)
        message = (await request.json())["message"]
        made = {"_id": f"~{_ms()}", "_createdAt": _ms(), "createdBy": "siphonwatch@soc.example", "message": message}
        self.comments.setdefault(place, []).append(made)
        return web.json_response(made, status=201)

    async def _query(self, request: web.Request) -> web.Response:
        found: list[dict[str, Any]] = []
        for step in (await request.json())["query"]:
            match step["_name"]:
                case "listAlert":
                    found = list(self.alerts.values())
                case "listCase":
                    found = list(self.cases.values())
                case "getCase":
                    found = [self.cases[step["idOrName"]]]
                case "alerts":
                    ids = {one["_id"] for one in found}
                    found = [alert for alert in self.alerts.values() if alert.get("caseId") in ids]
                case "getAlert":
                    found = [self.alerts[step["idOrName"]]] if step["idOrName"] in self.alerts else []
                case "comments":
                    found = [one for alert in found for one in self.comments.get(alert["_id"], [])]
                case "filter":
                    found = [one for one in found if _fits(one, step)]
                case "sort":
                    ((field, order),) = step["_fields"][0].items()
                    found = sorted(found, key=lambda one: str(one.get(field, 0)), reverse=order == "desc")
                case "page":
                    found = found[step["from"] : step["to"]]
                case other:
                    return _refused("BadRequest", f"unknown operation {other}")
        return web.json_response(found)


def _fits(one: dict[str, Any], condition: dict[str, Any]) -> bool:
    if "_and" in condition:
        return all(_fits(one, part) for part in condition["_and"])
    if "_eq" in condition:
        return bool(one.get(condition["_eq"]["_field"]) == condition["_eq"]["_value"])
    if "_gte" in condition:
        return bool(one.get(condition["_gte"]["_field"], 0) >= condition["_gte"]["_value"])
    raise AssertionError(condition)


def _refused(kind: str, message: str, status: int = 400) -> web.Response:
    return web.json_response({"type": kind, "message": message}, status=status)


def _ms() -> int:
    return round(time.time() * 1000)


class Iris(Tool):
    """DFIR-IRIS 2.4: alerts, their comments, the lists of severities, statuses and resolutions."""

    SEVERITIES = ("Unspecified", "Informational", "Low", "Medium", "High", "Critical")
    STATUSES = ("Unspecified", "New", "Assigned", "In progress", "Pending", "Closed", "Merged", "Escalated")
    RESOLUTIONS = ("False Positive", "True Positive With Impact", "True Positive Without Impact", "Not Applicable",
                   "Unknown", "Legitimate")  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.alerts: dict[int, dict[str, Any]] = {}
        self.comments: dict[int, list[dict[str, Any]]] = {}

    def routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/api/ping", self._ping)
        router.add_get("/api/versions", self._versions)
        for listed, kind, names in (
            ("severities", "severity", self.SEVERITIES), ("alert-status", "status", self.STATUSES),
            ("alert-resolutions", "resolution_status", self.RESOLUTIONS),
        ):  # fmt: skip
            rows = [{f"{kind}_id": i, f"{kind}_name": name} for i, name in enumerate(names, 1)]
            router.add_get(f"/manage/{listed}/list", _always(_well, rows))
        router.add_get("/alerts/filter", self._filter)
        router.add_post("/alerts/add", self._add)
        router.add_get("/alerts/{id}", self._get)
        router.add_post("/alerts/update/{id}", self._update)
        router.add_get("/alerts/{id}/comments/list", self._list)
        router.add_post("/alerts/{id}/comments/add", self._comment)

    def unknown(self) -> web.Response:
        return _ill("Authentication required", 401)

    async def _ping(self, _: web.Request) -> web.Response:
        return _well([], "pong")

    async def _versions(self, _: web.Request) -> web.Response:
        return _well({"api_min": "2.0.0", "api_current": "2.0.5", "iris_current": "v2.4.20"})

    def _shown(self, alert: dict[str, Any]) -> dict[str, Any]:
        """An alert as its schema dumps it, with what its numbers stand for."""
        resolved = alert.get("alert_resolution_status_id")
        return alert | {
            "status": {"status_name": self.STATUSES[alert["alert_status_id"] - 1]},
            "severity": {"severity_name": self.SEVERITIES[alert["alert_severity_id"] - 1]},
            "resolution_status": {"resolution_status_name": self.RESOLUTIONS[resolved - 1]} if resolved else None,
        }  # fmt: skip

    async def _filter(self, request: web.Request) -> web.Response:
        asked = request.query
        found = [
            one for one in self.alerts.values()
            if asked.get("source_reference", "") in one["alert_source_ref"]
            and asked.get("alert_source", "").lower() in one["alert_source"].lower()
            and asked.get("alert_customer_id", str(one["alert_customer_id"])) == str(one["alert_customer_id"])
            and asked.get("alert_ids", str(one["alert_id"])) == str(one["alert_id"])
        ]  # fmt: skip
        page, size = int(asked.get("page", 1)), int(asked.get("per_page", 10))
        some = found[(page - 1) * size : page * size]
        more = page + 1 if page * size < len(found) else None
        return _well(
            {"total": len(found), "alerts": [self._shown(one) for one in some], "current_page": page, "next_page": more}
        )

    async def _add(self, request: web.Request) -> web.Response:
        alert = await request.json()
        for field in ("alert_title", "alert_severity_id", "alert_status_id", "alert_customer_id"):
            if field not in alert:
                return _ill(f"{{'{field}': ['Missing data for required field.']}}")
        if alert["alert_customer_id"] != 1:
            return _ill("User not entitled to create alerts for the client")
        id = len(self.alerts) + 1
        self.alerts[id] = alert | {
            "alert_id": id, "alert_owner_id": None, "alert_resolution_status_id": None, "modification_history": {},
        }  # fmt: skip
        self._note(id, "Alert created", "siphonwatch")
        return _well(self._shown(self.alerts[id]))

    async def _get(self, request: web.Request) -> web.Response:
        alert = self.alerts.get(int(request.match_info["id"]))
        return _well(self._shown(alert)) if alert else _ill("Alert not found")

    async def _update(self, request: web.Request) -> web.Response:
        id = int(request.match_info["id"])
        if id not in self.alerts:
            return _ill("Alert not found")
        self.judge(id, "siphonwatch", 7, **await request.json())
        return _well(self._shown(self.alerts[id]))

    def judge(self, id: int, user: str = "alice", number: int = 3, **fields: Any) -> None:
        """Change an alert as a user does; who changes one that nobody owns owns it."""
        alert = self.alerts[id]
        said = [
            f'"{key}" from "{alert.get(key)}" to "{value}"' for key, value in fields.items() if alert.get(key) != value
        ]
        alert |= fields
        if fields.get("alert_owner_id") is None and alert["alert_owner_id"] is None:
            alert["alert_owner_id"] = number
        if fields.get("alert_owner_id") in ("-1", -1):
            alert["alert_owner_id"] = None
        self._note(id, f"updated alert: {','.join(said)}", user)

    def _note(self, id: int, action: str, user: str) -> None:
        self.alerts[id]["modification_history"][str(time.time())] = {"user": user, "user_id": 7, "action": action}

    async def _list(self, request: web.Request) -> web.Response:
        return _well(self.comments.get(int(request.match_info["id"]), []))

    async def _comment(self, request: web.Request) -> web.Response:
        id = int(request.match_info["id"])
        if id not in self.alerts:
            return _ill("Invalid alert ID")
        made = {
            "comment_id": len(self.comments.get(id, [])) + 1,
            "comment_text": (await request.json())["comment_text"],
        }
        self.comments.setdefault(id, []).append(made)
        return _well(made, "Alert commented")


def _always(make: Callable[[Any], web.Response], data: Any) -> Callable[[web.Request], Any]:
    """A handler that always answers the same."""

    async def handler(_: web.Request) -> web.Response:
        return make(data)

    return handler


def _well(data: Any, message: str = "") -> web.Response:
    return web.json_response({"status": "success", "message": message, "data": data})


def _ill(message: str, status: int = 400) -> web.Response:
    return web.json_response({"status": "error", "message": message, "data": []}, status=status)


class JiraSite(Tool):
    """Jira: Cloud (API version 3, documents, an index that is behind) or Data Center (version 2, wiki markup)."""

    def __init__(self, cloud: bool = True) -> None:
        super().__init__()
        self.cloud = cloud
        self.issues: dict[str, dict[str, Any]] = {}
        self.unindexed: set[str] = set()
        """Keys of issues that a search does not find yet."""
        self.index_lags = False

    def knows(self, said: str) -> bool:
        basic = "Basic " + base64.b64encode(b"bot@soc.example:s3cret-key").decode()
        return said == (basic if self.cloud else "Bearer s3cret-key")

    def unknown(self) -> web.Response:
        return web.Response(text="Client must be authenticated to access this resource.", status=401)

    def routes(self, router: web.UrlDispatcher) -> None:
        for api in ("2", "3") if self.cloud else ("2",):
            base = f"/rest/api/{api}"
            router.add_get(f"{base}/serverInfo", self._server)
            router.add_get(f"{base}/field", _always(web.json_response, []))
            router.add_get(
                f"{base}/myself", _always(web.json_response, {"accountId": "5b-bot"} if self.cloud else {"name": "bot"})
            )
            if self.cloud:
                router.add_route("*", f"{base}/search/jql", self._search)
            else:
                router.add_route("*", f"{base}/search", self._search)
            router.add_post(f"{base}/issue", self._create)
            router.add_get(f"{base}/issue/{{key}}", self._get)
            router.add_put(f"{base}/issue/{{key}}", self._edit)
            router.add_route("*", f"{base}/issue/{{key}}/comment", self._comment)
            router.add_route("*", f"{base}/issue/{{key}}/transitions", self._transition)

    def resolve(self, key: str, resolution: str, who: str) -> None:
        """Resolve an issue as a user does."""
        self.issues[key]["fields"]["resolution"] = {"name": resolution}
        author: dict[str, str] = {"displayName": who.capitalize()}
        author |= {"accountId": f"5b-{who}"} if self.cloud else {"name": who}
        moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000+0000")
        item = {"field": "resolution", "from": None, "to": "10000", "toString": resolution}
        entry = {"author": author, "created": moment, "items": [item]}
        self.issues[key].setdefault("changelog", {"histories": []})["histories"].append(entry)

    async def _server(self, _: web.Request) -> web.Response:
        kind, version = ("Cloud", "1001.0.0") if self.cloud else ("Server", "9.12.0")
        numbers = [int(part) for part in version.split(".")]
        return web.json_response({"deploymentType": kind, "version": version, "versionNumbers": numbers})

    def _is_text(self, request: web.Request, text: Any) -> bool:
        """Whether a text has the shape of the API's version."""
        if "/api/3/" not in request.path:
            return isinstance(text, str) and len(text) <= 32767
        return isinstance(text, dict) and _is_document(text)

    async def _create(self, request: web.Request) -> web.Response:
        fields = (await request.json())["fields"]
        errors = {}
        if fields["project"].get("key") != "SEC":
            errors["project"] = "valid project is required"
        if (fields.get("issuetype") or {}).get("name") != "Task":
            errors["issuetype"] = "The issue type selected is invalid."
        if not fields["summary"] or "\n" in fields["summary"] or len(fields["summary"]) > 255:
            errors["summary"] = "The summary is invalid because it contains newline characters or is too long."
        if not self._is_text(request, fields["description"]):
            errors["description"] = "Operation value must be an Atlassian Document (see the Atlassian Document Format)"
        if any(" " in label or len(label) > 255 for label in fields["labels"]):
            errors["labels"] = "The label contains spaces which is invalid."
        if errors:
            return web.json_response({"errorMessages": [], "errors": errors}, status=400)
        key = f"SEC-{len(self.issues) + 1}"
        self.issues[key] = {
            "id": str(10000 + len(self.issues)), "key": key, "self": f"{self.url}{request.path}/{key}",
            "fields": {**fields, "status": _status("To Do", "new"), "resolution": None, "comment": {"comments": []},
                       "resolutiondate": None},
        }  # fmt: skip
        if self.index_lags:
            self.unindexed.add(key)
        return web.json_response({name: self.issues[key][name] for name in ("id", "key", "self")}, status=201)

    async def _search(self, request: web.Request) -> web.Response:
        asked = await request.json() if request.method == "POST" else dict(request.query)
        wanted = re.findall(r'(project|labels|updated|resolution) (=|>=|is not) "?([^" ]+)"?', asked["jql"])
        assert wanted, asked["jql"]
        found = []
        for key, issue in self.issues.items():
            fields = issue["fields"]
            fits = {
                "project": lambda value, fields=fields: fields["project"]["key"] == value,
                "labels": lambda value, fields=fields: value in fields["labels"],
                "updated": lambda _: True,
                "resolution": lambda _, fields=fields: fields["resolution"] is not None,
            }
            if key not in self.unindexed and all(fits[name](value) for name, _, value in wanted):
                found.append(issue)
        size = int(asked.get("maxResults", 50))
        start = int(asked.get("nextPageToken", 0) if self.cloud else asked.get("startAt", 0))
        body: dict[str, Any] = {"issues": found[start : start + size]}
        if not self.cloud:
            body |= {"total": len(found), "startAt": start, "maxResults": size}
        elif start + size < len(found):
            body |= {"isLast": False, "nextPageToken": str(start + size)}
        else:
            body["isLast"] = True
        return web.json_response(body)

    async def _get(self, request: web.Request) -> web.Response:
        issue = self.issues.get(request.match_info["key"])
        return web.json_response(issue) if issue else _absent()

    async def _edit(self, request: web.Request) -> web.Response:
        issue = self.issues.get(request.match_info["key"])
        if issue is None:
            return _absent()
        for step in (await request.json())["update"]["labels"]:
            labels = issue["fields"]["labels"]
            if "remove" in step:
                labels.remove(step["remove"])
            else:
                labels.append(step["add"])
        return web.Response(status=204)

    async def _comment(self, request: web.Request) -> web.Response:
        issue = self.issues.get(request.match_info["key"])
        if issue is None:
            return _absent()
        comments = issue["fields"]["comment"]["comments"]
        if request.method == "GET":
            return web.json_response({"comments": comments[::-1], "total": len(comments)})
        body = (await request.json())["body"]
        if not self._is_text(request, body):
            return web.json_response({"errorMessages": [], "errors": {"comment": "not valid"}}, status=400)
        comments.append({"id": str(len(comments)), "body": body})
        return web.json_response(comments[-1], status=201)

    async def _transition(self, request: web.Request) -> web.Response:
        issue = self.issues.get(request.match_info["key"])
        if issue is None:
            return _absent()
        offered = [{"id": "31", "name": "Close it", "to": _status("Done", "done")}]
        if request.method == "GET":
            return web.json_response({"transitions": offered})
        asked = (await request.json())["transition"]["id"]
        assert asked == "31", asked
        issue["fields"]["status"] = offered[0]["to"]
        return web.Response(status=204)


def _status(name: str, category: str) -> dict[str, Any]:
    return {"name": name, "statusCategory": {"key": category}}


def _absent() -> web.Response:
    said = {"errorMessages": ["Issue does not exist or you do not have permission to see it."], "errors": {}}
    return web.json_response(said, status=404)


def _is_document(node: dict[str, Any]) -> bool:
    """Whether it is a document of paragraphs, texts without marks, and breaks."""
    inside = node.get("content", [])
    match node["type"]:
        case "doc":
            return node.get("version") == 1 and all(one["type"] == "paragraph" and _is_document(one) for one in inside)
        case "paragraph":
            return all(_is_document(one) for one in inside)
        case "text":
            return bool(node["text"]) and set(node) == {"type", "text"}
        case "hardBreak":
            return set(node) == {"type"}
    raise AssertionError(json.dumps(node))
