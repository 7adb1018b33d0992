"""The desk's index: an SQLite file made of the topics, and made again from them at any time. It decides nothing."""
