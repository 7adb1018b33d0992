"""A Grafana on loopback that keeps state, checks what it is sent, and fails when told to; it draws nothing."""

from __future__ import annotations

import base64
import copy
import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import jsonschema

from siphonwatch.streams.operate.provision.expand import duration, milliseconds

TOKEN = "glsa_test_secret_token"
"""What callers have to show."""
DEFAULT_POLICIES = {"receiver": "grafana-default-email", "group_by": ["grafana_folder", "alertname"]}


class Refusal(Exception):
    """An answer that is an error."""

    def __init__(self, code: int, message: str, /, **more: Any) -> None:
        super().__init__(message)
        self.code = code
        self.body = {"message": message, **more}


class Double:
    """The state, and the server around it.

    `fail` maps the number of a call, from 1 and counted since `forget`, to what happens instead: a status, or `hang`,
    `garbage` (no JSON), `html` (a login page) or `drop` (the connection ends). With `late` the call has its effect
    first. `calls` are the requests so far as (method, path), `surprises` what Grafana would not have taken.
    """

    def __init__(self) -> None:
        self.folders: dict[str, dict[str, Any]] = {}
        self.sources: dict[str, dict[str, Any]] = {}
        self.boards: dict[str, dict[str, Any]] = {}
        self.rules: dict[str, dict[str, Any]] = {}
        self.contacts: list[dict[str, Any]] = [
            {"uid": "", "name": "grafana-default-email", "type": "email", "settings": {"addresses": "a@b.example"}}
        ]
        self.policies: dict[str, Any] = dict(DEFAULT_POLICIES)
        self.annotations: list[dict[str, Any]] = []
        self.calls: list[tuple[str, str]] = []
        self.surprises: list[str] = []
        self.fail: dict[int, int | str] = {}
        self.late = False
        self.before: dict[int, Callable[[], object]] = {}
        """Something that happens just before a call, such as a person's change."""
        self.below = ""
        """Path under which it is reached."""
        self._next_id = 0
        self._lock = threading.Lock()
        self._released = threading.Event()
        double = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *_: object) -> None:
                """Say nothing."""

            def _serve(self) -> None:
                double.serve(self)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def stop(self) -> None:
        self._released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def forget(self) -> None:
        """Count calls from 1 again."""
        self.calls.clear()
        self.fail.clear()
        self.before.clear()

    def mutations(self) -> list[tuple[str, str]]:
        return [call for call in self.calls if call[0] != "GET"]

    def state(self) -> dict[str, Any]:
        """Everything it keeps, less what counts or dates changes."""
        kept = {
            "folders": self.folders,
            "sources": self.sources,
            "boards": self.boards,
            "rules": self.rules,
            "contacts": self.contacts,
            "policies": self.policies,
            "annotations": self.annotations,
        }
        return without(copy.deepcopy(kept), {"id", "version", "updated"})

    def serve(self, request: BaseHTTPRequestHandler) -> None:
        size = int(request.headers.get("Content-Length") or 0)
        raw = request.rfile.read(size)
        with self._lock:
            parts = urlsplit(request.path)
            path = parts.path.removeprefix(self.below)
            self.calls.append((request.command, path))
            number = len(self.calls)
            if number in self.before:
                self.before.pop(number)()
            fault = self.fail.get(number)
            status, body = (0, b"")
            if fault is None or self.late:
                status, body = self._answer(request, path, parse_qs(parts.query), raw)
        if fault is not None and not self._break(request, fault):
            return
        if fault is not None:
            status, body = _faulty(fault)
        request.send_response(status)
        kind = "text/html" if fault == "html" else "application/json"
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    def _break(self, request: BaseHTTPRequestHandler, fault: int | str) -> bool:
        """Whether there is an answer at all."""
        if fault == "hang":
            self._released.wait(30)
        if fault in ("hang", "drop"):
            request.close_connection = True
            return False
        return True

    def _answer(
        self, request: BaseHTTPRequestHandler, path: str, query: dict[str, list[str]], raw: bytes
    ) -> tuple[int, bytes]:
        from grafana_routes import route

        basic = "Basic " + base64.b64encode(f"admin:{TOKEN}".encode()).decode()
        try:
            if request.headers.get("Authorization") not in (f"Bearer {TOKEN}", basic):
                raise Refusal(401, "Invalid API key")
            if raw and request.headers.get_content_type() != "application/json":
                raise Refusal(400, "bad request data")
            body = json.loads(raw) if raw else None
            released = request.headers.get("X-Disable-Provenance") is not None
            status, answer = route(self, request.command, unquote(path), query, body, released)
        except Refusal as refusal:
            status, answer = refusal.code, refusal.body
        except Exception as error:
            self.surprises.append(f"the double itself failed: {error!r}")
            raise
        return status, b"" if status == 204 else json.dumps(answer).encode()

    def check(self, body: Any, schema: dict[str, Any]) -> None:
        """Refuse what is not of the form, and keep it for the test to fail on."""
        try:
            jsonschema.validate(body, schema)
        except jsonschema.ValidationError as error:
            self.surprises.append(f"{self.calls[-1]}: {error.json_path}: {error.message[:300]}")
            raise Refusal(400, "bad request data") from None

    def new_id(self) -> int:
        self._next_id += 1
        return self._next_id


def without(value: Any, keys: set[str]) -> Any:
    """A JSON value less some keys, at every depth; panels keep their id."""
    if isinstance(value, dict):
        kept = keys - {"id"} if "gridPos" in value else keys
        return {k: without(v, keys) for k, v in value.items() if k not in kept}
    return [without(item, keys) for item in value] if isinstance(value, list) else value


def stamp() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def canonical(text: str) -> str:
    """A duration as Grafana writes it back."""
    return duration(milliseconds(text))


def _faulty(fault: int | str) -> tuple[int, bytes]:
    if fault == "garbage":
        return 200, b"{not json"
    if fault == "html":
        return 200, b"<html><body>Please log in</body></html>"
    return int(fault), json.dumps({"message": f"told to fail with {fault}"}).encode()
