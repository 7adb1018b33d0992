"""The coordinator of one partition of sightings: requests of many accounts in, findings about campaigns out."""

from __future__ import annotations

from collections.abc import Sequence

from siphonwatch.models.detect import Detector
from siphonwatch.models.engine.campaigns import CampaignJudge
from siphonwatch.models.engine.config import ScorerConfig
from siphonwatch.models.engine.engine import Engine
from siphonwatch.models.engine.fingerprints import FINGERPRINTS, FingerprintBlock, FingerprintStage


class Coordinator(Engine[FingerprintBlock, CampaignJudge]):
    """Fingerprints, their evidence and their cases.

    Parameters
    ----------
    config
        The operator's choices, the scorer's own.
    most
        Fingerprints that may have a row.
    chosen
        The detectors, in the order of the columns of scores; all by default.

    Examples
    --------
    >>> import numpy as np
    >>> from siphonwatch.models.account.request import blank
    >>> coordinator = Coordinator(ScorerConfig())
    >>> request = blank()
    >>> request["template"], request["turns"], request["agent"] = 1, 1, 2
    >>> coordinator.score(request, np.array([0])), len(coordinator.table)
    ([], 1)
    """

    def __init__(
        self, config: ScorerConfig, most: int = FINGERPRINTS, chosen: Sequence[Detector] | None = None
    ) -> None:
        stage = FingerprintStage(config, most)
        super().__init__(stage, CampaignJudge(stage, chosen))
