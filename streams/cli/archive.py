"""`siphonwatch archive`: keeps telemetry, features, alerts and verdicts as Parquet by hour, from Kafka or from logs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click
from aiokafka.errors import KafkaError

from siphonwatch.streams.cli import Failure
from siphonwatch.streams.cli.replay import offline
from siphonwatch.streams.common.cores import cores
from siphonwatch.streams.common.logs import configure
from siphonwatch.streams.common.settings import Settings, load
from siphonwatch.streams.common.tail import TailError
from siphonwatch.streams.edge.adapters import Unreadable, formats
from siphonwatch.streams.edge.spread import ProcessDied

if TYPE_CHECKING:
    from siphonwatch.streams.lab.archive.layout import Manifest


@click.command("archive", short_help="Keep telemetry, features, alerts and verdicts as Parquet.")
@click.option("--to", "url", required=True, metavar="DIR|URL", help="Where the archive is, or begins.")
@click.option("--once", is_flag=True, help="Archive what the topics hold now, and end.")
@click.option(
    "--from", "logs", type=click.Path(exists=True, dir_okay=False, path_type=Path), multiple=True, metavar="LOG",
    help="Archive log files instead of topics, without Kafka; may be repeated.",
)  # fmt: skip
@click.option(
    "--format", "format_", type=click.Choice(["auto", *formats()]), default="auto", show_default=True,
    help="Of the logs; auto looks at their first lines.",
)  # fmt: skip
@click.option("--step-rows", type=click.IntRange(min=1), default=131_072, show_default=True, help="Rows of a step.")
@click.option(
    "--step-seconds", type=click.FloatRange(min=1), default=300.0, show_default=True,
    help="A step is written so long after its first row at the latest.",
)  # fmt: skip
@click.option(
    "--metrics-port", type=click.IntRange(0, 65535), metavar="PORT",
    help="Serve /metrics, /healthz and /readyz here; 0 picks a free port.",
)  # fmt: skip
@click.option("--metrics-host", default="127.0.0.1", show_default=True, help="Its address.")
@click.option("--plain-ids", is_flag=True, help="With --from: keep account names readable instead of hashing them.")
def command(
    url: str,
    once: bool,
    logs: tuple[Path, ...],
    format_: str,
    step_rows: int,
    step_seconds: float,
    metrics_port: int | None,
    metrics_host: str,
    plain_ids: bool,
) -> None:
    """Follow the topics into an archive, until stopped; run it again after any end, it goes on where the archive ends.

    Exit code 0: stopped, or all archived; 1: Kafka or the archive cannot be read or written; 2: bad usage or settings.
    """
    from siphonwatch.streams.lab.archive.service import CannotListenError, archive
    from siphonwatch.streams.lab.archive.store import Store, StoreError

    if logs and metrics_port is not None:
        raise click.UsageError("--metrics-port is for topics: archiving log files ends by itself")
    settings = load().settings
    configure(settings.log)
    try:
        store = Store(url)
        if not store.exclusive():
            click.echo(f"{url} overwrites what is there: run one archiver, as a second one would lose steps", err=True)
        if logs:
            _logs(offline(settings, plain_ids), store, logs, format_, step_rows)
        else:
            address = None if metrics_port is None else (metrics_host, metrics_port)
            asyncio.run(
                archive(
                    settings, store, once=once, step_rows=step_rows, step_seconds=step_seconds, on_step=_say,
                    address=address,
                )
            )  # fmt: skip
    except (Unreadable, ProcessDied, ValueError, StoreError, CannotListenError, TailError) as error:
        raise Failure(str(error)) from None
    except KafkaError as error:
        raise Failure(
            f"topics cannot be read at {settings.kafka.bootstrap} ({type(error).__name__}: {error}); "
            "`siphonwatch doctor` tells more"
        ) from None


def _logs(settings: Settings, store, logs: tuple[Path, ...], format: str, step_rows: int) -> None:  # type: ignore[no-untyped-def]
    from siphonwatch.streams.lab.archive.logs import archive_log
    from siphonwatch.streams.lab.archive.writer import Writer

    writer = Writer(store)
    for path in logs:
        passed_over = archive_log(
            settings, writer, path, format, processes=cores(), step_rows=step_rows, on_step=_say
        )  # fmt: skip
        if passed_over:
            click.echo(f"{path}: passed over, as no requests: {passed_over.total():,}")


def _say(manifest: Manifest) -> None:
    rows = sum(found.rows for found in manifest.ranges)
    size = sum(file.size for file in manifest.files)
    dropped = sum(sum(found.dropped.values()) for found in manifest.ranges)
    gaps = sum(len(found.gaps) for found in manifest.ranges)
    click.echo(
        f"step {manifest.number}: {rows:,} rows in {len(manifest.files)} files, {size / 1e6:,.1f} MB"
        + (f"; {dropped:,} records dropped" if dropped else "")
        + (f"; {gaps} gaps" if gaps else "")
    )
