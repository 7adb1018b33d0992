"""The registry of versions: where they are stored, under which names, and how MLflow loads one."""
