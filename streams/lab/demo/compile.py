"""Compiles the sketch of texts and the parser of telemetry into numba's cache, beside a worker that compiles how it
scores, so that the worker's first batch need not wait for them. It sends nothing. `python -m streams.lab.demo.compile`.
"""

from __future__ import annotations

import msgspec
import structlog

from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.common.logs import configure
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts.telemetry import Telemetry, encode
from siphonwatch.streams.edge.adapters import make_adapter
from siphonwatch.streams.edge.sketch import Sketcher
from siphonwatch.streams.lab.scenario import Scenario
from siphonwatch.streams.worker.compiling import saying
from siphonwatch.streams.worker.decode import Decoder

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
