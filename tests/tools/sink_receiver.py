"""A receiver on loopback that verifies signatures, keeps what it takes, and can fail, hang, refuse or go away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import msgspec
from aiohttp import web
from sink_samples import SECRET

from siphonwatch.streams.deliver.signature import keys, verify

Answer = Callable[[web.Request, bytes], web.Response | None]
"""What to answer a request; None to take it."""


class Receiver:
    """An asynchronous context manager; `taken` are the decoded bodies it answered 200, `seen` every request's id."""

    def __init__(self, secret: str | None = SECRET, port: int = 0) -> None:
        self.port = port
        self.taken: list[Any] = []
        self.paths: list[str] = []
        self.seen: list[str] = []
        self.answer: Answer = lambda request, body: None
        self.hang = False
        self._secret = secret
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook/s3cret-path"

    @property
    def ids(self) -> list[str]:
        """Ids of the CloudEvents taken."""
        return [event["id"] for event in self.taken]

    async def __aenter__(self) -> Receiver:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        app = web.Application(client_max_size=8 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        if self._secret is not None:
            assert verify(keys(self._secret), request.headers, body, time.time()) == msgspec.json.decode(body)["id"]
            self.seen.append(request.headers["webhook-id"])
        if self.hang:
            await asyncio.sleep(3600)
        answer = self.answer(request, body)
        if answer is None:
            self.taken.append(msgspec.json.decode(body))
            self.paths.append(request.path_qs)
        return answer or web.Response(text="ok")
