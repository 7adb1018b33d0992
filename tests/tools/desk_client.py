"""A desk over the double behind a real HTTP server, and a browser's or a program's side of it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import ClientResponse, CookieJar
from aiohttp.test_utils import TestClient, TestServer
from desk_double import START, Double

from siphonwatch.streams.common.desk_settings import Desk as Settings
from siphonwatch.streams.desk.web.desk import Desk
from siphonwatch.streams.desk.web.doors import Door, Loopback, Proxy, Tokens
from siphonwatch.streams.desk.web.routes import make_app
from siphonwatch.streams.desk.web.session import Sessions
from siphonwatch.streams.desk.web.sharing import Tables

NOW = START + 10 * 86_400.0
BEHIND_PROXY = Settings(
    login="proxy", proxies=["127.0.0.1"], read=["readers"], decide=["deciders"], administer=["admins"]
)
GROUPS = {"": "others", "read": "readers", "decide": "deciders", "administer": "admins"}


class Clock:
    """Seconds since 1970 that a test sets."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def as_role(role: str, name: str = "ben@example.org") -> dict[str, str]:
    """What the proxy in front says of somebody with that role."""
    return {"X-Forwarded-User": name, "X-Forwarded-Groups": GROUPS[role]}


class Visit:
    """A browser at the desk.

    Parameters
    ----------
    client
        Of a server that runs.
    """

    def __init__(self, client: TestClient[Any, Any], desk: Desk, double: Double) -> None:
        self.client, self.desk, self.double = client, desk, double
        self.origin = str(client.make_url("/")).rstrip("/")

    async def get(self, path: str, **more: Any) -> tuple[ClientResponse, str]:
        """An answer, not followed, and its text."""
        answer = await self.client.get(path, allow_redirects=False, **more)
        return answer, await answer.text()

    async def form(self, page: str, **more: Any) -> str:
        """The token of a page's forms."""
        _, text = await self.get(page, **more)
        found = re.search(r'name="csrf" value="([0-9a-f]{64})"', text)
        assert found, text[:2000]
        return found[1]

    async def post(self, path: str, fields: Any, page: str = "/allow", **more: Any) -> tuple[ClientResponse, str]:
        """What a browser gets that sends a form of a page."""
        headers = more.pop("headers", {})
        token = await self.form(page, headers=headers)
        pairs = list(fields.items()) if isinstance(fields, dict) else list(fields)
        answer = await self.client.post(
            path, data=[("csrf", token), *pairs], headers={"Origin": self.origin, **headers}, allow_redirects=False,
            **more,
        )  # fmt: skip
        return answer, await answer.text()


def make_desk(
    double: Double,
    door: Door | None = None,
    tokens: list[str] | None = None,
    clock: Callable[[], float] | None = None,
    tables: Tables | None = None,
) -> Desk:
    """A desk over the double."""
    clock = clock or Clock()
    return Desk(
        double, double, door or Loopback("ana"), Tokens(tokens or []), Sessions("s" * 32, 3600.0, False, clock),
        clock=clock, tables=tables,
    )  # fmt: skip


def visit(
    test: Callable[[Visit], Awaitable[None]],
    *,
    double: Double | None = None,
    proxy: bool = False,
    tokens: list[str] | None = None,
    clock: Callable[[], float] | None = None,
) -> None:
    """Run a test against a desk that serves."""
    double = double or Double()

    async def run() -> None:
        desk = make_desk(double, Proxy(BEHIND_PROXY) if proxy else None, tokens, clock)
        server = TestServer(make_app(desk))
        async with TestClient(server, cookie_jar=CookieJar(unsafe=True)) as client:
            await test(Visit(client, desk, double))

    asyncio.run(run())
