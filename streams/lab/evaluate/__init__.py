"""Evaluation of logs with labels: reads them, runs the scorer, and shows what `models.evaluate` makes of it."""
