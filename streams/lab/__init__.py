"""Offline work: replay, evaluation, scenarios, the demo and its embedded broker. A worker needs none of it."""
