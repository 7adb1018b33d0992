"""Ask the public vulnerability databases about the packages of a lock. It fails on what is found and not allowed, and
says so plainly where nothing could be asked: silence is never taken for health.

    python deploy/supply/audit.py requirements.lock [--allow audit-allow.toml] [--required]
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ALLOW = Path(__file__).with_name("audit-allow.toml")
SERVICES = ("pypi", "osv")
"""Asked in this order until one knows the packages."""
SECONDS = 120.0
"""That one service may take for all packages."""
DAYS = 366
"""The longest that anything may be allowed for."""


class AuditError(ValueError):
    """The allow file is not what it should be."""


class Allowed(NamedTuple):
    """One vulnerability that may be there for now."""

    id: str
    package: str
    until: datetime.date
    reason: str


class Finding(NamedTuple):
    """One known vulnerability of a locked package."""

    package: str
    version: str
    names: tuple[str, ...]
    """Its id, then its aliases."""
    fixed: str

    def __str__(self) -> str:
        also = f" ({', '.join(self.names[1:])})" if self.names[1:] else ""
        return f"{self.package} {self.version}: {self.names[0]}{also}, fixed in {self.fixed or 'no version yet'}"


class Answer(NamedTuple):
    """What a service said."""

    asked: int
    """Packages it knew."""
    unknown: tuple[str, ...]
    """Packages it could say nothing about."""
    findings: tuple[Finding, ...]


def allowed(text: str, today: datetime.date) -> list[Allowed]:
    """Return the entries of an allow file.

    Raises
    ------
    AuditError
        When an entry lacks a field or a reason, has expired, or would last longer than `DAYS`.
    """
    found = []
    for number, entry in enumerate(tomllib.loads(text).get("allow", ()), 1):
        if set(entry) != set(Allowed._fields) or not isinstance(entry["until"], datetime.date):
            raise AuditError(
                f"entry {number}: wants id, package, until (a date such as 2027-01-31) and reason, only these"
            )
        one = Allowed(**entry)
        if len(one.reason.split()) < 4:
            raise AuditError(f"entry {number} ({one.id}): say in the reason why it does not concern us")
        if one.until <= today:
            raise AuditError(f"entry {number} ({one.id} of {one.package}) expired on {one.until}: look at it again")
        if (one.until - today).days > DAYS:
            raise AuditError(f"entry {number} ({one.id}): until {one.until} is more than a year ahead")
        found.append(one)
    return found


def parsed(output: str) -> Answer:
    """Return what pip-audit's JSON says."""
    tree: dict[str, Any] = json.loads(output)
    unknown, findings, asked = [], [], 0
    for package in tree["dependencies"]:
        if "skip_reason" in package:
            unknown.append(package["name"])
            continue
        asked += 1
        for vuln in package["vulns"]:
            names = (vuln["id"], *sorted(set(vuln.get("aliases", ())) - {vuln["id"]}))
            findings.append(
                Finding(package["name"], package["version"], names, ", ".join(vuln.get("fix_versions", ())))
            )
    return Answer(asked, tuple(unknown), tuple(findings))


def ask(lock: Path, service: str) -> Answer | str:
    """Run pip-audit over a lock; return the answer, or in one line why there is none."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(lock), "--require-hashes", "--disable-pip"]
    command += ["--vulnerability-service", service, "--format", "json", "--progress-spinner", "off", "--timeout", "10"]
    try:
        done = subprocess.run(  # noqa: S603 - our own command line
            command, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {SECONDS:.0f} s"
    try:
        answer = parsed(done.stdout)
    except (ValueError, KeyError):
        lines = done.stderr.strip().splitlines()
        return lines[-1][:300] if lines else f"pip-audit ended with code {done.returncode}"
    return answer if answer.asked else f"it knows none of the {len(answer.unknown)} packages"


def judge(answer: Answer, allow: Sequence[Allowed]) -> list[str]:
    """Return what fails: findings that nothing allows, and entries that allow nothing."""
    wrong, used = [], set()
    for finding in answer.findings:
        excuses = [a for a in allow if a.package == finding.package and a.id in finding.names]
        used.update(excuses)
        if not excuses:
            wrong.append(str(finding))
    wrong += [
        f"{a.id} of {a.package} is allowed and no longer found: take it out of {ALLOW.name}"
        for a in allow
        if a not in used and a.package not in answer.unknown
    ]
    return wrong


def audit(
    lock: Path, allow: Sequence[Allowed], required: bool, ask: Callable[[Path, str], Answer | str] = ask
) -> tuple[int, list[str]]:
    """Ask the services about a lock.

    Returns
    -------
    code : int
        1 where something fails, or nothing could be asked and that is `required`.
    lines : list of str
        What to tell.
    """
    said = []
    for service in SERVICES:
        answer = ask(lock, service)
        if isinstance(answer, str):
            said.append(f"{service}: {answer}")
            continue
        lines = [f"{lock}: {answer.asked} packages asked about at {service}, {len(answer.findings)} vulnerabilities"]
        lines += [f"allowed until {a.until}: {a.id} of {a.package}: {a.reason}" for a in allow]
        if answer.unknown:
            lines.append(f"NOT AUDITED, unknown to {service}: {', '.join(answer.unknown)}")
        wrong = judge(answer, allow)
        return int(bool(wrong) or (required and bool(answer.unknown))), [*lines, *(f"FAILED {line}" for line in wrong)]
    return int(required), [f"NOT AUDITED: {lock}: no vulnerability service could be asked from here", *said]


def main() -> int:
    """Audit as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lock", type=Path)
    parser.add_argument("--allow", type=Path, default=ALLOW)
    parser.add_argument("--required", action="store_true", help="fail where nothing could be asked")
    chosen = parser.parse_args()
    try:
        allow = allowed(chosen.allow.read_text(), datetime.datetime.now(datetime.UTC).date())
    except (OSError, AuditError, tomllib.TOMLDecodeError) as error:
        print(f"{chosen.allow}: {error}", file=sys.stderr)
        return 1
    code, lines = audit(chosen.lock, allow, chosen.required)
    print("\n".join(lines))
    return code


if __name__ == "__main__":
    sys.exit(main())
