"""Every command of the README and of docs/ runs as it stands there, in this order. What the documents name exists.

A `console` block holds what needs a case of the reader's own; its commands are parsed, and run in tests/verdicts.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import click
import msgspec
import pytest
from known_metrics import names, of_worker

from siphonwatch.models.engine.patterns import patterns
from siphonwatch.streams.cli import COMMANDS, cli
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.lab.scenario import Scenario
from siphonwatch.streams.lab.scenario.write import write

ROOT = Path(__file__).parents[1]
README, RUNBOOK = ROOT / "README.md", ROOT / "deploy" / "runbook.md"
DOCUMENTS = (README, RUNBOOK, *sorted((ROOT / "docs").glob("*.md")))
RUN = (README, *(ROOT / "docs" / f"{page}.md" for page in ("operations", "data-science")))
"""Documents whose `sh` blocks are one session: each goes on with the files and topics of those before it."""
README_LINES = 200
"""A front door, read in one sitting; the rest belongs in docs/."""
BLOCK = re.compile(r"^ *```sh\n(.*?)^ *```", re.M | re.S)
TYPED = re.compile(r"^ *\$ siphonwatch (.*)$", re.M)
each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


def blocks() -> list[str]:
    """The documents' shell blocks, unindented."""
    texts = (document.read_text() for document in RUN)
    return [textwrap.dedent(block) for text in texts for block in BLOCK.findall(text)]


def test_each_document_that_is_run_has_shell_blocks() -> None:
    assert all(BLOCK.search(document.read_text()) for document in RUN)


def test_the_readme_is_short_enough_for_a_front_door() -> None:
    assert len(README.read_text().splitlines()) < README_LINES


@pytest.mark.broker
@pytest.mark.timeout(1800)
def test_the_commands_of_the_documents_run_one_after_the_other(tansu: str, tmp_path: Path) -> None:
    written = write(tmp_path, Scenario(5, 20, 0.5))
    written.litellm.rename(tmp_path / "gateway.ndjson")
    script = "\n".join(blocks()) + "\nkill %1\nwait %1\n"
    env = {name: value for name, value in os.environ.items() if not name.startswith("SIPHONWATCH_")}
    env |= {
        "PATH": f"{Path(sys.executable).parent}:{env['PATH']}",
        "SIPHONWATCH_KAFKA_BOOTSTRAP": tansu,
        "SIPHONWATCH_TOPICS_PREFIX": "readme",
        "SIPHONWATCH_TOPICS_PARTITIONS": "2",
        "SIPHONWATCH_WEB_PORT": "0",
    }
    done = subprocess.run(
        ["bash", "-emc", script], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=1500, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "requests/s" in done.stdout


def test_what_needs_a_case_of_your_own_is_a_command_with_such_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "decided.csv").write_text("case,decision\n")
    typed = [line for document in RUN for line in TYPED.findall(document.read_text())]
    assert typed
    for line in typed:
        name, *arguments = shlex.split(line)
        command = cli.get_command(click.Context(cli), name)
        assert command is not None, line
        with command.make_context(name, arguments):
            pass


@each_document
def test_every_command_a_document_names_exists(document: Path) -> None:
    named = set(re.findall(r"[`$] ?siphonwatch ([a-z]+)", document.read_text()))
    assert named or document != README
    assert named <= set(COMMANDS), named - set(COMMANDS)


def anchors(document: Path) -> set[str]:
    """What may stand behind a # in a link, as forges make it of headings."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.M)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@each_document
def test_every_file_and_heading_a_document_points_at_exists(document: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", document.read_text()):
        file = document.parent / target if target else document
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), f"{target}#{anchor}"


def test_every_pattern_has_the_runbook_entry_that_its_alerts_link_to() -> None:
    assert {pattern.pattern for pattern in patterns()} <= anchors(RUNBOOK)


@each_document
def test_every_setting_a_document_names_exists(document: Path) -> None:
    sections = {field.name: field.type for field in msgspec.structs.fields(Settings)}
    named = set(re.findall(r"`(\w+)\.(\w+)[` =]", document.read_text()))
    known = {(section, name) for section, name in named if section in sections}
    assert known or document != README
    for section, name in known:
        assert name in {field.name for field in msgspec.structs.fields(sections[section])}, f"{section}.{name}"


def test_the_runbook_s_table_has_every_metric_of_a_worker_and_no_other() -> None:
    table = RUNBOOK.read_text().partition("\n## Metrics\n")[2].partition("\n## ")[0]
    rows = [line.split(" | ")[0] for line in table.splitlines() if line.startswith("| `")]
    assert {f"siphonwatch_{name}" for row in rows for name in re.findall(r"`(\w+)`", row)} == names(of_worker())


def test_every_metric_the_runbook_names_is_exported() -> None:
    named = set(re.findall(r"`(siphonwatch_\w+)`", RUNBOOK.read_text()))
    assert named and {name for name in named if not name.endswith("_")} <= names(of_worker())
