"""Makes an alert again by replaying the log up to it, and says the first field that differs. Sends nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import UnsetType

from siphonwatch.models.evidence.cases import Finding
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts.alert import Alert, to_alert
from siphonwatch.streams.lab.backtest.version import DetectorSet
from siphonwatch.streams.lab.offline import Offline
from siphonwatch.streams.lab.replay import Replay

OF_VERDICTS = ("rank", "ranking")
"""What verdicts change in an alert after it was found, below `unmapped.siphonwatch`."""
OF_CHECKPOINTS = ("reference", "checkpoint")
"""What depends on where checkpoints fell, below `model`: they change no evidence, and a replay has none."""


class _Reached(Exception):
    """The alert was made again: nothing later is read."""


class Rebuilt(msgspec.Struct, frozen=True, kw_only=True):
    """What came of making an alert again."""

    requests: int
    """Read, up to the batch that the alert is of."""
    found: bool
    """Whether the replay told the same thing of the same case."""
    difference: str = ""
    """The first field that differs, with both values; empty where all is the same."""
    left_out: list[str] = []
    """What was not compared, below `unmapped.siphonwatch`."""
    others: list[str] = []
    """Where it was not found: what the replay told of the accounts instead, by id."""


def rebuild(
    alert: Alert, version: DetectorSet, files: Sequence[str], settings: Settings, *, format: str = "auto",
    partitions: int = 1, processes: int = 1,
) -> Rebuilt:  # fmt: skip
    """Replay files, one stream in their order, until the alert is found again, and compare it.

    Raises
    ------
    Unreadable, ProcessDied, ValueError
        Where a file cannot be read, as `siphonwatch.streams.lab.replay.Replay.run`.
    """
    made: list[Alert] = []
    others: list[str] = []

    def take(finding: Finding) -> None:
        if finding.id == alert.id:
            runbook = alert.own.runbook.rpartition("#")[0]
            made.append(to_alert(finding, runbook=runbook, judged=replay.judged(finding, version.id, "")))
            raise _Reached
        if set(finding.accounts) & set(alert.own.accounts):
            others.append(finding.id)

    with Offline(settings, partitions, cards=version.detectors) as engines:
        replay = Replay(settings, engines, take, processes=processes)
        try:
            for file in files:
                replay.run(file, format)
        except _Reached:
            pass
    if not made:
        return Rebuilt(requests=replay.totals.requests, found=False, others=others)
    left_out = _left_out(alert, version, of_topic=replay.of_topic)
    difference = first_difference(_plain(alert, left_out), _plain(made[0], left_out))
    return Rebuilt(requests=replay.totals.requests, found=True, difference=difference, left_out=left_out)


def _left_out(alert: Alert, version: DetectorSet, *, of_topic: bool) -> list[str]:
    """What of an alert the data do not determine, below `unmapped.siphonwatch`."""
    own = alert.own
    gone = [] if isinstance(own.second_stage, UnsetType) else ["second_stage"]  # only earlier releases send it
    if isinstance(own.model, UnsetType):
        return [*OF_VERDICTS, *gone, "model"]  # it is of a release that named none
    names = [*OF_VERDICTS, *gone, *(f"model.{name}" for name in OF_CHECKPOINTS)]
    if not of_topic or own.model.stream == "sightings":
        names.append("model.offset")  # a log has none, and sightings share records as they were sent
    if not version.id:
        names.append("model.version")
    return names


def _plain(alert: Alert, left_out: Sequence[str]) -> Any:
    """An alert as JSON has it, without what is left out below `unmapped.siphonwatch`."""
    plain = msgspec.json.decode(msgspec.json.encode(alert))
    for name in left_out:
        place = plain["data"]["unmapped"]["siphonwatch"]
        *folders, last = name.split(".")
        for folder in folders:
            place = place[folder]
        place.pop(last, None)
    return plain


def first_difference(sent: Any, again: Any, path: str = "") -> str:
    """Return the first place, by name, where two JSON values differ, with both; empty where they are the same.

    Examples
    --------
    >>> first_difference({"a": [1, 2], "b": 3}, {"a": [1, 4], "b": 3})
    'a[1]: 2 was sent, 4 is made again'
    >>> first_difference({"a": 1}, {"a": 1})
    ''
    """
    if isinstance(sent, dict) and isinstance(again, dict):
        for name in sorted(sent.keys() | again.keys()):
            below = f"{path}.{name}" if path else name
            if name not in sent or name not in again:
                return f"{below}: only in what {'is made again' if name not in sent else 'was sent'}"
            if found := first_difference(sent[name], again[name], below):
                return found
        return ""
    if isinstance(sent, list) and isinstance(again, list):
        for k, (one, other) in enumerate(zip(sent, again, strict=False)):
            if found := first_difference(one, other, f"{path}[{k}]"):
                return found
        return "" if len(sent) == len(again) else f"{path}: {len(sent)} entries were sent, {len(again)} are made again"
    return "" if sent == again else f"{path}: {sent!r} was sent, {again!r} is made again"
