"""The command line: one file a command, loaded when it is asked for, so that `--help` is instant."""

from __future__ import annotations

import importlib
import os
import signal
import sys

import click

from siphonwatch.streams.common.extensions import ExtensionError
from siphonwatch.streams.common.settings import SettingsError

COMMANDS = (
    "worker",
    "produce",
    "topics",
    "alerts",
    "deliver",
    "desk",
    "cases",
    "case",
    "account",
    "find",
    "verdict",
    "noise",
    "export",
    "feedback",
    "allow",
    "archive",
    "dataset",
    "features",
    "erase",
    "models",
    "replay",
    "evaluate",
    "backtest",
    "train",
    "drift",
    "explain",
    "scenario",
    "redrive",
    "provision",
    "doctor",
    "status",
    "broker",
    "demo",
)


class Lazy(click.Group):
    """Finds a command `x` as `command` in `siphonwatch.streams.cli.x`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f"siphonwatch.streams.cli.{cmd_name}").command
        assert isinstance(command, click.Command)  # noqa: S101 - a programming error, not input
        return command


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="siphonwatch")
def cli() -> None:
    """Detect API siphoning on Kafka: scraping, model distillation, data desensitisation."""


class Failure(click.ClickException):
    """Something went wrong that the user can do something about; exit code 1."""

    exit_code = 1


def main() -> None:
    """Run the command line; exit 0 done, 1 failed, 2 bad usage or settings."""
    # Of a container: the kernel drops signals that process 1 has no handler for, such as a worker's while it warms.
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, _end)
    try:
        cli(prog_name="siphonwatch")
    except (SettingsError, ExtensionError) as error:
        click.echo(f"siphonwatch: {error}", err=True)
        sys.exit(2 if isinstance(error, SettingsError) else 1)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "siphonwatch":
            raise
        click.echo(
            f"siphonwatch: this installation is without {error.name}, which this command needs: "
            "pip install 'siphonwatch[worker]' (beside a gateway 'siphonwatch[gateway]' has what sketching and "
            "producing need)",
            err=True,
        )
        sys.exit(2)


def _end(number: int, _: object) -> None:
    sys.exit(128 + number)
