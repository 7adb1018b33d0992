"""The LiteLLM callback: two lines of LiteLLM configuration and its requests are telemetry on Kafka.

    litellm_settings:
      callbacks: siphonwatch.streams.edge.litellm.callback

Settings come from `SIPHONWATCH_*`: in the proxy they are read, and the sketch is compiled, before it serves; elsewhere
at the first request. It never delays, changes or fails a request, and no prompt leaves the process.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import logging
import os
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from types import ModuleType
from typing import Any

import msgspec
import prometheus_client
from litellm.integrations.custom_logger import CustomLogger

from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.common.settings import Settings, SettingsError, load
from siphonwatch.streams.edge.adapters import make_adapter
from siphonwatch.streams.edge.figures import export
from siphonwatch.streams.edge.producer import FOREVER_MS, Outbox, connect
from siphonwatch.streams.edge.sender import Counts, Sender, describe
from siphonwatch.streams.edge.sketch import Sketcher

log = logging.getLogger("siphonwatch.gateway")

PROXY = ("litellm.proxy.proxy_server", "proxy_server")
"""Names under which the proxy's own module is loaded."""

CLOSE_SECONDS = 10.0
"""What a stop may take for LiteLLM's own queue, and again for Kafka; Kubernetes gives thirty."""

REMEMBERED = 4096
"""Requests whose log is known to have come: the second hook of a request follows within milliseconds."""


def make_sender(settings: Settings) -> Sender:
    """Build the sender of a LiteLLM gateway.

    Raises
    ------
    SettingsError
        When identity.key is missing or short.
    """
    identity = Identity.from_settings(settings)
    sketcher = Sketcher(identity)
    adapter = make_adapter("litellm", settings, sketcher, identity)

    def prepare() -> None:
        sketcher.warm()
        adapter.warm()

    return Sender(
        adapter,
        lambda: Outbox(connect(settings, delivery_timeout_ms=FOREVER_MS), settings.topic("telemetry")),
        prepare=prepare,
    )


class SiphonwatchLogger(CustomLogger):
    """Hands each request's StandardLoggingPayload to a `Sender`: the process' own, made before the proxy serves.

    Parameters
    ----------
    make
        Makes the sender; from the environment's settings where it is not given.
    """

    def __init__(self, make: Callable[[], Sender] | None = None) -> None:
        super().__init__()
        self._make = make or (lambda: make_sender(load().settings))
        self._lock = threading.Lock()
        self._sender: Sender | None = None
        self._process = 0
        self._refused = False
        self._seen: OrderedDict[Hashable, None] = OrderedDict()
        if make is None and _proxy() is not None:
            self.sender()

    def log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """Called by LiteLLM after a synchronous request."""
        self._offer(kwargs)

    def log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """Called by LiteLLM after a synchronous request that failed, and after one that the proxy refused."""
        self._offer(kwargs)

    async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """Called by LiteLLM after a request of the proxy or an `a...` function."""
        self._offer(kwargs)

    async def async_log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """Called by LiteLLM after a request of the proxy or an `a...` function that failed."""
        self._offer(kwargs)

    def sender(self) -> Sender | None:
        """Return the sender of this process; None when settings forbid one, which is logged once.

        A fork (LiteLLM's --num_workers) gets its own: threads and connections do not survive one.
        """
        with self._lock:
            if self._process != os.getpid():
                self._process, self._sender, self._refused = os.getpid(), None, False
            if self._sender is None and not self._refused:
                try:
                    self._sender = self._make()
                    export(self._counts, prometheus_client.REGISTRY)
                    self._close_with_the_proxy()
                    atexit.register(self.close)
                except SettingsError as error:
                    self._refused = True
                    log.error("siphonwatch: no telemetry is sent: %s", error)
            return self._sender

    def close(self) -> None:
        """Deliver waiting records for at most ten seconds, and log how many were lost.

        The proxy does this itself. Another program that a signal may end calls it in its server's shutdown: servers
        such as uvicorn end by the signal itself, and then nothing registered with `atexit` runs.
        """
        sender = self._sender
        if sender is not None and self._process == os.getpid():
            sender.close(CLOSE_SECONDS)

    def _counts(self) -> Counts | None:
        return self._sender.counts() if self._sender is not None else None

    def _close_with_the_proxy(self) -> None:
        """Have the proxy's shutdown close the sender last, once LiteLLM's own queue of log tasks is done."""
        proxy = _proxy()
        shutdown = getattr(proxy, "proxy_shutdown_event", None)
        if proxy is None or shutdown is None:
            return

        async def shut_down() -> None:
            try:
                await shutdown()
            finally:
                await self._drain()
                await asyncio.to_thread(self.close)

        vars(proxy)["proxy_shutdown_event"] = shut_down

    async def _drain(self) -> None:
        """Wait until LiteLLM has called the hooks of requests that are over."""
        try:
            from litellm.litellm_core_utils.logging_worker import GLOBAL_LOGGING_WORKER

            await asyncio.wait_for(GLOBAL_LOGGING_WORKER.flush(), CLOSE_SECONDS)
        except (ImportError, AttributeError):
            log.warning("siphonwatch: this LiteLLM does not say which requests it has yet to log")
        except TimeoutError:
            log.warning("siphonwatch: LiteLLM had requests to log after %d s, they are lost", CLOSE_SECONDS)

    def _offer(self, kwargs: Mapping[str, Any]) -> None:
        try:
            payload = kwargs.get("standard_logging_object")
            sender = self.sender()
            if payload is not None and sender is not None and self._first(payload):
                sender.offer(serialise(payload))
        except Exception as error:  # noqa: BLE001 - whatever is wrong here, the gateway's request goes on
            log.error("siphonwatch: a request could not be logged: %s", describe(error))

    def _first(self, payload: Mapping[str, Any]) -> bool:
        """Whether this is a request's first log: both kinds of hooks get what the proxy itself refuses.

        Attempts of one request have the same id, and each its own start.
        """
        name = payload.get("litellm_call_id") or payload.get("id")
        if not name:
            return True
        call = (name, payload.get("startTime"), payload.get("status"))
        with self._lock:
            if call in self._seen:
                return False
            self._seen[call] = None
            if len(self._seen) > REMEMBERED:
                self._seen.popitem(last=False)
        return True


def serialise(payload: Any) -> bytes:
    """Return a payload as JSON, whatever objects LiteLLM left in it.

    Raises
    ------
    ValueError, TypeError, RecursionError
        When it cannot be written at all (a reference to itself).
    """
    try:
        return msgspec.json.encode(payload, enc_hook=str)
    except (UnicodeError, TypeError):  # a lone surrogate in a prompt, a key that is no string
        return json.dumps(payload, default=str).encode()


def _proxy() -> ModuleType | None:
    """The proxy's module, where this process is one."""
    return next((sys.modules[name] for name in PROXY if name in sys.modules), None)


callback = SiphonwatchLogger()
"""What LiteLLM's `callbacks` names. Outside of the proxy it is idle until the first request."""
