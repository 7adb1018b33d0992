"""The house's rules, held by reading the source: models stay pure, nothing happens at import, files stay short."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODELS = sorted((ROOT / "models").rglob("*.py"))
STREAMS = sorted((ROOT / "streams").rglob("*.py"))
LONGEST = 520
"""Beyond this a file is likely to hold two ideas; below it, it is split by idea and never by length."""

PURE = set(
    "__future__ abc base64 bisect collections copy dataclasses enum functools hashlib heapq itertools json "
    "math msgspec numba numpy operator pickle random re river scipy struct types typing zlib".split()
) | {"importlib"}
"""What models may import: arithmetic, its data structures, encoding in memory; importlib for the cards of installed
distributions; scipy, which river brings, for the Shapiro-Wilk test of a baseline. Any other name needs a reason
here."""

IMPURE_CALLS = {"open", "print", "input", "exec", "eval", "__import__", "breakpoint"}
UNSEEDED = {"rand", "randn", "random", "randint", "normal", "uniform", "choice", "shuffle", "permutation", "seed"}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module or "", node.lineno


def dotted(node: ast.AST) -> str:
    """`a.b.c` for an attribute chain, empty for anything else."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.insert(0, node.attr)
        node = node.value
    return ".".join([node.id, *parts]) if isinstance(node, ast.Name) else ""


def impurities(source: str) -> list[str]:
    """What in one file of models reaches beyond arrays."""
    tree = ast.parse(source)
    found = [
        f"line {line}: imports {module}"
        for module, line in imports(tree)
        if module.split(".")[0] not in PURE and not f"{module}.".startswith("siphonwatch.models.")
    ]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = dotted(node.func)
            if called in IMPURE_CALLS:
                found.append(f"line {node.lineno}: calls {called}")
            head, _, last = called.rpartition(".")
            if head in ("np.random", "numpy.random") and last in UNSEEDED:
                found.append(f"line {node.lineno}: draws from numpy's global generator")
            if head == "random" and last != "Random":
                found.append(f"line {node.lineno}: draws from Python's global generator")
            if head in ("np", "numpy") and last in (
                "load",
                "save",
                "savez",
                "fromfile",
                "memmap",
                "loadtxt",
                "savetxt",
            ):
                found.append(f"line {node.lineno}: touches a file by {called}")
    return found


@pytest.mark.parametrize("path", MODELS, ids=name)
def test_models_import_only_arithmetic_and_touch_nothing_else(path: Path) -> None:
    assert impurities(path.read_text()) == []


@pytest.mark.parametrize(
    "line",
    [
        "import siphonwatch.streams.contracts.telemetry", "from siphonwatch.streams import contracts",
        "import siphonwatch", "from siphonwatch import streams", "import faust", "from kafka import KafkaProducer",
        "import aiokafka", "import time", "from datetime import datetime", "import os.path", "from pathlib import Path",
        "import socket", "import random\nrandom.random()", "open('x')", "import numpy as np\nnp.random.rand(3)",
        "import numpy as np\nnp.load('x')", "def f():\n    import time",
    ],
)  # fmt: skip
def test_the_lint_finds_what_reaches_out(line: str) -> None:
    assert impurities(line)


def test_the_lint_lets_arrays_and_seeded_generators_through() -> None:
    assert impurities("import numpy as np\nfrom numba import njit\nr = np.random.default_rng(3)\nr.random(4)\n") == []
    assert impurities("import random\nr = random.Random(3)\nr.random()\n") == []


ROOMS = {
    "models": "common online account detect evidence campaign engine learn evaluate".split(),
    "streams": "common contracts edge worker deliver operate lab desk cli".split(),
}
"""The units of each room; each imports only those before it, and `streams` may import all of `models`."""


def place(module: str) -> tuple[int, int] | None:
    """Where a module stands in the order of imports; None where it is none of ours, or a room itself."""
    room, _, rest = module.removeprefix("siphonwatch.").partition(".")
    if room not in ROOMS or not rest:
        return None
    return list(ROOMS).index(room), ROOMS[room].index(rest.split(".")[0])


@pytest.mark.parametrize("path", [*STREAMS, *MODELS], ids=name)
def test_units_import_one_way(path: Path) -> None:
    own = place(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))
    if own is None:
        return
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for module in names:
            other = place(module) if module.startswith("siphonwatch.") else None
            assert other is None or other <= own, f"{name(path)} imports {module}, which stands above it"


