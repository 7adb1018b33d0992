"""An adapter or a sink of another distribution is one file and one entry point; one that is broken is named."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from siphonwatch.streams.common import extensions
from siphonwatch.streams.common.settings import Accounts
from siphonwatch.streams.deliver.receivers import Receiver
from siphonwatch.streams.edge.adapters import Adapter

ADAPTER = """
    from siphonwatch.streams.contracts.telemetry import Telemetry
    from siphonwatch.streams.edge.adapters import Adapter

    class Acme(Adapter):
        name = "acme"

        @classmethod
        def recognises(cls, record):
            return record.startswith(b"ACME ")

        def element(self, raw):
            _, moment, account = raw.decode().split()
            yield Telemetry(id=f"{account}-{moment}", time=float(moment), account=self.identity.account(account))
"""
SINK = """
    from siphonwatch.streams.common.sink_settings import secret
    from siphonwatch.streams.deliver.outcome import judge
    from siphonwatch.streams.deliver.post import Message

    class Pager:
        needs = ("url",)
        uses = ("url",)

        def __init__(self, sink, runbook):
            self._sink = sink

        def message(self, told, now):
            return Message(secret(self._sink, "url"), told.case.encode(), {"Content-Type": "text/plain"})

        def judge(self, status, said):
            return judge(status)
"""
LOG = "".join(f"ACME {1.8e9 + number} org-{number % 3}\n" for number in range(30))


def distribution(room: Path, group: str, point: str, code: str) -> None:
    """Install a distribution of one module, `acme`."""
    (room / "acme.py").write_text(textwrap.dedent(code))
    info = room / "acme_things-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-things\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{point}\n")


def siphonwatch(room: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environ = {k: v for k, v in os.environ.items() if not k.startswith("SIPHONWATCH_")}
    environ |= {f"SIPHONWATCH_{name}": value for name, value in settings.items()}
    environ |= {"PYTHONPATH": str(room), "SIPHONWATCH_IDENTITY_KEY": "a secret of the tests only"}
    return subprocess.run(
        [sys.executable, "-c", "from siphonwatch.streams.cli import main; main()", *arguments],
        env=environ, cwd=room, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip


@pytest.mark.parametrize("format", ["acme", "auto"])
def test_a_log_of_a_format_that_another_distribution_adds_is_replayed(tmp_path: Path, format: str) -> None:
    distribution(tmp_path, "siphonwatch.adapters", "acme = acme:Acme", ADAPTER)
    (tmp_path / "acme.log").write_text(LOG)
    done = siphonwatch(tmp_path, "replay", "acme.log", "--format", format, "--telemetry", "made.ndjson")
    assert done.returncode == 0, done.stderr
    made = [json.loads(line) for line in (tmp_path / "made.ndjson").read_text().splitlines()]
    assert len(made) == 30 and len({record["account"] for record in made}) == 3


def test_a_topic_may_be_of_that_format_and_doctor_names_what_was_added(tmp_path: Path) -> None:
    distribution(tmp_path, "siphonwatch.adapters", "acme = acme:Acme", ADAPTER)
    done = siphonwatch(tmp_path, "doctor", "--offline", INGEST_TOPICS='{"logs": "acme"}')
    assert "acme (siphonwatch.adapters)" in " ".join(done.stdout.split())
    assert done.returncode == 0, done.stdout + done.stderr
    unknown = siphonwatch(tmp_path, "doctor", "--offline", INGEST_TOPICS='{"logs": "apache"}')
    assert unknown.returncode == 2 and "format 'apache': there are envoy, kong, litellm" in unknown.stderr


@pytest.mark.parametrize(
    ("point", "code", "said"),
    [("acme = acme:Acme", "import nothing_of_the_kind", "cannot be loaded (ModuleNotFoundError"),
     ("acme = acme:Other", ADAPTER, "cannot be loaded (AttributeError"),
     ("acme = acme:Acme", "Acme = 3", "is no class"),
     ("acme = acme:Acme", "class Acme:\n    pass", "lacks records")],
)  # fmt: skip
def test_a_broken_one_is_named_where_it_is_used_and_nowhere_else(
    tmp_path: Path, point: str, code: str, said: str
) -> None:
    distribution(tmp_path, "siphonwatch.adapters", point, code)
    (tmp_path / "acme.log").write_text(LOG)
    done = siphonwatch(tmp_path, "replay", "acme.log", "--format", "acme")
    assert done.returncode == 1, done.stderr
    assert said in done.stderr and "acme-things" in done.stderr and "Traceback" not in done.stderr
    assert siphonwatch(tmp_path, "replay", "--help").returncode == 0
    doctor = siphonwatch(tmp_path, "doctor", "--offline")
    assert doctor.returncode == 1 and "acme-things" in doctor.stdout


def test_one_of_ours_is_not_replaced(tmp_path: Path) -> None:
    distribution(tmp_path, "siphonwatch.adapters", "nginx = acme:Acme", ADAPTER)
    (tmp_path / "nginx.log").write_text(
        '203.0.113.9 - bob [05/Jan/2026:10:00:00 +0000] "GET /a HTTP/1.1" 200 5 "-" "x"\n'
    )
    done = siphonwatch(tmp_path, "replay", "nginx.log", "--format", "nginx")
    assert done.returncode == 0 and "1 requests" in done.stdout, done.stdout + done.stderr


class Taken(BaseHTTPRequestHandler):
    """Keeps what was posted."""

    bodies: list[bytes] = []  # noqa: RUF012 - one server a test

    def do_POST(self) -> None:
        self.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Print nothing."""


