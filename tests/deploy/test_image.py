"""What the image's own programs do: the health check asks the right server, the entry point copies compiled code."""

from __future__ import annotations

import http.server
import os
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from dockerfile import DOCKERFILE, ROOT, stages, variables
from programs import health

from siphonwatch.streams.common.settings import Settings, load

ENTRYPOINT = ROOT / "deploy" / "entrypoint.sh"


@pytest.fixture
def server() -> Iterator[tuple[int, dict[str, int]]]:
    """A server on loopback, its port, and the status it answers /healthz with."""
    answer = {"status": 200}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(answer["status"] if self.path == "/healthz" else 404)
            self.end_headers()
            self.wfile.write(b"records wait")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield listening.server_address[1], answer
        listening.shutdown()
        thread.join()


def process(folder: Path, *words: str) -> Path:
    """A file such as /proc/1/cmdline."""
    path = folder / "cmdline"
    path.write_bytes("\0".join([*words, ""]).encode())
    return path


@pytest.mark.parametrize(("command", "variable"), [("worker", "WEB"), ("deliver", "DELIVER"), ("desk", "DESK_STATUS")])
def test_health_is_asked_at_the_port_of_the_command_s_settings(
    command: str, variable: str, tmp_path: Path, server: tuple[int, dict[str, int]], capsys: pytest.CaptureFixture[str]
) -> None:
    port, answer = server
    environ = {f"SIPHONWATCH_{variable}_PORT": str(port)}
    ran = process(tmp_path, "/sbin/docker-init", "--", "python", "/opt/siphonwatch/bin/siphonwatch", command)
    assert health.main(ran, environ) == 0
    answer["status"] = 503
    assert health.main(ran, environ) == 1
    assert f"127.0.0.1:{port}/healthz: 503 records wait" in capsys.readouterr().out


def test_an_archiver_is_asked_at_the_port_of_its_command_line(
    tmp_path: Path, server: tuple[int, dict[str, int]]
) -> None:
    port, answer = server
    ran = process(tmp_path, "python", "siphonwatch", "archive", "--to", "/a", "--metrics-port", str(port))
    assert health.main(ran, {}) == 0
    answer["status"] = 503
    assert health.main(ran, {}) == 1
    assert health.main(process(tmp_path, "python", "siphonwatch", "archive", "--to", "/a"), {}) == 0, "serves nothing"


