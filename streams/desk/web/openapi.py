"""The API's description in OpenAPI 3.1, made from the calls and the structs that they take and give."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import msgspec
from aiohttp import web

from siphonwatch.streams.common.release import release
from siphonwatch.streams.desk.web.api import CALLS, PREFIX, Call
from siphonwatch.streams.desk.web.desk import Asked
from siphonwatch.streams.desk.web.render import answer

REF = "#/components/schemas/{name}"
PROBLEMS = {
    "400": "The question cannot be read.",
    "401": "Nobody known: the token is wrong, or nobody is logged in.",
    "403": "The role is missing, or the call came from another site.",
    "404": "There is no such case, account or entry.",
    "409": "Somebody decided on the case meanwhile; the detail says who, what and when.",
    "422": "This cannot be decided so; the detail says why.",
    "503": "The index is busy or not complete yet.",
}


class Problem(msgspec.Struct):
    """What went wrong, as RFC 9457 has it."""

    type: str
    title: str
    status: int
    detail: str


async def description(_: Asked) -> web.Response:
    """Give the description."""
    return answer(document())


@cache
def document() -> dict[str, Any]:
    """Return the description of the API."""
    types = [Problem, *(call.gives for call in CALLS), *(call.body for call in CALLS if call.body)]
    schemas, components = msgspec.json.schema_components(types, ref_template=REF)
    problem, *rest = schemas
    gives = dict(zip((call.path for call in CALLS), rest, strict=False))
    paths: dict[str, dict[str, Any]] = {}
    for call in CALLS:
        paths.setdefault(PREFIX + call.path, {})[call.method.lower()] = _operation(call, gives[call.path], problem)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "siphonwatch desk",
            "version": release(),
            "description": "Cases, accounts and decisions. Times are seconds since 1970; accounts are keyed hashes.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(call: Call, gives: dict[str, Any], problem: dict[str, Any]) -> dict[str, Any]:
    statuses = set(PROBLEMS) - ({"409"} if call.body is None else set())
    found: dict[str, Any] = {
        "operationId": f"{call.method.lower()}_{re.sub(r'[^a-z]+', '_', call.path).strip('_')}",
        "summary": call.says,
        "description": f"Needs the role `{call.role}`.",
        "parameters": [*_parts(call), *_fields(call)],
        "responses": {
            "200": {"description": "As asked.", "content": {"application/json": {"schema": gives}}},
            **{
                status: {"description": PROBLEMS[status], "content": {"application/problem+json": {"schema": problem}}}
                for status in sorted(statuses)
            },
        },
    }
    if call.body is not None:
        schema = {"$ref": REF.format(name=call.body.__name__)}
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return found


def _parts(call: Call) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"\{(\w+)\}", call.path)
    ]


def _fields(call: Call) -> list[dict[str, Any]]:
    found = []
    for field in msgspec.structs.fields(call.takes):
        (schema,), _ = msgspec.json.schema_components([field.type])
        if not field.required and field.default is not None:
            schema["default"] = field.default
        found.append({"name": field.encode_name, "in": "query", "required": field.required, "schema": schema})
    return found
