"""Durable account state on a compacted topic: what a checkpoint writes and an assignment restores.

It knows pages and models as bytes only; what they mean is the scorer's business.
"""

from streams.state.codec import Page
from streams.state.local import LocalStateLog
from streams.state.log import Fenced, Snapshot, StateError, StateLog

__all__ = ["Fenced", "LocalStateLog", "Page", "Snapshot", "StateError", "StateLog"]
