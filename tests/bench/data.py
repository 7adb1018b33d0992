"""The traffic of the benchmark: a scenario's telemetry, sketched once and kept, then multiplied to more accounts."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

import msgspec

from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts.telemetry import Telemetry, decode, encode
from siphonwatch.streams.edge.adapters import make_adapter
from siphonwatch.streams.edge.sketch import Sketcher
from siphonwatch.streams.lab.scenario import Scenario

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "bench"
KEY = "the benchmark's own key, no secret"


class Traffic(NamedTuple):
    """Telemetry by event time."""

    keys: list[bytes]
    values: list[bytes]
    ids: list[str]
    """Of the requests."""


def traffic(accounts: int, days: float, copies: int, seed: int = 42) -> Traffic:
    """Return a scenario's telemetry, each account `copies` times under other names."""
    keys: list[bytes] = []
    values: list[bytes] = []
    ids: list[str] = []
    for line in base(accounts, days, seed).read_bytes().splitlines():
        record = decode(line)
        account, request = record.account, record.id
        for copy in range(copies):
            record.account = f"{copy:02x}{account[2:]}"
            record.id = f"{request}-{copy}"
            keys.append(record.account.encode())
            values.append(encode(record))
            ids.append(record.id)
    return Traffic(keys, values, ids)


def base(accounts: int, days: float, seed: int) -> Path:
    """Return the file of a scenario's telemetry, made the first time; its name changes with the code that makes it."""
    path = CACHE / f"telemetry-{accounts}-{days:g}-{seed}-{_fingerprint()}.ndjson"
    if path.is_file():
        return path
    CACHE.mkdir(parents=True, exist_ok=True)
    settings = Settings()
    identity = Identity(KEY)
    sketcher = Sketcher(identity)
    adapters = {name: make_adapter(name, settings, sketcher, identity) for name in ("litellm", "nginx")}
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        for event in Scenario(seed=seed, accounts=accounts, days=days):
            for record in adapters[event.format].records(msgspec.json.encode(event.record)):
                if not isinstance(record, Telemetry):
                    raise record
                file.write(encode(record) + b"\n")
    part.rename(path)
    return path


def _fingerprint() -> str:
    """Of the sources that a scenario's telemetry comes from."""
    streams = Path(__file__).resolve().parents[2] / "streams"
    digest = hashlib.blake2b(digest_size=6)
    for folder in ("lab/scenario", "edge/sketch", "edge/adapters"):
        for source in sorted((streams / folder).glob("*.py")):
            digest.update(source.read_bytes())
    return digest.hexdigest()
