"""The fields of a request in a sighting: those that fingerprints, windows, evidence and cases of campaigns read."""

from __future__ import annotations

FIELDS = (
    "time", "account_hash", "user", "session", "net", "agent", "headers", "template", "system", "content", "model",
    "account", "id", "projection",
    "status", "chars", "chars_out", "tokens_out", "max_tokens", "n", "logprobs", "tools", "turns", "stream",
    "structured", "canonical",
    "temperature", "top_p",
    "route", "resource", "item", "page", "rest", "trail_new", "stands_for",
)  # fmt: skip
"""Of `siphonwatch.models.account.request.REQUEST`. A coordinator finds the same whatever all other fields hold."""
