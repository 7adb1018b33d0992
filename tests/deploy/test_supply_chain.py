"""The bill of materials is exactly the lock, and the audit tells found, allowed and not asked apart."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from programs import ROOT, program

audit = program("deploy/supply/audit.py", "siphonwatch_audit")
sbom = program("deploy/supply/sbom.py", "siphonwatch_sbom")

LOCK = ROOT / "requirements.lock"
TODAY = datetime.date(2026, 11, 22)
SUM = "ab" * 32
TOOLS = ROOT / ".cache" / "venv-audit" / "bin" / "python"
tools = pytest.mark.skipif(not (TOOLS.with_name("cyclonedx-py")).exists(), reason="`make audit` installs the tools")


def component(name: str, version: str = "1.0", **more: Any) -> dict[str, Any]:
    """A package as cyclonedx-bom tells of it."""
    licences = [{"license": {"id": "MIT"}}]
    ref = f"{name}=={version}"
    return {
        "bom-ref": ref, "name": name, "version": version, "purl": f"pkg:pypi/{name}@{version}", "type": "library",
        "licenses": licences, **more,
    }  # fmt: skip


def bill(*components: dict[str, Any]) -> dict[str, Any]:
    """An environment's bill: the product needs every package, and each of them pip."""
    refs = [c["bom-ref"] for c in components]
    edges = [{"ref": ref, "dependsOn": ["pip==1.0"]} for ref in refs]
    return {
        "metadata": {"component": {"bom-ref": "root-component"}},
        "components": list(components),
        "dependencies": [{"ref": "root-component", "dependsOn": refs}, *edges],
    }


def pins(**versions: str) -> dict[str, Any]:
    """A lock."""
    return {name: sbom.Pin(version, (SUM,)) for name, version in versions.items()}


def test_a_lock_s_packages_are_those_whose_markers_hold_here() -> None:
    text = LOCK.read_text()
    here, windows = sbom.locked(text, {"sys_platform": "linux"}), sbom.locked(text, {"sys_platform": "win32"})
    assert "colorama" in windows and "colorama" not in here
    assert here["aiokafka"].version.startswith("0.14")
    assert all(pin.hashes and all(len(found) == 64 for found in pin.hashes) for pin in here.values())
    assert len(here) > 40


def test_of_two_versions_the_one_for_this_python_is_taken() -> None:
    text = "a==1 ; python_full_version < '3.12' \\\n    --hash=sha256:" + SUM
    text += "\na==2 ; python_full_version >= '3.12' \\\n    --hash=sha256:" + "cd" * 32 + "\n"
    assert sbom.locked(text, {"python_full_version": "3.11.9"}) == {"a": sbom.Pin("1", (SUM,))}
    assert sbom.locked(text, {"python_full_version": "3.13.0"}) == {"a": sbom.Pin("2", ("cd" * 32,))}


def test_the_bill_holds_the_lock_s_packages_and_no_tool_beside_them() -> None:
    found = sbom.restricted(bill(component("numpy"), component("pytest"), component("pip")), pins(numpy="1.0"))
    assert [c["name"] for c in found["components"]] == ["numpy"]
    assert found["dependencies"] == [
        {"ref": "root-component", "dependsOn": ["numpy==1.0"]},
        {"ref": "numpy==1.0", "dependsOn": []},
    ]
    (files,) = [r for r in found["components"][0]["externalReferences"] if r["type"] == "distribution"]
    assert files["hashes"] == [{"alg": "SHA-256", "content": SUM}]
    assert sbom.problems(found, pins(numpy="1.0")) == []


