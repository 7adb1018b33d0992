"""Backtests: two versions of the detectors over one stream in one pass, told apart by labels."""