def test_the_page_on_development_has_every_unit_in_this_order() -> None:
    page = (ROOT / "docs" / "development.md").read_text()
    named = re.findall(r"^\| `((?:models|streams)/\w+)` \|", page, re.M)
    assert named == [f"{room}/{unit}" for room, units in ROOMS.items() for unit in units]


@pytest.mark.parametrize("path", [*STREAMS, *MODELS], ids=name)
def test_every_file_says_what_it_is_for_and_stays_short(path: Path) -> None:
    source = path.read_text()
    docstring = ast.get_docstring(ast.parse(source)) or ""
    assert len(docstring.split()) >= 5, "open the file with one or two sentences: what it is for and what it never does"
    assert source.count("\n") <= LONGEST, f"more than {LONGEST} lines: does it still hold one idea?"


_WATCH = """
import importlib, json, os, pathlib, sys, sysconfig, threading

ours = tuple(str(pathlib.Path.cwd() / package) for package in ("streams", "models"))
standard = sysconfig.get_path("stdlib")
watched = {"socket.connect", "socket.bind", "subprocess.Popen", "os.system", "os.fork", "os.remove"}
found = []


def doer():
    # The file of ours that does it while it is imported. What a library does at its own import is its affair.
    frame = sys._getframe(2)
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(ours):
            while frame is not None and frame.f_code.co_name != "<module>":
                frame = frame.f_back
            return file if frame is not None and frame.f_code.co_filename.startswith(ours) else None
        if not file.startswith((standard, "<")) or "site-packages" in file:
            return None
        frame = frame.f_back
    return None


def watch(event, arguments):
    writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    if (writes or event in watched) and (file := doer()):
        found.append(f"{file}: {event} {arguments[:1]}")


def start(thread):
    # Python 3.11 raises no audit event for a new thread.
    if file := doer():
        found.append(f"{file}: starts thread {thread.name}")
    original(thread)


sys.addaudithook(watch)
original, threading.Thread.start = threading.Thread.start, start
import litellm  # sets a variable of its own at import, as a library may
import sklearn  # likewise, and river loads it where it is installed
for module in json.load(sys.stdin):
    environ = dict(os.environ)
    importlib.import_module(module)
    if dict(os.environ) != environ:
        found.append(f"{module} changes the environment")
print(json.dumps(found))
"""


def happens_at_import(modules: list[str], folder: Path) -> list[str]:
    """Import modules in a fresh process; return what they did beyond defining names."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith("SIPHONWATCH_")}
    done = subprocess.run(
        [sys.executable, "-B", "-c", _WATCH],
        # litellm would fetch a price list at its import otherwise.
        env=environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "PYTHONPATH": str(folder)},
        input=json.dumps(modules), capture_output=True, text=True, cwd=folder, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    *printed, found = done.stdout.rstrip("\n").split("\n")
    return [*(f"prints {line}" for line in printed), *json.loads(found)]


def test_importing_any_module_starts_no_thread_no_process_no_socket_and_writes_no_file() -> None:
    names = [
        "siphonwatch." + ".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for p in [*STREAMS, *MODELS]
    ]
    assert happens_at_import([n for n in names if not n.endswith("__main__")], ROOT) == []


@pytest.mark.parametrize(
    "line",
    [
        "import threading; threading.Thread(target=int).start()",
        "import socket; socket.socket().bind(('127.0.0.1', 0))",
        "import subprocess; subprocess.run(['true'])", "open('x', 'w').close()", "import os; os.environ['X'] = '1'",
        "import pathlib; pathlib.Path('x').write_text('')", "print('hello')",
    ],
)  # fmt: skip
def test_the_watch_on_imports_finds_what_a_module_does(line: str, tmp_path: Path) -> None:
    (tmp_path / "streams").mkdir()
    (tmp_path / "streams" / "__init__.py").write_text("")
    (tmp_path / "streams" / "loud.py").write_text(line + "\n")
    assert happens_at_import(["streams.loud"], tmp_path)


def test_the_command_line_shows_its_help_without_loading_the_heavy_libraries() -> None:
    code = (
        "import sys\nfrom siphonwatch.streams.cli import cli\n"
        "try:\n    cli(['--version'], prog_name='siphonwatch')\nexcept SystemExit:\n    pass\n"
        "print(sorted({'faust', 'kafka', 'aiokafka', 'numba', 'river', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True, timeout=300
    )
    assert done.stdout.splitlines()[-1] == "[]"
