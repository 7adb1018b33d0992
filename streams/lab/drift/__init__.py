"""Drift of features, scores and alert rates in a log or an archive. It proposes a training, and trains nothing."""
