"""What holds for every command."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from siphonwatch.streams.cli import COMMANDS, cli

CODE = """
import os, signal, time
import siphonwatch.streams.cli as commands

own = os.getpid()
os.getpid = lambda: {}
commands.cli = lambda **_: (os.kill(own, signal.SIGTERM), time.sleep(30))
commands.main()
"""


@pytest.mark.parametrize(("process", "code"), [(1, 128 + signal.SIGTERM), (2, -signal.SIGTERM)])
def test_process_1_of_a_container_ends_when_told_to_before_it_has_begun(process: int, code: int) -> None:
    """What a signal does by default it does not do to process 1."""
    done = subprocess.run([sys.executable, "-c", CODE.format(process)], timeout=300, check=False)
    assert done.returncode == code


def test_the_list_of_commands_says_what_each_does_in_a_sentence_that_fits_a_terminal() -> None:
    shown = CliRunner().invoke(cli, ["--help"], terminal_width=80).output.partition("Commands:\n")[2].splitlines()
    sentences = dict(line.split(maxsplit=1) for line in shown)
    assert tuple(sentences) == COMMANDS
    for name, sentence in sentences.items():
        assert sentence.endswith(".") and not sentence.endswith("..") and len(sentence.split()) > 3, (name, sentence)


def test_the_contract_names_every_command() -> None:
    contract = (Path(__file__).parents[2] / "docs" / "contract.md").read_text()
    listed = contract.partition("## Commands and exit codes\n\n`siphonwatch ")[2].partition("`")[0]
    assert tuple(listed.replace("|", " ").split()) == COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_what_it_does_and_what_each_option_is_for(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None and command.help
    assert len(command.help.partition("\n")[0].split()) > 4, "its first line is a sentence"
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, option.name
