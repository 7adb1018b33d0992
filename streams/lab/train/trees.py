"""The estimator behind `models/learn/priors/extraction-trees.toml`. The command `train` alone imports it."""

from __future__ import annotations

from sklearn.ensemble import HistGradientBoostingClassifier


def trees() -> HistGradientBoostingClassifier:
    """Return an unfitted estimator: a hundred trees of depth four. Two fits to the same data give the same trees."""
    return HistGradientBoostingClassifier(
        max_depth=4, max_iter=100, learning_rate=0.08, l2_regularization=5.0, max_bins=64, early_stopping=False,
        random_state=1,
    )  # fmt: skip
