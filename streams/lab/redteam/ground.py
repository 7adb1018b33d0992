"""A labelled log made ready for any number of tricks: the honest records as telemetry, which no trick changes, and the
attack records as the gateway wrote them, both on disk in the order of the log. Scores nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np

from siphonwatch.models.account.request import NAME_BYTES
from siphonwatch.models.evaluate.data import Truth
from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts.telemetry import Malformed, encode
from siphonwatch.streams.edge.adapters import make_adapter, read_records
from siphonwatch.streams.edge.adapters.base import Adapter
from siphonwatch.streams.edge.adapters.values import NotJson, load_json
from siphonwatch.streams.edge.sketch import Sketcher
from siphonwatch.streams.lab.redteam.records import KINDS, Record
from siphonwatch.streams.lab.redteam.spool import Line, Place, read, write
from siphonwatch.streams.lab.redteam.survey import Survey


class EvasionError(ValueError):
    """A log cannot be rewritten, or no trick has that name; the message says what to do."""


class Ground(NamedTuple):
    """What every trick starts from; small, so that processes can hand it on."""

    name: str
    format: str
    accounts: list[str]
    """Where the account stands in a record."""
    honest: Path
    attack: Path
    truth: Truth
    survey: Survey
    rejected: int
    """Elements that are not what their format says."""

    def attacks(self) -> Iterator[tuple[Place, Record]]:
        """Yield the attack records."""
        kind = KINDS[self.format]
        with self.attack.open("rb") as file:
            for line in read(file):
                yield line.place, kind(load_json(line.data), self.accounts)


def adapter_of(format: str, settings: Settings) -> Adapter:
    """Return the ordinary adapter of a format."""
    identity = Identity.from_settings(settings)
    return make_adapter(format, settings, Sketcher(identity), identity)


def prepare(
    files: Sequence[str],
    truth: Truth,
    settings: Settings,
    folder: Path,
    *,
    name: str,
    format: str = "auto",
    attack_ids: set[bytes] | None = None,
    seed: int = 1,
) -> Ground:
    """Read a log once and part it.

    Parameters
    ----------
    files, truth, format, attack_ids
        As `siphonwatch.streams.lab.evaluate.run.observe`. Without ids every request that an attack account sends from
        its onset on is taken for part of the attack.
    folder
        Where the parts are written: the honest part as telemetry, the attack as it is.

    Raises
    ------
    EvasionError
        Where the format is none that can be rewritten, or no attack request is found.
    Unreadable, ValueError
        When a file cannot be read.
    """
    survey = Survey(seed)
    honest, attack = folder / "honest.telemetry", folder / "attack.ndjson"
    known = ""
    rejected = number = 0
    highest = float("-inf")
    onset = dict(zip(truth.account, np.where(truth.attack, np.nan_to_num(truth.onset), np.inf).tolist(), strict=True))
    campaign = {a: of or a for a, of in zip(truth.account, truth.campaign, strict=True)}
    with ExitStack() as closing:
        spared, taken = (closing.enter_context(path.open("wb")) for path in (honest, attack))
        for file in files:
            records = read_records(file, format, settings.ingest.max_record_bytes)
            closing.callback(records.close)
            if known and records.format != known:
                raise EvasionError(f"{name}: {file} is {records.format}, the files before it {known}: give one format")
            known = records.format
            if known not in KINDS:
                raise EvasionError(
                    f"{file} is {known}: --evasions rewrites a gateway's own log, in one of {', '.join(KINDS)}"
                )
            accounts: list[str] = getattr(settings.accounts, known)
            adapter = adapter_of(known, settings)
            for raw in records:
                if isinstance(raw, Malformed):
                    rejected += 1
                    continue
                record = _parsed(raw, known, accounts)
                if record is not None:
                    highest = max(highest, record.time)
                    ident, account = record.id.encode()[:NAME_BYTES], record.account
                    if ident in attack_ids if attack_ids else record.time >= onset.get(account, float("inf")):
                        survey.take_attack(record, campaign.get(account, account))
                        write(taken, Line(Place(highest, number), record.encode()))
                        number += 1
                        continue
                    survey.take_honest(record)
                for element in adapter.records(raw):
                    if isinstance(element, Malformed):
                        rejected += 1
                    else:
                        write(spared, Line(Place(highest, number), encode(element)))
                        number += 1
    if not survey.attacks:
        raise EvasionError(f"{name}: no attack request is in the log: do labels and --attack-requests belong to it?")
    return Ground(name, known, accounts, honest, attack, truth, survey, rejected)


def _parsed(raw: bytes, format: str, accounts: Sequence[str]) -> Record | None:
    """The record; None for what is no single object, which no trick can change."""
    try:
        tree = load_json(raw)
    except NotJson:
        return None
    if not isinstance(tree, dict):
        return None
    record = KINDS[format](tree, accounts)
    return record if record.account and record.time else None
