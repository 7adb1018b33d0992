"""What is remembered of one account and derived from it: requests, the row, its table, clock, windows and features."""
