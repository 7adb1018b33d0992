"""Published and simple detectors that siphonwatch is measured against, on the same sketches. None runs in a worker."""

from __future__ import annotations

from siphonwatch.models.evaluate.baselines.account_trees import DailyTrees
from siphonwatch.models.evaluate.baselines.baseline import Baseline
from siphonwatch.models.evaluate.baselines.embedding_mmd import WindowedMMD
from siphonwatch.models.evaluate.baselines.indicator_sheet import IndicatorSheet
from siphonwatch.models.evaluate.baselines.placeholder import PlaceholderShare
from siphonwatch.models.evaluate.baselines.prada import Prada
from siphonwatch.models.evaluate.baselines.rule_ensemble import RuleEnsemble
from siphonwatch.models.evaluate.baselines.seat import Seat
from siphonwatch.models.evaluate.baselines.volume import Volume

__all__ = ["Baseline", "baselines"]


def baselines() -> tuple[Baseline, ...]:
    """Return one of each, with the settings of its source.

    Examples
    --------
    >>> [baseline.name for baseline in baselines()]
    ['volume', 'placeholder', 'prada', 'seat', 'mmd-100', 'mmd-200', 'mmd-1500', 'hst-daily', 'rules', 'sheet-10']
    """
    return (
        Volume(), PlaceholderShare(), Prada(), Seat(), WindowedMMD(100), WindowedMMD(200), WindowedMMD(1500),
        DailyTrees(), RuleEnsemble(), IndicatorSheet(),
    )  # fmt: skip