@pytest.mark.parametrize(
    ("installed", "locked", "without", "told"),
    [
        ([], {"numpy": "1.0"}, (), "numpy 1.0 is locked and not installed"),
        ([component("numpy", "2.0")], {"numpy": "1.0"}, (), "numpy is installed as 2.0, locked as 1.0"),
        ([component("numpy", licenses=[])], {"numpy": "1.0"}, (), "numpy names no licence"),
        (
            [component("numpy", purl="pkg:pypi/numby@1.0")],
            {"numpy": "1.0"},
            (),
            "numpy has the purl pkg:pypi/numby@1.0",
        ),
        ([component("numpy")], {"numpy": "1.0"}, ("numpy",), "numpy is installed and was to be left out"),
        ([], {}, ("numpy",), "numpy is to be left out and the lock has no such package"),
    ],
)
def test_a_bill_that_is_not_the_lock_is_refused_with_its_reason(
    installed: list[dict[str, Any]], locked: dict[str, str], without: tuple[str, ...], told: str
) -> None:
    found = sbom.problems(sbom.restricted(bill(*installed), pins(**locked)), pins(**locked), without)
    assert len(found) == 1 and found[0].startswith(told)


def test_what_was_taken_out_of_the_environment_is_not_missed() -> None:
    assert sbom.problems(bill(), pins(setuptools="1.0"), {"setuptools"}) == []


@pytest.mark.parametrize("name", sbom.LICENCES)
def test_a_licence_that_only_its_file_names_is_filled_in(name: str) -> None:
    found = sbom.restricted(bill(component(name, licenses=[])), pins(**{name: "1.0"}))
    assert found["components"][0]["licenses"][0]["acknowledgement"] == "concluded"
    assert sbom.problems(found, pins(**{name: "1.0"})) == []


@tools
def test_the_bill_of_an_environment_is_the_lock_s_and_passes_the_schema(tmp_path: Path) -> None:
    lock, out = ROOT / "requirements-audit.lock", tmp_path / "new" / "sbom.json"  # the tools' own: it is small
    command = [TOOLS, ROOT / "deploy" / "supply" / "sbom.py", "--lock", lock, "--python", TOOLS, "--out", out]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made = json.loads(out.read_text())
    assert made["bomFormat"] == "CycloneDX" and made["specVersion"] == "1.6"
    assert made["metadata"]["component"]["name"] == "siphonwatch"
    assert len(made["components"]) == len(sbom.locked(lock.read_text()))
    assert "timestamp" not in made["metadata"] and "serialNumber" not in made, "equal environments make equal bills"


@tools
def test_a_bill_that_the_schema_refuses_is_not_written(tmp_path: Path) -> None:
    code = "import sys; sys.path.insert(0, sys.argv[1]); import sbom\n"
    code += 'try: sbom.validated(\'{"bomFormat": "CycloneDX", "specVersion": "1.6", "componets": []}\')\n'
    code += "except sbom.SbomError as error: print(error)"
    command = [TOOLS, "-c", code, ROOT / "deploy" / "supply"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    )
    assert "refuses the bill" in done.stdout, done.stderr


def finding(package: str = "numpy", *names: str) -> Any:
    """A vulnerability."""
    return audit.Finding(package, "1.0", names or ("PYSEC-2026-1", "CVE-2026-1"), "1.1")


def allow(ident: str = "CVE-2026-1", package: str = "numpy") -> Any:
    """An entry of the allow file."""
    return audit.Allowed(ident, package, TODAY, "cannot be reached from here")


def run(*answers: Any, allowed: tuple[Any, ...] = (), required: bool = False) -> tuple[int, str]:
    """Audit with services that answer so, in turn."""
    told = iter(answers)
    code, lines = audit.audit(Path("x.lock"), allowed, required, lambda _lock, _service: next(told))
    return code, "\n".join(lines)


def test_a_known_vulnerability_fails_and_is_named_with_its_remedy() -> None:
    code, said = run(audit.Answer(57, (), (finding(),)))
    assert code == 1
    assert "FAILED numpy 1.0: PYSEC-2026-1 (CVE-2026-1), fixed in 1.1" in said


def test_one_that_is_allowed_by_any_of_its_names_passes_and_is_shown() -> None:
    code, said = run(audit.Answer(57, (), (finding(),)), allowed=(allow(),))
    assert code == 0 and "cannot be reached from here" in said


