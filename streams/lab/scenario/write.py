"""Writes a scenario to files: one NDJSON log per format, as gateways write them, and the labels of accounts and
requests as CSV."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
from collections.abc import Iterable
from pathlib import Path
from typing import IO, NamedTuple

import msgspec

from siphonwatch.streams.lab.scenario.world import Event, Label, Scenario

COLUMNS = (
    "account", "campaign", "archetype", "extracting", "desensitised", "attack_share", "onset", "n_requests",
    "n_attack_requests",
)  # fmt: skip


class Written(NamedTuple):
    """Where a scenario's files are; a log without records is not written."""

    litellm: Path
    nginx: Path
    labels: Path
    attacks: Path
    settings: Path
    """TOML with the crawlers that the operator allows, if there are any."""
    records: int


def write(folder: Path, scenario: Scenario) -> Written:
    """Write a scenario into `folder`, which is created if absent; the same scenario gives the same bytes.

    `litellm.ndjson` and `nginx.ndjson`, each by event time; `labels.csv`, one row an account; `attack_requests.csv.gz`,
    the id and campaign of every attack request; `settings.toml`.

    Raises
    ------
    OSError
        When a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    logs = {"litellm": folder / "litellm.ndjson", "nginx": folder / "nginx.ndjson"}
    labels, attacks, settings = folder / "labels.csv", folder / "attack_requests.csv.gz", folder / "settings.toml"
    _labels(labels, scenario.labels())
    allowed = scenario.allowed()
    if allowed:
        settings.write_text("[accounts]\nallow = [" + ", ".join(f'"{name}"' for name in allowed) + "]\n", "utf-8")
    campaigns = {label.account: label.campaign for label in scenario.labels()}
    encoder = msgspec.json.Encoder()
    count = 0
    with contextlib.ExitStack() as stack:
        files: dict[str, IO[bytes]] = {}
        packed = stack.enter_context(attacks.open("wb"))
        # No file name and no timestamp in the gzip header, so that equal scenarios give equal files.
        unpacked = stack.enter_context(gzip.GzipFile("", "wb", fileobj=packed, mtime=0))
        rows = csv.writer(stack.enter_context(io.TextIOWrapper(unpacked, "utf-8", newline="")), lineterminator="\n")
        rows.writerow(("id", "campaign"))
        for event in scenario:
            if event.format not in files:
                files[event.format] = stack.enter_context(logs[event.format].open("wb"))
            files[event.format].write(encoder.encode(event.record) + b"\n")
            if event.truth:
                ident, account = _names(event)
                rows.writerow((ident, campaigns[account]))
            count += 1
    return Written(logs["litellm"], logs["nginx"], labels, attacks, settings, count)


def _names(event: Event) -> tuple[str, str]:
    """Return the id of a record, and that of its account as `replay --plain-ids` prints it."""
    record = event.record
    if event.format == "nginx":
        return record["request_id"], record["account"]
    return record["id"], record["metadata"]["user_api_key_org_id"]


def _labels(path: Path, labels: Iterable[Label]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(COLUMNS)
        for label in labels:
            onset = "" if label.onset is None else f"{label.onset:.3f}"
            share = label.attack_requests / label.requests
            rows.writerow((
                label.account, label.campaign, label.kind, int(bool(label.pattern)),
                int(label.pattern == "desensitisation"), f"{share:.4f}", onset, label.requests, label.attack_requests,
            ))  # fmt: skip
