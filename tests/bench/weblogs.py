"""Who ranks on top in access logs, by which card, and what they asked for: `python -m bench weblogs FILE...`.

Reads the logs that `shared/` has beside this checkout where no file is named. Accounts are the addresses.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.report import WIDTH
from siphonwatch.models.account.features import NAMES
from siphonwatch.models.account.request import Array, names
from siphonwatch.models.engine.engine import Trace
from siphonwatch.models.engine.scorer import Scorer
from siphonwatch.models.evidence.cases import Finding
from siphonwatch.streams.cli.replay import OFFLINE_KEY
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.edge.adapters import read_records
from siphonwatch.streams.lab.replay import Replay
from siphonwatch.streams.worker.scoring import make_scorer

FOLDER = Path(__file__).parents[3] / "shared" / "data" / "weblogs"
TOP = 10
THINGS = NAMES.index("new_resource_count_7d")


class Ranked(NamedTuple):
    """One account."""

    account: str
    suspicion: float
    card: str
    """Which score came nearest to what it takes to be evidence, and how near: 1 at the card's null level."""
    reached: float
    requests: int
    things: int
    """New ones it asked for, as the scraping card counts them: e to the feature, less 1."""


class Survey(NamedTuple):
    """One log."""

    ranked: list[Ranked]
    """Most suspicious first."""
    opened: list[str]
    """The pattern of each case."""


class _Watched(Replay):
    """Keeps the names of the batch that is being scored."""

    batch: Sequence[str] = ()

    def _score(self, requests: Array) -> None:
        self.batch = names(requests["account"])
        super()._score(requests)


def survey(path: Path) -> Survey:
    """Score a log with all cards over accounts."""
    settings = Settings()
    # The key of `siphonwatch replay` without one of your own: which accounts are rare depends on it a little.
    settings.identity.key, settings.identity.plain_ids = OFFLINE_KEY, True
    scorer: Scorer = make_scorer(settings)
    opened: list[str] = []

    def note(finding: Finding) -> None:
        if finding.kind == "open":
            opened.append(finding.pattern)

    replay = _Watched(settings, scorer, note)
    nulls = np.array([detector.null for detector in scorer.judge.detectors])
    reached: dict[str, np.ndarray] = {}
    count: Counter[str] = Counter()
    things: Counter[str] = Counter()

    def watch(trace: Trace) -> None:
        for i in np.flatnonzero(trace.taken).tolist():
            account = replay.batch[trace.which[i]]
            count[account] += 1
            things[account] = max(things[account], round(float(np.expm1(trace.features[i, THINGS]))))
            reached[account] = np.maximum(reached.get(account, 0.0), trace.scores[i] / nulls)

    scorer.judge.trace = watch
    replay.feed(read_records(path))
    suspicion = scorer.suspicion()
    ranked = []
    for account in sorted(suspicion, key=lambda name: (-suspicion[name], name)):
        best = int(np.argmax(reached[account]))
        card, near = scorer.judge.patterns[best], float(reached[account][best])
        ranked.append(Ranked(account, suspicion[account], card, near, count[account], things[account]))
    return Survey(ranked, opened)


def main(arguments: Sequence[str]) -> int:
    """Run what the command line says; exit code 1 where there was no log to read."""
    parser = argparse.ArgumentParser(prog="bench weblogs", description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, help="access logs, combined or JSON")
    chosen = parser.parse_args(arguments)
    files = chosen.files or [path for path in [FOLDER / "elastic_apache_logs"] if path.is_file()]
    if not files:
        print(f"weblogs: skipped, no logs are in {FOLDER}; name some", file=sys.stderr)
        return 1
    console = Console()
    for file in files:
        found = survey(file)
        opened = ", ".join(f"{n} {pattern}" for pattern, n in Counter(found.opened).items()) or "none"
        table = Table(header_style="bold", title=f"{file.name}: {len(found.ranked):,} accounts, cases: {opened}")
        for heading in ("account", "suspicion", "nearest card", "score / null", "requests", "new things"):
            table.add_column(heading, justify="left" if heading in ("account", "nearest card") else "right")
        for one in found.ranked[:TOP]:
            table.add_row(
                one.account, f"{one.suspicion:.2f}", one.card if one.reached else "none", f"{one.reached:.2f}",
                f"{one.requests:,}", f"{one.things:,}",
            )  # fmt: skip
        (console if console.is_terminal else Console(width=WIDTH)).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
