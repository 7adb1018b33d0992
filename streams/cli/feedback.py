"""`siphonwatch feedback`: verdicts that analysts gave in their own tools, back to the verdicts topic."""

from __future__ import annotations

import asyncio

import click
from kafka.errors import KafkaError

from siphonwatch.streams.cli import Failure
from siphonwatch.streams.common.logs import configure
from siphonwatch.streams.common.settings import load
from siphonwatch.streams.deliver.feedback.service import feedback


@click.command("feedback", short_help="Take verdicts back from analysts' tools, until stopped.")
@click.argument("sinks", nargs=-1, metavar="[SINK]...")
def command(sinks: tuple[str, ...]) -> None:
    """Poll sinks of kind thehive, iris or jira, all of them or the named ones, and take signed messages where
    feedback.secret is set; what analysts decided there becomes a verdict, once.

    Exit code 0 after a graceful stop; 1 when something failed: start it again; 2 when a setting is wrong, or there is
    nothing to listen to.
    """
    settings = load().settings
    configure(settings.log)
    try:
        code = asyncio.run(feedback(settings, sinks))
    except KafkaError as error:
        raise Failure(
            f"no broker at {settings.kafka.bootstrap} ({type(error).__name__}); `siphonwatch doctor` tells more"
        ) from None
    except OSError as error:
        where = f"{settings.feedback.host}:{settings.feedback.port}"
        raise Failure(f"cannot listen on {where}: {error.strerror or error}") from None
    if code:
        raise Failure("stopped after a failure; see the log")
