"""The estimator behind the learned support of `extraction`. The command `train` alone imports it."""

from __future__ import annotations

from sklearn.ensemble import HistGradientBoostingClassifier


def trees() -> HistGradientBoostingClassifier:
    """Return an unfitted estimator: a hundred trees of depth six. Two fits to the same data give the same trees."""
    return HistGradientBoostingClassifier(
        max_depth=6, max_leaf_nodes=31, min_samples_leaf=50, max_iter=100, learning_rate=0.2, l2_regularization=5.0,
        max_bins=64, early_stopping=False, random_state=1,
    )  # fmt: skip
