"""`siphonwatch broker`: the embedded broker on loopback, for trying things without a Kafka. It keeps nothing."""

from __future__ import annotations

import click

from siphonwatch.streams.cli import Failure
from siphonwatch.streams.lab.broker.embedded import EmbeddedBroker
from siphonwatch.streams.lab.broker.process import BrokerError
from siphonwatch.streams.lab.demo.interrupt import Interrupt

WATCH_SECONDS = 1.0
"""Between two looks at whether the broker still runs."""


@click.command("broker", short_help="Start the embedded broker, for trying things out.")
@click.option(
    "--port", type=click.IntRange(1024, 65535), default=9092, show_default=True, help="Refused where it is taken."
)
def command(port: int) -> None:
    """Start the embedded broker on 127.0.0.1, until stopped; then all it holds is gone.

    It is for trying things out: one node, memory only, no TLS, no passwords. The default port is the one that every
    other command asks by default. Exit code 0: stopped by you; 1: the port is taken, or the broker ended by itself.
    """
    broker = EmbeddedBroker(port=port)
    try:
        with Interrupt() as interrupt, broker:
            click.echo(f"a broker answers on {broker.bootstrap} (process {broker.pid}, log {broker.log}); ^C stops it")
            click.echo(f"in another terminal: export SIPHONWATCH_KAFKA_BOOTSTRAP={broker.bootstrap}")
            click.echo("then: siphonwatch topics --create, and siphonwatch worker")
            while broker.pid is not None:
                interrupt.sleep(WATCH_SECONDS)
            raise BrokerError(f"{broker.name} ended by itself; log: {broker.log}")
    except KeyboardInterrupt:
        click.echo("stopped; what it held is gone")
    except BrokerError as error:
        raise Failure(str(error)) from None