def test_a_proxy_is_not_asked_for_the_container_itself(tmp_path: Path, server: tuple[int, dict[str, int]]) -> None:
    ran = process(tmp_path, "python", "siphonwatch", "worker")
    check = "import sys, pathlib, health; sys.exit(health.main(pathlib.Path(sys.argv[1])))"
    environ = {"SIPHONWATCH_WEB_PORT": str(server[0]), "http_proxy": "http://127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, "-c", check, ran], env={**os.environ, **environ, "PYTHONPATH": str(ROOT / "deploy")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_a_server_that_is_away_is_unhealthy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = process(tmp_path, "python", "siphonwatch", "worker")
    assert health.main(ran, {"SIPHONWATCH_WEB_PORT": "1"}) == 1
    assert "refused" in capsys.readouterr().out


def test_bad_settings_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert health.main(process(tmp_path, "siphonwatch", "worker"), {"SIPHONWATCH_WEB_PROT": "1"}) == 1
    assert "SIPHONWATCH_WEB_PROT is not a setting" in capsys.readouterr().out


def test_a_command_without_a_server_is_healthy_while_it_runs(tmp_path: Path) -> None:
    assert health.main(process(tmp_path, "siphonwatch", "produce", "-"), {"SIPHONWATCH_WEB_PORT": "1"}) == 0
    assert health.main(tmp_path / "ended", {}) == 1


def entry(folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the entry point over a stand-in for the image."""
    image, tools = folder / "image", folder / "tools"
    (image / "numba" / "kernels_1").mkdir(parents=True, exist_ok=True)
    (image / "numba" / "kernels_1" / "code.nbc").write_text("new")
    tools.mkdir(exist_ok=True)
    command = tools / "siphonwatch"
    command.write_text('#!/bin/sh\necho "$NUMBA_CACHE_DIR $*"; cat "$NUMBA_CACHE_DIR"/kernels_1/*; exit 7\n')
    command.chmod(0o755)
    script = folder / "entrypoint.sh"
    script.write_text(ENTRYPOINT.read_text().replace("/opt/siphonwatch/numba", str(image / "numba")))
    return subprocess.run(
        ["sh", script, "worker", "two words"],
        env={"PATH": f"{tools}:{os.environ['PATH']}", **environ}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_entry_point_gives_the_command_a_cache_of_its_own_and_its_exit_code(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    done = entry(tmp_path, NUMBA_CACHE_DIR=str(cache))
    assert (done.returncode, done.stderr) == (7, "")
    assert done.stdout == f"{cache}/siphonwatch worker two words\nnew"


def test_code_that_an_older_image_left_is_gone(tmp_path: Path) -> None:
    old = tmp_path / "cache" / "siphonwatch" / "kernels_1"
    old.mkdir(parents=True)
    (old / "before.nbc").write_text("old")
    assert entry(tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "cache")).stdout.endswith("\nnew")


def test_a_cache_that_cannot_be_written_is_told_with_its_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    done = entry(tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "file"))
    assert done.returncode == 1
    assert f"cannot write to {tmp_path}/file/siphonwatch" in done.stderr and "--tmpfs /tmp" in done.stderr


def test_the_programs_of_the_image_can_be_executed() -> None:
    assert os.access(ENTRYPOINT, os.X_OK)
    assert shutil.which("sh")


def test_the_image_names_its_version_licence_and_base() -> None:
    last = stages(DOCKERFILE.read_text())[-1]
    (labels,) = [variables(step.rest) for step in last.steps if step.word == "LABEL"]
    named = {name.removeprefix("org.opencontainers.image."): value for name, value in labels.items()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert named["version"] == project["version"] and named["licenses"] == project["license"]
    assert named["base.name"] == f"docker.io/library/{last.base}"
    assert {"title", "description", "revision"} <= set(named)


def test_every_stage_has_one_base() -> None:
    assert len({stage.base for stage in stages(DOCKERFILE.read_text())}) == 1


def test_the_program_s_files_belong_to_root_and_only_its_folder_to_the_user() -> None:
    last = stages(DOCKERFILE.read_text())[-1]
    assert not any("--chown" in step.rest for step in last.steps if step.word == "COPY")


def test_the_image_carries_the_bill_of_materials_that_was_checked_against_the_lock() -> None:
    build, sbom, last = stages(DOCKERFILE.read_text())
    copied = [step.rest for step in last.steps if step.word == "COPY"]
    assert "--from=sbom /sbom/sbom.cdx.json /opt/siphonwatch/sbom.cdx.json" in copied
    (made,) = [step.rest for step in sbom.steps if "sbom.py" in step.rest and step.word == "RUN"]
    removed = {name for step in build.steps for name in re.findall(r"uninstall --yes (.*?) +&&", step.rest)}
    assert {name for names in removed for name in names.split()} == set(re.findall(r"--without (\S+)", made))


def test_no_time_of_the_build_is_left_in_the_environment() -> None:
    build = stages(DOCKERFILE.read_text())[0]
    steps = [step.rest for step in build.steps if step.word == "RUN"]
    stamped = next(i for i, step in enumerate(steps) if 'touch --no-dereference --date "@$SOURCE_DATE_EPOCH"' in step)
    assert not any("install" in step for step in steps[stamped + 1 :]), "installed after files were given their time"
    assert "--invalidation-mode unchecked-hash" in steps[stamped]
    environment = {
        name: value for step in build.steps if step.word == "ENV" for name, value in variables(step.rest).items()
    }
    assert environment["SOURCE_DATE_EPOCH"].isdecimal() and environment["PYTHONDONTWRITEBYTECODE"] == "1"


def test_the_image_serves_beyond_loopback() -> None:
    last = stages(DOCKERFILE.read_text())[-1]
    (given,) = [variables(step.rest) for step in last.steps if step.word == "ENV"]
    loaded = load({k: v for k, v in given.items() if k.startswith("SIPHONWATCH_")}).settings
    assert loaded.web.host == loaded.deliver.host == "0.0.0.0"  # noqa: S104 - inside a container
    (exposed,) = [step.rest for step in last.steps if step.word == "EXPOSE"]
    assert exposed.split() == [str(Settings().web.port), str(Settings().deliver.port)]
