"""The desk's HTTP API: the same structs as the pages, as JSON; its description; tokens, sessions, problem details."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import jsonschema
import msgspec
import pytest
from desk_client import Visit, as_role, visit
from desk_double import Double
from openapi_spec_validator import OpenAPIV31SpecValidator

from siphonwatch.streams.desk.views import CasePage, Queue
from siphonwatch.streams.desk.web.api import CALLS, PREFIX
from siphonwatch.streams.desk.web.openapi import document

TOKENS = {role: f"{role}-token-of-the-tests-only" for role in ("read", "decide", "administer")}
KNOWN = [f"soar-{role}:{role}:{hashlib.sha256(token.encode()).hexdigest()}" for role, token in TOKENS.items()]


def bearer(role: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {TOKENS[role]}"}


def test_the_description_is_valid_and_names_every_call() -> None:
    made = document()
    OpenAPIV31SpecValidator(made).validate()
    assert {(method.upper(), path) for path, ops in made["paths"].items() for method in ops} == {
        (call.method, PREFIX + call.path) for call in CALLS
    }


def test_answers_are_as_the_description_says() -> None:
    made = document()

    def schema(path: str) -> dict[str, Any]:
        found = made["paths"][PREFIX + path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        return {**found, "components": made["components"]}

    async def test(v: Visit) -> None:
        case, page = next((c, p) for c, p in v.double.pages.items() if p.members)
        asked = {
            "/cases": "?limit=3&order=age", "/cases/{case}": "", "/accounts/{account}": "", "/campaigns/{case}": "",
            "/search": f"?text={case[:6]}", "/exposure": "?account=a&account=b", "/allow": "", "/behind": "",
            "/reading": "", "/csrf": "", "/audit": "",
        }  # fmt: skip
        assert set(asked) == {call.path for call in CALLS if call.method == "GET"}
        for path, query in asked.items():
            place = path.replace("{case}", case).replace("{account}", page.row.account)
            answer, text = await v.get(PREFIX + place + query, headers=bearer("administer"))
            assert answer.status == 200 and answer.content_type == "application/json", (path, text[:300])
            jsonschema.Draft202012Validator(schema(path)).validate(json.loads(text))
        _, text = await v.get(f"{PREFIX}/cases/{case}", headers=bearer("read"))
        assert msgspec.json.decode(text, type=CasePage).alert == page.alert  # byte for byte as on the topic
        _, text = await v.get(f"{PREFIX}/cases?limit=3&order=age", headers=bearer("read"))
        queue = msgspec.json.decode(text, type=Queue)
        assert len(queue.rows) == 3 and queue.total == len(v.double.pages) and queue.after

    visit(test, tokens=KNOWN, proxy=True)


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call.method} {call.path}")
def test_a_token_may_do_what_its_role_says_and_a_wrong_one_nothing(call: Any) -> None:
    async def test(v: Visit) -> None:
        path = PREFIX + call.path.replace("{case}", "none").replace("{account}", "none")
        wrong = [{"Authorization": f"Bearer {TOKENS['read']}x"}, {"Authorization": "Basic YTpi"}, {}]
        for headers in wrong:
            answer = await v.client.request(call.method, path, headers=headers)
            assert answer.status == 401 and answer.content_type == "application/problem+json"
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        if call.role != "read":
            answer = await v.client.request(call.method, path, headers=bearer("read"))
            assert answer.status == 403
            refused = v.desk.audit.newest()[0]
            assert (refused.person, refused.role) == ("soar-read", "read")
        answer = await v.client.request(call.method, path, headers=bearer(call.role))
        assert answer.status not in (401, 403)
        assert v.double.acts == []

    visit(test, tokens=KNOWN, proxy=True)


def test_a_token_opens_no_page() -> None:
    async def test(v: Visit) -> None:
        assert (await v.get("/", headers=bearer("administer")))[0].status == 401

    visit(test, tokens=KNOWN, proxy=True)


def test_a_program_decides_and_is_told_of_who_was_faster() -> None:
    async def test(v: Visit) -> None:
        case = next(iter(v.double.pages))
        act = {"kind": "verdict", "cases": [case], "decision": "true-positive", "text": "ticket 7", "version": 0}
        answer = await v.client.post(f"{PREFIX}/acts", json=act, headers=bearer("decide"))
        assert answer.status == 200 and "true-positive" in (await answer.json())["said"]
        assert v.double.acts[-1][1] == "soar-decide"
        answer = await v.client.post(f"{PREFIX}/acts", json=act, headers=bearer("decide"))
        body = json.loads(await answer.text())
        assert answer.status == 409 == body["status"] and "soar-decide decided" in body["detail"]
        for wrong, status in (
            (b"{", 400), (b'{"kind": "praise"}', 400), (b'{"kind": "verdict", "cases": ["x"]}', 404),
            (b'{"kind": "verdict", "cases": []}', 422),
        ):  # fmt: skip
            answer = await v.client.post(f"{PREFIX}/acts", data=wrong, headers=bearer("decide"))
            assert answer.status == status and answer.content_type == "application/problem+json", wrong

    visit(test, tokens=KNOWN, proxy=True)


def test_a_session_decides_by_the_api_with_its_token_and_from_no_other_site() -> None:
    async def test(v: Visit) -> None:
        case = next(iter(v.double.pages))
        who, act = as_role("decide"), {"kind": "note", "cases": [case], "text": "x"}
        csrf = (await (await v.client.get(f"{PREFIX}/csrf", headers=who)).json())["csrf"]
        for headers in ({}, {"X-CSRF-Token": "0" * 64}, {"X-CSRF-Token": csrf, "Origin": "https://elsewhere.example"}):
            answer = await v.client.post(f"{PREFIX}/acts", json=act, headers={**who, **headers})
            assert answer.status == 403 and v.double.acts == []
        answer = await v.client.post(f"{PREFIX}/acts", json=act, headers={**who, "X-CSRF-Token": csrf})
        assert answer.status == 200

    visit(test, tokens=KNOWN, proxy=True)


def test_what_cannot_be_asked_is_a_problem_with_its_reason() -> None:
    async def test(v: Visit) -> None:
        for place, status, says in (
            ("/cases?order=mood", 400, "order"), ("/cases?limit=0", 400, "limit"), ("/cases?colour=red", 422, "colour"),
            ("/cases/none", 404, "none"), ("/exposure", 400, "account"), ("/nothing", 404, ""),
        ):  # fmt: skip
            answer, text = await v.get(PREFIX + place, headers=bearer("read"))
            body = json.loads(text)
            assert (answer.status, body["status"], answer.content_type) == (status, status, "application/problem+json")
            assert says in body["detail"], text

    visit(test, tokens=KNOWN, proxy=True, double=Double())
