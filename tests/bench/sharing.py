"""Accounts that published tools call coordinated through our campaign stage: `python -m bench sharing`.

StarScout's stars and CooRTweet's shares become sightings: what is shared stands where a system prompt does. The labels
are the tools' own, so their precision and recall are 1 by definition. Reads the sets from `shared/` beside this
checkout and skips what is not there.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import sys
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.report import WIDTH
from siphonwatch.models.account.request import Array, blank, fnv1a, name_words, names
from siphonwatch.models.campaign.features import FEATURES, INDEX
from siphonwatch.models.detect import Detector
from siphonwatch.models.detect.card import read_card
from siphonwatch.models.engine.config import ScorerConfig
from siphonwatch.models.engine.coordinator import Coordinator
from siphonwatch.models.engine.engine import Trace
from siphonwatch.models.engine.patterns import detectors

FOLDER = Path(__file__).parents[3] / "shared" / "data" / "accounts"
CARD = Path(__file__).with_name("sharing.toml")
RECALLS = (0.1, 0.25, 0.5, 0.75)
WINDOW, ACTIONS = 60.0, 2
"""CooRTweet's `time_window`, seconds, and `min_participation`, as its vignette sets them for this set. Rows remember
for as long what may be handed over."""
REFUSED = 429
CONFIG = ScorerConfig(max_ahead=1e9)
"""Hours without a share are no wrong clock: these logs are whole, and sparse."""


class Share(NamedTuple):
    """One account took up one object."""

    time: float
    account: str
    object: str


class Outcome(NamedTuple):
    """What the stage made of shares."""

    shipped: dict[str, float]
    """By pattern, the highest score that any object reached by an installed card."""
    evidence: dict[str, float]
    """By object, the highest logarithm of the e-value by the card for sharing; those it bets on alone."""
    named: dict[str, float]
    """By account, the highest suspicion that a case brought it."""
    handed: Counter[str]
    """By account, shares that another account's had preceded within a minute, as the rows remember it."""
    cases: int


def hashed(text: str) -> np.uint64:
    """A name as a request holds it."""
    raw = np.frombuffer(text.encode(), np.uint8)
    return np.uint64(fnv1a(raw, 0, len(raw)))


def sightings(shares: Sequence[Share], handed: bool) -> Array:
    """Return shares, in order of time, as requests: what is shared stands where a system prompt does.

    With `handed` the object is also what is asked, and each share is followed by a request for it that was held back,
    so that a share by another account within a minute is one that was handed over. Without, each share asks something
    of its own. There are no texts: `breadth` says that they have nothing in common.
    """
    out = np.repeat(blank(), len(shares) * (1 + handed))
    firsts = out[:: 1 + handed]
    for i, share in enumerate(shares):
        q, thing = firsts[i], hashed(share.object)
        q["time"], q["account_hash"], q["account"] = (
            share.time,
            hashed(share.account),
            name_words(share.account.encode()),
        )
        q["id"] = name_words(f"s{i}".encode())
        q["system"] = q["template"] = thing
        q["content"] = thing if handed else hashed(f"{share.account} {share.object} {i}")
    firsts["turns"] = 1
    if handed:
        out[1::2] = firsts
        out["status"][1::2] = REFUSED
    return out


def run(shares: Sequence[Share]) -> Outcome:
    """Run shares through the stage: by the installed cards, by the card for sharing, and for who handed over."""
    shares = sorted(shares)
    plain = sightings(shares, handed=False)
    shipped: dict[str, float] = {}

    def highest(trace: Trace) -> None:
        for detector, scores in zip(detectors("campaign"), trace.scores.T, strict=True):
            top = float(scores[trace.taken].max(initial=0.0))
            shipped[detector.pattern] = max(shipped.get(detector.pattern, 0.0), top)

    installed = Coordinator(CONFIG)
    installed.judge.trace = highest
    installed.score(plain, np.arange(len(plain)))

    evidence: dict[str, float] = {}

    def gather(trace: Trace) -> None:
        for place, log_e in zip(trace.which.tolist(), trace.log_e[:, 0].tolist(), strict=True):
            if log_e == log_e:  # it has bet
                thing = shares[place].object
                evidence[thing] = max(evidence.get(thing, -np.inf), log_e)

    card = Detector(read_card(CARD.read_bytes(), CARD.name), FEATURES)
    ours = Coordinator(CONFIG, chosen=[card])
    ours.judge.trace = gather
    cases = sum(finding.kind == "open" for finding in ours.score(plain, np.arange(len(plain))))
    return Outcome(shipped, evidence, ours.judge.suspicion(), hand_overs(shares), cases)


