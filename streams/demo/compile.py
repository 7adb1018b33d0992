"""Compiles the sketch of texts and the parser of telemetry into numba's cache, beside a worker that compiles how it
scores, so that the worker's first batch need not wait for them. It sends nothing. `python -m streams.demo.compile`.
"""

from __future__ import annotations

import msgspec
import structlog

from streams.adapters import make_adapter
from streams.compiling import saying
from streams.contract import Telemetry, encode
from streams.decode import Decoder
from streams.identity import Identity
from streams.logs import configure
from streams.scenario import Scenario
from streams.settings import Settings
from streams.sketch import Sketcher

REQUESTS = 1024


def compile_sketching() -> None:
    """Read, sketch and decode the first records of a scenario."""
    settings = Settings()
    identity = Identity("compiles and keeps nothing")
    scenario = Scenario(seed=0, accounts=20, days=0.5)
    sketcher = Sketcher(identity)
    adapters = {name: make_adapter(name, settings, sketcher, identity) for name in ("litellm", "nginx")}
    telemetry: list[bytes] = []
    for event in scenario:
        raw = msgspec.json.encode(event.record)
        telemetry += [encode(r) for r in adapters[event.format].records(raw) if isinstance(r, Telemetry)]
        if len(telemetry) >= REQUESTS:
            break
    Decoder().decode(telemetry)


def main() -> None:
    """Compile, and log what."""
    configure(Settings().log)
    log = structlog.get_logger(__name__)
    with saying(lambda module: log.info("compiling", module=module)):
        compile_sketching()


if __name__ == "__main__":
    main()
