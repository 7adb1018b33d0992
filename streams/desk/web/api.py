"""The HTTP API: what pages show and forms take, as JSON. A call is one line of `CALLS`, which its description follows
from too (`openapi.py`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from aiohttp import web
from msgspec import Meta

from siphonwatch.streams.desk.views import (
    AccountPage,
    Act,
    Allowed,
    Ask,
    CampaignPage,
    CasePage,
    Exposure,
    Found,
    Kind,
    Queue,
    Reading,
)
from siphonwatch.streams.desk.web.audit import Entry
from siphonwatch.streams.desk.web.desk import Asked
from siphonwatch.streams.desk.web.people import Role
from siphonwatch.streams.desk.web.render import answer

PREFIX = "/api/v1"


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """A call that takes nothing in its address."""


class Find(msgspec.Struct, forbid_unknown_fields=True):
    """What to search for."""

    text: str
    kind: Kind | Literal["", "account", "case"] = ""
    since: float | None = None
    until: float | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class Over(msgspec.Struct, forbid_unknown_fields=True):
    """Whose exposure; an account may be given several times."""

    account: Annotated[list[str], Meta(min_length=1, max_length=1000)]
    since: float | None = None
    until: float | None = None


class Done(msgspec.Struct, frozen=True):
    """What a decision did."""

    said: str


class Token(msgspec.Struct, frozen=True):
    """Of programs that come with a session in place of a token of their own: send it as `X-CSRF-Token`."""

    csrf: str


class Call(NamedTuple):
    """One call of the API."""

    method: Literal["GET", "POST"]
    path: str
    """Below `PREFIX`."""
    role: Role
    says: str
    takes: type[msgspec.Struct]
    """Of the address."""
    gives: Any
    run: Callable[[Asked, Any], Awaitable[Any]]
    body: type[msgspec.Struct] | None = None


async def _cases(asked: Asked, ask: Ask) -> Queue:
    return await asked.desk.ask(asked.desk.looks.queue, ask, asked.person.name)


async def _case(asked: Asked, _: Nothing) -> CasePage:
    return await asked.desk.ask(asked.desk.looks.case, asked.request.match_info["case"], asked.person.name)


async def _account(asked: Asked, _: Nothing) -> AccountPage:
    return await asked.desk.ask(asked.desk.looks.account, asked.request.match_info["account"])


async def _campaign(asked: Asked, _: Nothing) -> CampaignPage:
    return await asked.desk.ask(asked.desk.looks.campaign, asked.request.match_info["case"])


async def _find(asked: Asked, find: Find) -> list[Found]:
    find_ = asked.desk.looks.find
    return list(await asked.desk.ask(find_, find.text, find.kind, find.since, find.until, find.limit))


async def _exposure(asked: Asked, over: Over) -> Exposure:
    return await asked.desk.ask(asked.desk.looks.exposure, over.account, over.since, over.until)


async def _allowed(asked: Asked, _: Nothing) -> list[Allowed]:
    return list(await asked.desk.ask(asked.desk.looks.allowed))


async def _behind(asked: Asked, _: Nothing) -> dict[str, int]:
    return await asked.desk.ask(asked.desk.looks.behind)


async def _reading(asked: Asked, _: Nothing) -> Reading:
    return await asked.desk.ask(asked.desk.looks.reading)


async def _audit(asked: Asked, _: Nothing) -> list[Entry]:
    return await asked.desk.entries()


async def _csrf(asked: Asked, _: Nothing) -> Token:
    return Token(asked.csrf)


async def _act(asked: Asked, _: Nothing) -> Done:
    act = msgspec.json.decode(await asked.request.read(), type=Act)
    return Done(await asked.desk.decide(act, asked))


CALLS = (
    Call("GET", "/cases", "read", "Cases in an order.", Ask, Queue, _cases),
    Call("GET", "/cases/{case}", "read", "A case; the caller has then looked at it.", Nothing, CasePage, _case),
    Call("GET", "/accounts/{account}", "read", "An account.", Nothing, AccountPage, _account),
    Call("GET", "/campaigns/{case}", "read", "Who is in a campaign.", Nothing, CampaignPage, _campaign),
    Call("GET", "/search", "read", "Cases and accounts, by an id or what they share.", Find, list[Found], _find),
    Call("GET", "/exposure", "read", "How much accounts took.", Over, Exposure, _exposure),
    Call("GET", "/allow", "read", "Allow entries.", Nothing, list[Allowed], _allowed),
    Call(
        "GET", "/behind", "read", "Records of each topic that are not in the index.", Nothing, dict[str, int], _behind
    ),
    Call("GET", "/reading", "read", "How far the index has read, and what it could not.", Nothing, Reading, _reading),
    Call("GET", "/csrf", "read", "A token for calls with a session.", Nothing, Token, _csrf),
    Call("GET", "/audit", "administer", "Who did what, the newest first.", Nothing, list[Entry], _audit),
    Call("POST", "/acts", "decide", "One decision, on one or several cases.", Nothing, Done, _act, Act),
)


def handler(call: Call) -> Callable[[Asked], Awaitable[web.Response]]:
    """Return the handler of a call."""

    async def handle(asked: Asked) -> web.Response:
        query = asked.request.query
        several = {f.encode_name for f in msgspec.structs.fields(call.takes) if "list" in str(f.type)}
        given = {name: query.getall(name) if name in several else query[name] for name in query}
        unknown = given.keys() - {f.encode_name for f in msgspec.structs.fields(call.takes)}
        if unknown:
            raise ValueError(f"there is no {', '.join(sorted(unknown))[:100]} to ask by")
        return answer(await call.run(asked, msgspec.convert(given, call.takes, strict=False)))

    return handle
