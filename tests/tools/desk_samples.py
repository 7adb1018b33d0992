"""Logs of topics as the desk reads them, and what an index holds."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
from alert_samples import START, findings

from siphonwatch.models.account.features import WIDTH
from siphonwatch.models.evidence.cases import Finding, Member
from siphonwatch.models.learn.version import table_id
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts import control, desk, features, verdict
from siphonwatch.streams.contracts.alert import encode, to_alert
from siphonwatch.streams.contracts.telemetry import Telemetry
from siphonwatch.streams.contracts.telemetry import encode as encode_telemetry
from siphonwatch.streams.desk.index.cases import Record
from siphonwatch.streams.desk.index.intake import Batch, Intake
from siphonwatch.streams.desk.index.store import Index, statements

Log = Mapping[str, Sequence[bytes]]
NOW = START + 40 * 86_400.0
ERASED = "org-extraction-3"


def of_kind(found: Finding, kind: str, **changes: object) -> Finding:
    return msgspec.structs.replace(found, kind=kind, sequence=found.sequence + 1, time=found.time + 3600.0, **changes)


def campaign(accounts: Sequence[str]) -> Finding:
    (one,) = findings(1, "campaign", start=START + 60.0)
    parts = [Member(name, 100, 1 / len(accounts), START) for name in accounts]
    return msgspec.structs.replace(one, accounts=list(accounts), members=parts, shared=["one client"])


def alerts() -> list[bytes]:
    found = findings(6)
    pool = campaign([found[1].accounts[0], ERASED, "org-other"])
    told = [*found, pool, of_kind(found[0], "update", log_e=20.0), of_kind(found[2], "close"), of_kind(pool, "close")]
    return [b'{"no": "alert"}', *(encode(to_alert(one)) for one in told)]


def note(number: int, case: str, account: str, kind: type[desk.Desk] = desk.Note, **more: object) -> bytes:
    text = {} if kind is desk.Assign else {"text": more.pop("text", f"asked {account}")}
    return desk.encode(
        kind(id=f"{number:012x}", case=case, account=account, by="Ann", time=START + number, **text, **more)
    )


def telemetry(accounts: int = 12, hours: int = 60, seed: int = 5) -> list[bytes]:
    """Requests of accounts that share clients and wrappers in part."""
    draw = random.Random(seed)
    rows = []
    for hour in range(hours):
        for number in range(accounts):
            for _ in range(draw.randrange(3)):
                time = START + 3600.0 * hour + 3600.0 * draw.random()
                rows.append(
                    Telemetry(
                        id=f"r{len(rows)}", time=time, account=f"org-extraction-{number}", key=f"{number % 4 + 1:016x}",
                        headers="00000000000000aa" if number < 5 else f"{number:016x}", client="openai-python",
                        model=("big", "small")[draw.randrange(2)], tokens_in=10, tokens_out=20,
                        status=draw.choice((200, 200, 429)), said=f"{draw.getrandbits(64):016x}",
                        template=f"{draw.getrandbits(64) | 1:016x}", country="DE", stream=number % 2 == 0,
                        net="ffffffffffffff01",
                    )
                )  # fmt: skip
    return [b"junk", *map(encode_telemetry, sorted(rows, key=lambda row: row.time))]


def logged(accounts: int = 12, hours: int = 20) -> list[bytes]:
    draw = np.random.default_rng(3)
    return [
        features.encode(
            features.Logged(
                partition=0, offset=hour * accounts + number, account=f"org-extraction-{number}",
                time=START + 3600.0 * hour, at=["hourly"], version="0" * 12, cards={}, table=table_id(),
                features=draw.random(WIDTH).astype("<f4").tobytes(), scores={}, log_e={"extraction": 0.5 * number},
            )
        )
        for hour in range(hours) for number in range(accounts)
    ]  # fmt: skip


def log(*, erase: bool = True) -> dict[str, list[bytes]]:
    """Everything that topics may hold, by kind."""
    found = [to_alert(one) for one in findings(6)]
    case = [one.subject for one in found]
    entry = control.Allow(
        id="0" * 11 + "1", pattern="extraction", until=2e9, accounts=["org-extraction-5"], why="a test set", by="Ann",
        time=NOW,
    )  # fmt: skip
    controls: list[control.Control] = [
        entry, msgspec.structs.replace(entry, id="0" * 11 + "2"),
        control.AllowEnd(id="0" * 11 + "2", by="Ann", time=NOW),
    ]  # fmt: skip
    if erase:
        controls.insert(1, control.Erase(id="0" * 11 + "3", account=ERASED, by="Ann", time=1.9e9))
    say = verdict.judge
    return {
        "control": [control.encode(one) for one in controls],
        "desk": [
            note(1, case[0], "org-extraction-0"), note(2, case[3], ERASED),
            note(3, case[0], "org-extraction-0", desk.Assign, to="Bob"),
            note(4, case[4], "org-extraction-4", desk.Merge, of=case[5]),
            note(5, case[1], "org-extraction-1", desk.Snooze, until=2e9), b"{}",
        ],
        "verdicts": [
            verdict.encode(one)
            for one in (
                say(found[0], "true-positive", by="Ann", time=NOW), say(found[3], "false-positive", by="Ann", time=NOW,
                note="org-extraction-3 said so"), say(found[0], "benign-expected", by="Bob", time=NOW + 1),
                say(found[1], "suspicious", by="Bob", time=NOW + 2),
            )
        ],
        "alerts": alerts(),
        "hidden": [encode(to_alert(one)) for one in findings(1, "shift")],
        "telemetry": telemetry(),
        "features": logged(),
    }  # fmt: skip


def records(values: Sequence[bytes], start: int = 0) -> list[Record]:
    return [Record(start + at, NOW + start + at, value, "000000000001") for at, value in enumerate(values)]


def batch(kind: str, values: Sequence[bytes], start: int = 0, incarnation: str = "i") -> Batch:
    return Batch(kind, f"p.{kind}.v1", 0, incarnation, records(values, start))


def take(index: Index, given: Log, intake: Intake | None = None) -> Intake:
    """Take whole logs in at once."""
    intake = intake or Intake(index, Settings())
    intake.take(batch(kind, values) for kind, values in given.items())
    return intake


def dump(index: Index) -> dict[str, list[tuple[object, ...]]]:
    """All rows that topics give back, by table."""
    names = [name for text in statements() for name in re.findall(r"^CREATE TABLE (\w+)", text)]
    return {
        name: sorted(index.reader.execute(f"SELECT * FROM {name}").fetchall(), key=repr)
        for name in names
    }  # fmt: skip
