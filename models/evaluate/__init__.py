"""Metrics against labels: how well the scorer's output agrees with the truth. Arrays in, numbers out; no files."""
