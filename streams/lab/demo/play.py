"""Plays a scenario: sends its gateway records to the gateways' topics, at most a fixed number ahead of the worker.

It knows what a gateway would log and nothing of telemetry.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import msgspec

from siphonwatch.streams.edge.producer import Outbox
from siphonwatch.streams.lab.demo.patience import Patience
from siphonwatch.streams.lab.demo.processes import Counts
from siphonwatch.streams.lab.demo.scorecard import Truth
from siphonwatch.streams.lab.pace import Pace
from siphonwatch.streams.lab.scenario import Scenario

AHEAD = 2048
"""Records sent and not yet scored: about one hour of a scenario's event time, so that the gateways' topics stay close
in event time, as in production."""
LOOK_SECONDS = 0.1


class Stalled(RuntimeError):
    """The worker makes no progress."""


class Player:
    """Plays one scenario.

    Parameters
    ----------
    scenario
        What is played.
    outboxes
        Where each format's records go.
    speed
        Event seconds a second; 0 as fast as the worker scores.
    counts
        Says how far the worker is, at once.
    patience
        Says when a worker that scores nothing is given up.
    show
        Called with (produced, counts) a few times a second.
    clock, sleep
        `time.monotonic`, and a `time.sleep` that is called now and then even where there is nothing to wait for.
    """

    def __init__(
        self,
        scenario: Scenario,
        outboxes: Mapping[str, Outbox],
        speed: float,
        counts: Callable[[], Counts | None],
        patience: Patience,
        show: Callable[[int, Counts], None],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._scenario = scenario
        self._outboxes = outboxes
        self._pace = Pace(speed, clock, sleep)
        self._ask = counts
        self._patience = patience
        self._show = show
        self._clock = clock
        self._sleep = sleep
        self._counts = Counts(0, 0, 0)
        self._looked = clock()
        self.truth = Truth()
        self.produced = 0

    def run(self) -> Counts:
        """Send all records and wait until they are scored; return the worker's counts.

        Raises
        ------
        Stalled
            When the worker stands still, or records were not delivered.
        """
        encoder = msgspec.json.Encoder()
        self._patience.moved()
        for event in self._scenario:
            self._pace.wait(event.time)
            self.truth.note(event)
            self._outboxes[event.format].send(encoder.encode(event.record), None)
            self.produced += 1
            if self._clock() - self._looked >= LOOK_SECONDS:
                self._look()
            self._wait(AHEAD)
        for outbox in self._outboxes.values():
            outbox.flush()
            if outbox.failed:
                raise Stalled(f"{outbox.failed:,} records were not delivered to {outbox.topic}: {outbox.failures}")
        self._patience.moved()
        self._wait(0)
        return self._counts

    @property
    def counts(self) -> Counts:
        """The worker's last known counts."""
        return self._counts

    def _wait(self, ahead: int) -> None:
        """Wait until no more than `ahead` records are unscored."""
        while self.produced - self._counts.done > ahead:
            self._sleep(LOOK_SECONDS / 2)
            self._look()
            if self._patience.over():
                waiting, seconds = self.produced - self._counts.done, self._patience.waited()
                raise Stalled(f"the worker scored nothing for {seconds:.0f} s while {waiting:,} records wait")

    def _look(self) -> None:
        self._sleep(0.0)
        self._looked = self._clock()
        counts = self._ask()
        if counts is not None:
            if counts.done > self._counts.done or self.produced == counts.done:
                self._patience.moved()
            self._counts = counts
        self._show(self.produced, self._counts)
