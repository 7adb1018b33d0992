"""Deterministic labelled traffic for the demo, the benchmark and the tests; no text or identity in it is real."""

from siphonwatch.streams.lab.scenario.world import EPOCH, Event, Label, Scenario
from siphonwatch.streams.lab.scenario.write import Written, write

__all__ = ["EPOCH", "Event", "Label", "Scenario", "Written", "write"]
