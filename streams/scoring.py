"""Builds scorer and coordinator from the settings: the one place that does, for the worker and offline use alike."""

from __future__ import annotations

from models.coordinator import Coordinator
from models.online.second_stage import SecondStage, load
from models.relay.together import Together
from models.scorer import Scorer, ScorerConfig
from streams.settings import Settings, SettingsError


def make_scorer(settings: Settings) -> Scorer:
    """Return a scorer with empty state.

    Raises
    ------
    SettingsError
        Where `scoring.second_stage` names no usable River model.
    """
    stage = None
    if name := settings.scoring.second_stage:
        try:
            stage = SecondStage(load(name, "scoring.second_stage"))
        except ValueError as error:
            raise SettingsError(str(error)) from None
    return Scorer(_config(settings), second_stage=stage)


def make_coordinator(settings: Settings) -> Coordinator:
    """Return a coordinator with empty state."""
    return Coordinator(_config(settings), settings.state.fingerprints)


def make_together(settings: Settings) -> Together:
    """Return a scorer with its coordinator behind it, both with empty state, for use without a broker.

    Raises
    ------
    SettingsError
        As `make_scorer` does.
    """
    return Together(make_scorer(settings), make_coordinator(settings))


def _config(settings: Settings) -> ScorerConfig:
    chosen = settings.scoring
    return ScorerConfig(
        alpha=chosen.alpha,
        budget=chosen.budget,
        grace=chosen.grace,
        max_ahead=chosen.max_ahead,
        close_after=chosen.close_after,
        seed=chosen.seed,
        second_stage=chosen.second_stage,
        second_stage_level=chosen.second_stage_level,
    )
