"""Reads the Dockerfile, and runs its steps without Docker: every absolute path that it makes stands under one folder.

`python tests/tools/dockerfile.py FOLDER` builds there and says how large what goes into the image is. It makes no
layers and no users, and runs on this machine's Python in place of the base image's.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
OWN = re.compile(r"""(?<![\w.:/@-])/(?=(?:opt|src|wheel|warm|numba|audit|sbom)\b)""")
"""Beginning of a path that the Dockerfile makes; others are the machine's own."""


class Step(NamedTuple):
    """One instruction."""

    word: str
    rest: str


class Stage(NamedTuple):
    """What follows one FROM."""

    name: str
    base: str
    steps: list[Step]


def stages(text: str) -> list[Stage]:
    """Return the stages; line continuations are joined, comments left out."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    found: list[Stage] = []
    for line in re.sub(r"\\\n\s*", " ", "\n".join(lines)).splitlines():
        if not line.strip():
            continue
        word, rest = line.strip().split(maxsplit=1)
        if word.upper() == "FROM":
            base, *name = re.split(r"\s+AS\s+", rest)
            found.append(Stage(name[0] if name else "", base, []))
        else:
            found[-1].steps.append(Step(word.upper(), rest))
    return found


def variables(rest: str) -> dict[str, str]:
    """Return what an ENV or LABEL sets."""
    return {name: value.strip('"') for name, value in re.findall(r'([\w.]+)=("[^"]*"|\S+)', rest)}


class Build:
    """Runs stages under a folder.

    Parameters
    ----------
    folder
        Empty; stands for the file system's root.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        base = folder / "base"  # its pip and python are those of the base image
        subprocess.run([sys.executable, "-m", "venv", base], check=True)
        self._path = f"{base / 'bin'}:{os.environ['PATH']}"
        self.seconds: dict[str, float] = {}

    def place(self, text: str) -> str:
        """Return text with the Dockerfile's paths under the folder."""
        return OWN.sub(f"{self.folder}/", text)

    def run(self, stage: Stage) -> None:
        """Run a stage's ENV, WORKDIR, COPY and RUN.

        Raises
        ------
        subprocess.CalledProcessError
            When a RUN fails; its output is on the terminal.
        """
        began = time.monotonic()
        here = self.folder
        environment = {"PATH": self._path, "HOME": str(self.folder)}
        environment |= {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "HTTP", "http"))}
        for step in stage.steps:
            if step.word == "ENV":
                environment |= {name: self.place(value) for name, value in variables(step.rest).items()}
            elif step.word == "WORKDIR":
                here = Path(self.place(step.rest))
                here.mkdir(parents=True, exist_ok=True)
            elif step.word == "COPY":
                self._copy(step.rest, here)
            elif step.word == "RUN":
                command = self.place(step.rest)
                print(f"+ {command}", flush=True)
                subprocess.run(["sh", "-ec", command], cwd=here, env=environment, check=True)
        self.seconds[stage.name] = time.monotonic() - began

    def _copy(self, rest: str, here: Path) -> None:
        if "--from=" in rest:
            return  # one folder stands for all stages
        *sources, target = rest.split()
        for source in sources:
            into = here / target
            if (ROOT / source).is_dir():
                shutil.copytree(
                    ROOT / source, into, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__")
                )  # fmt: skip
            else:
                into = into / Path(source).name if target.endswith("/") else into
                into.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / source, into)


def megabytes(path: Path) -> float:
    """Return the size of a tree, symbolic links not followed."""
    if path.is_file():
        return path.stat().st_size / 1e6
    return sum(f.lstat().st_size for f in path.rglob("*") if f.is_file() or f.is_symlink()) / 1e6


def main() -> None:
    """Build, and say what came of it."""
    folder = Path(sys.argv[1]).resolve()
    folder.mkdir(parents=True)
    build = Build(folder)
    for stage in stages(DOCKERFILE.read_text()):
        if stage.name:
            build.run(stage)
            print(f"== stage {stage.name}: {build.seconds[stage.name]:.0f} s", flush=True)
    for path in ("opt/siphonwatch", "numba", "sbom/sbom.cdx.json"):
        print(f"{megabytes(folder / path):8.1f} MB  /{path}")


if __name__ == "__main__":
    main()
