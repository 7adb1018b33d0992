"""What the double answers, one function a part of the API, after Grafana's documentation and source."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import grafana_schemas as schemas
from grafana_double import Refusal, canonical, stamp

if TYPE_CHECKING:
    from grafana_double import Double

Answer = tuple[int, Any]
Query = dict[str, list[str]]


def route(double: Double, method: str, path: str, query: Query, body: Any, released: bool) -> Answer:
    """Answer one call; `released` says that X-Disable-Provenance was sent."""
    for pattern, handler in ROUTES:
        if match := re.fullmatch(pattern, f"{method} {path}"):
            return handler(double, match, query, body, released)
    double.surprises.append(f"no such call: {method} {path}")
    raise Refusal(404, "Not found")


def _must(table: dict[str, dict[str, Any]], uid: str, what: str) -> dict[str, Any]:
    if uid not in table:
        raise Refusal(404, f"{what} not found")
    return table[uid]


def folder_get(double: Double, match: Any, *_: Any) -> Answer:
    return 200, _must(double.folders, match[1], "folder")


def folder_post(double: Double, _: Any, __: Query, body: Any, ___: bool) -> Answer:
    double.check(body, schemas.FOLDER)
    if body["uid"] in double.folders:
        raise Refusal(409, "a folder with the same uid already exists")
    made = {"id": double.new_id(), "uid": body["uid"], "title": body["title"], "version": 1, "canEdit": True}
    double.folders[body["uid"]] = made
    return 200, made


def folder_put(double: Double, match: Any, _: Query, body: Any, __: bool) -> Answer:
    double.check(body, schemas.FOLDER_CHANGE)
    have = _must(double.folders, match[1], "folder")
    if not body.get("overwrite") and body.get("version") != have["version"]:
        raise Refusal(412, "the folder has been changed by someone else", status="version-mismatch")
    have |= {"title": body["title"], "version": have["version"] + 1}
    return 200, have


def source_get(double: Double, match: Any, *_: Any) -> Answer:
    return 200, _must(double.sources, match[1], "Data source")


def source_named(double: Double, match: Any, *_: Any) -> Answer:
    return 200, _must({s["name"]: s for s in double.sources.values()}, match[1], "Data source")


def source_post(double: Double, _: Any, __: Query, body: Any, ___: bool) -> Answer:
    double.check(body, schemas.SOURCE)
    if any(s["name"] == body["name"] for s in double.sources.values()) or body["uid"] in double.sources:
        raise Refusal(409, "data source with the same name already exists")
    added = {"id": double.new_id(), "orgId": 1, "user": "", "database": "", "basicAuth": False, "isDefault": False}
    made = {**added, "withCredentials": False, "secureJsonFields": {}, "version": 1, "readOnly": False, **body}
    double.sources[body["uid"]] = made
    return 200, {"datasource": made, "id": made["id"], "message": "Datasource added", "name": made["name"]}


def source_put(double: Double, match: Any, _: Query, body: Any, __: bool) -> Answer:
    double.check(body, schemas.SOURCE)
    have = _must(double.sources, match[1], "Data source")
    if have["readOnly"]:
        raise Refusal(403, "Cannot update read-only data source")
    if body.get("version") != have["version"]:
        raise Refusal(409, "Datasource has already been updated by someone else. Please reload and try again")
    have.update(body | {"version": have["version"] + 1})
    return 200, {"datasource": have, "id": have["id"], "message": "Datasource updated", "name": have["name"]}


def board_get(double: Double, match: Any, *_: Any) -> Answer:
    return 200, _must(double.boards, match[1], "Dashboard")


def board_post(double: Double, _: Any, __: Query, body: Any, ___: bool) -> Answer:
    double.check(body, schemas.DASHBOARD)
    wanted, uid = body["dashboard"], body["dashboard"]["uid"]
    if body["folderUid"] not in double.folders:
        raise Refusal(400, "folder not found")
    have = double.boards.get(uid)
    if have and have["meta"].get("provisioned"):
        raise Refusal(400, "Cannot save provisioned dashboard")
    if have and not body["overwrite"]:
        if wanted.get("id") != have["dashboard"]["id"]:
            raise Refusal(412, "A dashboard with the same uid already exists", status="name-exists")
        if wanted.get("version") != have["dashboard"]["version"]:
            raise Refusal(412, "The dashboard has been changed by someone else", status="version-mismatch")
    if not have and wanted.get("id"):
        raise Refusal(404, "Dashboard not found", status="not-found")
    number = have["dashboard"]["id"] if have else double.new_id()
    version = have["dashboard"]["version"] + 1 if have else 1
    meta = {"folderUid": body["folderUid"], "provisioned": False, "provisionedExternalId": "", "slug": uid}
    double.boards[uid] = {"dashboard": wanted | {"id": number, "version": version}, "meta": meta}
    return 200, {"id": number, "uid": uid, "status": "success", "version": version, "slug": uid, "url": f"/d/{uid}"}


def board_delete(double: Double, match: Any, *_: Any) -> Answer:
    gone = _must(double.boards, match[1], "Dashboard")
    if gone["meta"].get("provisioned"):
        raise Refusal(400, "provisioned dashboard cannot be deleted")
    del double.boards[match[1]]
    return 200, {"title": gone["dashboard"]["title"], "message": "Dashboard deleted", "id": gone["dashboard"]["id"]}


def search(double: Double, _: Any, query: Query, *__: Any) -> Answer:
    if query.get("type") != ["dash-db"] or int(query["limit"][0]) > 5000:
        raise Refusal(422, "Limit is above maximum allowed (5000), use page parameter to access hits beyond limit")
    hits = []
    for uid, board in double.boards.items():
        if board["meta"]["folderUid"] in query["folderUIDs"]:
            shown = board["dashboard"]
            hits.append({"uid": uid, "title": shown["title"], "type": "dash-db", "tags": shown.get("tags", [])})
    return 200, hits


def rules_get(double: Double, *_: Any) -> Answer:
    return 200, list(double.rules.values())


def _stored_rule(double: Double, body: Any, have: dict[str, Any] | None, released: bool) -> dict[str, Any]:
    """The rule as Grafana keeps it."""
    double.check(body, schemas.RULE)
    if body["folderUID"] not in double.folders:
        raise Refusal(400, "invalid alert rule: folder does not exist")
    for query in body["data"]:
        if query["datasourceUid"] not in ("__expr__", *double.sources):
            raise Refusal(400, f"invalid alert rule: data source {query['datasourceUid']} not found")
    if body["condition"] not in {query["refId"] for query in body["data"]}:
        raise Refusal(400, "invalid alert rule: condition does not exist")
    for uid, rule in double.rules.items():
        if uid != body["uid"] and (rule["folderUID"], rule["title"]) == (body["folderUID"], body["title"]):
            raise Refusal(400, "a conflicting alert rule is found: rule title under the same folder must be unique")
    added = {"keep_firing_for": "0s", "notification_settings": None, "record": None, "updated": stamp()}
    number = have["id"] if have else double.new_id()
    new = {**added, **body, "id": number, "for": canonical(body["for"])}
    new["provenance"] = "" if released else "api"
    return new


def rule_post(double: Double, _: Any, __: Query, body: Any, released: bool) -> Answer:
    if isinstance(body, dict) and body.get("uid") in double.rules:
        raise Refusal(409, "a rule with the same uid already exists")
    double.rules[body["uid"]] = made = _stored_rule(double, body, None, released)
    return 201, made


def rule_put(double: Double, match: Any, _: Query, body: Any, released: bool) -> Answer:
    have = _must(double.rules, match[1], "alert rule")
    if have["provenance"] == "file":
        raise Refusal(403, "cannot change provenance from 'file' to ''")
    double.rules[match[1]] = made = _stored_rule(double, body, have, released)
    return 200, made


def rule_delete(double: Double, match: Any, *_: Any) -> Answer:
    if double.rules.get(match[1], {}).get("provenance") == "file":
        raise Refusal(409, "cannot delete with provided provenance 'api', needs 'file'")
    double.rules.pop(match[1], None)  # Grafana answers 204 for a rule that is not there, too
    return 204, None


def contacts_get(double: Double, *_: Any) -> Answer:
    return 200, double.contacts


def contact_post(double: Double, _: Any, __: Query, body: Any, released: bool) -> Answer:
    double.check(body, schemas.CONTACT)
    if any(contact["uid"] == body["uid"] for contact in double.contacts):
        raise Refusal(500, "receiver configuration with this uid exists")
    double.contacts.append(body | {"provenance": "" if released else "api"})
    return 202, double.contacts[-1]


def contact_put(double: Double, match: Any, _: Query, body: Any, released: bool) -> Answer:
    double.check(body, schemas.CONTACT)
    have = _must({contact["uid"]: contact for contact in double.contacts}, match[1], "contact point")
    _provenance(have, released)
    have.clear()
    have.update(body | {"uid": match[1], "provenance": "" if released else "api"})
    return 202, {"message": "contactpoint updated"}


def contact_delete(double: Double, match: Any, *_: Any) -> Answer:
    have = _must({contact["uid"]: contact for contact in double.contacts}, match[1], "contact point")
    if any(r.get("receiver") == have["name"] for r in (double.policies, *double.policies.get("routes", ()))):
        raise Refusal(409, "Contact point is currently referenced by a notification policy.")
    double.contacts.remove(have)
    return 202, {"message": "contactpoint deleted"}


def policies_get(double: Double, *_: Any) -> Answer:
    return 200, double.policies


def policies_put(double: Double, _: Any, __: Query, body: Any, released: bool) -> Answer:
    double.check(body, schemas.POLICIES)
    _provenance(double.policies, released)
    names = {contact["name"] for contact in double.contacts}
    for used in (body, *body.get("routes", ())):
        if used.get("receiver") not in names:
            raise Refusal(400, f"invalid object specification: receiver '{used.get('receiver')}' does not exist")
    double.policies = body | ({} if released else {"provenance": "api"})
    return 202, {"message": "policies updated"}


def _provenance(have: dict[str, Any], released: bool) -> None:
    """Once claimed, Grafana does not let go: nothing goes back to none, and a file stays a file."""
    stored, target = have.get("provenance") or "", "" if released else "api"
    if stored and (not target or stored == "file"):
        raise Refusal(403, f"cannot change provenance from '{stored}' to '{target}'")


def annotations_get(double: Double, _: Any, query: Query, *__: Any) -> Answer:
    wanted = set(query.get("tags", ()))
    found = [a for a in double.annotations if wanted <= set(a["tags"])]
    return 200, sorted(found, key=lambda a: -a["time"])[: int(query.get("limit", ["100"])[0])]


def annotation_post(double: Double, _: Any, __: Query, body: Any, ___: bool) -> Answer:
    double.check(body, schemas.ANNOTATION)
    number = double.new_id()
    end = body.get("timeEnd") or body["time"]
    made = {"id": number, "time": body["time"], "timeEnd": end, "text": body["text"], "tags": body["tags"]}
    double.annotations.append(made)
    return 200, {"message": "Annotation added", "id": number}


def annotation_patch(double: Double, match: Any, _: Query, body: Any, __: bool) -> Answer:
    double.check(body, schemas.ANNOTATION)
    have = _must({str(a["id"]): a for a in double.annotations}, match[1], "Annotation")
    have.update({key: value for key, value in body.items() if value})
    return 200, {"message": "Annotation patched"}


PROVISIONING = "/api/v1/provisioning"
ROUTES = [
    (r"GET /api/folders/([^/]+)", folder_get),
    (r"POST /api/folders", folder_post),
    (r"PUT /api/folders/([^/]+)", folder_put),
    (r"GET /api/datasources/uid/([^/]+)", source_get),
    (r"GET /api/datasources/name/([^/]+)", source_named),
    (r"POST /api/datasources", source_post),
    (r"PUT /api/datasources/uid/([^/]+)", source_put),
    (r"GET /api/dashboards/uid/([^/]+)", board_get),
    (r"DELETE /api/dashboards/uid/([^/]+)", board_delete),
    (r"POST /api/dashboards/db", board_post),
    (r"GET /api/search", search),
    (rf"GET {PROVISIONING}/alert-rules", rules_get),
    (rf"POST {PROVISIONING}/alert-rules", rule_post),
    (rf"PUT {PROVISIONING}/alert-rules/([^/]+)", rule_put),
    (rf"DELETE {PROVISIONING}/alert-rules/([^/]+)", rule_delete),
    (rf"GET {PROVISIONING}/contact-points", contacts_get),
    (rf"POST {PROVISIONING}/contact-points", contact_post),
    (rf"PUT {PROVISIONING}/contact-points/([^/]+)", contact_put),
    (rf"DELETE {PROVISIONING}/contact-points/([^/]+)", contact_delete),
    (rf"GET {PROVISIONING}/policies", policies_get),
    (rf"PUT {PROVISIONING}/policies", policies_put),
    (r"GET /api/annotations", annotations_get),
    (r"POST /api/annotations", annotation_post),
    (r"PATCH /api/annotations/([^/]+)", annotation_patch),
]
