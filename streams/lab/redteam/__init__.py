"""A red team over labelled logs: rewrites the attack by known tricks, replays it, and counts what is still found."""
