"""`siphonwatch replay` of telemetry in this process: `python -m bench.offline FILE`. Reading the file is in the time,
loading compiled code is not."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from bench.data import KEY
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.lab.replay import Replay
from siphonwatch.streams.worker.scoring import make_scorer

WARM = 2048


def main(file: str) -> dict[str, float]:
    """Replay once for the compiled code's sake, then for the figure."""
    settings = Settings()
    settings.identity.key = KEY
    with tempfile.TemporaryDirectory() as folder, Path(file).open("rb") as lines:
        warm = Path(folder) / "warm.ndjson"
        warm.write_bytes(b"".join(line for line, _ in zip(lines, range(WARM), strict=False)))
        Replay(settings, make_scorer(settings), lambda _: None).run(warm, "telemetry")
    replay = Replay(settings, make_scorer(settings), lambda _: None)
    started = time.perf_counter()
    replay.run(file, "telemetry")
    seconds = time.perf_counter() - started
    return {"rate": replay.totals.requests / seconds, "requests": replay.totals.requests}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
