"""The scorer of one partition: requests in, findings out. The worker, `replay` and `evaluate` all run this object."""

from __future__ import annotations

from collections.abc import Sequence

from siphonwatch.models.detect import Detector
from siphonwatch.models.engine.config import ScorerConfig
from siphonwatch.models.engine.engine import Engine
from siphonwatch.models.engine.judge import AccountJudge
from siphonwatch.models.engine.stage import AccountBlock, AccountStage


class Scorer(Engine[AccountBlock, AccountJudge]):
    """Windows, features, detectors, evidence and cases of one partition's accounts.

    Parameters
    ----------
    config
        The operator's choices.
    chosen
        The detectors, in the order of the columns of scores; all by default.

    Examples
    --------
    >>> import numpy as np
    >>> from siphonwatch.models.account.request import blank
    >>> scorer = Scorer(ScorerConfig())
    >>> scorer.score(blank(), np.array([0]))
    []
    >>> len(scorer.table)
    1
    """

    def __init__(self, config: ScorerConfig, *, chosen: Sequence[Detector] | None = None) -> None:
        stage = AccountStage(config)
        super().__init__(stage, AccountJudge(stage, chosen))
