"""Gateway topics to telemetry: what a gateway writes itself is adapted, sketched and sent on, keyed by account.

Each record says in its `source` header which element of which message it was made from, so that the scoring side can
pass over what is made again after a crash.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable

from streams.adapters import make_adapter
from streams.adapters.base import Adapter
from streams.agents.score import dead_letter
from streams.agents.sources import SOURCE
from streams.contract import Malformed, Telemetry, encode
from streams.dlq import DeadLetter
from streams.identity import Identity
from streams.meter import Meter
from streams.metrics import INGEST, Metrics
from streams.outlet import KafkaOutlet
from streams.settings import Settings
from streams.sketch import Sketcher
from streams.transport import Batch

Element = tuple[int, Telemetry | Malformed]
BAD = "bad"
"""Header of a dead letter: the places of the elements in its message that could not be read."""
SLICE = 256
"""Messages adapted at a time beside the event loop, a tenth of a second of work."""


class GatewayIngest:
    """Turns records of the topics in `[ingest]` into telemetry.

    Raises
    ------
    SettingsError
        At construction, where identity.key is missing.
    """

    def __init__(
        self, settings: Settings, outlet: KafkaOutlet, metrics: Metrics, now: Callable[[], float] = time.time
    ) -> None:
        identity = Identity.from_settings(settings)
        sketcher = Sketcher(identity)
        self._adapters: dict[str, Adapter] = {
            topic: make_adapter(format_, settings, sketcher, identity)
            for topic, format_ in settings.ingest.topics.items()
        }
        self._telemetry = settings.topic("telemetry")
        self._outlet = outlet
        self._metrics = metrics
        self._now = now

    async def process(self, batch: Batch) -> None:
        """Ingest a batch; returns when the broker has acknowledged all that came of it.

        Raises
        ------
        NotSent, Undelivered
            When it has not.
        """
        adapter = self._adapters[batch.topic]
        meter = Meter(self._metrics, INGEST, batch.topic, batch.partition)
        letters: list[DeadLetter] = []
        for start in range(0, len(batch), SLICE):
            rows = range(start, min(start + SLICE, len(batch)))
            for row, elements in await asyncio.to_thread(_adapt, adapter, batch, rows):
                if (letter := await self._send(batch, row, elements, meter)) is not None:
                    letters.append(letter)
        if letters:
            await self._outlet.dead_letters(letters)
        await self._outlet.flush()
        meter.batch(self._now() - batch.timestamps / 1000.0)

    async def _send(self, batch: Batch, row: int, elements: list[Element], meter: Meter) -> DeadLetter | None:
        """Send what is good of one message; return a dead letter where something is bad.

        The letter names the bad elements' places, so that a redrive takes up those alone.
        """
        headers = dict(batch.headers[row])
        wanted = {int(place) for place in headers[BAD].split(b",")} if BAD in headers else None
        bad: list[tuple[int, Malformed]] = []
        for place, element in elements:
            if wanted is not None and place not in wanted:
                continue
            if isinstance(element, Malformed):
                meter.dead_letter(element.reason)
                bad.append((place, element))
                continue
            source = f"{batch.topic}:{batch.partition}:{batch.offsets[row]}:{place}".encode()
            await self._outlet.send(self._telemetry, element.account.encode(), encode(element), [(SOURCE, source)])
        if not bad:
            return None
        letter = dead_letter(batch, row, bad[0][1], bad[0][0])
        kept = tuple(header for header in letter.headers if header[0] != BAD)
        places = b",".join(b"%d" % place for place, _ in bad)
        return dataclasses.replace(letter, headers=(*kept, (BAD, places)))


def _adapt(adapter: Adapter, batch: Batch, rows: range) -> list[tuple[int, list[Element]]]:
    """What the messages hold, each element with its place."""
    return [(row, list(enumerate(adapter.records(batch.values[row] or b"")))) for row in rows]