def hand_overs(shares: Sequence[Share]) -> Counter[str]:
    """Count, for each account, its shares that the rows take for handed over."""
    requests = sightings(shares, handed=True)
    accounts = names(requests["account"])
    before: dict[str, float] = {}
    handed: Counter[str] = Counter()

    def watch(trace: Trace) -> None:
        for place, batons in zip(trace.which.tolist(), trace.features[:, INDEX["batons"]].tolist(), strict=True):
            thing = shares[place // 2].object
            if batons > before.get(thing, 0.0):
                handed[accounts[place]] += 1
            before[thing] = batons

    coordinator = Coordinator(CONFIG)
    coordinator.judge.trace = watch
    coordinator.score(requests, np.arange(len(requests)))
    return handed


def precision(ranked: Mapping[str, float], truth: Set[str], among: Collection[str]) -> list[float]:
    """Return the precision at each of `RECALLS`, ranked downwards; NaN where ranking never gets so far.

    Who has no rank is behind all others; equal ranks are taken together.
    """
    known = [(score, name in truth) for name, score in ranked.items() if name in among]
    known.sort(key=lambda pair: -pair[0])
    scores, hit = np.array([score for score, _ in known]), np.array([good for _, good in known])
    found, rank = np.cumsum(hit), np.arange(1, len(known) + 1)
    ends = np.flatnonzero(np.append(np.diff(scores) != 0, True))
    least = len(truth.intersection(among))
    at = [ends[found[ends] >= recall * least] for recall in RECALLS]
    return [float(found[end[0]] / rank[end[0]]) if len(end) else float("nan") for end in at]


def active(shares: Sequence[Share]) -> list[Share]:
    """Return the shares of accounts that made `ACTIONS` of them, as CooRTweet keeps them first of all."""
    counts = Counter(share.account for share in shares)
    return [share for share in shares if counts[share.account] >= ACTIONS]


def coordinated(shares: Iterable[Share]) -> set[str]:
    """Return the accounts that shared one object within `WINDOW` seconds of another's share.

    With `active` it is `detect_groups` of Righetti and Balluff's package, written anew from its manual.
    """
    latest: defaultdict[str, list[Share]] = defaultdict(list)
    found: set[str] = set()
    for share in sorted(shares):
        near = [s for s in latest[share.object] if share.time - s.time <= WINDOW]
        others = {s.account for s in near} - {share.account}
        found |= others | ({share.account} if others else set())
        latest[share.object] = [*near, share]
    return found


def coortweet(folder: Path) -> list[Share]:
    """Read the shares that come with CooRTweet."""
    with gzip.open(folder / "coortweet" / "russian_coord_tweets.csv.gz", "rt", newline="") as file:
        return [Share(float(r["timestamp_share"]), r["account_id"], r["object_id"]) for r in csv.DictReader(file)]


def starscout(folder: Path) -> tuple[list[Share], set[str]]:
    """Read the stars by accounts that StarScout suspects, and the repositories it found a campaign for."""
    with (folder / "starscout" / "fake_stars_obvious_users.csv").open(newline="") as file:
        stars = [
            Share(datetime.fromisoformat(r["starred_at"]).timestamp(), r["name"], r["github"])
            for r in csv.DictReader(file)
        ]
    with (folder / "starscout" / "fake_repo_events.csv").open(newline="") as file:
        return stars, {row["repo"] for row in csv.DictReader(file)}


def measure_coortweet(folder: Path) -> tuple[Outcome, list[tuple[str, list[float]]]]:
    """Which accounts CooRTweet takes for coordinated, ranked by ours."""
    shares = active(coortweet(folder))
    outcome, truth = run(shares), coordinated(shares)
    volume = Counter(share.account for share in shares)
    return outcome, [
        (
            f"accounts CooRTweet pairs ({len(truth):,} of {len(volume):,}): hand-overs",
            precision(outcome.handed, truth, volume),
        ),
        ("the same: suspicion of cases by the card for sharing", precision(outcome.named, truth, volume)),
        ("the same: number of shares", precision(volume, truth, volume)),
    ]


def measure_starscout(folder: Path) -> tuple[Outcome, list[tuple[str, list[float]]]]:
    """Which repositories StarScout found a campaign for, ranked by ours."""
    stars, campaigns = starscout(folder)
    outcome, volume = run(stars), Counter(star.object for star in stars)
    truth = campaigns & set(volume)
    return outcome, [
        (
            f"repositories with a campaign ({len(truth):,} of {len(volume):,}): evidence",
            precision(outcome.evidence, truth, volume),
        ),
        ("the same: number of stars", precision(volume, truth, volume)),
    ]


SETS = {"coortweet": measure_coortweet, "starscout": measure_starscout}


def main(arguments: Sequence[str]) -> int:
    """Run what the command line says; exit code 1 where there was no set to measure on."""
    parser = argparse.ArgumentParser(prog="bench sharing", description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="with the folders coortweet and starscout")
    chosen = parser.parse_args(arguments)
    table = Table(header_style="bold", title="Precision at recall of what the published tool found (its own: 1)")
    for heading in ("set", "what, ranked by", *(f"at {recall:.0%}" for recall in RECALLS)):
        table.add_column(heading, justify="right" if heading.startswith("at") else "left")
    for name, measure in SETS.items():
        if not (chosen.folder / name).is_dir():
            print(f"{name}: skipped, it is not in {chosen.folder}; give its place by --folder", file=sys.stderr)
            continue
        outcome, rows = measure(chosen.folder)
        highest = ", ".join(f"{pattern} {score:.2f}" for pattern, score in outcome.shipped.items())
        print(f"{name}: highest scores by the installed cards: {highest}", file=sys.stderr)
        print(
            f"{name}: the card for sharing opened {outcome.cases:,} cases and named {len(outcome.named):,} accounts;"
            f" {len(outcome.handed):,} handed over",
            file=sys.stderr,
        )
        for what, figures in rows:
            table.add_row(name, what, *("-" if f != f else f"{f:.3f}" for f in figures))
    if not table.rows:
        return 1
    console = Console()
    (console if console.is_terminal else Console(width=WIDTH)).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
