"""A desk over the double in a thread, and the machine's Chromium to open it with; tests say why where there is none."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from aiohttp import web
from desk_client import make_desk
from desk_double import Double
from playwright.sync_api import Browser, Error, sync_playwright

from siphonwatch.streams.desk.web.routes import make_app

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@contextmanager
def served(double: Double) -> Iterator[str]:
    """Serve a desk until the end; gives its address."""
    loop, ready = asyncio.new_event_loop(), threading.Event()
    address: list[str] = []
    stop = asyncio.Event()

    async def run() -> None:
        runner = web.AppRunner(make_app(make_desk(double)))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        address.append(f"http://127.0.0.1:{runner.addresses[0][1]}")
        ready.set()
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    assert ready.wait(60)
    try:
        yield address[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(60)
        loop.close()


@contextmanager
def chromium() -> Iterator[Browser]:
    """Give the machine's Chromium; skips where there is none, or it does not start."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no browser on this machine: none of {', '.join(NAMES)}")
    with sync_playwright() as driver:
        try:
            browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-dev-shm-usage"])
        except Error as error:
            pytest.skip(f"{found} does not start: {str(error).splitlines()[0]}")
        try:
            yield browser
        finally:
            browser.close()
