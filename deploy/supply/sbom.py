"""Write the CycloneDX bill of materials of an installed siphonwatch: exactly what the lock names, with versions,
licences, hashes, purls and who needs whom. It refuses to write one that is incomplete or that the schema refuses.

    python deploy/supply/sbom.py --lock requirements.lock --python .venv/bin/python --out sbom.cdx.json
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
SPEC = "1.6"
LICENCES = {"protobuf": "BSD-3-Clause", "verlib2": "BSD-2-Clause"}
"""SPDX expressions of packages whose metadata name none, as their licence files say; an entry goes when theirs does."""


class SbomError(ValueError):
    """The bill cannot be made; the message lists what is wrong."""


class Pin(NamedTuple):
    """What a lock says of one package."""

    version: str
    hashes: tuple[str, ...]
    """SHA-256 of each file that pip may install."""


def locked(text: str, environment: Mapping[str, str] | None = None) -> dict[str, Pin]:
    """Return the packages of a lock that apply here, by canonical name.

    Parameters
    ----------
    text
        The lock.
    environment
        Values of environment markers that differ from this interpreter's.
    """
    found = {}
    for entry in re.split(r"\n(?=[A-Za-z0-9])", text):
        line = entry.split("\\\n")[0].strip()
        if line.startswith("#") or not line:
            continue
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate(dict(environment or {})):
            (only,) = requirement.specifier
            hashes = tuple(re.findall(r"--hash=sha256:([0-9a-f]{64})", entry))
            found[canonicalize_name(requirement.name)] = Pin(only.version, hashes)
    return found


def restricted(bom: dict[str, Any], pins: Mapping[str, Pin]) -> dict[str, Any]:
    """Return a bill of an environment with the lock's packages only, their hashes and missing licences filled in."""
    kept = [c for c in bom["components"] if canonicalize_name(c["name"]) in pins]
    for component in kept:
        name = canonicalize_name(component["name"])
        sums = [{"alg": "SHA-256", "content": content} for content in sorted(set(pins[name].hashes))]
        component["externalReferences"] = [
            {"type": "distribution", "url": component["purl"], "hashes": sums, "comment": "files the lock admits"},
            *(r for r in component.get("externalReferences", ()) if r["type"] != "distribution"),
        ]
        if not component.get("licenses") and name in LICENCES:
            component["licenses"] = [{"expression": LICENCES[name], "acknowledgement": "concluded"}]
    refs = {c["bom-ref"] for c in kept} | {bom["metadata"]["component"]["bom-ref"]}
    edges = [
        {"ref": d["ref"], "dependsOn": [ref for ref in d.get("dependsOn", ()) if ref in refs]}
        for d in bom["dependencies"]
        if d["ref"] in refs
    ]
    return {**bom, "components": kept, "dependencies": edges}


def problems(bom: dict[str, Any], pins: Mapping[str, Pin], without: Collection[str] = ()) -> list[str]:
    """Return what keeps the bill from being exactly the lock, one line each.

    Parameters
    ----------
    bom
        After `restricted`.
    pins
        The lock.
    without
        Canonical names that the lock has and the installation was freed of.
    """
    installed = {canonicalize_name(c["name"]): c for c in bom["components"]}
    found = [f"{name} is installed and was to be left out" for name in sorted(set(without) & set(installed))]
    found += [f"{name} is to be left out and the lock has no such package" for name in sorted(set(without) - set(pins))]
    for name, pin in sorted(pins.items()):
        if name in without:
            continue
        if (component := installed.get(name)) is None:
            found.append(f"{name} {pin.version} is locked and not installed")
            continue
        if component["version"] != pin.version:
            found.append(f"{name} is installed as {component['version']}, locked as {pin.version}")
        if not component.get("licenses"):
            found.append(f"{name} names no licence: read it and add it to LICENCES")
        if not pin.hashes:
            found.append(f"{name} has no hash in the lock")
        kind, _, rest = component.get("purl", "").partition("/")
        if (kind, canonicalize_name(rest.partition("@")[0]), rest.partition("@")[2]) != (
            "pkg:pypi", name, component["version"],
        ):  # fmt: skip
            found.append(f"{name} has the purl {component.get('purl')}")
    return found


def describe(python: Path) -> dict[str, Any]:
    """Return the bill of everything installed beside an interpreter, as cyclonedx-bom sees it.

    Raises
    ------
    SbomError
        When it fails.
    """
    command = [sys.executable, "-m", "cyclonedx_py", "environment", str(python), "--pyproject", ROOT / "pyproject.toml"]
    command += ["--mc-type", "application", "--spec-version", SPEC, "--output-format", "JSON", "--output-reproducible"]
    command += ["--no-validate"]  # what is written in the end is validated, strictly
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command line
    if done.returncode:
        raise SbomError(f"cyclonedx-py failed (code {done.returncode}): {done.stderr.strip()[-1000:]}")
    bom: dict[str, Any] = json.loads(done.stdout)
    return bom


def validated(text: str) -> str:
    """Return a bill that the CycloneDX schema accepts, strictly.

    Raises
    ------
    SbomError
        When it does not.
    """
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    if error := JsonStrictValidator(SchemaVersion.from_version(SPEC)).validate_str(text):
        raise SbomError(f"the CycloneDX {SPEC} schema refuses the bill: {error}")
    return text


def main() -> int:
    """Write the bill; exit code 1 where it cannot be right."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lock", type=Path, required=True)
    parser.add_argument("--python", type=Path, required=True, help="interpreter of the environment to describe")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--without", action="append", default=[], help="locked, and taken out of the environment again")
    chosen = parser.parse_args()
    without = {canonicalize_name(name) for name in chosen.without}
    pins = locked(chosen.lock.read_text())
    try:
        bom = restricted(describe(chosen.python), pins)
        if wrong := problems(bom, pins, without):
            raise SbomError("\n  ".join([f"{chosen.python} is not what {chosen.lock} says:", *wrong]))
        text = validated(json.dumps(bom, indent=1, sort_keys=True) + "\n")
    except SbomError as error:
        print(error, file=sys.stderr)
        return 1
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(text)
    print(f"{chosen.out}: CycloneDX {SPEC}, {len(bom['components'])} packages, as {chosen.lock.name} locks them")
    return 0


if __name__ == "__main__":
    sys.exit(main())
