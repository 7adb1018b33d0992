"""`siphonwatch scenario`: write labelled traffic that anyone can make, for `replay`, `produce` and `evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import click

from siphonwatch.streams.cli import Failure
from siphonwatch.streams.lab.scenario import Scenario, write
from siphonwatch.streams.lab.scenario.world import Kind


@click.command("scenario", short_help="Write invented gateway logs with labelled attacks.")
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option("--seed", type=int, default=42, show_default=True, help="The same seed writes the same bytes.")
@click.option("--accounts", type=int, default=2500, show_default=True, help="How many, the attackers' included.")
@click.option("--days", type=float, default=3.0, show_default=True, help="Event time spanned.")
@click.option(
    "--kind", type=click.Choice(["llm", "rest", "all"]), default="all", show_default=True,
    help="Of API; rest has more ways to use and to scrape it than all.",
)  # fmt: skip
def command(out: Path, seed: int, accounts: int, days: float, kind: str) -> None:
    """Write gateway logs of benign and attacking accounts into OUT, and their labels.

    No text, name or address in them is real. labels.csv and attack_requests.csv.gz are what `evaluate` takes.
    """
    try:
        scenario = Scenario(seed, accounts, days, kind=cast(Kind, kind))
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    try:
        written = write(out, scenario)
    except OSError as error:
        raise Failure(f"cannot write {error.filename or out}: {error.strerror}") from None
    labels = scenario.labels()
    attacking = {label.campaign for label in labels if label.pattern}
    click.echo(
        f"{written.records:,} requests of {len(labels):,} accounts, {len(attacking):,} campaigns, "
        f"{days:g} days of event time, seed {seed}"
    )
    logs = [path.name for path in (written.litellm, written.nginx) if path.exists()]
    click.echo(f"{out}: {', '.join(logs)}, {written.labels.name}, {written.attacks.name}")
    allowed = scenario.allowed()
    if allowed:
        click.echo(f"{len(allowed):,} crawlers are allowed: SIPHONWATCH_CONFIG={written.settings}")