def test_a_sink_of_a_kind_that_another_distribution_adds_gets_alerts(tmp_path: Path) -> None:
    distribution(tmp_path, "siphonwatch.sinks", "pager = acme:Pager", SINK)
    server = HTTPServer(("127.0.0.1", 0), Taken)
    Taken.bodies.clear()
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/"
        done = siphonwatch(tmp_path, "deliver", "--check", SINKS_DESK_KIND="pager", SINKS_DESK_URL=url)
    finally:
        server.shutdown()
        server.server_close()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "desk (pager): delivered" in done.stdout
    assert len(Taken.bodies) == 2 and len(set(Taken.bodies)) == 1, "the opening and the closing of one case"


@pytest.mark.parametrize(
    ("kind", "field", "said"),
    [
        ("pager", "token", "a sink of kind pager has no use for it"),
        ("pagr", "url", "is 'pagr': there are alertmanager, "),
    ],
)
def test_its_settings_are_checked_as_those_of_our_kinds_are(tmp_path: Path, kind: str, field: str, said: str) -> None:
    distribution(tmp_path, "siphonwatch.sinks", "pager = acme:Pager", SINK)
    given = {"SINKS_DESK_KIND": kind, "SINKS_DESK_URL": "http://127.0.0.1:9/", f"SINKS_DESK_{field.upper()}": "x"}
    done = siphonwatch(tmp_path, "deliver", "--check", **given)
    assert done.returncode == 2 and said in done.stderr


ROOT = Path(__file__).parents[2]


def test_every_name_of_ours_leads_to_a_class_that_says_the_same() -> None:
    for name in extensions.names(extensions.ADAPTERS):
        adapter = extensions.load(extensions.ADAPTERS, name)
        assert issubclass(adapter, Adapter) and adapter.name == name
    for name in extensions.names(extensions.SINKS):
        sink = extensions.load(extensions.SINKS, name)
        assert issubclass(sink, Receiver) or {"message", "judge"} <= set(dir(sink))
        assert set(sink.needs) <= set(sink.uses)


@pytest.mark.parametrize(
    ("group", "file"),
    [(extensions.ADAPTERS, "README.md"), (extensions.ADAPTERS, "docs/gateways.md"),
     (extensions.ADAPTERS, "helm/siphonwatch/values.yaml"), (extensions.SINKS, "docs/operations.md")],
)  # fmt: skip
def test_the_pages_name_each(group: str, file: str) -> None:
    text = (ROOT / file).read_text().lower()
    assert not [name for name in extensions.names(group) if name not in text]


def test_whose_account_fields_are_settings_is_a_format() -> None:
    """A format without fields of its own has none; one that is gone leaves none behind."""
    shared = {"trusted_proxies", "ipv6_prefix", "allow"}
    assert set(Accounts.__struct_fields__) - shared <= set(extensions.names(extensions.ADAPTERS))


def test_names_are_listed_without_importing_what_they_name() -> None:
    code = """
import sys
from siphonwatch.streams.common import extensions, settings
assert "otlp" in extensions.names(extensions.ADAPTERS)
settings.load({"SIPHONWATCH_INGEST_TOPICS": '{"logs": "nginx"}', "SIPHONWATCH_SINKS_A_KIND": "grafana"})
found = [name for name in sys.modules if name.startswith(("siphonwatch.streams.edge", "siphonwatch.streams.deliver"))]
assert not found + [name for name in ("numba", "numpy", "kafka") if name in sys.modules], found
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr


def test_one_format_alone_is_loaded_where_one_is_used() -> None:
    code = """
import sys
from siphonwatch.streams.common import extensions
extensions.load(extensions.ADAPTERS, "litellm")
assert "siphonwatch.streams.edge.adapters.otlp" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr


def test_an_installation_older_than_its_code_is_told_to_be_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extensions, "entry_points", lambda group: [])
    extensions._points.cache_clear()
    try:
        with pytest.raises(extensions.ExtensionError, match=re.escape("no entry points siphonwatch.sinks")):
            extensions.names(extensions.SINKS)
    finally:
        extensions._points.cache_clear()
