"""Durable account state on a compacted topic: what a checkpoint writes and an assignment restores.

It knows pages and models as bytes only; what they mean is the scorer's business.
"""

from siphonwatch.streams.worker.state.codec import Page
from siphonwatch.streams.worker.state.local import LocalStateLog
from siphonwatch.streams.worker.state.log import Fenced, Snapshot, StateError, StateLog

__all__ = ["Fenced", "LocalStateLog", "Page", "Snapshot", "StateError", "StateLog"]
