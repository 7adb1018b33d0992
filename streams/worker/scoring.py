"""Builds scorer and coordinator from the settings: the one place that does, for the worker and offline use alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from siphonwatch.models.detect import Detector
from siphonwatch.models.engine.campaigns import CampaignJudge
from siphonwatch.models.engine.config import ScorerConfig
from siphonwatch.models.engine.coordinator import Coordinator
from siphonwatch.models.engine.engine import Engine
from siphonwatch.models.engine.judge import AccountJudge
from siphonwatch.models.engine.scorer import Scorer
from siphonwatch.models.engine.together import Together
from siphonwatch.models.learn.version import Version
from siphonwatch.streams.common.settings import Settings


def make_scorer(settings: Settings, chosen: Sequence[Detector] | None = None) -> Scorer:
    """Return a scorer with empty state, by the chosen cards over accounts or all installed ones."""
    return Scorer(_config(settings), chosen=chosen)


def make_coordinator(settings: Settings, chosen: Sequence[Detector] | None = None) -> Coordinator:
    """Return a coordinator with empty state, by the chosen cards over campaigns or all installed ones."""
    return Coordinator(_config(settings), settings.state.fingerprints, chosen)


def make_judge(scorer: Engine[Any, Any], version: Version, *, shadow: bool = False) -> Any:
    """Return a judge of a scorer or coordinator by a version's cards, with empty state; a shadow or the champion."""
    if isinstance(scorer, Coordinator):
        return CampaignJudge(scorer.stage, version.detectors("campaign"), shadow=shadow)  # type: ignore[arg-type]
    return AccountJudge(scorer.stage, version.detectors(), shadow=shadow)  # type: ignore[arg-type]


def make_together(settings: Settings) -> Together:
    """Return a scorer with its coordinator behind it, both with empty state, for use without a broker."""
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
        end_users=chosen.end_users,
    )
