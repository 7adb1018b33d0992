"""What an operator chooses of the engines; see `[scoring]` of the settings."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ScorerConfig:
    """What an operator chooses; times in event-time seconds."""

    alpha: float = 1e-3
    budget: float = 0.1
    """Share of the released cases that may be false."""
    grace: float = 60.0
    max_ahead: float = 600.0
    close_after: float = 86_400.0
    seed: int = 42
    end_users: bool = False
    """Whether end users of one account that act together are looked for."""