def test_an_allowance_is_for_its_package_alone() -> None:
    assert run(audit.Answer(57, (), (finding(),)), allowed=(allow(package="scipy"),))[0] == 1


def test_an_allowance_that_nothing_needs_any_more_fails() -> None:
    code, said = run(audit.Answer(57, (), ()), allowed=(allow(),))
    assert code == 1 and "no longer found" in said


def test_nothing_found_passes() -> None:
    code, said = run(audit.Answer(57, (), ()))
    assert code == 0 and "57 packages asked about at pypi, 0 vulnerabilities" in said and "NOT AUDITED" not in said


def test_where_nothing_can_be_asked_that_is_said_and_fails_only_on_demand() -> None:
    answers = ("it knows none of the 57 packages", "no answer within 120 s")
    code, said = run(*answers)
    assert code == 0 and "NOT AUDITED" in said and all(answer in said for answer in answers)
    assert run(*answers, required=True)[0] == 1


def test_the_second_service_is_asked_where_the_first_does_not_answer() -> None:
    code, said = run("no answer within 120 s", audit.Answer(57, (), (finding(),)))
    assert code == 1 and "asked about at osv" in said


def test_packages_that_a_service_does_not_know_are_named_and_their_allowances_kept() -> None:
    code, said = run(audit.Answer(56, ("numpy",), ()), allowed=(allow(),))
    assert code == 0 and "NOT AUDITED, unknown to pypi: numpy" in said
    assert run(audit.Answer(56, ("numpy",), ()), required=True)[0] == 1


def test_pip_audit_s_own_words_are_understood() -> None:
    vulns = [{"id": "GHSA-1", "aliases": ["CVE-1"], "fix_versions": ["2", "3"], "description": "..."}]
    found = audit.parsed(
        json.dumps({
            "dependencies": [
                {"name": "a", "version": "1", "vulns": vulns}, {"name": "b", "version": "1", "vulns": []},
                {"name": "c", "skip_reason": "not found"},
            ],
            "fixes": [],
        })
    )  # fmt: skip
    assert found == audit.Answer(2, ("c",), (audit.Finding("a", "1", ("GHSA-1", "CVE-1"), "2, 3"),))


ENTRY = '[[allow]]\nid = "CVE-1"\npackage = "numpy"\nuntil = {until}\nreason = "{reason}"\n'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (ENTRY.format(until="2026-11-22", reason="we never call that function"), "expired on 2026-11-22"),
        (ENTRY.format(until="2028-01-01", reason="we never call that function"), "more than a year ahead"),
        (ENTRY.format(until="2027-01-01", reason="fine"), "say in the reason"),
        (ENTRY.format(until='"soon"', reason="we never call that function"), "until (a date"),
        ('[[allow]]\nid = "CVE-1"\n', "wants id, package, until"),
    ],
)
def test_an_allow_file_wants_a_reason_and_an_end_for_each_entry(text: str, told: str) -> None:
    with pytest.raises(audit.AuditError) as caught:
        audit.allowed(text, TODAY)
    assert told in str(caught.value)


@given(st.integers(1, 366))
def test_an_entry_is_good_until_its_day_and_no_longer(days: int) -> None:
    until = TODAY + datetime.timedelta(days)
    text = ENTRY.format(until=until, reason="we never call that function")
    (one,) = audit.allowed(text, until - datetime.timedelta(1))
    assert one.until == until
    with pytest.raises(audit.AuditError):
        audit.allowed(text, until)


def test_the_example_of_the_allow_file_is_one() -> None:
    lines = audit.ALLOW.read_text().splitlines()
    example = [line.removeprefix("# ") for line in lines[lines.index("# [[allow]]") :] if line.startswith("# ")]
    (one,) = audit.allowed("\n".join(example), TODAY)
    assert one.package == "name"
