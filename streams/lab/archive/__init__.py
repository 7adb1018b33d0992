"""The archive: what the topics held, as Parquet by hour, with a manifest for each step of writing. See docs/lab.md."""
