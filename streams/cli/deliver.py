"""`siphonwatch deliver`: delivers alerts to the sinks that settings name, beside the workers and never inside one."""

from __future__ import annotations

import asyncio

import click
from aiokafka.errors import KafkaError

from siphonwatch.streams.cli import Failure
from siphonwatch.streams.common.logs import configure
from siphonwatch.streams.common.settings import Settings, load
from siphonwatch.streams.deliver.make import check
from siphonwatch.streams.deliver.service import deliver
from siphonwatch.streams.deliver.trial import trials
from siphonwatch.streams.operate.topics import TopicsError, connect, missing


@click.command("deliver", short_help="Deliver alerts to sinks, until stopped.")
@click.argument("sinks", nargs=-1, metavar="[SINK]...")
@click.option(
    "--check", "trial", is_flag=True, help="Send each sink a marked test alert, print whether it arrived and end."
)
def command(sinks: tuple[str, ...], trial: bool) -> None:
    """Deliver alerts to every sink of the settings, or to the named ones, until stopped.

    Exit code 0 after a graceful stop, or when every test alert arrived; 1 when something failed: start it again, it
    goes on where each sink was; 2 when a setting is wrong or no sink is set.
    """
    settings = load().settings
    configure(settings.log)
    check(settings, sinks)
    if trial:
        if not asyncio.run(_try(settings, sinks)):
            raise Failure("not every test alert arrived")
        return
    _need_topic(settings)
    try:
        code = asyncio.run(deliver(settings, sinks))
    except KafkaError as error:
        raise Failure(
            f"no broker at {settings.kafka.bootstrap} ({type(error).__name__}); `siphonwatch doctor` tells more"
        ) from None
    except OSError as error:
        where = f"{settings.deliver.host}:{settings.deliver.port}"
        raise Failure(f"cannot listen on {where}: {error.strerror or error}") from None
    if code:
        raise Failure("stopped after a failure; see the log")


def _need_topic(settings: Settings) -> None:
    try:
        with connect(settings.kafka) as admin:
            problems = [line for line in missing(settings, admin) if line.startswith(settings.topic("alerts") + " ")]
    except TopicsError as error:
        raise Failure(f"{error}; `siphonwatch doctor` tells more") from None
    if problems:
        raise Failure("\n".join(problems))


async def _try(settings: Settings, sinks: tuple[str, ...]) -> bool:
    """Print each sink's outcome; whether all is well."""
    passed = True
    async for trial in trials(settings, sinks):
        shown = trial.opened if trial.closed is None or trial.closed.verdict == "delivered" else trial.closed
        click.echo(f"{trial.sink} ({trial.kind}): {shown.verdict} in {trial.seconds:.2f} s: {shown.detail}")
        passed = passed and trial.passed
    return passed
