"""Reads deploy/compose.yaml as Docker Compose would: merge keys, default values of variables, what the image adds."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from dockerfile import DOCKERFILE, stages, variables

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "deploy" / "compose.yaml"
OWN = "siphonwatch:"
"""Beginning of our image's name."""


def interpolated(text: str) -> str:
    """Return text with every `${NAME:-default}` as its default, as where nothing is set."""
    return re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", text)


@cache
def tree() -> dict[str, Any]:
    """Return the file as Compose reads it with nothing set."""
    found: dict[str, Any] = yaml.safe_load(interpolated(FILE.read_text()))
    return found


def services() -> dict[str, dict[str, Any]]:
    """Return the services by name."""
    found: dict[str, dict[str, Any]] = tree()["services"]
    return found


def own() -> list[str]:
    """Return the names of the services that run our image."""
    return [name for name, service in services().items() if service["image"].startswith(OWN)]


def image() -> dict[str, str]:
    """Return what the image's last stage sets in the environment."""
    return {
        k: v
        for step in stages(DOCKERFILE.read_text())[-1].steps
        if step.word == "ENV"
        for k, v in variables(step.rest).items()
    }


def environment(name: str) -> dict[str, str]:
    """Return a service's environment; with what our image adds."""
    service = services()[name]
    return (image() if name in own() else {}) | {k: str(v) for k, v in service.get("environment", {}).items()}


def settings_of(name: str) -> dict[str, str]:
    """Return the part of a service's environment that siphonwatch reads."""
    return {k: v for k, v in environment(name).items() if k.startswith("SIPHONWATCH_")}


def mounts(name: str) -> dict[str, tuple[str, bool]]:
    """Return target -> (source, read-only) of a service's volumes; a source that begins with . is a path."""
    found = {}
    for text in services()[name].get("volumes", []):
        source, target, *options = text.split(":")
        found[target] = (source, "ro" in options)
    return found


def order() -> list[str]:
    """Return the services so that each comes after those it depends on.

    Raises
    ------
    ValueError
        When they wait for each other.
    """
    done: list[str] = []
    left = {name: set(service.get("depends_on", {})) for name, service in services().items()}
    while left:
        ready = [name for name, needs in left.items() if needs <= set(done)]
        if not ready:
            raise ValueError(f"these wait for each other: {', '.join(left)}")
        done += ready
        left = {name: needs for name, needs in left.items() if name not in ready}
    return done
