"""Data sets of an archive: which of its requests, what was known of their accounts, and how they are split."""
